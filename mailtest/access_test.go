package mailtest

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tram/internal/config"
	"tram/internal/directory"
)

// doors are those that people log in to, and what each needs a secret for.
var doors = []struct {
	name  string
	scope directory.Protocol
}{{"imaps", directory.IMAP}, {"pop3s", directory.POP3}, {"submissions", directory.SMTP}}

// withPOP3 opens the doors that a house has shut by default.
func withPOP3(c *config.Config) { c.Listen.POP3S = []string{"127.0.0.1:0"} }

// session is a connection to a door, by hand.
type session struct {
	net.Conn
	t    *testing.T
	r    *bufio.Reader
	door string
}

// session connects and reads the greeting.
func (h *House) session(t *testing.T, door string) *session {
	t.Helper()
	c, err := tls.Dial("tcp", h.Addr(door).String(), h.tlsConfig())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	s := &session{Conn: c, t: t, r: bufio.NewReader(c), door: door}
	s.line()
	return s
}

func (s *session) line() string {
	s.t.Helper()
	line, err := s.r.ReadString('\n')
	if err != nil {
		s.t.Fatalf("%s: %q, %v", s.door, line, err)
	}
	return strings.TrimRight(line, "\r\n")
}

// say sends a command and returns its last reply line, which begins with end.
func (s *session) say(command string, ends ...string) string {
	s.t.Helper()
	if _, err := io.WriteString(s, command+"\r\n"); err != nil {
		s.t.Fatal(err)
	}
	for {
		line := s.line()
		for _, end := range ends {
			if strings.HasPrefix(line, end) {
				return line
			}
		}
	}
}

// login tries a secret.
func (s *session) login(user, secret string) bool {
	s.t.Helper()
	switch s.door {
	case "imaps":
		return strings.HasPrefix(s.say(fmt.Sprintf("a LOGIN %q %q", user, secret), "a "), "a OK")
	case "pop3s":
		s.say("USER "+user, "+OK")
		return strings.HasPrefix(s.say("PASS "+secret, "+OK", "-ERR"), "+OK")
	}
	s.say("EHLO client.test", "250 ")
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + secret))
	return strings.HasPrefix(s.say("AUTH PLAIN "+plain, "2", "4", "5"), "235")
}

// TestScopes is A8: an app password opens the doors it was made for and no other, and neither the
// account of another person.
func TestScopes(t *testing.T) {
	t.Parallel()
	w := New(t)
	h := w.House("a.test", Options{Edit: withPOP3})
	alice, bob := h.Person("alice", 0), h.Person("bob", 0)
	account, err := h.Directory.AccountByAddress(t.Context(), w.Addresses(alice.Address)[0])
	if err != nil {
		t.Fatal(err)
	}
	for bits := range 1 << len(doors) {
		var scopes []directory.Protocol
		for i, d := range doors {
			if bits>>i&1 == 1 {
				scopes = append(scopes, d.scope)
			}
		}
		if scopes == nil {
			scopes = []directory.Protocol{directory.DAV} // it has none of these doors
		}
		_, secret, err := h.Directory.AddAppPassword(t.Context(), account.ID,
			directory.AppPassword{Label: fmt.Sprint(scopes), Scopes: scopes})
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range doors {
			if got, want := h.session(t, d.name).login(alice.Address, secret), bits>>i&1 == 1; got != want {
				t.Errorf("a secret for %v at %s: %v", scopes, d.name, got)
			}
			if h.session(t, d.name).login(bob.Address, secret) {
				t.Errorf("alice's secret for %v opens bob's account at %s", scopes, d.name)
			}
		}
		// So many failures would shut this address out, and have strangers wait for their turn at these
		// accounts, which is another test's matter.
		w.Clock.Advance(25 * time.Hour)
		if err := h.Directory.Unban(t.Context(), netip.MustParseAddr("127.0.0.1")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRevocation is A7: when a password changes, a device is taken away, or an account is disabled or
// removed, the sessions that are open end, whatever they are doing, without anybody asking them for
// anything. The clock does not move: it is not a look now and then that finds out.
func TestRevocation(t *testing.T) {
	t.Parallel()
	w := New(t)
	h := w.House("a.test", Options{Edit: withPOP3})
	for i, tc := range []struct {
		name   string
		device bool // logged in with an app password
		act    func(id directory.AccountID, app string) error
	}{
		{"password", false, func(id directory.AccountID, _ string) error {
			return h.Directory.SetPassword(t.Context(), id, "another boat on another river")
		}},
		{"disabled", false, func(id directory.AccountID, _ string) error {
			return h.Directory.SetDisabled(t.Context(), id, true)
		}},
		{"disabled, with a device", true, func(id directory.AccountID, _ string) error {
			return h.Directory.SetDisabled(t.Context(), id, true)
		}},
		{"device", true, func(id directory.AccountID, app string) error {
			return h.Directory.RemoveAppPassword(t.Context(), id, app)
		}},
	} {
		p, other := h.Person(fmt.Sprintf("p%d", i), 0), h.Person(fmt.Sprintf("other%d", i), 0)
		account, err := h.Directory.AccountByAddress(t.Context(), w.Addresses(p.Address)[0])
		if err != nil {
			t.Fatal(err)
		}
		app, secret, err := h.Directory.AddAppPassword(t.Context(), account.ID, directory.AppPassword{})
		if err != nil {
			t.Fatal(err)
		}
		if !tc.device {
			secret = Password
		}
		sessions := h.everywhere(t, p.Address, secret)
		bystanders := h.everywhere(t, other.Address, Password)
		if err := tc.act(account.ID, app.ID); err != nil {
			t.Fatal(err)
		}
		for doing, s := range sessions {
			last, err := io.ReadAll(s.r)
			if err != nil || len(last) == 0 {
				t.Errorf("%s: %s ended with %q, %v", tc.name, doing, last, err)
			}
			if h.session(t, s.door).login(p.Address, secret) {
				t.Errorf("%s: logged in again at %s", tc.name, s.door)
			}
		}
		for doing, s := range bystanders {
			if doing == "IMAP, in IDLE" {
				s.say("DONE", "b OK")
			}
			s.say(map[string]string{"imaps": "n NOOP", "pop3s": "NOOP", "submissions": "NOOP"}[s.door],
				"n OK", "+OK", "250")
		}
		if err := h.Directory.Unban(t.Context(), netip.MustParseAddr("127.0.0.1")); err != nil {
			t.Fatal(err)
		}
	}
}

// everywhere logs in at each door, and does something there.
func (h *House) everywhere(t *testing.T, user, secret string) map[string]*session {
	t.Helper()
	all := map[string]*session{}
	open := func(doing, door string, steps ...string) {
		s := h.session(t, door)
		if !s.login(user, secret) {
			t.Fatalf("%s: no log-in", doing)
		}
		for i := 0; i < len(steps); i += 2 {
			s.say(steps[i], steps[i+1])
		}
		all[doing] = s
	}
	open("IMAP, idle", "imaps")
	open("IMAP, with a mailbox", "imaps", "b SELECT INBOX", "b OK")
	open("IMAP, in IDLE", "imaps", "a SELECT INBOX", "a OK", "b IDLE", "+")
	open("POP3", "pop3s", "STAT", "+OK")
	open("SMTP, inside a transaction", "submissions", "MAIL FROM:<"+user+">", "250")
	return all
}
