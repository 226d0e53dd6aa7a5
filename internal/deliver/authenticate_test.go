package deliver

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tram/internal/clock"
	"tram/internal/dns"
	"tram/internal/envelope"
	"tram/internal/limits"
	"tram/internal/mailauth"
	"tram/internal/mailauth/check"
	"tram/internal/message"
	"tram/internal/smtp"
	"tram/internal/store"
)

const origins = `
elsewhere.test. 300 IN TXT "v=spf1 ip4:192.0.2.1 -all"
wide.test. 300 IN TXT "v=spf1 ip4:192.0.0.0/9 -all"
_dmarc.reject.test. 300 IN TXT "v=DMARC1; p=reject"
reject.test. 300 IN TXT "v=spf1 ip4:192.0.2.1 -all exp=why.reject.test"
why.reject.test. 300 IN TXT "Ask %{o}"
_dmarc.quarantine.test. 300 IN TXT "v=DMARC1; p=quarantine"
_dmarc.trial.test. 300 IN TXT "v=DMARC1; p=reject; t=y"
`

// looking makes the house look at the origin of what comes in.
func (h *house) looking(names dns.Resolver) *house {
	h.o.Origins = Origins{EnforceDMARC: true, Checker: check.New(check.Options{
		Resolver: names, Hostname: h.o.Hostname, Limits: limits.Default().MailAuth, Clock: h.o.Clock,
	})}
	h.alias("away", away)
	return h
}

// receive brings a message from outside to alice, or to others.
func (h *house) receive(from, addr, text string, to ...string) (*envelope.Envelope, envelope.Outcome) {
	h.t.Helper()
	env := &envelope.Envelope{
		ID: "trail-1", Origin: envelope.Inbound, Received: h.o.Clock.Now(),
		Client: envelope.Client{Addr: netip.MustParseAddr(addr), HELO: "mail." + from[strings.IndexByte(from, '@')+1:]},
	}
	env.From, _ = smtp.ParseAddress(from)
	if len(to) == 0 {
		to = []string{"alice"}
	}
	for _, name := range to {
		env.Recipients = append(env.Recipients, envelope.Recipient{Address: local(name)})
	}
	d := New(h.o)
	b := d.NewBody(context.Background(), env, []byte("Received: by mx.example.test (tram); now\r\n"))
	for rest := text; rest != ""; rest = rest[min(len(rest), 37):] {
		b.Write([]byte(rest[:min(len(rest), 37)]))
	}
	if err := b.Finish(); err != nil {
		return env, envelope.Outcome{Reply: ReplyOf(err)}
	}
	return env, d.DeliverAll(context.Background(), env)
}

func letter(from string) string {
	return "From: " + from + "\r\nMessage-ID: <" + from + ">\r\n\r\nHello.\r\n"
}

// TestObey: what becomes of a message by what its author's domain asks for, with the codes of RFC 7372.
func TestObey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, from, addr, author string
		edit                     func(*Origins, *dns.Fake)
		reply                    string
		junk, known              bool
	}{
		{"no policy", "a@elsewhere.test", "192.0.2.1", "a@elsewhere.test", nil, "250", false, true},
		{"no policy, forged path", "a@elsewhere.test", "192.0.2.2", "a@elsewhere.test", nil, "250", false, false},
		{"half of the Internet", "a@wide.test", "192.0.2.1", "a@wide.test", nil, "250", false, false},
		{"in alignment", "a@reject.test", "192.0.2.1", "a@reject.test", nil, "250", false, true},
		{"not in alignment", "a@elsewhere.test", "192.0.2.1", "a@reject.test", nil, "550 5.7.26", false, true},
		{"a subdomain", "a@elsewhere.test", "192.0.2.1", "a@x.reject.test", nil, "550 5.7.26", false, true},
		{"quarantine", "a@elsewhere.test", "192.0.2.1", "a@quarantine.test", nil, "250", true, true},
		{"on trial", "a@elsewhere.test", "192.0.2.1", "a@trial.test", nil, "250", true, true},
		{"marked only", "a@elsewhere.test", "192.0.2.1", "a@reject.test",
			func(o *Origins, _ *dns.Fake) { o.EnforceDMARC = false }, "250", true, true},
		{"SPF enforced", "a@elsewhere.test", "192.0.2.2", "a@elsewhere.test",
			func(o *Origins, _ *dns.Fake) { o.EnforceSPF = true }, "550 5.7.23", false, false},
		{"the policy cannot be asked", "a@elsewhere.test", "192.0.2.1", "a@reject.test",
			func(_ *Origins, f *dns.Fake) { f.Fail("_dmarc.reject.test", errors.New("lost")) }, "250", false, true},
		{"SPF in alignment cannot be asked", "a@reject.test", "192.0.2.1", "a@reject.test",
			func(_ *Origins, f *dns.Fake) { f.Fail("reject.test", errors.New("lost")) }, "250", true, false},
		{"another's SPF cannot be asked", "a@elsewhere.test", "192.0.2.1", "a@reject.test",
			func(_ *Origins, f *dns.Fake) { f.Fail("elsewhere.test", errors.New("lost")) }, "550 5.7.26", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fake := dns.NewFake(origins)
			h := newHouse(t).looking(fake)
			if c.edit != nil {
				c.edit(&h.o.Origins, fake)
			}
			var known bool
			h.o.Classify = func(
				_ context.Context, _ *envelope.Envelope, _ store.AccountID, v Verdict,
			) (Verdict, error) {
				known = v.Authenticated
				return v, nil
			}
			env, out := h.receive(c.from, c.addr, letter(c.author))
			if !strings.HasPrefix(out.Reply.String(), c.reply) {
				t.Fatalf("answered %v, want %s", out.Reply, c.reply)
			}
			if !out.OK() {
				return
			}
			if known != c.known {
				t.Errorf("authenticated: %t, want %t (%+v)", known, c.known, env.Auth)
			}
			role := store.RoleInbox
			if c.junk {
				role = store.RoleJunk
			}
			if n := len(h.box("alice", role)); n != 1 {
				t.Errorf("%d messages where one should be (junk: %t)", n, c.junk)
			}
			if c.author != c.from && env.Auth.Passed() {
				t.Errorf("a pass: %+v", env.Auth.DMARC)
			}
		})
	}
}

