package tlspolicy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"tram/internal/kv"
)

// The rows:
//
//	e s domain   version:1, then a row in JSON
//
// All of them are written under one scope: a policy changes rarely.
const (
	space   = 'e'
	kindSTS = 's'
	version = 1
)

const scope kv.Scope = "tlspolicy"

var prefix = []byte{space, kindSTS}

func keyOf(domain string) []byte { return kv.AppendString([]byte{space, kindSTS}, domain) }

// row is a policy as it is kept.
type row struct {
	ID      string   `json:"id"`
	Text    []string `json:"text"`
	Fetched int64    `json:"fetched"` // Unix seconds, like the others
	Expires int64    `json:"expires"`
	Used    int64    `json:"used"` // when mail was last sent there, to the day

	policy *STS
}

// use returns the policy of a row, nil for one that asks for nothing and for no row.
func (r *row) use() *STS {
	if r == nil || r.policy.Mode == ModeNone {
		return nil
	}
	return r.policy
}

func (r *row) encode() ([]byte, error) {
	b, err := json.Marshal(r)
	return append([]byte{version}, b...), err
}

func decode(b []byte) (*row, error) {
	if len(b) == 0 {
		return nil, kv.ErrCorrupt
	}
	if b[0] > version {
		return nil, fmt.Errorf("MTA-STS policy of version %d: %w", b[0], kv.ErrNewer)
	}
	r := &row{}
	if err := json.Unmarshal(b[1:], r); err != nil {
		return nil, errors.Join(kv.ErrCorrupt, err)
	}
	p, err := parseSTS(strings.Join(r.Text, "\n"), len(r.Text))
	if err != nil {
		return nil, errors.Join(kv.ErrCorrupt, err)
	}
	r.policy = p
	return r, nil
}

// load returns what is kept of a domain and holds still, nil for nothing. A row that is damaged is
// as good as none, and is written anew when the policy is fetched.
func (f *Finder) load(ctx context.Context, domain string) (*row, error) {
	var r *row
	err := f.o.DB.View(ctx, scope, func(rd kv.Reader) error {
		b, err := rd.Get(keyOf(domain))
		if err == nil {
			r, err = decode(b)
		}
		return err
	})
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return nil, nil
	case errors.Is(err, kv.ErrCorrupt):
		f.o.Logger.Error("MTA-STS policy is damaged", "domain", domain, "error", err)
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the MTA-STS policy of %s: %w", domain, err)
	case !f.holds(r):
		return nil, nil
	}
	return r, nil
}

// holds reports whether a row has not expired. A clock that is set back ends none: see early.
func (f *Finder) holds(r *row) bool { return f.o.Clock.Now().Before(time.Unix(r.Expires, 0)) }

// early reports whether a row was fetched when the clock was ahead. It holds still, for a wrong clock
// must not be a way around it, but no longer than a fresh one would.
func (f *Finder) early(r *row) bool {
	return time.Unix(r.Fetched, 0).Sub(f.o.Clock.Now()) > time.Hour
}

// rightClock puts such a row right.
func (f *Finder) rightClock(r *row) {
	now := f.o.Clock.Now()
	r.Fetched, r.Used = min(r.Fetched, now.Unix()), min(r.Used, now.Unix())
	r.Expires = min(r.Expires, now.Add(f.o.Limits.MaxAge).Unix())
}

// touch notes, once a day, that mail is sent to a domain: its policy is worth keeping fresh.
func (f *Finder) touch(ctx context.Context, domain string, r *row) error {
	if r == nil {
		return nil
	}
	now := f.o.Clock.Now()
	if age := now.Sub(time.Unix(r.Used, 0)); age >= 0 && age < 24*time.Hour {
		return nil
	}
	err := f.change(ctx, domain, func(r *row) { r.Used = now.Unix() })
	if err != nil && ctx.Err() == nil {
		f.o.Logger.Warn("MTA-STS policy not marked as used", "domain", domain, "error", err)
	}
	return nil
}

