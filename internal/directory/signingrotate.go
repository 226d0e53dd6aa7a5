package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"tram/internal/dns"
	"tram/internal/kv"
	"tram/internal/mailauth/dkim"
)

// RotateSigningKeys brings the keys of all domains on: a domain without keys gets them, the next ones
// are made limits.Signing.Ahead before those in use have signed for limits.Signing.Rotate, a key that
// waits becomes active when the DNS shows exactly its record, and one that was replaced goes after
// limits.Signing.Keep. It may be called as often as one likes, and by several machines. With nobody to
// ask, r is nil, and keys become active only by ActivateSigningKey.
//
// Nothing signs with a key that the DNS has never shown: receivers would take each message for forged.
func (d *Directory) RotateSigningKeys(ctx context.Context, r dkim.TXTResolver) error {
	domains, err := d.Domains(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, domain := range domains {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.rotate(ctx, domain.Name, r); err != nil && !errors.Is(err, ErrNotFound) {
			errs = append(errs, fmt.Errorf("signing keys of %s: %w", domain.Name, err))
		}
	}
	return errors.Join(errs...)
}

// rotate brings the keys of one domain on.
func (d *Directory) rotate(ctx context.Context, domain string, r dkim.TXTResolver) error {
	all, err := d.SigningKeys(ctx, domain)
	if err != nil {
		return err
	}
	if d.nextDue(all) {
		if _, err := d.MakeSigningKeys(ctx, domain); err != nil {
			return err
		}
		d.log.Info("directory: next signing keys made", "domain", domain)
		if all, err = d.SigningKeys(ctx, domain); err != nil {
			return err
		}
	}
	for _, k := range all {
		switch {
		case k.State == KeyRetiring && d.clock.Now().Sub(k.Retired) >= d.o.Signing.Keep:
			if err := d.RemoveSigningKey(ctx, domain, k.Selector); err != nil {
				return err
			}
			d.log.Info("directory: signing key removed", "domain", domain, "selector", k.Selector)
		case k.State != KeyRetiring && r != nil:
			if err := d.askSigning(ctx, k, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// nextDue reports whether a kind of key is missing, or soon will have signed for long enough.
func (d *Directory) nextDue(all []SigningKey) bool {
	for _, kind := range signingKinds {
		if waits(all, kind.algorithm) {
			continue
		}
		due := true
		for _, k := range all {
			if k.State == KeyActive && k.Algorithm == kind.algorithm {
				due = d.clock.Now().Sub(k.Activated) >= d.o.Signing.Rotate-d.o.Signing.Ahead
			}
		}
		if due {
			return true
		}
	}
	return false
}

// askSigning looks whether the DNS shows a key, and makes one that waits active.
func (d *Directory) askSigning(ctx context.Context, k SigningKey, r dkim.TXTResolver) error {
	published, problem, err := shows(ctx, r, k)
	if err != nil {
		return nil // nobody knows now: that says nothing
	}
	// A row is written where something changed, and else once a day.
	if published != k.Published || problem != k.Problem || d.clock.Now().Sub(k.Asked) >= 24*time.Hour {
		err := d.changeSigning(ctx, k.Domain, k.Selector, func(_ kv.Txn, rec *signingRecord) error {
			rec.Published, rec.Problem, rec.Asked = published, problem, d.clock.Now().Unix()
			return nil
		})
		if err != nil {
			return err
		}
		if !published && k.Published {
			d.log.Warn("directory: the record of a signing key is gone from the DNS",
				"domain", k.Domain, "selector", k.Selector, "problem", problem)
		}
	}
	if !published || k.State != KeyMade {
		return nil
	}
	d.log.Info("directory: signing key becomes active", "domain", k.Domain, "selector", k.Selector)
	return d.ActivateSigningKey(ctx, k.Domain, k.Selector)
}

// shows asks the DNS for a key's record. The error is a look-up that failed for now.
func shows(ctx context.Context, r dkim.TXTResolver, k SigningKey) (bool, string, error) {
	texts, _, err := r.TXT(ctx, k.Name())
	switch {
	case errors.Is(err, dns.ErrNoDomain), errors.Is(err, dns.ErrNoRecord):
		return false, "there is no TXT record at " + k.Name(), nil
	case err != nil:
		return false, "", err
	case len(texts) > 1:
		return false, fmt.Sprintf("there are %d TXT records at %s, and receivers take one of them",
			len(texts), k.Name()), nil
	case len(texts) == 0 || !sameRecord(texts[0], k.Record):
		return false, "the TXT record at " + k.Name() + " holds another text", nil
	}
	return true, "", nil
}

// sameRecord compares records tag by tag: white space and the last semicolon mean nothing.
func sameRecord(a, b string) bool {
	x, err1 := dkim.ParseTags([]byte(a))
	y, err2 := dkim.ParseTags([]byte(b))
	if err1 != nil || err2 != nil || len(x) != len(y) {
		return false
	}
	for i := range x {
		if x[i].Name != y[i].Name || bare(x[i].Value) != bare(y[i].Value) {
			return false
		}
	}
	return true
}

func bare(value []byte) string { return strings.Join(strings.Fields(string(value)), "") }

// checkSigning wants the rows of signing keys to be readable and of domains of ours. What they seal
// only the server can open.
func (c *dirCheck) checkSigning() error {
	return c.scan(kindSigning, func(row, rest, value []byte) error {
		n, err := twoStrings(rest)
		where := "signing key " + n.local + " of " + n.domain
		var rec signingRecord
		if err == nil {
			err = json.Unmarshal(value, &rec)
		}
		if err == nil {
			err = rec.check()
		}
		if err == nil && !c.domains[n.domain] {
			err = errors.New("there is no such domain")
		}
		if err == nil {
			return nil
		}
		return c.bad(row, value, where, err)
	})
}
