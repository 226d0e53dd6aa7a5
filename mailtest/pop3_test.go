package mailtest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"tram/internal/limits"
)

// pop is a POP3 program.
type pop struct {
	net.Conn
	h *House
	r *bufio.Reader
}

// pop3 connects from a source of loopback.
func (h *House) pop3(source string) *pop {
	h.t.Helper()
	d := &tls.Dialer{Config: h.tlsConfig(),
		NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}}
	c, err := d.DialContext(h.t.Context(), "tcp", h.Addr("pop3s").String())
	if err != nil {
		h.t.Fatal(err)
	}
	p := &pop{Conn: c, h: h, r: bufio.NewReader(c)}
	p.line()
	return p
}

func (p *pop) line() string {
	p.h.t.Helper()
	s, err := p.r.ReadString('\n')
	if err != nil {
		p.h.t.Fatal(err)
	}
	return strings.TrimSuffix(s, "\r\n")
}

// say sends a command and returns the first line of the answer.
func (p *pop) say(command string) string {
	p.h.t.Helper()
	if _, err := io.WriteString(p, command+"\r\n"); err != nil {
		p.h.t.Fatal(err)
	}
	return p.line()
}

func (p *pop) must(commands ...string) {
	p.h.t.Helper()
	for _, c := range commands {
		if said := p.say(c); !strings.HasPrefix(said, "+OK") {
			p.h.t.Fatalf("%s: %s", c, said)
		}
	}
}

// TestPOP3BesideIMAP: two POP3 programs delete, an IMAP program that waits is told of it when they
// quit and not before, and a program that never quits has deleted nothing.
func TestPOP3BesideIMAP(t *testing.T) {
	t.Parallel()
	w := New(t)
	h := w.House("a.test", Options{})
	alice := h.Person("alice", 0)
	imap := alice.IMAP()
	for i := range 3 {
		text := Letter("a@elsewhere.test", alice.Address, fmt.Sprint("letter", i))
		if _, err := imap.Do("APPEND INBOX ", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := imap.Do("SELECT INBOX"); err != nil {
		t.Fatal(err)
	}
	tag, err := imap.Idle()
	if err != nil {
		t.Fatal(err)
	}
	var programs [3]*pop
	for i := range programs {
		p := h.pop3("127.0.0.1")
		defer p.Close()
		p.must("USER "+alice.Address, "PASS "+Password, fmt.Sprintf("DELE %d", i+1))
		programs[i] = p
	}
	programs[0].Close()
	for i, p := range programs[1:] {
		p.must("QUIT")
		// The first letter stays, so it is message 2 that goes, twice.
		r, err := imap.Next()
		for err == nil && r.Name != "EXPUNGE" && r.Name != "VANISHED" {
			r, err = imap.Next()
		}
		if err != nil || r.Name == "EXPUNGE" && r.Num != 2 {
			t.Errorf("after the QUIT of program %d: %+v, %v", i+1, r, err)
		}
	}
	if _, err := imap.Done(tag); err != nil {
		t.Fatal(err)
	}
	p := h.pop3("127.0.0.1")
	defer p.Close()
	p.must("USER "+alice.Address, "PASS "+Password)
	if said := p.say("STAT"); !strings.HasPrefix(said, "+OK 1 ") {
		t.Error(said)
	}
}

// TestSessionsAreCountedTogether: an account's sessions count over IMAP and POP3, and one that ends
// makes room at either door.
func TestSessionsAreCountedTogether(t *testing.T) {
	t.Parallel()
	w := New(t)
	h := w.House("a.test", Options{})
	alice, bob := h.Person("alice", 0), h.Person("bob", 0)
	login := func(user string) (*pop, string) {
		p := h.pop3("127.0.0.1")
		p.must("USER " + user)
		return p, p.say("PASS " + Password)
	}
	per := limits.Default().Conn.PerUserIP
	first := alice.IMAP()
	for range per/2 - 1 {
		alice.IMAP()
	}
	for range per - per/2 {
		p, said := login(alice.Address)
		defer p.Close()
		if !strings.HasPrefix(said, "+OK") {
			t.Fatal(said)
		}
	}
	p, said := login(alice.Address)
	p.Close()
	if !strings.HasPrefix(said, "-ERR [SYS/TEMP] Too many sessions") {
		t.Errorf("session %d: %s", per+1, said)
	}
	if p, said = login(bob.Address); !strings.HasPrefix(said, "+OK") {
		t.Errorf("another account: %s", said)
	}
	p.Close()
	if err := first.Logout(); err != nil {
		t.Fatal(err)
	}
	for said = ""; !strings.HasPrefix(said, "+OK"); p.Close() { // the server may still be ending it
		if p, said = login(alice.Address); !strings.HasPrefix(said, "+OK") &&
			!strings.HasPrefix(said, "-ERR [SYS/TEMP]") {
			t.Fatal(said)
		}
	}
}
