package reports

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"tram/internal/kv"
	"tram/internal/mailauth"
	"tram/internal/reports/bimi"
)

// Icons are looked up by a job, never by a delivery: what a message asks for is noted (bounded), and
// what was found out is kept until it should be looked at again.

// Icon is what is known of a domain's icon.
type Icon struct {
	bimi.Indicator
	Checked time.Time
	Until   time.Time // looked up again after it
}

// How long what was found out holds: an icon, a domain without one, a failure.
const (
	iconFresh = 24 * time.Hour
	iconNone  = 3 * 24 * time.Hour
	iconRetry = 6 * time.Hour
)

// wanted are the domains whose icon is to be looked up: author's domain to organisational one.
type wanted struct {
	mu      sync.Mutex
	domains map[string]string
	// seen are those that were looked up lately; they need not be asked about in the database again.
	seen map[string]time.Time
}

// wantIcon notes the domain of a message that passed DMARC under a policy that is enforced: BIMI is
// for no others.
func (s *Reports) wantIcon(a *mailauth.Results) {
	d := &a.DMARC
	if d.Status != mailauth.Pass || d.Testing || a.FromDomain == "" ||
		d.Policy != mailauth.PolicyReject && d.Policy != mailauth.PolicyQuarantine {
		return
	}
	now := s.o.Clock.Now()
	w := &s.icons
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Before(w.seen[a.FromDomain]) || len(w.domains) >= s.limits.Icons {
		return
	}
	if w.domains == nil {
		w.domains = map[string]string{}
	}
	w.domains[a.FromDomain] = d.Organizational
}

// note remembers that a domain need not be looked up before a time.
func (w *wanted) note(domain string, until time.Time, most int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil || len(w.seen) >= most {
		w.seen = map[string]time.Time{}
	}
	w.seen[domain] = until
}

func (w *wanted) take() map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	domains := w.domains
	w.domains = nil
	return domains
}

func iconKey(domain string) []byte { return kv.AppendString([]byte{space, rowIcon}, domain) }

func renewalKey(until time.Time, domain string) []byte {
	return kv.AppendString(kv.AppendUint64([]byte{space, rowRenewal}, uint64(max(until.Unix(), 0))), domain)
}

// BIMI returns what is known of a domain's icon; ok is false while nothing is.
func (s *Reports) BIMI(ctx context.Context, domain string) (icon Icon, ok bool, err error) {
	err = s.o.DB.View(ctx, scopeIcons, func(r kv.Reader) error { return get(r, iconKey(domain), &icon) })
	if errors.Is(err, kv.ErrNotFound) {
		return Icon{}, false, nil
	}
	if errors.Is(err, kv.ErrCorrupt) { // it can be looked up again
		s.o.Logger.Error("icon is damaged", "domain", domain, "error", err)
		return Icon{}, false, nil
	}
	// A certificate that has run out vouches for nothing, whenever it was looked at.
	if icon.Verified && s.o.Clock.Now().After(icon.Expires) {
		icon.Verified, icon.Reason = false, "the mark certificate has expired"
	}
	return icon, err == nil, err
}

