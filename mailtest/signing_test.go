package mailtest

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"tram/internal/admin"
	"tram/internal/limits"
	"tram/internal/mailauth"
	"tram/internal/mailauth/arc"
	"tram/internal/mailauth/dkim"
	"tram/internal/smtp"
)

// sign publishes the house's keys, lets it sign with them, and says that its mail comes from here.
func (h *House) sign() {
	h.t.Helper()
	keys, err := h.Admin.SigningKeys(h.t.Context(), h.Domain)
	if err != nil || len(keys) != 2 {
		h.t.Fatalf("%d keys, %v", len(keys), err)
	}
	for _, k := range keys {
		half := len(k.Record) / 2
		h.World.DNS.Add(fmt.Sprintf("%s. IN TXT %q %q\n", k.Name, k.Record[:half], k.Record[half:]))
	}
	h.vouchFor(h.Domain)
	h.vouchFor("mx." + h.Domain)
	h.World.Until("the keys sign", func() bool {
		keys, err := h.Admin.SigningKeys(h.t.Context(), h.Domain)
		return err == nil && keys[0].State == "active" && keys[1].State == "active" && keys[1].Published
	})
}

// vouchFor lets everybody here send for a domain: all clients of these tests come from loopback.
func (h *House) vouchFor(domain string) {
	h.World.DNS.Add(domain + `. IN TXT "v=spf1 ip4:127.0.0.1 ip6:::1 -all"` + "\n")
}

// signatures checks the signatures of a message as the next server would, without the field that this
// house puts above them.
func (h *House) signatures(text string) []mailauth.DKIM {
	header, body, _ := strings.Cut(text, "\r\n\r\n")
	v := dkim.NewVerifier([]byte(header+"\r\n"), dkim.Options{Limits: limits.Default().MailAuth, Now: h.World.Clock.Now()})
	_, _ = v.Write([]byte(body))
	return v.Finish(h.t.Context(), h.World.DNS)
}

func (h *House) chain(text string) mailauth.ARC {
	header, body, _ := strings.Cut(text, "\r\n\r\n")
	v := arc.NewVerifier([]byte(header+"\r\n"), arc.Options{Limits: limits.Default().MailAuth, Now: h.World.Clock.Now()})
	_, _ = v.Write([]byte(body))
	return v.Finish(h.t.Context(), h.World.DNS)
}

func returnPathOf(text string) string {
	line, _, _ := strings.Cut(text, "\r\n")
	return strings.TrimSuffix(strings.TrimPrefix(line, "Return-Path: <"), ">")
}

// TestSubmissionIsSigned: what an account hands in leaves with two signatures that hold, for a week (M5,
// RFC 6376 §5); the copy that stays in the house needs none. Nothing is signed before the DNS shows the
// keys.
func TestSubmissionIsSigned(t *testing.T) {
	t.Parallel()
	w, a, _, alice, bob := two(t)
	dora := a.Person("dora", 0)
	alice.Submit(Letter(alice.Address, bob.Address, "early"), bob.Address)
	if got := bob.WaitInbox(1)[0]; strings.Contains(got, "DKIM-Signature") {
		t.Errorf("signed with a key that nobody can look up:\n%s", got)
	}
	a.sign()
	alice.Submit(Letter(alice.Address, bob.Address, "signed"), bob.Address, dora.Address)
	got := bob.WaitInbox(2)[1]
	for _, want := range []string{"dkim=pass (256-bit key) header.d=a.test", "dkim=pass (2048-bit key) header.d=a.test"} {
		if !strings.Contains(strings.ReplaceAll(got, "\r\n\t", " "), want) {
			t.Errorf("the other house does not say %q:\n%s", want, got)
		}
	}
	for _, s := range a.signatures(got) {
		if s.Status != mailauth.Pass || s.Domain != "a.test" || s.Expires.Sub(s.Signed) > 7*24*time.Hour {
			t.Errorf("%+v", s)
		}
	}
	if n := len(a.signatures(got)); n != 2 {
		t.Errorf("%d signatures", n)
	}
	if own := dora.WaitInbox(1)[0]; strings.Contains(own, "DKIM-Signature") {
		t.Errorf("the local copy is signed:\n%s", own)
	}
	// M4 with mail from the real door: a second field of these breaks both signatures.
	for _, add := range []string{"From: x@a.test", "Subject: y", "To: z@b.test", "Content-Type: text/html", "Reply-To: thief@x.test"} {
		for _, s := range a.signatures(add + "\r\n" + got) {
			if s.Status != mailauth.Fail {
				t.Errorf("with another %q: %+v", add, s)
			}
		}
	}
	// A notice of the house is signed too: nobody@b.test does not exist, and alice has sent from elsewhere.
	w.Clock.Advance(8 * 24 * time.Hour)
	for _, s := range a.signatures(got) {
		if s.Status != mailauth.Fail {
			t.Errorf("after a week: %+v", s)
		}
	}
}

