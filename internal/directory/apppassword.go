package directory

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// AppPassword is a secret for one device or program; the secret itself is shown once and never
// kept. It works with PLAIN and LOGIN, not with SCRAM, which has no place for more than one
// password of a name.
type AppPassword struct {
	ID      string
	Label   string     // for people
	Scopes  []Protocol // what it opens; empty: all but Web and Admin
	Created time.Time
	Expires time.Time // zero: never
}

// appBytes is the strength of an app password: too strong to guess, so that a fast hash will do
// and a phone's log-in costs no Argon2id run.
const appBytes = 16

var appEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// AddAppPassword makes a secret for the account; Label, Scopes and Expires of p are used. The
// secret is returned here and never again. ErrNotFound, ErrInvalid when there are too many.
func (d *Directory) AddAppPassword(
	ctx context.Context, id AccountID, p AppPassword,
) (AppPassword, string, error) {
	raw := make([]byte, appBytes+8)
	if _, err := io.ReadFull(d.o.Rand, raw); err != nil {
		return AppPassword{}, "", fmt.Errorf("make app password: %w", err)
	}
	secret := appEncoding.EncodeToString(raw[:appBytes])
	rec := appRecord{
		ID: appEncoding.EncodeToString(raw[appBytes:]), Label: p.Label, Scopes: p.Scopes,
		Created: d.clock.Now().Unix(), Hash: d.appMAC(secret),
	}
	if !p.Expires.IsZero() {
		rec.Expires = p.Expires.Unix()
	}
	err := d.change(ctx, id, func(_ *accountRecord, s *credentialRecord) error {
		if len(s.Apps) >= d.limits.AppPasswords {
			return fmt.Errorf("account %d has %d app passwords already: %w", id, len(s.Apps), ErrInvalid)
		}
		s.Apps = append(slices.Clone(s.Apps), rec)
		return nil
	})
	if err != nil {
		return AppPassword{}, "", err
	}
	return rec.app(), grouped(secret), nil
}

// grouped puts a dash after every fifth character, for people who type.
func grouped(secret string) string {
	var b strings.Builder
	for i, c := range secret {
		if i > 0 && i%5 == 0 {
			b.WriteByte('-')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// appMAC is what is kept of an app password: its HMAC-SHA-256 under a key derived from the pepper.
// Dashes, spaces and case of what was typed do not matter.
func (d *Directory) appMAC(secret string) []byte {
	mac := hmac.New(sha256.New, d.keys.app)
	drop := func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}
	mac.Write([]byte(strings.Map(drop, strings.ToLower(secret))))
	return mac.Sum(nil)
}

// AppPasswords lists the app passwords of an account. ErrNotFound.
func (d *Directory) AppPasswords(ctx context.Context, id AccountID) ([]AppPassword, error) {
	if _, err := d.Account(ctx, id); err != nil {
		return nil, err
	}
	rec, err := d.cache.secret(ctx, id)
	if err != nil {
		return nil, err
	}
	apps := make([]AppPassword, 0, len(rec.Apps))
	for _, a := range rec.Apps {
		apps = append(apps, a.app())
	}
	return apps, nil
}

// RemoveAppPassword takes an app password back. The account's sessions end: those of other
// devices log in again, the one that lost its secret does not. ErrNotFound.
func (d *Directory) RemoveAppPassword(ctx context.Context, id AccountID, app string) error {
	return d.change(ctx, id, func(rec *accountRecord, s *credentialRecord) error {
		i := slices.IndexFunc(s.Apps, func(a appRecord) bool { return a.ID == app })
		if i < 0 {
			return fmt.Errorf("app password %q of account %d: %w", app, id, ErrNotFound)
		}
		s.Apps = slices.Delete(slices.Clone(s.Apps), i, i+1)
		rec.Generation++
		return nil
	})
}

func (r appRecord) app() AppPassword {
	a := AppPassword{ID: r.ID, Label: r.Label, Scopes: slices.Clone(r.Scopes),
		Created: time.Unix(r.Created, 0).UTC()}
	if r.Expires != 0 {
		a.Expires = time.Unix(r.Expires, 0).UTC()
	}
	return a
}
