package mailtest

import (
	"fmt"
	"strings"
	"testing"

	"tram/internal/config"
)

// TestSenderIdentity is A16 through two houses: what a person hands in bears that person's name, in
// the envelope and in the header, or goes nowhere.
func TestSenderIdentity(t *testing.T) {
	t.Parallel()
	w := New(t)
	a := w.House("a.test", Options{Edit: func(c *config.Config) { c.Limits.SMTP.ErrorsClose = 0 }})
	b := w.House("b.test", Options{})
	alice, bob := a.Person("alice", 0), b.Person("bob", 0)
	a.Person("carol", 0)
	a.Alias("sales@a.test", alice.Address)
	a.Alias("board@a.test", "carol@a.test")
	s := alice.Submitter()
	for _, from := range []string{
		"carol@a.test", "board@a.test", "nobody@a.test", bob.Address, "alice@elsewhere.test", "alice@a.test.b.test",
	} {
		if r := s.Mail(from, Letter(from, bob.Address, "envelope"), bob.Address)[0]; !strings.HasPrefix(r.String(), "553 5.7.1") {
			t.Errorf("MAIL FROM:<%s> was answered %v", from, r)
		}
	}
	sent := 0
	for i, tc := range []struct {
		header string
		ok     bool
	}{
		{"From: alice@a.test", true},
		{"From: \"Alice\" <Alice+x@A.test>", true},
		{"From: sales@a.test", true},
		{"From: carol@a.test", false},
		{"From: bob@b.test", false},
		{"From: \"alice@a.test\" <carol@a.test>", false},
		{"From: alice@a.test\r\nSender: carol@a.test", false},
		{"From: alice@a.test, carol@a.test", false},
		{"From: alice@a.test\r\nFrom: carol@a.test", false},
		{"From: carol@a.test\r\nFrom: alice@a.test", false},
		{"From: alice@a.test\r\nFrom : carol@a.test", false},
		{"From: alice@a.test\r\n\tcarol@a.test", false},
		{"From: us: carol@a.test;", false},
		{"From: alice@a.test\r\nResent-From: carol@a.test", false},
		{"From: =?utf-8?q?alice=40a=2Etest?= <carol@a.test>", false},
		{"From: alice@a.test\x00@b.test", false},
		{"From:", false},
		{"Reply-To: alice@a.test", false},
	} {
		text := fmt.Sprintf("%s\r\nMessage-ID: <h%d@mail.test>\r\nSubject: x\r\n\r\nHello.\r\n", tc.header, i)
		r := s.Mail(alice.Address, text, bob.Address)[0]
		if tc.ok {
			sent++
		}
		if r.OK() != tc.ok || !tc.ok && !r.Permanent() {
			t.Errorf("%q was answered %v", tc.header, r)
		}
	}
	a.Emptied()
	if n := len(bob.WaitInbox(sent)); n != sent || w.Dialled(b.Address) == 0 {
		t.Errorf("bob has %d of %d", n, sent)
	}
	// The same words from a stranger: our own domain's names are no pass.
	stranger := a.Stranger()
	for _, from := range []string{"alice@a.test", "postmaster@a.test", "", bob.Address} {
		r := stranger.Mail(from, Letter(from, bob.Address, "relay"), bob.Address)[0]
		if !strings.HasPrefix(r.String(), "550 5.7.1") {
			t.Errorf("a stranger as <%s> to another house: %v", from, r)
		}
	}
}
