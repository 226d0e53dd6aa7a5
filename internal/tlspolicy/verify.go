package tlspolicy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Failure is the error of a certificate that a policy does not accept.
type Failure struct {
	Result ResultType
	Reason string
}

// Error says why.
func (f *Failure) Error() string { return f.Reason }

// ServerName is the name that the server is asked for, RFC 7672 §8.1.
func (p *Policy) ServerName() string {
	if p.Base != "" && p.Type == TypeTLSA {
		return p.Base
	}
	return p.Host
}

// Verify judges the certificates that a server has shown. roots are the authorities that count under
// MTA-STS, nil for the system's; what DANE asks needs none. The error is a *Failure.
func (p *Policy) Verify(state tls.ConnectionState, roots *x509.CertPool, now time.Time) error {
	if p.Level < Verified {
		return nil
	}
	chain := state.PeerCertificates
	if len(chain) == 0 {
		return &Failure{ValidationFailure, "the server has shown no certificate"}
	}
	if p.Type == TypeTLSA {
		return p.verifyDANE(chain, now)
	}
	return verifyPKIX(chain, roots, p.Host, now)
}

// verifyPKIX is RFC 8461 §4.1: a certificate of the exchanger's own name, by a known authority.
func verifyPKIX(chain []*x509.Certificate, roots *x509.CertPool, host string, now time.Time) error {
	o := x509.VerifyOptions{DNSName: host, Roots: roots, CurrentTime: now,
		Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(o)
	if err != nil {
		return &Failure{resultOf(err), "certificate of " + host + " does not do: " + clip(err.Error())}
	}
	return nil
}

// resultOf names what is wrong with a certificate in the words of a report.
func resultOf(err error) ResultType {
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, new(x509.HostnameError)):
		return HostMismatch
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return CertificateExpired
	case errors.As(err, new(x509.UnknownAuthorityError)), errors.As(err, &invalid):
		return NotTrusted
	}
	return ValidationFailure
}

// verifyDANE accepts what any one of the usable records is of. DANE-EE(3): the key or certificate
// itself, whatever names and dates it has (RFC 7672 §3.1.1). DANE-TA(2): an authority above it, and then
// names and dates count (§3.1.2, §3.2).
func (p *Policy) verifyDANE(chain []*x509.Certificate, now time.Time) error {
	roots, found := x509.NewCertPool(), false
	for _, t := range p.usable {
		if t.Usage == usageEE {
			if matches(t, chain[0]) {
				return nil
			}
			continue
		}
		if t.Selector == selectorCert && t.Matching == matchingFull {
			// The authority's certificate itself is in the DNS: the server need not show it.
			if c, err := x509.ParseCertificate(t.Data); err == nil {
				roots.AddCert(c)
				found = true
			}
			continue
		}
		for _, c := range chain[1:] {
			if matches(t, c) {
				roots.AddCert(c)
				found = true
			}
		}
	}
	if !found {
		return &Failure{TLSAInvalid, fmt.Sprintf(
			"none of the %d TLSA records of %s is of the certificate that the server has shown",
			len(p.usable), p.Base)}
	}
	var first error
	for _, name := range p.names {
		err := verifyPKIX(chain, roots, name, now)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// HandshakeResult names a handshake that failed without a certificate being judged.
func HandshakeResult(err error) ResultType {
	var f *Failure
	if errors.As(err, &f) {
		return f.Result
	}
	return ValidationFailure
}
