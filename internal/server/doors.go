package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"tram/internal/certs"
	"tram/internal/config"
	"tram/internal/conn"
	"tram/internal/dns"
	"tram/internal/httpd"
	"tram/internal/imapd"
	"tram/internal/limits"
	"tram/internal/metrics"
	"tram/internal/popd"
	"tram/internal/smtpd"
)

// line is what serves one door of a line protocol.
type line struct {
	name string
	*conn.Server
}

// certOptions say which certificates the doors show.
func (s *Server) certOptions() (certs.Options, error) {
	c := s.o.Config
	names := append([]string{c.Hostname}, c.Certs.Names...)
	o := certs.Options{Default: c.Hostname, Clock: s.o.Clock, Logger: s.o.Logger.With("room", "certs")}
	for _, f := range c.Certs.Files {
		o.Files = append(o.Files, certs.Pair(f))
	}
	switch c.Certs.Source {
	case config.CertsSelfMade:
		o.SelfMade = &certs.SelfMade{Dir: s.folder.join(caName), Names: names}
	case config.CertsACME:
		roots, err := rootsOf(c.Certs.ACME.Roots)
		if err != nil {
			return o, err
		}
		o.ACME = &certs.ACME{DB: s.DB, Names: names, Email: c.Certs.ACME.Email,
			Directory: c.Certs.ACME.Directory, Roots: roots,
			HTTPPort: s.port("http"), TLSPort: s.port("https"),
			NoHTTP: s.Addr("http") == nil, NoTLSALPN: s.Addr("https") == nil}
	}
	return o, nil
}

// rootsOf reads certificates that are trusted beside none other; nil for "".
func rootsOf(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read certificates.acme.roots: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s (certificates.acme.roots) holds no PEM certificate", path)
	}
	return pool, nil
}

// hang puts each door's server behind its listener.
func (s *Server) hang(context.Context) error {
	if s.o.Offline {
		return nil
	}
	c := s.o.Config
	s.shared = conn.NewShared(conn.SharedOptions{Clock: s.o.Clock})
	sessions := conn.NewSessions(s.connLimits())
	imap := imapd.New(imapd.Options{
		Store: s.Store, Directory: s.Directory, Limits: c.Limits.IMAP, Sessions: sessions,
		Clock: s.o.Clock, Logger: s.o.Logger.With("room", "imapd"), Version: s.o.Version,
	})
	pop3 := popd.New(popd.Options{
		Store: s.Store, Directory: s.Directory, Limits: c.Limits.POP3, Sessions: sessions,
		Clock: s.o.Clock, Logger: s.o.Logger.With("room", "popd"),
	})
	for _, d := range s.doors {
		if s.line(d.name) != nil {
			continue // one server for all listeners of a door
		}
		o := conn.Options{
			Name: d.name, Limits: s.connLimits(), ProxyNetworks: c.Proxy.Networks,
			Logger: s.o.Logger.With("door", d.name), Clock: s.o.Clock, Shared: s.shared,
		}
		switch d.name {
		case "smtp", "submission", "submissions", "lmtp":
			s.smtpDoor(d.name, &o)
		case "imap", "imaps":
			o.TLS, o.Implicit = s.Certs.TLSConfig(certs.IMAP), d.name == "imaps"
			o.Limits.Total = c.Limits.IMAP.Connections
			o.Handler, o.Refuse, o.WriteStall = imap.Handle, imapd.Refuse, c.Limits.IMAP.WriteStall
		case "pop3", "pop3s":
			o.Limits.Total = c.Limits.POP3.Connections
			o.TLS, o.Implicit = s.Certs.TLSConfig(certs.POP3), d.name == "pop3s"
			o.Handler, o.Refuse, o.WriteStall = pop3.Handle, popd.Refuse, c.Limits.POP3.WriteStall
		default:
			continue // the HTTP front's
		}
		s.lines = append(s.lines, line{d.name, conn.New(o)})
	}
	s.hangHTTP()
	return nil
}

