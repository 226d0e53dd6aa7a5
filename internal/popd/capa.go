package popd

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"tram/internal/conn"
	"tram/internal/directory"
)

// capa is CAPA, RFC 2449 §5. STLS and SASL depend on the connection, EXPIRE on who is logged in, the
// rest is the same always (§5: the list may differ by state, and clients ask again after STLS).
func (s *session) capa() error {
	s.ok("Capability list follows")
	lines := []string{
		"TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE " + s.expire(),
		"LOGIN-DELAY 0", // RFC 2449 §6.5: log in as often as you like
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

// expire is the argument of EXPIRE, RFC 2449 §6.7: for how many days a message stays at least. Before
// log-in it is the smallest that any account may have, and USER says that each has its own.
func (s *session) expire() string {
	if s.drop == nil {
		return "0 USER"
	}
	switch s.drop.settings.Policy {
	case directory.POP3Delete:
		return "0"
	case directory.POP3Days:
		return strconv.Itoa(s.drop.settings.Days)
	}
	return "NEVER"
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
	s.user, s.utf8, s.strange, s.lang = "", false, 0, conn.English
	s.c.SetDeadline(time.Now().Add(s.srv.o.Limits.PreAuthIdle))
	return nil
}

// enableUTF8 is UTF8, RFC 6856 §2.1: the client can read UTF-8 in headers. Messages are sent to it as
// they are; a client that did not say so is given a surrogate of those that need it.
func (s *session) enableUTF8() error {
	s.utf8 = true
	s.ok("UTF8 enabled")
	return nil
}

// language is LANG, RFC 6856 §3.2: without an argument the languages there are, "*" for the server's
// own.
func (s *session) language(args string) error {
	args = strings.TrimSpace(args)
	if args == "" {
		s.ok("Language list follows")
		for _, l := range conn.Languages {
			_, _ = s.c.WriteString(l.Tag + " " + l.Name + "\r\n")
		}
		_, _ = s.c.WriteString(".\r\n")
		return nil
	}
	l := findLanguage(args)
	if l == nil {
		return &refused{"", "No such language"}
	}
	s.lang = l
	// RFC 6856 §3.2: the tag comes first, in the language that was chosen.
	_, _ = s.c.WriteString("+OK " + l.Tag + " " + l.Translate(vietnamese, "Language changed") + "\r\n")
	return nil
}
