package imapd

// noop is NOOP, RFC 9051 §6.1.2: a time to hear what is new.
func (s *session) noop() error {
	if err := s.args(); err != nil {
		return err
	}
	return s.catchUp(mayExpunge)
}

// check is CHECK, RFC 3501 §6.4.1. There is nothing to put in order; it is a NOOP.
func (s *session) check() error { return s.noop() }

// logout is LOGOUT, RFC 9051 §6.1.3.
func (s *session) logout() error {
	if err := s.args(); err != nil {
		return err
	}
	s.untagged("BYE Logging out")
	s.end("logout")
	return nil
}
