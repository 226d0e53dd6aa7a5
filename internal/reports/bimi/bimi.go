// Package bimi answers "which icon does a domain publish for its mail, and who vouches for it?": Brand
// Indicators for Message Identification, with mark certificates (VMC).
//
// It promises: an icon is looked up only over HTTPS, is a small picture of the profile SVG Tiny PS
// without anything that acts or that is fetched, and is called verified only when a certificate of an
// authority that the operator named binds it to the domain. The look-ups are the caller's to place
// where nothing waits for them.
//
// What must never happen: a script in an icon reaches somebody's screen; an icon is shown as verified
// because a stranger made a certificate for it.
package bimi

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"tram/internal/dns"
	"tram/internal/limits"
)

// Options configures Find.
type Options struct {
	Resolver dns.Resolver
	Fetch    Getter
	Limits   limits.Reports
	Roots    *x509.CertPool // who may vouch; nil: nobody is believed
}

// Getter fetches over HTTPS.
type Getter interface {
	Get(ctx context.Context, address string, most int64) ([]byte, error)
}

// Record is an assertion record.
type Record struct {
	Location  string // l=, an https address; "" declines
	Authority string // a=, the same
}

// Declined reports whether the domain says that it has no icon.
func (r Record) Declined() bool { return r.Location == "" && r.Authority == "" }

// Indicator is what was found out about a domain's icon.
type Indicator struct {
	Domain string
	Record Record
	SVG    []byte // the icon: safe to show as an image; nil when there is none that may be
	Digest string // SHA-256 of SVG, hexadecimal
	// Verified: an authority of Options.Roots vouches for SVG and Domain until Expires.
	Verified bool
	Subject  string // of the certificate: the organisation
	Mark     string // "registered", "government", "prior use"… as the certificate calls it
	Expires  time.Time
	Reason   string // why there is no icon, or why it is not verified
}

// Errors of Find, besides those of the DNS.
var (
	// ErrNone says that the domain publishes nothing, or declines.
	ErrNone = errors.New("domain publishes no icon")
	// ErrRecord says that its record means nothing.
	ErrRecord = errors.New("assertion record is broken")
)

// ParseRecord reads an assertion record; ok is false for other texts.
func ParseRecord(text string) (r Record, ok bool, err error) {
	version, rest, _ := strings.Cut(text, ";")
	name, value, found := strings.Cut(version, "=")
	if !found || strings.TrimSpace(name) != "v" || strings.TrimSpace(value) != "BIMI1" {
		return r, false, nil
	}
	seen := map[string]bool{}
	for tag := range strings.SplitSeq(rest, ";") {
		name, value, found := strings.Cut(tag, "=")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if !found || seen[name] {
			continue
		}
		seen[name] = true
		switch name {
		case "l":
			r.Location = value
		case "a":
			r.Authority = value
		}
	}
	for _, u := range []string{r.Location, r.Authority} {
		if u != "" && !strings.HasPrefix(strings.ToLower(u), "https://") {
			return r, true, fmt.Errorf("%w: %.100q is not an https address", ErrRecord, u)
		}
	}
	return r, true, nil
}

// LookUp returns a domain's record: its own, else that of its organisational domain.
func LookUp(ctx context.Context, r dns.Resolver, domain, organizational string) (Record, error) {
	names := []string{domain}
	if organizational != "" && organizational != domain {
		names = append(names, organizational)
	}
	for _, name := range names {
		texts, _, err := r.TXT(ctx, "default._bimi."+name)
		if errors.Is(err, dns.ErrNoDomain) || errors.Is(err, dns.ErrNoRecord) {
			continue
		}
		if err != nil {
			return Record{}, err
		}
		var found []Record
		for _, text := range texts {
			rec, ok, err := ParseRecord(text)
			if err != nil {
				return Record{}, err
			}
			if ok {
				found = append(found, rec)
			}
		}
		if len(found) > 1 {
			return Record{}, fmt.Errorf("%w: there are %d", ErrRecord, len(found))
		}
		if len(found) == 1 {
			return found[0], nil
		}
	}
	return Record{}, ErrNone
}

// Find finds out about the icon of a domain. An error means that it could not be found out now, for
// what the DNS or a server said; what is wrong with the icon is in the Indicator's Reason.
func Find(ctx context.Context, o Options, domain, organizational string, now time.Time) (Indicator, error) {
	in := Indicator{Domain: domain}
	rec, err := LookUp(ctx, o.Resolver, domain, organizational)
	switch {
	case errors.Is(err, dns.ErrTemporary):
		return in, err
	case err != nil:
		in.Reason = err.Error()
		return in, nil
	case rec.Declined():
		in.Reason = "the domain declines to have an icon"
		return in, nil
	}
	in.Record = rec
	if rec.Authority != "" {
		if err := in.vouched(ctx, o, organizational, now); err != nil {
			return in, err
		}
		if in.SVG != nil {
			return in, nil
		}
	}
	return in, in.bare(ctx, o)
}

// bare fetches an icon that nobody vouches for.
func (in *Indicator) bare(ctx context.Context, o Options) error {
	if in.Record.Location == "" {
		return nil
	}
	svg, err := o.Fetch.Get(ctx, in.Record.Location, int64(o.Limits.Icon))
	if err != nil {
		return fmt.Errorf("fetch icon: %w", err)
	}
	if svg, err = CheckSVG(svg, o.Limits); err != nil {
		in.Reason = join(in.Reason, err.Error())
		return nil
	}
	in.take(svg)
	if in.Reason == "" {
		in.Reason = "nobody vouches for it"
	}
	return nil
}

func (in *Indicator) take(svg []byte) {
	sum := sha256.Sum256(svg)
	in.SVG, in.Digest = svg, hex.EncodeToString(sum[:])
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// vouched fetches the mark certificate and takes the icon that is in it.
func (in *Indicator) vouched(ctx context.Context, o Options, organizational string, now time.Time) error {
	file, err := o.Fetch.Get(ctx, in.Record.Authority, o.Limits.Certificate)
	if err != nil {
		return fmt.Errorf("fetch mark certificate: %w", err)
	}
	m, err := ParseMark(file, o.Limits)
	if err != nil {
		in.Reason = err.Error()
		return nil
	}
	in.Subject, in.Mark, in.Expires = m.Organization, m.Kind, m.Leaf.NotAfter
	svg, err := CheckSVG(m.SVG, o.Limits)
	if err != nil {
		in.Reason = err.Error()
		return nil
	}
	if err := m.Verify(o.Roots, in.Domain, organizational, now); err != nil {
		in.Reason = err.Error()
		return nil
	}
	in.take(svg)
	in.Verified = true
	return nil
}
