package mailtest

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"tram/internal/imap"
	"tram/internal/limits"
	"tram/internal/smtp"
)

// answer is what a guess was answered.
type answer int

const (
	wrong answer = iota // it was compared
	later               // it was not
	right
)

// guess tries to log in at a door from a source of loopback.
func (h *House) guess(door, source, user, password string) answer {
	h.t.Helper()
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	var said string
	if door == "pop3s" {
		c := h.pop3(source)
		defer c.Close()
		c.say("USER " + user)
		if said = c.say("PASS " + password); strings.HasPrefix(said, "+OK") {
			return right
		}
	} else if door == "imaps" {
		c, err := imap.Dial(h.t.Context(), h.Addr(door).String(),
			imap.ClientOptions{TLS: h.tlsConfig(), Dial: d.DialContext})
		if err != nil {
			h.t.Fatal(err)
		}
		defer c.Close()
		if err = c.Login(user, password); err == nil {
			return right
		}
		said = err.Error()
	} else {
		c, err := smtp.Dial(h.t.Context(), d, h.Addr(door).String(), smtp.ClientOptions{
			Hostname: "client.test", Limits: limits.Default().Client, TLS: h.tlsConfig(),
		})
		if err != nil {
			h.t.Fatal(err)
		}
		defer c.Close()
		err = c.Auth(h.t.Context(), smtp.Credentials{User: user, Password: password})
		if err == nil {
			return right
		}
		var reply smtp.Reply
		if !errors.As(err, &reply) {
			h.t.Fatal(err)
		}
		said = reply.String()
	}
	switch {
	case strings.HasPrefix(said, "535 "), strings.Contains(said, "[AUTHENTICATIONFAILED]"),
		strings.HasPrefix(said, "-ERR [AUTH]"):
		return wrong
	case strings.HasPrefix(said, "454 4.7.0"), strings.Contains(said, "[UNAVAILABLE] Too many"),
		strings.HasPrefix(said, "-ERR [SYS/TEMP] Too many failed"):
		return later
	}
	h.t.Fatalf("a guess at %s was answered %s", door, said)
	return later
}

var guessed = []string{"submissions", "imaps", "pop3s"}

// TestGuessing is A1 over three protocols and a day: of one source's guesses ten are compared in a
// minute and fifty in a day, at all doors together, while other people, and the same people
// elsewhere, log in as ever. The next day it begins anew.
func TestGuessing(t *testing.T) {
	t.Parallel()
	w := New(t)
	h := w.House("a.test", Options{})
	alice, bob := h.Person("alice", 0), h.Person("bob", 0)
	const thief, home = "127.0.0.9", "127.200.0.1" // not in one /24
	if h.guess("imaps", home, alice.Address, Password) != right {
		t.Fatal("alice cannot log in at home")
	}
	compared := func(n int) int {
		count := 0
		for i := range n {
			user := []string{alice.Address, bob.Address, "nobody@a.test"}[i%3]
			switch h.guess(guessed[i/3%len(guessed)], thief, user, fmt.Sprint("guess ", i)) {
			case wrong:
				count++
			case right:
				t.Error("a guess was right")
			}
		}
		return count
	}
	if n := compared(30); n != 10 {
		t.Errorf("%d guesses were compared at once", n)
	}
	if got := h.guess("submissions", thief, bob.Address, Password); got != later {
		t.Errorf("the right password from the thief's address: %v", got)
	}
	if h.guess("submissions", home, alice.Address, Password) != right {
		t.Error("alice is shut out at home")
	}
	day := 10
	for range 23 {
		w.Clock.Advance(time.Hour)
		day += compared(12)
	}
	if day > 50 || day < 20 {
		t.Errorf("%d guesses were compared in a day", day)
	}
	if h.guess("imaps", home, alice.Address, Password) != right {
		t.Error("alice is shut out at home after a day of guesses")
	}
	w.Clock.Advance(49 * time.Hour) // past the longest ban, too
	if n := compared(12); n != 10 {
		t.Errorf("%d guesses were compared two days later", n)
	}
}

// TestNamesAreNotTold is A3 through all doors: a wrong password for a name that is there, one that
// is not, and one that is disabled are answered with the same words.
func TestNamesAreNotTold(t *testing.T) {
	t.Parallel()
	w := New(t)
	h := w.House("a.test", Options{})
	h.Person("alice", 0)
	for _, door := range guessed {
		told := map[string]bool{}
		for i, user := range []string{"alice@a.test", "nobody@a.test", "alice@elsewhere.test", "alice", "x y@a.test"} {
			said := h.rawLogin(t, door, fmt.Sprintf("127.0.%d.1", i), user)
			told[said] = true
		}
		if len(told) != 1 {
			t.Errorf("%s tells names apart: %v", door, told)
		}
	}
}

// rawLogin sends a log-in with a wrong password over TLS by hand and returns the words of the answer.
func (h *House) rawLogin(t *testing.T, door, source, user string) string {
	t.Helper()
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	tlsDialer := &tls.Dialer{NetDialer: d, Config: h.tlsConfig()}
	c, err := tlsDialer.DialContext(t.Context(), "tcp", h.Addr(door).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	say := func(command, end string) string {
		if command != "" {
			if _, err := io.WriteString(c, command+"\r\n"); err != nil {
				t.Fatal(err)
			}
		}
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("%s: %v", door, err)
			}
			if strings.HasPrefix(line, end) {
				return line
			}
		}
	}
	if door == "pop3s" {
		say("", "+OK")
		say("USER "+user, "+OK")
		return say("PASS wrong", "-ERR")
	}
	if door == "imaps" {
		say("", "* OK")
		return say(fmt.Sprintf("a LOGIN %q wrong", user), "a ")
	}
	say("", "220 ")
	say("EHLO client.test", "250 ")
	return say("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00wrong")), "5")
}
