package imapd

import (
	"errors"
	"time"

	"tram/internal/directory"
	"tram/internal/imap"
	"tram/internal/store"
)

// login is LOGIN, RFC 9051 §6.2.3.
func (s *session) login() error {
	s.dec.SP()
	if len(s.srv.o.Directory.Mechanisms(s.c.Secure())) == 0 {
		// Refused before a synchronising literal with the secret is asked for (RFC 8314 §4.1).
		return &no{"PRIVACYREQUIRED", "LOGIN needs TLS"}
	}
	user := s.dec.AString()
	s.dec.SP()
	password := s.dec.AString()
	if err := s.args(); err != nil {
		return err
	}
	acct, err := s.srv.o.Directory.Authenticate(s.ctx, directory.Attempt{
		Protocol: directory.IMAP, Remote: s.addr, User: user, Password: password,
	})
	return s.enter("LOGIN", acct, err)
}

// authenticate is AUTHENTICATE, RFC 9051 §6.2.2, with SASL-IR (RFC 4959).
func (s *session) authenticate() error {
	s.dec.SP()
	mechanism, initial := s.dec.Label(), ""
	if s.dec.TrySP() {
		initial = s.dec.AString() // base64 has characters that an atom has not
	}
	if err := s.args(); err != nil {
		return err
	}
	exchange, err := s.srv.o.Directory.Start(s.ctx, mechanism, directory.SASLOptions{
		Protocol: directory.IMAP, Remote: s.addr, TLS: s.c.TLS(),
	})
	if err != nil {
		return s.enter(mechanism, directory.Account{}, err)
	}
	account, err := directory.Converse(exchange, initial, s.challenge)
	switch {
	case errors.Is(err, directory.ErrBase64):
		return &imap.Error{Text: "Invalid base64"}
	case errors.Is(err, directory.ErrCancelled):
		return &imap.Error{Text: "Authentication was cancelled"} // RFC 9051 §6.2.2
	}
	return s.enter(mechanism, account, err)
}

// challenge sends one challenge and reads the response to it.
func (s *session) challenge(challenge []byte) ([]byte, error) {
	p := s.buf()
	*p = append(append(append(*p, "+ "...), challenge...), "\r\n"...)
	s.give()
	line, err := s.lineAfterPlus(directory.SASLLine)
	if err != nil {
		return nil, s.lost(err)
	}
	return []byte(line), nil
}

// lost ends the session if err says that the client is gone.
func (s *session) lost(err error) error {
	var bad *imap.Error
	if !errors.As(err, &bad) {
		s.endWith(err)
	}
	return err
}

// enter ends a log-in, successful or not.
func (s *session) enter(mechanism string, acct directory.Account, err error) error {
	if err != nil {
		// Whatever the reason, the client is told one of a few constant texts (see refusals); the
		// directory counts failures and has the time they take in its hands.
		directory.LogFailure(s.c.Logger(), directory.IMAP, mechanism, err)
		return err
	}
	id := store.AccountID(acct.ID)
	a := s.srv.join(id, s.addr)
	if a == nil {
		return &no{"LIMIT", "Too many sessions of this account"}
	}
	s.account, s.user = a, acct.Address.String()
	s.domain, s.admin = acct.Domain, acct.Admin
	s.stopRevoke = s.srv.o.Directory.OnRevoke(acct, s.revoke)
	s.dec.SetLimits(imap.AfterLogin(s.srv.o.Limits))
	s.c.SetDeadline(time.Time{})
	s.c.SetIdle(s.srv.o.Limits.Idle)
	s.c.Good()
	s.c.Logger().Info("imap log-in", "account", s.user, "mechanism", mechanism,
		"tls", s.c.Secure())
	// RFC 9051 §7.2.2: the capabilities have changed, and clients need not ask.
	s.code = "CAPABILITY " + s.capabilities()
	s.text = "Logged in"
	return nil
}