// TestForward is what the next house sees of a message that an alias sends on: a reverse-path for which
// ours vouches, a seal over what was found out here (RFC 8617 §5.1), and the author's signature unhurt.
func TestForward(t *testing.T) {
	t.Parallel()
	w := New(t)
	a, b, c := w.House("a.test", Options{}), w.House("b.test", Options{}), w.House("c.test", Options{})
	bob, carol := b.Person("bob", 0), c.Person("carol", 0)
	a.Alias("list@a.test", bob.Address)
	a.sign()
	c.sign()
	carol.Submit(Letter(carol.Address, "list@a.test", "one"), "list@a.test")
	got := bob.WaitInbox(1)[0]
	from := returnPathOf(got)
	if ok, _ := regexp.MatchString(`^SRS0=[a-z2-7]{8}=[a-z2-7]{2}=c\.test=carol@a\.test$`, from); !ok {
		t.Errorf("it came from %s", from)
	}
	flat := strings.ReplaceAll(got, "\r\n\t", " ")
	for _, want := range []string{
		"Delivered-To: list@a.test", "Authentication-Results: mx.a.test;", "Authentication-Results: mx.b.test;",
		"ARC-Authentication-Results: i=1; mx.a.test;", "arc=pass", "header.d=c.test",
	} {
		if !strings.Contains(flat, want) {
			t.Errorf("it lacks %q:\n%s", want, got)
		}
	}
	if chain := b.chain(got); chain.Status != mailauth.Pass || chain.Instances != 1 || chain.Sets[0].Domain != "a.test" {
		t.Errorf("%+v", chain)
	}
	for _, s := range b.signatures(got) {
		if s.Status != mailauth.Pass || s.Domain != "c.test" {
			t.Errorf("%+v", s)
		}
	}

	// A bounce comes back to that address, and goes to whom it concerns; nothing else may.
	s := a.Stranger()
	if r := s.Mail("x@b.test", Letter("x@b.test", from, "no"), from)[0]; r.Code != 550 {
		t.Errorf("with a sender: %v", r)
	}
	forged := strings.Replace(from, "=carol@", "=victim@", 1)
	if r := s.Mail("", Letter("mailer@b.test", forged, "no"), forged)[0]; r.Code != 550 {
		t.Errorf("with another's address: %v", r)
	}
	if r := s.Mail("", Letter("mailer@b.test", from, "bounce"), from)[0]; !r.OK() {
		t.Fatal(r)
	}
	if got := carol.WaitInbox(1)[0]; !strings.Contains(got, "Message-ID: <bounce@mail.test>") || returnPathOf(got) != "" {
		t.Errorf("carol got\n%s", got)
	}
	w.Clock.Advance(24 * 24 * time.Hour)
	if r := s2(a).Mail("", Letter("mailer@b.test", from, "late"), from)[0]; r.Code != 550 {
		t.Errorf("after three weeks: %v", r)
	}
	// Two forwarders: the second one seals above the first.
	b.Alias("second@b.test", "third@c.test")
	c.Alias("third@c.test", carol.Address)
	a.Alias("first@a.test", "second@b.test")
	b.sign()
	carol.Submit(Letter(carol.Address, "first@a.test", "two"), "first@a.test")
	twice := carol.WaitInbox(2)[1]
	if chain := c.chain(twice); chain.Status != mailauth.Pass || chain.Instances != 2 {
		t.Errorf("%+v\n%s", chain, twice)
	}
	if from := returnPathOf(twice); !strings.HasPrefix(from, "SRS1=") || !strings.HasSuffix(from, "@b.test") {
		t.Errorf("it came from %s", from)
	}
}

// s2 connects again: the pause was long.
func s2(h *House) *Sender { return h.Stranger() }

