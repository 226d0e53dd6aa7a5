package httpd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tram/internal/limits"
)

func front(t *testing.T, change func(*Options)) *Server {
	t.Helper()
	o := Options{Hostname: "mail.example.com", Version: "9.9", Limits: limits.Default().HTTP,
		HTTPSPort: 443, Doors: []Door{{"IMAP", 993, "TLS"}},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "tram_x 1") })}
	if change != nil {
		change(&o)
	}
	return New(o)
}

// get asks a front as a client at remote would.
func get(h http.Handler, remote, path string, header ...string) *http.Response {
	r := httptest.NewRequest("GET", path, nil)
	r.RemoteAddr = remote
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const (
	outside = "192.0.2.1:5000"
	inside  = "127.0.0.1:5000"
)

func TestRoutes(t *testing.T) {
	t.Parallel()
	s := front(t, nil)
	for _, c := range []struct {
		name   string
		h      http.Handler
		remote string
		path   string
		header []string
		code   int
		says   string
	}{
		{"alive", s.plain.Handler, outside, "/healthz", nil, 200, "ok"},
		{"ready", s.plain.Handler, outside, "/readyz", nil, 200, "ready"},
		{"page from outside in the clear", s.plain.Handler, outside, "/vi", nil, 301, ""},
		{"page from this machine in the clear", s.plain.Handler, "[::1]:9", "/vi", nil, 200, "máy chủ thư"},
		{"page", s.secure.Handler, outside, "/", nil, 200, "This is <strong>mail.example.com"},
		{"page in Vietnamese", s.secure.Handler, outside, "/",
			[]string{"Accept-Language", "fr, vi-VN;q=0.9, en"}, 200, "Đây là"},
		{"page in English", s.secure.Handler, outside, "/",
			[]string{"Accept-Language", "en, vi"}, 200, "This is"},
		{"doors", s.secure.Handler, outside, "/en", nil, 200, "<td>993</td>"},
		{"style", s.secure.Handler, outside, "/style.css", nil, 200, "body"},
		{"nothing there", s.secure.Handler, outside, "/admin", nil, 404, ""},
		{"metrics from outside", s.secure.Handler, outside, "/metrics", nil, 403, ""},
		{"metrics from this machine", s.secure.Handler, inside, "/metrics", nil, 200, "tram_x 1"},
		{"metrics through a proxy", s.secure.Handler, inside, "/metrics",
			[]string{"X-Forwarded-For", "192.0.2.1"}, 403, ""},
		{"metrics in the clear from outside", s.plain.Handler, outside, "/metrics", nil, 301, ""},
		{"metrics on their own listener", s.metrics.Handler, outside, "/metrics", nil, 200, "tram_x 1"},
		{"page on the metrics listener", s.metrics.Handler, outside, "/", nil, 404, ""},
	} {
		r := get(c.h, c.remote, c.path, c.header...)
		text := body(t, r)
		if r.StatusCode != c.code || !strings.Contains(text, c.says) {
			t.Errorf("%s: %d %q, want %d %q", c.name, r.StatusCode, text, c.code, c.says)
		}
	}
}

// TestSecurityHeaders are those of the table of limits, on every answer, errors included (W7).
func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	s := front(t, nil)
	for _, path := range []string{"/", "/en", "/healthz", "/metrics", "/none", "/style.css"} {
		r := get(s.secure.Handler, outside, path)
		for name, want := range map[string]string{
			"Content-Security-Policy":      "default-src 'none'",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin",
			"Referrer-Policy":              "no-referrer",
			"X-Content-Type-Options":       "nosniff",
			"Permissions-Policy":           "camera=()",
			"Strict-Transport-Security":    "max-age=63072000",
		} {
			if got := r.Header.Get(name); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s: %q, want %q", path, name, got, want)
			}
		}
		if strings.Contains(body(t, r), "<script") {
			t.Errorf("%s has a script", path)
		}
	}
	if r := get(s.plain.Handler, outside, "/healthz"); r.Header.Get("Strict-Transport-Security") != "" {
		t.Error("HSTS in the clear, which RFC 6797 §7.2 forbids")
	}
}

// TestRedirectIsNotOpen proves that the Host of a request does not decide where visitors are sent.
func TestRedirectIsNotOpen(t *testing.T) {
	t.Parallel()
	s := front(t, func(o *Options) { o.HTTPSPort = 8443 })
	r := get(s.plain.Handler, outside, "http://evil.example/a%2Fb?q=1")
	if got := r.Header.Get("Location"); got != "https://mail.example.com:8443/a%2Fb" {
		t.Errorf("redirected to %q", got)
	}
}

func TestReadyzTellsWhyNot(t *testing.T) {
	t.Parallel()
	s := front(t, func(o *Options) { o.Ready = func() error { return errors.New("storage is full") } })
	r := get(s.plain.Handler, outside, "/readyz")
	if got := body(t, r); r.StatusCode != 503 || got != "storage is full\n" {
		t.Errorf("%d %q", r.StatusCode, got)
	}
	if r := get(s.plain.Handler, outside, "/healthz"); r.StatusCode != 200 {
		t.Errorf("a process that is alive says %d", r.StatusCode)
	}
}

func TestChallengeComesBeforeTheRedirect(t *testing.T) {
	t.Parallel()
	s := front(t, func(o *Options) {
		o.Challenge = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/.well-known/acme-challenge/") {
					io.WriteString(w, "token")
					return
				}
				next.ServeHTTP(w, r)
			})
		}
	})
	if r := get(s.plain.Handler, outside, "/.well-known/acme-challenge/x"); body(t, r) != "token" {
		t.Errorf("challenge answered with %d", r.StatusCode)
	}
}

// TestOverTheWire runs all three fronts on real listeners, HTTP/2 included, and shuts them down.
func TestOverTheWire(t *testing.T) {
	t.Parallel()
	like := httptest.NewUnstartedServer(nil)
	like.StartTLS()
	defer like.Close()
	s := front(t, func(o *Options) { o.TLS = &tls.Config{Certificates: like.TLS.Certificates} })
	ended := make(chan error, 3)
	addrs := map[string]string{}
	for name, serve := range map[string]func(net.Listener) error{
		"http": s.Serve, "https": s.ServeTLS, "metrics": s.ServeMetrics,
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs[name] = l.Addr().String()
		go func() { ended <- serve(l) }()
	}
	roots := x509.NewCertPool()
	roots.AddCert(like.Certificate())
	client := &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots},
	}}
	defer client.CloseIdleConnections()
	for _, url := range []string{"http://" + addrs["http"] + "/", "https://" + addrs["https"] + "/",
		"http://" + addrs["metrics"] + "/metrics"} {
		r, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		body(t, r)
		r.Body.Close()
		if r.StatusCode != 200 || strings.HasPrefix(url, "https") && r.ProtoMajor != 2 {
			t.Errorf("%s: %s %s", url, r.Proto, r.Status)
		}
	}
	client.CloseIdleConnections()
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	for range 3 {
		if err := <-ended; err != nil {
			t.Errorf("a front ended with %v", err)
		}
	}
}
