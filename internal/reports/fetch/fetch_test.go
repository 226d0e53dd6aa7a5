package fetch

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"tram/internal/dns"
	"tram/internal/limits"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for address, ok := range map[string]bool{
		"https://a.example/x?y=z": true, "HTTPS://a.example:443/": true, "http://a.example/": false,
		"https://a.example:8443/": false, "https://user@a.example/": false, "https://192.0.2.1/": false,
		"https://[::1]/": false, "https:opaque": false, "https://": false, "file:///etc/passwd": false, "%": false,
	} {
		if _, err := Check(address); (err == nil) != ok || err != nil && !errors.Is(err, ErrURL) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// TestInside is W5: no address of this machine or of a network behind it is dialled, however it is
// written, and whatever else the name leads to.
func TestInside(t *testing.T) {
	t.Parallel()
	names := dns.NewFake(`a.example. IN A 127.0.0.1
b.example. IN A 10.1.2.3
c.example. IN AAAA ::1
d.example. IN AAAA fe80::1
e.example. IN AAAA ::ffff:192.168.1.1
f.example. IN A 169.254.169.254
g.example. IN AAAA fd00::1
h.example. IN AAAA 64:ff9b::7f00:1
i.example. IN A 100.64.0.1
j.example. IN A 0.0.0.0`)
	dialled := 0
	c := New(Options{Resolver: names, Limits: limits.Default().Reports, Dialer: dialer(
		func(context.Context, string, string) (net.Conn, error) { dialled++; return nil, errors.New("dialled") })})
	for host := 'a'; host <= 'j'; host++ {
		_, err := c.Get(t.Context(), "https://"+string(host)+".example/", 100)
		if !errors.Is(err, dns.ErrInside) {
			t.Errorf("%c: %v", host, err)
		}
	}
	if dialled > 0 {
		t.Errorf("%d inner addresses were dialled", dialled)
	}
	names.Add("k.example. IN A 10.1.2.3\nk.example. IN A 192.0.2.1\n")
	if err := c.Post(t.Context(), "https://k.example/", "text/plain", nil); err == nil || dialled != 1 {
		t.Errorf("the public one of two addresses: %d dialled, %v", dialled, err)
	}
	if _, err := c.Get(t.Context(), "https://none.example/", 100); err == nil {
		t.Error("a name that does not exist was asked")
	}
	if _, err := New(Options{Limits: limits.Default().Reports}).Get(t.Context(), "https://a.example/", 1); err == nil {
		t.Error("without a resolver something was asked")
	}
}

// TestManyAddresses: of a host of very many addresses few are tried, and one that is silent leaves time for
// the next.
func TestManyAddresses(t *testing.T) {
	t.Parallel()
	names := dns.NewFake("")
	for i := range 100 {
		names.Add(fmt.Sprintf("a.example. IN A 192.0.2.%d\n", i+1))
	}
	l := limits.Default().Reports
	l.Fetch = 400 * time.Millisecond
	dialled := 0
	c := New(Options{Resolver: names, Limits: l, Dialer: dialer(
		func(ctx context.Context, _, _ string) (net.Conn, error) {
			if dialled++; dialled == 1 {
				<-ctx.Done()
			} else if ctx.Err() != nil {
				t.Error("no time was left for the next")
			}
			return nil, errors.New("silent")
		})})
	if _, err := c.Get(t.Context(), "https://a.example/", 100); err == nil || dialled != dns.DialAddrs {
		t.Errorf("%d were dialled, %v", dialled, err)
	}
}

type dialer func(context.Context, string, string) (net.Conn, error)

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d(ctx, network, address)
}

// TestAnswers: what comes back is bounded, redirects are not followed, and certificates are checked.
func TestAnswers(t *testing.T) {
	t.Parallel()
	asked := map[string]int{}
	hang := make(chan struct{})
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		switch r.URL.Path {
		case "/large":
			w.Write([]byte(strings.Repeat("x", 101)))
		case "/moved":
			http.Redirect(w, r, "/fits", http.StatusFound)
		case "/hang":
			<-hang
		default:
			w.Write([]byte(strings.Repeat("x", 100)))
		}
	}))
	defer web.Close()
	defer close(hang)
	_, port, err := net.SplitHostPort(web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	o := Options{Resolver: dns.NewFake("example.com. IN A 127.0.0.1\nother.example. IN A 127.0.0.1\n"),
		Limits: limits.Default().Reports, Roots: roots, AllowPrivate: true, Port: number}
	c := New(o)
	if b, err := c.Get(t.Context(), "https://example.com/fits", 100); err != nil || len(b) != 100 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if _, err := c.Get(t.Context(), "https://example.com/large", 100); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if _, err := c.Get(t.Context(), "https://example.com/moved", 100); err == nil || asked["/fits"] != 1 {
		t.Errorf("a redirect: %v", err)
	}
	if _, err := c.Get(t.Context(), "https://other.example/fits", 100); err == nil || asked["/fits"] != 1 {
		t.Errorf("a certificate of another name: %v", err)
	}
	o.Limits.Fetch = 20 * time.Millisecond
	if _, err := New(o).Get(t.Context(), "https://example.com/hang", 100); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a server that does not answer: %v", err)
	}
}