// smtpDoor serves SMTP in the mode of the door. Port 25 shows its certificate to whatever name it is
// asked for; the doors for people are strict. LMTP is for programs of this machine: no TLS, and no
// limits per address where there is none.
func (s *Server) smtpDoor(name string, o *conn.Options) {
	mode := smtpd.Submission
	var resolver dns.Resolver // who logs in has a better name than his address's
	switch name {
	case "smtp":
		mode, resolver = smtpd.MX, s.resolver()
		o.TLS = s.Certs.TLSConfig(certs.SMTP)
	case "lmtp":
		mode = smtpd.LMTP
		o.ProxyNetworks = nil
		o.Limits.PerIP, o.Limits.NewPerMinute = 0, 0
	default:
		o.TLS, o.Implicit = s.Certs.TLSConfig(certs.Submission), name == "submissions"
	}
	srv := smtpd.New(smtpd.Options{
		Mode: mode, Hostname: s.o.Config.Hostname, Directory: s.Directory,
		Deliver: s.Deliver, Queue: s.Queue, Limits: s.o.Config.Limits, Clock: s.o.Clock,
		Logger: s.o.Logger.With("room", "smtpd"), Trace: s.Trace, Measure: s.o.Measure,
		Resolver: resolver, Judge: s.Spam,
	})
	o.Handler, o.Refuse = srv.Handle, srv.Refuse
}

// line returns the server of a line protocol's door, nil when there is none.
func (s *Server) line(name string) *conn.Server {
	for _, l := range s.lines {
		if l.name == name {
			return l.Server
		}
	}
	return nil
}

// connLimits are the limits of connections; --measure lifts those per address, of the network and
// of a person.
func (s *Server) connLimits() limits.Conn {
	l := s.o.Config.Limits.Conn
	if s.o.Measure {
		l.PerIP, l.PerUser, l.PerUserIP, l.NewPerMinute = 0, 0, 0, 0
	}
	return l
}

// queueLimits are the limits of what leaves; --measure lifts those per sender's address.
func (s *Server) queueLimits() limits.Queue {
	l := s.o.Config.Limits.Queue
	if s.o.Measure {
		l.PerDay, l.NewPerDay, l.Burst = 0, 0, 0
	}
	return l
}

func (s *Server) hangHTTP() {
	c := s.o.Config
	o := httpd.Options{
		Hostname: c.Hostname, Version: s.o.Version, Limits: c.Limits.HTTP,
		Logger: s.o.Logger.With("room", "httpd"), TLS: s.Certs.TLSConfig(certs.HTTPS),
		Challenge: s.Certs.HTTPHandler, Ready: s.Problem, Metrics: metrics.Handler(),
		HTTPSPort: s.port("https"), IsLocal: s.Directory.IsLocal, STSPolicy: s.ownPolicyText,
	}
	for _, d := range []struct{ door, name, security string }{
		{"imaps", "IMAP", "TLS"}, {"imap", "IMAP", "STARTTLS"},
		{"pop3s", "POP3", "TLS"}, {"pop3", "POP3", "STARTTLS"},
		{"submissions", "SMTP", "TLS"}, {"submission", "SMTP", "STARTTLS"},
	} {
		if port := s.port(d.door); port != 0 {
			o.Doors = append(o.Doors, httpd.Door{Name: d.name, Port: port, Security: d.security})
		}
	}
	s.http = httpd.New(o)
}

// server returns what accepts at a door until the drain.
func (s *Server) server(d door) func() error {
	switch d.name {
	case "http":
		return func() error { return s.http.Serve(d.Listener) }
	case "https":
		return func() error { return s.http.ServeTLS(d.Listener) }
	case "metrics":
		return func() error { return s.http.ServeMetrics(d.Listener) }
	}
	if l := s.line(d.name); l != nil {
		return func() error { return l.Serve(d.Listener) }
	}
	return func() error { return errors.New("no server for this door") }
}
