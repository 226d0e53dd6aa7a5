package check

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tram/internal/clock"
	"tram/internal/dns"
	"tram/internal/limits"
	"tram/internal/mailauth"
	"tram/internal/smtp"
)

const zone = `
victim.test. 300 IN TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.victim.test. 300 IN TXT "v=DMARC1; p=reject"
one.victim.test. 300 IN A 192.0.2.1
1.2.0.192.in-addr.arpa. 300 IN PTR one.victim.test.
2.2.0.192.in-addr.arpa. 300 IN PTR one.victim.test.
4.2.0.192.in-addr.arpa. 300 IN PTR lost.victim.test.
`

func session(addr, from, author string) Session {
	s := Session{Addr: netip.MustParseAddr(addr), HELO: "one.victim.test"}
	s.From, _ = smtp.ParseAddress(from)
	s.Author, _ = smtp.ParseAddress(author)
	return s
}

func checker(names dns.Resolver, c clock.Clock) *Checker {
	return New(Options{Resolver: names, Hostname: "mx.test", Limits: limits.Default().MailAuth, Clock: c})
}

func TestFinish(t *testing.T) {
	t.Parallel()
	fake := dns.NewFake(zone)
	fake.Fail("lost.victim.test", errors.New("lost"))
	for _, c := range []struct {
		addr, from string
		dmarc      mailauth.Status
		iprev      mailauth.Status
		helo       mailauth.Status
	}{
		{"192.0.2.1", "a@victim.test", mailauth.Pass, mailauth.Pass, mailauth.None},
		{"::ffff:192.0.2.1", "a@victim.test", mailauth.Pass, mailauth.Pass, mailauth.None},
		{"192.0.2.1", "a@other.test", mailauth.Fail, mailauth.Pass, mailauth.None},
		{"192.0.2.2", "a@victim.test", mailauth.Fail, mailauth.Fail, mailauth.None},
		{"192.0.2.3", "a@victim.test", mailauth.Fail, mailauth.PermError, mailauth.None},
		{"192.0.2.4", "a@victim.test", mailauth.Fail, mailauth.TempError, mailauth.None},
		{"10.0.0.1", "a@victim.test", mailauth.Fail, mailauth.None, mailauth.None},
		{"127.0.0.1", "", mailauth.Fail, mailauth.None, mailauth.None},
	} {
		k := checker(fake, nil).Begin([]byte("From: a@victim.test\r\n"))
		k.Write([]byte("Hello.\r\n"))
		r := k.Finish(context.Background(), session(c.addr, c.from, "a@victim.test"))
		if r.DMARC.Status != c.dmarc || r.IPRev.Status != c.iprev || r.HELO.Status != c.helo || !r.HELO.Helo {
			t.Errorf("%s as <%s>: %+v", c.addr, c.from, r)
		}
		if r.From != "a@victim.test" || r.FromDomain != "victim.test" || r.ARC.Status != mailauth.None {
			t.Errorf("%+v", r)
		}
	}
	// Nobody to ask: nothing is asked, nothing is said.
	k := checker(nil, nil).Begin(nil)
	r := k.Finish(context.Background(), session("192.0.2.1", "a@x.test", "a@x.test"))
	if r.SPF.Status != mailauth.None || r.DMARC.Status != mailauth.None || r.Passed() {
		t.Errorf("without a resolver: %+v", r)
	}
}

// slow never answers about the names of one domain.
type slow struct{ *dns.Fake }

func (s slow) TXT(ctx context.Context, name string) ([]string, dns.Result, error) {
	if strings.HasSuffix(name, "slow.test") {
		<-ctx.Done()
		return nil, dns.Result{}, errors.Join(dns.ErrTemporary, ctx.Err())
	}
	return s.Fake.TXT(ctx, name)
}

// TestSlowStranger: name servers that never answer cost time, and do not keep the policy of the author's
// domain from being found.
func TestSlowStranger(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(time.Date(2026, 8, 1, 10, 0, 0, 0, time.UTC))
	k := checker(slow{dns.NewFake(zone)}, now).Begin([]byte("From: a@victim.test\r\n"))
	done := make(chan *mailauth.Results)
	go func() {
		done <- k.Finish(context.Background(), session("192.0.2.9", "a@slow.test", "a@victim.test"))
	}()
	for {
		armed, changed := now.Armed()
		if armed < 2 {
			<-changed
			continue
		}
		break
	}
	now.Advance(limits.Default().MailAuth.Total / 4 * 3)
	r := <-done
	if r.SPF.Status != mailauth.TempError || r.DMARC.Status != mailauth.Fail ||
		r.DMARC.Policy != mailauth.PolicyReject {
		t.Errorf("%+v, %+v", r.SPF, r.DMARC)
	}
}

// TestVouched: whose word about a message counts, RFC 8617 §7.2.1.
func TestVouched(t *testing.T) {
	t.Parallel()
	chain := func(results ...string) mailauth.ARC {
		a := mailauth.ARC{Status: mailauth.Pass, Trusted: true, Instances: len(results)}
		for i, s := range results {
			a.Sets = append(a.Sets, mailauth.ARCSet{Instance: i + 1, Domain: "lists.test", Results: s})
		}
		return a
	}
	const pass, fail = "l.test; dmarc=pass header.from=victim.test", "l.test; dmarc=fail header.from=victim.test"
	for _, c := range []struct {
		arc       mailauth.ARC
		authority int
		status    mailauth.Status
		trusted   bool
		want      bool
	}{
		{chain(pass), 1, mailauth.Pass, true, true},
		{chain(pass, fail), 1, mailauth.Pass, true, true},
		{chain(pass, fail), 2, mailauth.Pass, true, false},
		{chain(fail, pass), 2, mailauth.Pass, true, true},
		{chain(pass), 1, mailauth.Fail, true, false},
		{chain(pass), 1, mailauth.Pass, false, false},
		{chain(pass), 0, mailauth.Pass, true, false},
		{chain("l.test; dmarc=pass header.from=other.test"), 1, mailauth.Pass, true, false},
		{chain("l.test; dmarc=pass"), 1, mailauth.Pass, true, false},
		{chain(pass + "; dmarc=fail header.from=Victim.test"), 1, mailauth.Pass, true, false},
		{chain("l.test; spf=pass header.from=victim.test"), 1, mailauth.Pass, true, false},
		{chain("(; " + pass), 1, mailauth.Pass, true, false},
	} {
		c.arc.Authority, c.arc.Status, c.arc.Trusted = c.authority, c.status, c.trusted
		if got := vouched(&mailauth.Results{ARC: c.arc, FromDomain: "victim.test"}); got != c.want {
			t.Errorf("%+v: %t", c.arc, got)
		}
	}
}
