// Package httpd answers "what does this host say over HTTP?": the front on ports 80 and 443 with the
// start page, health checks, metrics and the proof of the host name to a certification authority.
//
// Every answer carries the security headers, and every connection is bounded by limits.HTTP. What
// must never happen: metrics shown to the outside, a page that runs a script of somebody else, a
// secret asked for in the clear.
package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"tram/internal/limits"
	"tram/internal/metrics"
	"tram/internal/tlspolicy"
)

// Options configures a Server. Hostname and Limits are required.
type Options struct {
	Hostname string
	Version  string
	Limits   limits.HTTP
	Logger   *slog.Logger
	// TLS is shown by ServeTLS.
	TLS *tls.Config
	// Challenge wraps the plain front, to answer ACME's HTTP-01; nil: there is none.
	Challenge func(http.Handler) http.Handler
	// Ready returns nil while the house takes mail, else why not. nil: always ready.
	Ready func() error
	// Metrics serves /metrics; nil: there is none.
	Metrics http.Handler
	// STSPolicy returns the MTA-STS policy of a domain of this house, "" for none. nil: none has one.
	STSPolicy func(domain string) string
	// HTTPSPort is where the plain front sends visitors; 0: it shows the page itself.
	HTTPSPort int
	// Doors are shown on the start page, and to mail programs that ask for them.
	Doors []Door
	// IsLocal reports whether a domain's mail is here; nil: mail programs are told nothing.
	IsLocal func(domain string) bool
}

// Door is one line of the start page's table: what people enter into their mail programs.
type Door struct {
	Name     string // "IMAP"
	Port     int
	Security string // "TLS", "STARTTLS"
}

// Server is the HTTP front.
type Server struct {
	o       Options
	plain   *http.Server
	secure  *http.Server
	metrics *http.Server
}

var requests = metrics.CounterVec("http_requests_total", "HTTP requests answered.", "front", "code")

// New returns a Server.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o}
	plain := s.redirect(s.mux())
	if o.Challenge != nil {
		plain = o.Challenge(plain)
	}
	s.plain = s.server("http", plain)
	s.secure = s.server("https", s.mux())
	s.secure.TLSConfig = o.TLS
	only := http.NewServeMux()
	if o.Metrics != nil {
		only.Handle("GET /metrics", o.Metrics)
	}
	s.metrics = s.server("metrics", only)
	return s
}

// server applies what limits.HTTP and the security headers ask of each front.
func (s *Server) server(front string, h http.Handler) *http.Server {
	l := s.o.Limits
	return &http.Server{
		Handler:           count(front, headers(http.MaxBytesHandler(h, l.Body), front == "https")),
		ReadHeaderTimeout: l.ReadHeader, ReadTimeout: l.Read, WriteTimeout: l.Write,
		IdleTimeout: l.Idle, MaxHeaderBytes: l.Header,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: 100},
		ErrorLog: slog.NewLogLogger(s.o.Logger.Handler(), slog.LevelDebug),
	}
}

// Serve answers plain HTTP on l until Shutdown.
func (s *Server) Serve(l net.Listener) error { return ended(s.plain.Serve(l)) }

// ServeTLS answers HTTPS on l until Shutdown.
func (s *Server) ServeTLS(l net.Listener) error { return ended(s.secure.ServeTLS(l, "", "")) }

// ServeMetrics answers /metrics alone, to whoever can reach l, until Shutdown.
func (s *Server) ServeMetrics(l net.Listener) error { return ended(s.metrics.Serve(l)) }

func ended(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown lets running requests finish until ctx is done, then closes what is left.
func (s *Server) Shutdown(ctx context.Context) error {
	var wait sync.WaitGroup
	errs := make([]error, 3)
	for i, srv := range []*http.Server{s.plain, s.secure, s.metrics} {
		wait.Go(func() {
			if err := srv.Shutdown(ctx); err != nil {
				errs[i] = srv.Close()
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (s *Server) mux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { text(w, 200, "ok") })
	mux.HandleFunc("GET /readyz", s.readyz)
	if s.o.Metrics != nil {
		mux.Handle("GET /metrics", insiders(s.o.Metrics))
	}
	if s.o.STSPolicy != nil {
		mux.HandleFunc("GET "+tlspolicy.PolicyPath, s.mtaSTS)
	}
	s.pages(mux)
	s.finders(mux)
	return mux
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if s.o.Ready != nil {
		if err := s.o.Ready(); err != nil {
			text(w, http.StatusServiceUnavailable, err.Error())
			return
		}
	}
	text(w, http.StatusOK, "ready")
}

func text(w http.ResponseWriter, code int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	w.Write([]byte(line + "\n"))
}

// insiders serves h to this machine alone. A request that a proxy on this machine passed on comes
// from elsewhere, whatever its address says.
func insiders(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !local(r) {
			text(w, http.StatusForbidden, "forbidden")
			return
		}
		h.ServeHTTP(w, r)
	})
}

func local(r *http.Request) bool {
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "Via", "X-Real-Ip"} {
		if r.Header.Get(h) != "" {
			return false
		}
	}
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// redirect sends visitors of the plain front to the secure one; this machine's own, and health
// checks, are served as they are.
func (s *Server) redirect(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		check := r.URL.Path == "/healthz" || r.URL.Path == "/readyz"
		if s.o.HTTPSPort == 0 || check || local(r) {
			h.ServeHTTP(w, r)
			return
		}
		// The host is ours, not the request's: a redirect must not lead where a stranger says.
		host := s.o.Hostname
		if s.o.HTTPSPort != 443 {
			host = net.JoinHostPort(host, strconv.Itoa(s.o.HTTPSPort))
		}
		http.Redirect(w, r, "https://"+host+r.URL.EscapedPath()+secureQuery(r), http.StatusMovedPermanently)
	})
}

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; " +
	"font-src 'self'; connect-src 'self'; frame-src 'self'; worker-src 'self'; manifest-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; " +
	"trusted-types app dompurify"

// headers adds the security headers to every answer, errors included.
func headers(next http.Handler, secure bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), interest-cohort=()")
		if secure {
			h.Set("Strict-Transport-Security", "max-age=63072000; includeSubDomains")
		}
		next.ServeHTTP(w, r)
	})
}

// count keeps the metric and, at debug level, one line a request.
func count(front string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(rec, r)
		requests.WithLabelValues(front, strconv.Itoa(rec.code/100)+"xx").Inc()
	})
}

// recorder remembers the status code.
type recorder struct {
	http.ResponseWriter
	code int
}

func (r *recorder) WriteHeader(code int) {
	r.code = code
	r.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController reach the real writer.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// vietnamese reports whether the visitor prefers Vietnamese to English.
func vietnamese(accept string) bool {
	for _, tag := range strings.Split(accept, ",") {
		switch lang, _, _ := strings.Cut(strings.TrimSpace(strings.ToLower(tag)), "-"); {
		case strings.HasPrefix(lang, "vi"):
			return true
		case strings.HasPrefix(lang, "en"):
			return false
		}
	}
	return false
}

// pageAge is how long a browser may keep the start page's files.
const pageAge = time.Hour