// change changes a row that is there.
func (f *Finder) change(ctx context.Context, domain string, fn func(*row)) error {
	return f.o.DB.Update(ctx, scope, func(t kv.Txn) error {
		b, err := t.Get(keyOf(domain))
		if errors.Is(err, kv.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		r, err := decode(b)
		if err != nil {
			return err
		}
		fn(r)
		if b, err = r.encode(); err != nil {
			return err
		}
		return t.Set(keyOf(domain), b)
	})
}

// errRoom says that as many policies are kept as may be. The new one waits until others have expired:
// were an old one to go for it, whoever has many domains could make us forget a policy that protects.
var errRoom = errors.New("as many policies are kept as limits.tls_policy.domains allows")

// save keeps a policy.
func (f *Finder) save(ctx context.Context, domain string, r *row) error {
	b, err := r.encode()
	if err != nil {
		return err
	}
	kept, err := f.count(ctx)
	if err != nil {
		return err
	}
	added := false
	err = f.o.DB.Update(ctx, scope, func(t kv.Txn) error {
		_, err := t.Get(keyOf(domain))
		if added = errors.Is(err, kv.ErrNotFound); added && kept >= f.o.Limits.Domains {
			return errRoom
		}
		if err != nil && !added {
			return err
		}
		return t.Set(keyOf(domain), b)
	})
	if err == nil && added {
		f.counted(+1)
	}
	return err
}

// count returns how many policies are kept, about: other machines may share the database, and the
// number is taken anew with each round of Refresh.
func (f *Finder) count(ctx context.Context) (int, error) {
	f.mu.Lock()
	n := f.kept
	f.mu.Unlock()
	if n >= 0 {
		return n, nil
	}
	n = 0
	err := f.o.DB.View(ctx, scope, func(r kv.Reader) error {
		n = 0
		rng := kv.Prefix(prefix)
		rng.KeysOnly = true
		return r.Scan(rng, func(_, _ []byte) error { n++; return nil })
	})
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	f.kept = n
	f.mu.Unlock()
	metricKept.Set(float64(n))
	return n, nil
}

func (f *Finder) counted(by int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept += by
	metricKept.Set(float64(f.kept))
}

// page is how many rows Refresh looks at in one transaction.
const page = 500

// Refresh goes once through what is kept: policies that expired go, and those that are a day old and
// in use are fetched again, whether their identifier changed or not, so that they do not run out
// between two messages (RFC 8461 §10.2). A policy that cannot be had stays as it is.
func (f *Finder) Refresh(ctx context.Context) error {
	if f.o.NoSTS {
		return nil
	}
	var errs []error
	for from := prefix; from != nil && ctx.Err() == nil; {
		p, err := f.scan(ctx, from)
		if err != nil {
			return fmt.Errorf("refresh MTA-STS policies: %w", err)
		}
		errs = append(errs, f.drop(ctx, p.gone))
		for _, domain := range p.early {
			errs = append(errs, f.change(ctx, domain, f.rightClock))
		}
		f.refetch(ctx, p.due)
		from = p.next
	}
	f.mu.Lock()
	f.kept = -1
	f.mu.Unlock()
	_, err := f.count(ctx)
	return errors.Join(append(errs, err)...)
}

// found is what a page of rows holds.
type found struct {
	due   map[string]*row // to be fetched again
	gone  []string        // expired, or damaged
	early []string        // fetched when the clock was ahead
	next  []byte          // where it goes on, nil: nowhere
}

// scan reads the next page.
func (f *Finder) scan(ctx context.Context, from []byte) (p found, err error) {
	now := f.o.Clock.Now()
	err = f.o.DB.View(ctx, scope, func(rd kv.Reader) error {
		p = found{due: map[string]*row{}}
		rng := kv.Range{Start: from, End: kv.PrefixEnd(prefix), Limit: page}
		return rd.Scan(rng, func(key, value []byte) error {
			p.next = append(append([]byte(nil), key...), 0)
			domain, _, err := kv.TakeString(key[len(prefix):])
			if err != nil {
				return err
			}
			r, err := decode(value)
			switch {
			case errors.Is(err, kv.ErrNewer):
				return nil
			case err != nil || !f.holds(r):
				p.gone = append(p.gone, domain)
			case f.early(r):
				p.early = append(p.early, domain)
			case now.Sub(time.Unix(r.Fetched, 0)) >= f.o.Limits.Refresh &&
				now.Sub(time.Unix(r.Used, 0)) < f.o.Limits.Unused:
				p.due[domain] = r
			}
			return nil
		})
	})
	return p, err
}

// drop removes rows, unless they hold again meanwhile.
func (f *Finder) drop(ctx context.Context, domains []string) error {
	if len(domains) == 0 {
		return nil
	}
	return f.o.DB.Update(kv.Freeing(ctx), scope, func(t kv.Txn) error {
		for _, domain := range domains {
			b, err := t.Get(keyOf(domain))
			if err != nil {
				if errors.Is(err, kv.ErrNotFound) {
					continue
				}
				return err
			}
			if r, err := decode(b); err == nil && f.holds(r) {
				continue
			}
			if err := t.Delete(keyOf(domain)); err != nil {
				return err
			}
		}
		return nil
	})
}

// refetchers is how many policies Refresh fetches at a time.
const refetchers = 4

// refetch fetches policies again, a few at a time.
func (f *Finder) refetch(ctx context.Context, due map[string]*row) {
	slots := make(chan struct{}, refetchers)
	var wg sync.WaitGroup
	for domain, r := range due {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			wg.Wait()
			return
		}
		wg.Go(func() {
			defer func() { <-slots }()
			f.refetchOne(ctx, domain, r)
		})
	}
	wg.Wait()
}

// refetchOne takes the identifier that the DNS has now, or keeps the old one when it has none.
func (f *Finder) refetchOne(ctx context.Context, domain string, r *row) {
	id := r.ID
	records, _, err := f.o.Resolver.TXT(ctx, "_mta-sts."+domain)
	if now, ok := policyID(records); err == nil && ok {
		id = now
	}
	p, err := f.fetch(ctx, domain)
	if err != nil {
		if ctx.Err() == nil {
			f.fail(domain+" "+id, domain, err)
		}
		return
	}
	metricFetches.WithLabelValues("ok").Inc()
	now := f.o.Clock.Now()
	fresh := &row{ID: id, Text: p.Lines, Fetched: now.Unix(), Used: r.Used, Expires: now.Add(p.MaxAge).Unix()}
	if err := f.save(ctx, domain, fresh); err != nil && ctx.Err() == nil {
		f.o.Logger.Error("MTA-STS policy not kept", "domain", domain, "error", err)
	}
}
