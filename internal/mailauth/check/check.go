// Package check runs all methods over one message: "who vouches for it?", asked once.
//
// A [Check] is given the header when it is whole and the body as it streams by; when both have ended
// it asks the DNS for everything at once, under one time limit. The author is the one address of the one
// From field; a message in which two programs could see two authors has none ([Author]).
//
// It promises an end: the methods have three quarters of limits.MailAuth.Total, and the policy of the
// author's domain the rest, so that a stranger's slow servers cannot keep that policy from being found.
// What must never happen: what could not be checked counts as checked.
package check

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"tram/internal/clock"
	"tram/internal/dns"
	"tram/internal/limits"
	"tram/internal/mailauth"
	"tram/internal/mailauth/arc"
	"tram/internal/mailauth/dkim"
	"tram/internal/mailauth/dmarc"
	"tram/internal/mailauth/spf"
	"tram/internal/smtp"
)

// Options configure a Checker.
type Options struct {
	Resolver dns.Resolver // nil: nothing is asked, and every result is none
	Hostname string
	Limits   limits.MailAuth
	Clock    clock.Clock
	// Trusted says whose ARC seals are believed, by domain; nil: nobody's.
	Trusted func(domain string) bool
}

// Checker makes Checks. It is safe for concurrent use.
type Checker struct{ o Options }

// New returns a Checker.
func New(o Options) *Checker {
	if o.Clock == nil {
		o.Clock = clock.System
	}
	return &Checker{o: o}
}

// Check is for one message and one goroutine.
type Check struct {
	o      *Options
	header []byte
	bodies *dkim.Bodies
	dkim   *dkim.Verifier
	arc    *arc.Verifier
}

// Begin starts with the header as the client sent it, without the blank line; it is copied.
func (c *Checker) Begin(header []byte) *Check {
	k := &Check{o: &c.o, header: slices.Clone(header), bodies: dkim.NewBodies()}
	now := c.o.Clock.Now()
	k.dkim = dkim.NewVerifier(k.header, dkim.Options{Limits: c.o.Limits, Now: now, Bodies: k.bodies})
	k.arc = arc.NewVerifier(k.header, arc.Options{
		Limits: c.o.Limits, Now: now, Trusted: c.o.Trusted, Bodies: k.bodies,
	})
	return k
}

// Header is the header as it was received.
func (k *Check) Header() []byte { return k.header }

// Write takes the next bytes of the body. It never fails.
func (k *Check) Write(p []byte) (int, error) { return k.bodies.Write(p) }

// Session is what is known beside the message.
type Session struct {
	Addr netip.Addr // of the client
	HELO string
	From smtp.Address // reverse-path
	// Author is the author's address, its domain in A-labels: what Author returned.
	Author smtp.Address
}

// Finish asks the DNS and says what was found.
func (k *Check) Finish(ctx context.Context, s Session) *mailauth.Results {
	k.bodies.Close()
	r := &mailauth.Results{From: s.Author.String(), FromDomain: s.Author.Domain}
	r.SPF.Status, r.HELO.Status, r.HELO.Helo = mailauth.None, mailauth.None, true
	r.DMARC.Status, r.ARC.Status, r.IPRev.Status = mailauth.None, mailauth.None, mailauth.None
	if k.o.Resolver == nil {
		return r
	}
	ctx, cancel := within(ctx, k.o.Clock, k.o.Limits.Total)
	defer cancel()
	k.methods(ctx, s, r)
	r.DMARC = dmarc.Check(ctx, k.o.Resolver,
		dmarc.Query{From: r.FromDomain, SPF: r.SPF, DKIM: r.DKIM}, dmarc.Options{Limits: k.o.Limits})
	if r.DMARC.Status == mailauth.Fail && vouched(r) {
		r.DMARC.ARC = true
	}
	return r
}

// methods runs what DMARC rests on, and the others, side by side.
func (k *Check) methods(ctx context.Context, s Session, r *mailauth.Results) {
	ctx, cancel := within(ctx, k.o.Clock, k.o.Limits.Total/4*3)
	defer cancel()
	var wg sync.WaitGroup
	o := spf.Options{Limits: k.o.Limits, Hostname: k.o.Hostname, Now: k.o.Clock.Now()}
	q := spf.Query{Addr: s.Addr, HELO: s.HELO, Local: s.From.Local, Domain: s.From.Domain}
	wg.Go(func() { r.SPF = spf.Check(ctx, k.o.Resolver, q, o) })
	wg.Go(func() {
		q := q
		q.ByHELO = true
		if !s.From.IsNull() { // else it is the same question
			r.HELO = spf.Check(ctx, k.o.Resolver, q, o)
		}
	})
	wg.Go(func() { r.IPRev = reverse(ctx, k.o.Resolver, s.Addr) })
	wg.Go(func() { r.DKIM = k.dkim.Finish(ctx, k.o.Resolver) })
	wg.Go(func() { r.ARC = k.arc.Finish(ctx, k.o.Resolver) })
	wg.Wait()
	if s.From.IsNull() {
		r.HELO = r.SPF
	}
}

// within is context.WithTimeout by a given clock.
func within(ctx context.Context, c clock.Clock, d time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	timer := c.AfterFunc(d, cancel)
	return ctx, func() {
		timer.Stop()
		cancel()
	}
}

// reverseNames is how many names of an address are looked at.
const reverseNames = 10

// reverse is the iprev method, RFC 8601 §3.
func reverse(ctx context.Context, r dns.Resolver, addr netip.Addr) mailauth.IPRev {
	addr = addr.Unmap()
	if !addr.IsGlobalUnicast() || addr.IsPrivate() {
		return mailauth.IPRev{Status: mailauth.None} // the world's DNS does not know it
	}
	names, _, err := r.PTR(ctx, addr)
	switch {
	case errors.Is(err, dns.ErrNoDomain), errors.Is(err, dns.ErrNoRecord):
		return mailauth.IPRev{Status: mailauth.PermError}
	case err != nil:
		return mailauth.IPRev{Status: mailauth.TempError}
	}
	out := mailauth.IPRev{Status: mailauth.Fail}
	for _, name := range names[:min(len(names), reverseNames)] {
		if out.Name == "" {
			out.Name = name
		}
		back, _, err := r.Family(ctx, name, addr.Is6())
		switch {
		case err == nil && slices.Contains(back, addr):
			return mailauth.IPRev{Status: mailauth.Pass, Name: name}
		case errors.Is(err, dns.ErrTemporary):
			out.Status = mailauth.TempError
		}
	}
	return out
}
