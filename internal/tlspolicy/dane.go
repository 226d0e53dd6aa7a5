package tlspolicy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"

	"tram/internal/dns"
)

// The certificate usages of RFC 7672 §3.1 that mail knows. PKIX-TA(0) and PKIX-EE(1) are not usable.
const (
	usageTA = 2 // an authority of the domain's own choice
	usageEE = 3 // this very certificate or key
)

// The other numbers of RFC 6698 §2.1.
const (
	selectorCert = 0
	selectorKey  = 1

	matchingFull   = 0
	matchingSHA256 = 1
	matchingSHA512 = 2
)

// dane looks for TLSA records of a host, RFC 7672 §2.2, and notes in p what they ask. Only where
// DNSSEC vouches for the way to the host do they mean anything.
func (f *Finder) dane(ctx context.Context, d Domain, h Host, p *Policy) error {
	if f.o.NoDANE || !d.Authentic {
		return nil
	}
	bases, err := f.bases(ctx, h)
	if err != nil {
		return unknown(ctx, p, fmt.Errorf("look up whether %s is an alias: %w", h.Name, err))
	}
	for _, base := range bases {
		records, res, err := f.o.Resolver.TLSA(ctx, "_25._tcp."+base)
		switch {
		case errors.Is(err, dns.ErrNoDomain), errors.Is(err, dns.ErrNoRecord):
			continue
		case err != nil:
			// RFC 7672 §2.1.2: whoever can make this question fail must not gain anything by it.
			return unknown(ctx, p, fmt.Errorf("look up the TLSA records of %s: %w", base, err))
		case !res.Authentic || len(records) == 0:
			continue
		}
		p.Type, p.Base, p.TLSA = TypeTLSA, base, records
		p.usable = usable(records[:min(len(records), f.o.Limits.TLSA)])
		// RFC 7672 §3.2.2: the names that a certificate under DANE-TA(2) may be for.
		p.names = []string{base}
		for _, name := range []string{h.Name, d.Name} {
			if name != base {
				p.names = append(p.names, name)
			}
		}
		p.Level = Verified
		if len(p.usable) == 0 {
			p.Level, p.Unusable = Encrypted, true
		}
		return nil
	}
	return nil
}

func unknown(ctx context.Context, p *Policy, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p.Type = TypeTLSA
	return &Unknown{Policy: *p, Result: DNSSECInvalid, Err: err}
}

// aliases is what a resolver can do beside dns.Resolver.
type aliases interface {
	Lookup(ctx context.Context, name, qtype string) (dns.Answer, error)
}

// bases returns the names that TLSA records of a host may be at, best first, RFC 7672 §2.2.2: where
// its aliases lead if DNSSEC vouches for the whole way, and the host itself if it does for the first
// step.
func (f *Finder) bases(ctx context.Context, h Host) ([]string, error) {
	switch alias := h.Result.Name != "" && h.Result.Name != h.Name; {
	case h.Result.Authentic && alias:
		return []string{h.Result.Name, h.Name}, nil
	case h.Result.Authentic:
		return []string{h.Name}, nil
	case !alias:
		return nil, nil
	}
	r, ok := f.o.Resolver.(aliases)
	if !ok {
		return nil, nil
	}
	a, err := r.Lookup(ctx, h.Name, "CNAME")
	switch {
	case errors.Is(err, dns.ErrTemporary):
		return nil, err
	case err != nil || !a.Authentic:
		return nil, nil
	}
	return []string{h.Name}, nil
}

// usable returns the records that mail can use: RFC 7672 §3.1, and of digests of the same kind only
// the strongest that is there (RFC 7671 §9).
func usable(all []dns.TLSA) []dns.TLSA {
	strongest := map[[2]uint8]uint8{}
	var out []dns.TLSA
	for _, t := range all {
		if !wellFormed(t) {
			continue
		}
		out = append(out, t)
		kind := [2]uint8{t.Usage, t.Selector}
		strongest[kind] = max(strongest[kind], t.Matching)
	}
	n := 0
	for _, t := range out {
		if t.Matching == matchingFull || t.Matching == strongest[[2]uint8{t.Usage, t.Selector}] {
			out[n] = t
			n++
		}
	}
	return out[:n]
}

func wellFormed(t dns.TLSA) bool {
	if t.Usage != usageTA && t.Usage != usageEE {
		return false
	}
	switch {
	case t.Selector != selectorCert && t.Selector != selectorKey:
		return false
	case t.Matching == matchingSHA256:
		return len(t.Data) == sha256.Size
	case t.Matching == matchingSHA512:
		return len(t.Data) == sha512.Size
	case t.Matching != matchingFull:
		return false
	case t.Selector == selectorCert:
		_, err := x509.ParseCertificate(t.Data)
		return err == nil
	}
	_, err := x509.ParsePKIXPublicKey(t.Data)
	return err == nil
}

// matches reports whether a record is of a certificate.
func matches(t dns.TLSA, c *x509.Certificate) bool {
	data := c.Raw
	if t.Selector == selectorKey {
		data = c.RawSubjectPublicKeyInfo
	}
	switch t.Matching {
	case matchingSHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case matchingSHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return bytes.Equal(data, t.Data)
}
