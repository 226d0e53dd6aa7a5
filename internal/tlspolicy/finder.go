package tlspolicy

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"tram/internal/clock"
	"tram/internal/dns"
	"tram/internal/kv"
	"tram/internal/limits"
	"tram/internal/metrics"
)

var (
	metricFetches = metrics.CounterVec("tlspolicy_fetches_total",
		"MTA-STS policies fetched, by what came of it.", "result")
	metricPolicies = metrics.CounterVec("tlspolicy_policies_total",
		"Policies applied to exchangers, by kind and level.", "kind", "level")
	metricKept = metrics.Gauge("tlspolicy_kept", "MTA-STS policies kept.")
)

// Dialer opens connections; *net.Dialer is one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Options are what a Finder stands on. DB and Resolver are required.
type Options struct {
	DB       kv.Database
	Resolver dns.Resolver
	Dialer   Dialer         // of HTTPS; nil: the system's
	Roots    *x509.CertPool // of HTTPS and of exchangers under MTA-STS; nil: the system's
	Clock    clock.Clock
	Logger   *slog.Logger
	Limits   limits.TLSPolicy // the zero value means limits.Default().TLSPolicy
	Reporter Reporter         // hears of policies that could not be had; nil: nobody
	// NoSTS and NoDANE leave one of the two out.
	NoSTS, NoDANE bool
	// AllowPrivate lets policies be fetched from loopback and inner addresses, for tests.
	AllowPrivate bool
	HTTPSPort    int // 0: 443
}

// Finder finds out how other domains want to be spoken to. It is safe for concurrent use.
type Finder struct {
	o     Options
	http  *http.Client
	calls singleflight.Group
	slots chan struct{} // of fetches that run

	mu     sync.Mutex
	failed map[string]failure // by domain and id: fetches that failed lately
	kept   int                // policies in the database; -1: not counted yet
}

// failure is a fetch that is not tried again for a while.
type failure struct {
	err   error
	until time.Time
}

// New returns a Finder. It touches neither the network nor the database yet.
func New(o Options) *Finder {
	if o.Dialer == nil {
		o.Dialer = &net.Dialer{}
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Limits == (limits.TLSPolicy{}) {
		o.Limits = limits.Default().TLSPolicy
	}
	if o.HTTPSPort == 0 {
		o.HTTPSPort = 443
	}
	f := &Finder{o: o, failed: map[string]failure{}, kept: -1}
	f.slots = make(chan struct{}, max(o.Limits.Fetches, 1))
	f.http = f.client()
	return f
}

// STS returns the MTA-STS policy that holds for a domain now (A-labels, lower case), nil when there is
// none. RFC 8461 §3, §5.1: one that was learnt holds until it expires, whatever becomes of the DNS and of
// HTTPS; a new identifier in the DNS makes it be fetched again; what cannot be had and was never
// known is no policy. The error is the context's, or that what is kept cannot be read: then the
// domain cannot be written to now, for the policy may be there.
func (f *Finder) STS(ctx context.Context, domain string) (*STS, error) {
	if f.o.NoSTS {
		return nil, nil
	}
	known, err := f.load(ctx, domain)
	if err != nil {
		return nil, err
	}
	records, _, err := f.o.Resolver.TXT(ctx, "_mta-sts."+domain)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	id, ok := policyID(records)
	if err != nil || !ok || known != nil && known.ID == id {
		return known.use(), f.touch(ctx, domain, known)
	}
	fresh, err := f.learn(ctx, domain, id)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && known == nil:
		return nil, nil
	case err != nil:
		return known.use(), f.touch(ctx, domain, known)
	}
	return fresh.use(), nil
}

// learn fetches a policy and keeps it; those who want the same at the same time share the work. A
// fetch that failed is not tried again for a while (RFC 8461 §3.3).
func (f *Finder) learn(ctx context.Context, domain, id string) (*row, error) {
	key := domain + " " + id
	if err := f.failedLately(key); err != nil {
		return nil, err
	}
	done := f.calls.DoChan(key, func() (any, error) {
		// Others may wait for the answer when the first one has gone.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*f.o.Limits.Fetch)
		defer cancel()
		select {
		case f.slots <- struct{}{}:
			defer func() { <-f.slots }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// Somebody else may have been quicker between the look at what is kept and here.
		if r, err := f.load(ctx, domain); err == nil && r != nil && r.ID == id {
			return r, nil
		}
		r, err := f.fetchRow(ctx, domain, id)
		if err != nil {
			f.fail(key, domain, err)
			return nil, err
		}
		return r, nil
	})
	select {
	case res := <-done:
		r, _ := res.Val.(*row)
		return r, res.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fetchRow fetches a policy and keeps it. What cannot be kept for want of room holds this once.
func (f *Finder) fetchRow(ctx context.Context, domain, id string) (*row, error) {
	p, err := f.fetch(ctx, domain)
	if err != nil {
		return nil, err
	}
	metricFetches.WithLabelValues("ok").Inc()
	now := f.o.Clock.Now()
	r := &row{ID: id, Text: p.Lines, Fetched: now.Unix(), Used: now.Unix(),
		Expires: now.Add(p.MaxAge).Unix(), policy: p}
	if err := f.save(ctx, domain, r); err != nil {
		f.o.Logger.Error("MTA-STS policy not kept", "domain", domain, "error", err)
	}
	return r, nil
}

func (f *Finder) failedLately(key string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, ok := f.failed[key]
	left := e.until.Sub(f.o.Clock.Now())
	if !ok || left <= 0 || left > f.o.Limits.Again {
		delete(f.failed, key)
		return nil
	}
	return e.err
}

// fail remembers a fetch that failed, and tells whoever reports.
func (f *Finder) fail(key, domain string, err error) {
	result := STSFetch
	var fe *fetchError
	if errors.As(err, &fe) {
		result = fe.result
	}
	metricFetches.WithLabelValues(string(result)).Inc()
	f.o.Logger.Warn("MTA-STS policy not to be had", "domain", domain, "error", err)
	now := f.o.Clock.Now()
	f.mu.Lock()
	for k := range f.failed { // in the map's own random order
		if len(f.failed) < max(f.o.Limits.Domains/10, 100) {
			break
		}
		delete(f.failed, k)
	}
	f.failed[key] = failure{err, now.Add(f.o.Limits.Again)}
	f.mu.Unlock()
	if f.o.Reporter != nil {
		f.o.Reporter.Result(Event{Time: now, Domain: domain, Type: TypeSTS, Result: result,
			Code: clip(err.Error())})
	}
}

// clip bounds what is told of an error.
func clip(s string) string {
	const most = 300
	if len(s) <= most {
		return s
	}
	return s[:most]
}