// TestSignedByAuthor: whose signature saves a message from a strict reading of SPF.
func TestSignedByAuthor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		domain string
		status mailauth.Status
		want   bool
	}{
		{"mail.x.test", mailauth.Pass, true}, {"x.test", mailauth.Pass, true}, {"x.test", mailauth.Fail, false},
		{"other.test", mailauth.Pass, false}, {"l.x.test", mailauth.Pass, false}, {"a.mail.x.test", mailauth.Pass, false},
	} {
		r := &mailauth.Results{
			FromDomain: "mail.x.test", DKIM: []mailauth.DKIM{{Domain: c.domain, Status: c.status}},
		}
		if got := signedByAuthor(r); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}

// TestTop: the results stand above everything that the client sent, in the mailbox and on the way to
// elsewhere (M7), and what is known of the message fits the bytes.
func TestTop(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1000, 40 << 10, 600 << 10} {
		h := newHouse(t).looking(dns.NewFake(origins))
		body := strings.Repeat(strings.Repeat("y", 62)+"\r\n", size/64)
		text := letter("a@elsewhere.test") + body
		env, out := h.receive("a@elsewhere.test", "192.0.2.1", text, "alice", "away")
		if !out.OK() {
			t.Fatal(out.Reply)
		}
		top := "Authentication-Results: mx.example.test;\r\n\tdmarc=none header.from=elsewhere.test;\r\n" +
			"\tspf=pass smtp.mailfrom=a@elsewhere.test;\r\n\tspf=none smtp.helo=mail.elsewhere.test;\r\n" +
			"\tiprev=permerror policy.iprev=192.0.2.1\r\nReceived: by mx.example.test (tram); now\r\n" + text
		want := "Return-Path: <a@elsewhere.test>\r\n" + top
		got := h.box("alice", store.RoleInbox)
		if len(got) != 1 || got[0] != want {
			t.Fatalf("%d bytes: alice has %.900q, want %.900q", size, got, want)
		}
		if want := "Delivered-To: away@example.test\r\n" + top; len(h.queue.text) != 1 ||
			strings.Replace(h.queue.text[0], "Return-Path: <a@elsewhere.test>\r\n", "", 1) != want {
			t.Fatalf("sent on: %.900q, want %.900q", h.queue.text, want)
		}
		if env.Check != nil || env.Auth == nil {
			t.Error("who looked is still held")
		}
		stored(t, h, want)
		// The same again, as after a lost reply: the results on top do not make it another message.
		if _, out := h.receive("a@elsewhere.test", "192.0.2.1", text); !out.Duplicate {
			t.Error("the message came twice")
		}
	}
}