// LookUpIcons looks up the icons that messages asked for since it last ran.
func (s *Reports) LookUpIcons(ctx context.Context) error {
	if s.o.Resolver == nil {
		return nil
	}
	var errs []error
	for domain, organizational := range s.icons.take() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := s.lookUpIcon(ctx, domain, organizational); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *Reports) lookUpIcon(ctx context.Context, domain, organizational string) error {
	now := s.o.Clock.Now()
	old, known, err := s.BIMI(ctx, domain)
	if err != nil {
		return err
	}
	if known && now.Before(old.Until) {
		s.icons.note(domain, old.Until, s.limits.IconsKept)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*s.limits.Fetch)
	defer cancel()
	o := s.marks
	o.Resolver = s.o.Resolver
	found, err := bimi.Find(ctx, o, domain, organizational, now)
	icon := Icon{Indicator: found, Checked: now.UTC(), Until: now.Add(iconFresh).UTC()}
	result := "unverified"
	switch {
	case err != nil:
		// What was known stays until it expires by itself.
		result = "failed"
		if known {
			icon = old
		}
		icon.Reason, icon.Until = err.Error(), now.Add(iconRetry).UTC()
	case found.Verified:
		result = "verified"
		if found.Expires.Before(icon.Until) {
			icon.Until = found.Expires
		}
	case found.SVG == nil:
		result, icon.Until = "none", now.Add(iconNone).UTC()
	}
	icons.WithLabelValues(result).Inc()
	if err := s.keepIcon(ctx, icon); err != nil {
		return fmt.Errorf("keep icon of %s: %w", domain, err)
	}
	s.icons.note(domain, icon.Until, s.limits.IconsKept)
	return nil
}

// keepIcon stores an icon. The one that is due first makes room when there are too many.
func (s *Reports) keepIcon(ctx context.Context, icon Icon) error {
	return s.o.DB.Update(ctx, scopeIcons, func(t kv.Txn) error {
		var old Icon
		err := get(t, iconKey(icon.Domain), &old)
		if err == nil {
			err = t.Delete(renewalKey(old.Until, icon.Domain))
		} else if errors.Is(err, kv.ErrNotFound) {
			err = s.iconRoom(t)
		} else if errors.Is(err, kv.ErrCorrupt) { // it is written over
			err = nil
		}
		if err != nil {
			return err
		}
		if err := t.Set(renewalKey(icon.Until, icon.Domain), nil); err != nil {
			return err
		}
		return set(t, iconKey(icon.Domain), icon)
	})
}

// expireIcons removes icons whose time for another look passed long ago: no mail has asked for them since.
func (s *Reports) expireIcons(ctx context.Context) error {
	cutoff := s.o.Clock.Now().Add(-s.limits.Keep)
	for {
		removed := 0
		err := s.o.DB.Update(kv.Freeing(ctx), scopeIcons, func(t kv.Txn) error {
			removed = 0
			due := kv.Range{Start: []byte{space, rowRenewal}, End: renewalKey(cutoff, ""), Limit: expireBatch,
				KeysOnly: true}
			return t.Scan(due, func(k, _ []byte) error {
				removed++
				return expireIcon(t, k)
			})
		})
		if err != nil {
			return fmt.Errorf("expire icons: %w", err)
		}
		if removed < expireBatch {
			return nil
		}
	}
}

// expireIcon removes the icon that a row of renewals is of, unless it has another such row.
func expireIcon(t kv.Txn, renewal []byte) error {
	if domain, _, err := kv.TakeString(renewal[min(len(renewal), 10):]); err == nil {
		var icon Icon
		err := get(t, iconKey(domain), &icon)
		stale := errors.Is(err, kv.ErrNotFound) || err == nil && !bytes.Equal(renewalKey(icon.Until, domain), renewal)
		switch {
		case stale:
		case err != nil && !errors.Is(err, kv.ErrCorrupt):
			return err
		default:
			if err := t.Delete(iconKey(domain)); err != nil {
				return err
			}
		}
	}
	return t.Delete(renewal)
}

// iconRoom makes room for one more.
func (s *Reports) iconRoom(t kv.Txn) error {
	n := 0
	all := kv.Prefix([]byte{space, rowRenewal})
	all.KeysOnly = true
	var first []byte
	if err := t.Scan(all, func(k, _ []byte) error {
		if n++; n == 1 {
			first = append(first, k...)
		}
		return nil
	}); err != nil || n < s.limits.IconsKept {
		return err
	}
	domain, _, err := kv.TakeString(first[10:])
	if err != nil {
		return err
	}
	if err := t.Delete(first); err != nil {
		return err
	}
	return t.Delete(iconKey(domain))
}
