package popd

import (
	"errors"
	"strings"
	"time"

	"tram/internal/conn"
)

// capa is CAPA, RFC 2449 §5. STLS and SASL depend on the connection, the rest is the same always
// (§5: the list may differ by state, and clients ask again after STLS).
func (s *session) capa() error {
	s.ok("Capability list follows")
	lines := []string{
		"TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER", "LOGIN-DELAY 0",
		"UTF8 USER", "LANG", "IMPLEMENTATION Tram",
	}
	if s.c.CanStartTLS() {
		lines = append(lines, "STLS")
	}
	if mechanisms := s.srv.o.Directory.Mechanisms(s.c.Secure()); len(mechanisms) > 0 {
		lines = append(lines, "USER", "SASL "+strings.Join(mechanisms, " "))
	}
	_, _ = s.c.WriteString(strings.Join(lines, "\r\n") + "\r\n.\r\n")
	return nil
}

func (s *session) noop() error {
	s.ok("Done")
	return nil
}

// startTLS is STLS, RFC 2595 §4. What was learned before is forgotten, and input that arrived with
// the command in the clear ends the session.
func (s *session) startTLS() error {
	if !s.c.CanStartTLS() {
		return &refused{"", "TLS is active already, or not available"}
	}
	s.ok("Begin TLS negotiation")
	err := s.c.StartTLS(s.ctx)
	switch {
	case errors.Is(err, conn.ErrInjected):
		s.end("plaintext after STLS")
		return nil
	case err != nil:
		s.end("TLS handshake failed")
		return nil
	}
	s.user, s.strange = "", 0
	s.c.SetDeadline(time.Now().Add(s.srv.o.Limits.PreAuthIdle))
	return nil
}

// enableUTF8 is UTF8, RFC 6856 §3.1: the client can read UTF-8 in headers. Messages are sent as they
// are with it and without it: whoever kept them from programs that do not know the command would
// keep people from their mail, and hardly a program knows it.
func (s *session) enableUTF8() error {
	s.ok("UTF8 enabled")
	return nil
}

// language is LANG, RFC 6856 §5: without an argument the languages there are, "*" for the server's
// own.
func (s *session) language(args string) error {
	args = strings.TrimSpace(args)
	if args == "" {
		s.ok("Language list follows")
		for _, l := range languages {
			_, _ = s.c.WriteString(l.tag + " " + l.name + "\r\n")
		}
		_, _ = s.c.WriteString(".\r\n")
		return nil
	}
	l := findLanguage(args)
	if l == nil {
		return &refused{"", "No such language"}
	}
	s.lang = l
	// RFC 6856 §5.1: the tag comes first, in the language that was chosen.
	_, _ = s.c.WriteString("+OK " + l.tag + " " + l.translate("Language changed") + "\r\n")
	return nil
}
