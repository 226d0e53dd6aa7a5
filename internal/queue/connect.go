package queue

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"tram/internal/dns"
	"tram/internal/smtp"
)

// failures gathers why the hosts of a way did not do.
type failures struct {
	hosts []string
	first error // that waiting may mend
	host  string
	last  error
}

func (f *failures) add(h host, err error) {
	f.hosts = append(f.hosts, h.name)
	f.last = err
	hopeless := errors.Is(err, errSelf) || errors.Is(err, errPrivate) ||
		errors.Is(err, dns.ErrNoDomain) || errors.Is(err, dns.ErrNoRecord)
	if !hopeless && f.first == nil {
		f.first, f.host = err, h.name
	}
}

// verdict returns a destFailure if any host may do later, else why none ever will.
func (f *failures) verdict(dest string) error {
	var p permanent
	switch {
	case errors.As(f.first, &p):
		return p
	case f.first != nil:
		return &destFailure{err: f.first, host: f.host}
	case errors.Is(f.last, errSelf):
		return loops(dest)
	case errors.Is(f.last, errPrivate):
		return never5(550, smtp.Enhanced{5, 4, 4}, "No public address leads to "+dest)
	}
	return never5(550, smtp.Enhanced{5, 4, 4},
		"No address leads to "+dest+" ("+strings.Join(f.hosts, ", ")+")")
}

// tryHost connects to one host, at the first of its addresses that answers.
func (s *session) tryHost(ctx context.Context, h host) error {
	targets, err := s.q.targets(ctx, h)
	if err != nil {
		return err
	}
	for _, addr := range targets {
		s.dials++
		err = s.tryAddr(ctx, h, addr)
		if err == nil || ctx.Err() != nil || s.dials == maxDials {
			break
		}
	}
	outcome := "ok"
	if err != nil {
		outcome = "failed"
	}
	metricConnections.WithLabelValues(outcome).Inc()
	if err != nil {
		return err
	}
	s.q.greeted(s)
	return nil
}

// tryAddr connects, secures and authenticates. If opportunistic TLS does not work out, it connects
// again in the clear, and remembers that for the host.
func (s *session) tryAddr(ctx context.Context, h host, addr string) error {
	mode := TLSOpportunistic
	if s.way.smart != nil {
		mode = s.way.smart.TLS
	}
	if mode == TLSOpportunistic && s.q.speaksClear(s.d, h.name) {
		mode = TLSNone
	}
	c, err := s.dial(ctx, h, addr, mode)
	if mode == TLSOpportunistic && errors.Is(err, smtp.ErrHandshake) && ctx.Err() == nil {
		s.q.log.Warn("TLS failed, going on in the clear", "host", h.name, "error", err)
		metricClear.Inc()
		s.q.speakClear(s.d, h.name)
		c, err = s.dial(ctx, h, addr, TLSNone)
	}
	if err != nil {
		return err
	}
	s.c, s.host, s.addr, s.used = c, h, addr, 0
	s.q.mu.Lock()
	s.d.conns++
	s.q.mu.Unlock()
	s.beside = 0
	s.verified = s.q.proves(c, h)
	return nil
}

// dial opens one connection, up to the point where mail can be sent.
func (s *session) dial(ctx context.Context, h host, addr string, mode TLSMode) (*smtp.Client, error) {
	o := smtp.ClientOptions{Hostname: s.q.o.Hostname, Limits: s.q.o.Client}
	if mode == TLSImplicit {
		o.TLS = s.q.tlsFor(h, true)
	}
	s.touch(s.q.o.Clock.Now())
	c, err := smtp.Dial(ctx, watched{s}, addr, o)
	if err != nil {
		return nil, err
	}
	if err = s.prepare(ctx, c, h, mode); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// prepare goes through what comes between the greeting and the first mail.
func (s *session) prepare(ctx context.Context, c *smtp.Client, h host, mode TLSMode) error {
	if strings.EqualFold(c.Name(), s.q.o.Hostname) && s.q.o.Hostname != "localhost" {
		return loops(s.d.name)
	}
	offered := c.Extensions().StartTLS
	switch {
	case mode == TLSRequired && !offered:
		return errors.New("server does not offer STARTTLS")
	case mode == TLSRequired || mode == TLSOpportunistic && offered:
		err := c.StartTLS(ctx, s.q.tlsFor(h, mode == TLSRequired))
		declined := errors.As(err, new(smtp.Reply)) && c.Err() == nil
		if err != nil && (mode == TLSRequired || !declined) {
			return err
		}
	}
	if smart := s.way.smart; smart != nil && smart.User != "" {
		err := c.Auth(ctx, smtp.Credentials{User: smart.User, Password: smart.Password,
			AllowClear: mode == TLSNone && smart.TLS == TLSNone})
		if err != nil {
			return fmt.Errorf("log in to the smarthost: %w", err)
		}
	}
	return nil
}

// tlsFor returns the configuration for a host. Without verify any certificate will do: RFC 7435,
// some protection beats none, and the name came from a DNS nobody vouched for anyhow.
func (q *Queue) tlsFor(h host, verify bool) *tls.Config {
	cfg := q.tls.Clone()
	cfg.ServerName = h.name
	if ip, ok := smtp.LiteralDomain(h.name); ok {
		cfg.ServerName = ip.String()
	}
	cfg.InsecureSkipVerify = !verify
	return cfg
}

// proves reports whether a connection's certificate proves the host's name (RFC 6125), whether
// that was asked for or not: it lets mail that requires TLS use the connection.
func (q *Queue) proves(c *smtp.Client, h host) bool {
	state := c.TLS()
	if state == nil || len(state.PeerCertificates) == 0 {
		return false
	}
	o := x509.VerifyOptions{DNSName: q.tlsFor(h, true).ServerName, Roots: q.tls.RootCAs,
		Intermediates: x509.NewCertPool(), CurrentTime: q.o.Clock.Now()}
	for _, cert := range state.PeerCertificates[1:] {
		o.Intermediates.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(o)
	return err == nil
}

// clearFor is how long a host whose TLS failed is spoken to in the clear at once.
const clearFor = time.Hour

func (q *Queue) speaksClear(d *destination, host string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return d.clear[host] > q.time.Now()
}

func (q *Queue) speakClear(d *destination, host string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d.clear == nil || len(d.clear) > 100 {
		d.clear = map[string]qtime{}
	}
	d.clear[host] = q.time.Now().add(clearFor)
}

// watched dials for a session, and notes when the other side is heard of.
type watched struct{ s *session }

// DialContext implements smtp.Dialer.
func (w watched) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := w.s.q.o.Dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &watchedConn{Conn: conn, s: w.s}, nil
}

// watchedConn notes each octet that comes or goes as a sign of life.
type watchedConn struct {
	net.Conn
	s *session
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.s.touch(c.s.q.o.Clock.Now())
	return n, err
}

func (c *watchedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.s.touch(c.s.q.o.Clock.Now())
	return n, err
}
