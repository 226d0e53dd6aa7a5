package imapd

import (
	"strings"

	"tram/internal/imap"
)

// maxIDFields is RFC 2971 §3.3's bound on the fields of one ID command.
const maxIDFields = 30

// id is ID, RFC 2971. What the client says of itself goes to the log, for people who look into a
// client's trouble; the server's version is told to those who logged in.
func (s *session) id() error {
	s.dec.SP()
	fields := s.idFields()
	if err := s.args(); err != nil {
		return err
	}
	if len(fields) > 0 {
		s.c.Logger().Debug("imap client", "id", strings.Join(fields, " "))
	}
	if s.account == nil || s.srv.o.Version == "" {
		s.untagged(`ID ("name" "Tram")`)
		return nil
	}
	p := s.buf()
	*p = append(*p, `* ID ("name" "Tram" "version" `...)
	*p = imap.AppendString(*p, s.srv.o.Version, false)
	*p = append(*p, ")\r\n"...)
	return nil
}

// idFields reads NIL or a list of names and values, and returns them as name=value.
func (s *session) idFields() []string {
	if s.dec.Peek() != '(' {
		if _, ok := s.dec.NString(); ok {
			s.dec.Bad("Expected NIL or a list")
		}
		return nil
	}
	var fields []string
	s.dec.List(func() {
		name := s.dec.Str()
		s.dec.SP()
		value, _ := s.dec.NString()
		if len(fields) >= maxIDFields || len(name) > 30 || len(value) > 1024 {
			s.dec.Bad("Too many or too long fields")
			return
		}
		fields = append(fields, string(imap.AppendText(nil, name+"="+value)))
	})
	return fields
}
