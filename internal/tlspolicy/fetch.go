package tlspolicy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"tram/internal/dns"
)

// fetchError is why a policy could not be had, with what a report calls that.
type fetchError struct {
	result ResultType
	err    error
}

// Error says why.
func (e *fetchError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *fetchError) Unwrap() error { return e.err }

// headerBytes bounds the header of an answer over HTTPS.
const headerBytes = 16 << 10

// fetch gets a domain's policy over HTTPS, RFC 8461 §3.3: from the one host that may serve it, with a
// certificate of that host, and without being sent elsewhere.
func (f *Finder) fetch(ctx context.Context, domain string) (*STS, error) {
	ctx, cancel := context.WithTimeout(ctx, f.o.Limits.Fetch)
	defer cancel()
	host := PolicyHost(domain)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+PolicyPath, nil)
	if err != nil {
		return nil, &fetchError{STSFetch, err}
	}
	req.Header.Set("User-Agent", "tram")
	req.Header.Set("Accept", "text/plain")
	resp, err := f.http.Do(req)
	if err != nil {
		return nil, &fetchError{webResult(err), fmt.Errorf("fetch policy: %w", err)}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK { // RFC 8461 §3.3: no redirect is followed
		return nil, &fetchError{STSFetch, fmt.Errorf("fetch policy: %s answers %s", host, resp.Status)}
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != "text/plain" {
		return nil, &fetchError{STSFetch,
			fmt.Errorf("fetch policy: %s serves %.60q, not text/plain", host, resp.Header.Get("Content-Type"))}
	}
	most := f.o.Limits.PolicyBytes
	text, err := io.ReadAll(io.LimitReader(resp.Body, int64(most)+1))
	switch {
	case err != nil:
		return nil, &fetchError{STSFetch, fmt.Errorf("fetch policy: %w", err)}
	case len(text) > most:
		return nil, &fetchError{STSInvalid, fmt.Errorf("%w: more than %d octets", errPolicy, most)}
	}
	p, err := parseSTS(string(text), f.o.Limits.MX)
	if err != nil {
		return nil, &fetchError{STSInvalid, err}
	}
	p.MaxAge = min(p.MaxAge, f.o.Limits.MaxAge)
	return p, nil
}

// webResult tells a certificate that does not do from everything else.
func webResult(err error) ResultType {
	if errors.As(err, new(*tls.CertificateVerificationError)) {
		return STSWebPKI
	}
	return STSFetch
}

// client makes the one HTTP client of the room. It knows no proxy, keeps nothing (RFC 8461 §3.3: no
// HTTP cache), and dials what is public.
func (f *Finder) client() *http.Client {
	public := &dns.PublicDialer{
		Resolver: f.o.Resolver, Dialer: f.o.Dialer, Port: f.o.HTTPSPort, Time: f.o.Limits.Fetch,
		AllowPrivate: f.o.AllowPrivate,
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: public.DialContext, DisableKeepAlives: true, DisableCompression: true,
			TLSHandshakeTimeout: f.o.Limits.Fetch, MaxResponseHeaderBytes: headerBytes,
			TLSClientConfig: &tls.Config{RootCAs: f.o.Roots, MinVersion: tls.VersionTLS12, Time: f.o.Clock.Now},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