// stored compares what the store knows of alice's message with what the parser finds in it.
func stored(t *testing.T, h *house, text string) {
	t.Helper()
	m := message.Parse([]byte(text), h.o.Limits.Message)
	err := h.store.Account(h.ids["alice"]).View(context.Background(), func(tx *store.Tx) error {
		list, err := tx.List(tx.RoleMailbox(store.RoleInbox))
		if err != nil {
			return err
		}
		e, err := tx.Email(list.At(0).Email)
		if err != nil {
			return err
		}
		got, err := e.Structure()
		if err != nil {
			return err
		}
		if got.Size != m.Size || got.HeaderSize != m.HeaderSize || got.Root.Body != m.Root.Body ||
			got.Root.Lines != m.Root.Lines || got.Received != m.Received {
			t.Errorf("stored as %d, %d, %v; it is %d, %d, %v", got.Size, got.HeaderSize, got.Root.Body,
				m.Size, m.HeaderSize, m.Root.Body)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestForeignResults: fields that say they are ours are gone, in every dress, and no other byte is (M6).
func TestForeignResults(t *testing.T) {
	t.Parallel()
	const kept = "From: a@elsewhere.test\r\n" +
		"Authentication-Results: mx.elsewhere.test; spf=pass\r\n\tsmtp.mailfrom=b@x.test\r\n" +
		"X-Authentication-Results: mx.example.test; spf=pass\r\nMessage-ID: <1@x>\r\n\r\n" +
		"Authentication-Results: mx.example.test; spf=pass\r\n"
	for _, field := range []string{
		"Authentication-Results: mx.example.test; dmarc=pass header.from=x.test",
		"authentication-results:MX.EXAMPLE.TEST;dmarc=pass",
		"Authentication-Results : mx.example.test; dmarc=pass",
		"Authentication-Results\r\n : mx.example.test; dmarc=pass",
		"Authentication-Results:\r\n\t(a)\r\n\t\"mx.example.test\"\r\n 1; dmarc=pass",
		"Authentication-Results: mx.example.test",
	} {
		h := newHouse(t).looking(dns.NewFake(origins))
		_, out := h.receive("a@elsewhere.test", "192.0.2.1", field+"\r\n"+kept)
		got := h.box("alice", store.RoleInbox)
		if !out.OK() || len(got) != 1 {
			t.Fatalf("%q: %v", field, out.Reply)
		}
		if _, after, _ := strings.Cut(got[0], "; now\r\n"); after != kept {
			t.Errorf("%q: stored %q", field, after)
		}
		if n := strings.Count(got[0], "dmarc="); n != 1 || !strings.Contains(got[0], "dmarc=none") {
			t.Errorf("%q: %q", field, got[0])
		}
	}
}

// TestNoAuthor: a message that does not say in one way who wrote it is refused, with the reason (M2).
func TestNoAuthor(t *testing.T) {
	t.Parallel()
	h := newHouse(t).looking(dns.NewFake(origins))
	for text, want := range map[string]string{
		"To: b@example.test\r\n\r\n":                    "no From field",
		"From: a@x.test\r\nFrom: b@x.test\r\n\r\n":      "more than one From field",
		"From: a@x.test, b@x.test\r\n\r\n":              "more than one address",
		"From: nobody\r\n\r\n":                          "no address",
		"From: a@x.test\r\n":                            "",
		"\r\nFrom: a@x.test\r\n":                        "no From field",
		"From: g: a@x.test;\r\n\r\n":                    "without doubt",
		"A: " + strings.Repeat("x", 2<<20) + "\r\n\r\n": "too long",
	} {
		_, out := h.receive("a@elsewhere.test", "192.0.2.1", text)
		if want == "" {
			if !out.OK() {
				t.Errorf("%.60q: %v", text, out.Reply)
			}
			continue
		}
		if r := out.Reply.String(); !strings.HasPrefix(r, "550 5.") || !strings.Contains(r, want) {
			t.Errorf("%.60q: %v, want %q", text, r, want)
		}
	}
}

// hanging never answers: what asks must give up.
type hanging struct{ dns.Resolver }

func (hanging) TXT(ctx context.Context, _ string) ([]string, dns.Result, error) {
	<-ctx.Done()
	return nil, dns.Result{}, errors.Join(dns.ErrTemporary, ctx.Err())
}

func (hanging) PTR(ctx context.Context, _ netip.Addr) ([]string, dns.Result, error) {
	<-ctx.Done()
	return nil, dns.Result{}, errors.Join(dns.ErrTemporary, ctx.Err())
}

// TestHangingDNS is O11: a message waits for 20 seconds of DNS, all questions together, then it is taken
// and nobody vouches for it.
func TestHangingDNS(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	now := clock.NewFake(time.Date(2026, 8, 1, 10, 0, 0, 0, time.UTC))
	h.o.Clock = now
	h.looking(hanging{})
	type end struct {
		env *envelope.Envelope
		out envelope.Outcome
	}
	done := make(chan end)
	start := now.Now()
	go func() {
		env, out := h.receive("a@elsewhere.test", "192.0.2.1", letter("a@reject.test"))
		done <- end{env, out}
	}()
	for {
		armed, changed := now.Armed()
		if armed == 0 {
			select {
			case <-changed:
				continue
			case got := <-done:
				if !got.out.OK() || got.env.Auth == nil {
					t.Fatalf("%v, %+v", got.out.Reply, got.env.Auth)
				}
				a := got.env.Auth
				if a.DMARC.Status != mailauth.TempError || a.SPF.Status != mailauth.TempError || a.Passed() {
					t.Errorf("%+v", a)
				}
				if took := now.Now().Sub(start); took > h.o.Limits.MailAuth.Total {
					t.Errorf("took %v", took)
				}
				return
			}
		}
		now.Advance(time.Second)
	}
}
