// Package fetch answers "what does that web server say?", to strangers' addresses: the one way in which
// reports go out and icons come in over HTTPS.
//
// It promises: HTTPS only, to the port of HTTPS, with a certificate that holds; an address of this
// machine or of a network behind it is never dialled, whatever the DNS says; no redirect is followed,
// no proxy used, no cookie kept; what comes back is bounded in bytes and time.
//
// What must never happen: a record in a stranger's DNS makes this server talk to a machine that the
// stranger cannot reach himself.
package fetch

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"tram/internal/dns"
	"tram/internal/limits"
)

// What requests end with besides errors of the network.
var (
	// ErrURL says that an address is not one that is asked: no HTTPS, a user, a port, an IP address.
	ErrURL = errors.New("not an https address of a host")
	// ErrTooLarge says that an answer is larger than allowed.
	ErrTooLarge = errors.New("answer is too large")
)

// Dialer opens connections; *net.Dialer is one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Options configures a Client.
type Options struct {
	Resolver dns.Resolver
	Limits   limits.Reports
	Dialer   Dialer           // nil: the system's
	Roots    *x509.CertPool   // nil: the system's
	Now      func() time.Time // of certificates; nil: the machine's clock
	// AllowPrivate lets inner addresses be dialled, and Port another port than 443, for tests.
	AllowPrivate bool
	Port         int
}

// Client makes requests. It is safe for concurrent use.
type Client struct {
	o    Options
	http *http.Client
}

// headerBytes bounds the header of an answer.
const headerBytes = 16 << 10

// New returns a Client.
func New(o Options) *Client {
	if o.Dialer == nil {
		o.Dialer = &net.Dialer{}
	}
	if o.Port == 0 {
		o.Port = 443
	}
	public := &dns.PublicDialer{
		Resolver: o.Resolver, Dialer: o.Dialer, Port: o.Port, Time: o.Limits.Fetch, AllowPrivate: o.AllowPrivate,
	}
	c := &Client{o: o}
	c.http = &http.Client{
		Transport: &http.Transport{
			DialContext: public.DialContext, DisableKeepAlives: true, DisableCompression: true,
			TLSHandshakeTimeout: o.Limits.Fetch, MaxResponseHeaderBytes: headerBytes,
			TLSClientConfig: &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12, Time: o.Now},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// Check reports whether an address is one that is asked.
func Check(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Opaque != "" ||
		u.Port() != "" && u.Port() != "443" {
		return nil, fmt.Errorf("%w: %.100q", ErrURL, address)
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return nil, fmt.Errorf("%w: %.100q", ErrURL, address)
	}
	return u, nil
}

// Get returns what is at an address, at most so many bytes of it.
func (c *Client) Get(ctx context.Context, address string, most int64) ([]byte, error) {
	resp, cancel, err := c.do(ctx, http.MethodGet, address, "", nil)
	if err != nil {
		return nil, err
	}
	defer cancel()
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch %.100s: the server answers %s", address, resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("fetch %.100s: %w", address, err)
	case int64(len(b)) > most:
		return nil, fmt.Errorf("fetch %.100s: %w", address, ErrTooLarge)
	}
	return b, nil
}

// Post sends a body to an address. It returns nil when the server says that it has taken it.
func (c *Client) Post(ctx context.Context, address, contentType string, body []byte) error {
	resp, cancel, err := c.do(ctx, http.MethodPost, address, contentType, body)
	if err != nil {
		return err
	}
	defer cancel()
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("post to %.100s: the server answers %s", address, resp.Status)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, address, contentType string, body []byte) (
	*http.Response, context.CancelFunc, error,
) {
	u, err := Check(address)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Limits.Fetch)
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), content)
	if err != nil {
		cancel()
		return nil, nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	req.Header.Set("User-Agent", "tram")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		cancel()
		return nil, nil, fmt.Errorf("ask %.100s: %w", u.Host, err)
	}
	return resp, cancel, nil
}