// TestForwardFails is P22 for what is sent on: who has shown that the address is his hears that the next
// house refused; of a stranger's mail nobody is told.
func TestForwardFails(t *testing.T) {
	t.Parallel()
	w := New(t)
	a, b, c := w.House("a.test", Options{}), w.House("b.test", Options{}), w.House("c.test", Options{})
	b.Person("bob", 0)
	carol := c.Person("carol", 0)
	a.Alias("list@a.test", "nobody@b.test")
	a.sign()
	carol.Submit(Letter(carol.Address, "list@a.test", "unknown"), "list@a.test")
	a.Emptied()
	if got := carol.Inbox(); len(got) != 0 {
		t.Errorf("somebody who may be anybody was told:\n%s", got[0])
	}
	c.sign()
	carol.Submit(Letter(carol.Address, "list@a.test", "known"), "list@a.test")
	got := carol.WaitInbox(1)[0]
	notice(t, got, "nobody@b.test", "failed", "5.1.1")
	if !strings.Contains(got, "To: carol@c.test") {
		t.Errorf("to whom:\n%s", got)
	}
	for _, s := range a.signatures(got) { // MAILER-DAEMON's own
		if s.Status != mailauth.Pass || s.Domain != "a.test" {
			t.Errorf("%+v", s)
		}
	}
	if n := len(a.signatures(got)); n != 2 {
		t.Errorf("the notice has %d signatures", n)
	}
	a.Emptied()
}

// TestLaundering is M7: mail that a stranger writes in our name and that an alias sends on is not signed
// by us, leaves under a return address, and carries what was found out about it.
func TestLaundering(t *testing.T) {
	t.Parallel()
	w := New(t)
	a, b := w.House("a.test", Options{}), w.House("b.test", Options{})
	a.Person("alice", 0)
	bob := b.Person("bob", 0)
	a.Alias("list@a.test", bob.Address)
	a.sign()
	w.DNS.Remove("a.test") // and nobody's SPF record vouches for the stranger
	w.DNS.Add("a.test. IN MX 10 mx.a.test.\n" + `a.test. IN TXT "v=spf1 ip4:192.0.2.1 ?all"` + "\n")
	s := a.Stranger()
	if r := s.Mail("alice@a.test", Letter("alice@a.test", "list@a.test", "forged"), "list@a.test")[0]; !r.OK() {
		t.Fatal(r)
	}
	got := bob.WaitInbox(1)[0]
	if strings.Contains(got, "DKIM-Signature:") {
		t.Errorf("signed by us:\n%s", got)
	}
	if from := returnPathOf(got); !strings.HasPrefix(from, "SRS0=") {
		t.Errorf("it came from %s", from)
	}
	if !strings.Contains(got, "Authentication-Results: mx.a.test;") || !strings.Contains(got, "ARC-Seal: ") {
		t.Errorf("what was found out is gone:\n%s", got)
	}
}

// TestKeysByCommand is what an administrator's commands do.
func TestKeysByCommand(t *testing.T) {
	t.Parallel()
	w := New(t)
	a := w.House("a.test", Options{})
	for _, c := range []struct {
		domain string
		action admin.SigningAction
		fails  bool
	}{
		{"a.test", admin.SigningAction{Action: admin.SigningActivate, Selector: "nothing"}, true},
		{"b.test", admin.SigningAction{Action: admin.SigningActivate}, true},
		{"a.test", admin.SigningAction{Action: "dance"}, true},
		{"a.test", admin.SigningAction{Action: admin.SigningActivate, Selector: "rsa"}, false},
		{"a.test", admin.SigningAction{Action: admin.SigningActivate}, false},
		{"a.test", admin.SigningAction{Action: admin.SigningActivate}, true}, // nothing waits any more
	} {
		if keys, err := a.Admin.SigningDo(t.Context(), c.domain, c.action); (err != nil) != c.fails {
			t.Errorf("%s %+v: %+v %v", c.domain, c.action, keys, err)
		}
	}
	keys, err := a.Admin.SigningKeys(t.Context(), "")
	if err != nil || len(keys) != 2 || keys[0].State != "active" || keys[1].State != "active" || keys[0].Published {
		t.Errorf("%+v %v", keys, err)
	}
	var none smtp.Address
	if got := a.Directory.ReturnSender(none); got != none {
		t.Error(got)
	}
}
