package queue

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"tram/internal/dns"
	"tram/internal/smtp"
	"tram/internal/tlspolicy"
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
	targets, res, err := s.q.targets(ctx, h)
	if err != nil {
		return err
	}
	policy, err := s.policyOf(ctx, h, res)
	if err != nil {
		return err
	}
	for _, addr := range targets {
		s.dials++
		err = s.tryAddr(ctx, attempt{host: h, policy: policy, addr: addr})
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
// again in the clear, and remembers that for the host: never where a policy asks for more.
func (s *session) tryAddr(ctx context.Context, a attempt) error {
	h := a.host
	switch {
	case s.way.smart != nil:
		a.mode = s.way.smart.TLS
	case a.enforced():
		a.mode = TLSRequired
	}
	if a.mode == TLSOpportunistic && s.q.speaksClear(s.d, h.name) {
		a.mode = TLSNone
	}
	c, err := s.dial(ctx, &a)
	if a.mode == TLSOpportunistic && errors.Is(err, smtp.ErrHandshake) && ctx.Err() == nil {
		s.q.log.Warn("TLS failed, going on in the clear", "host", h.name, "error", err)
		metricClear.Inc()
		s.q.speakClear(s.d, h.name)
		a.mode, a.quiet = TLSNone, true
		c, err = s.dial(ctx, &a)
	}
	if err != nil {
		return err
	}
	s.c, s.host, s.addr, s.used, s.policy = c, h, a.addr, 0, a.policy
	s.q.mu.Lock()
	s.d.conns++
	s.q.mu.Unlock()
	s.beside = 0
	s.verified = s.q.proves(c, &a)
	return nil
}

// dial opens one connection, up to the point where mail can be sent.
func (s *session) dial(ctx context.Context, a *attempt) (*smtp.Client, error) {
	o := smtp.ClientOptions{Hostname: s.q.o.Hostname, Limits: s.q.o.Client}
	if a.mode == TLSImplicit {
		o.TLS = s.tls(a)
	}
	s.touch(s.q.o.Clock.Now())
	c, err := smtp.Dial(ctx, watched{s, a}, a.addr, o)
	if err != nil {
		return nil, err
	}
	if err = s.prepare(ctx, c, a); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// prepare goes through what comes between the greeting and the first mail.
func (s *session) prepare(ctx context.Context, c *smtp.Client, a *attempt) error {
	if strings.EqualFold(c.Name(), s.q.o.Hostname) && s.q.o.Hostname != "localhost" {
		domain, _ := domainOf(s.d.name)
		return loops(domain)
	}
	if err := s.secure(ctx, c, a); err != nil {
		if a.enforced() && ctx.Err() == nil {
			return short(a.policy, err)
		}
		return err
	}
	mode := a.mode
	if smart := s.way.smart; smart != nil && smart.User != "" {
		err := c.Auth(ctx, smtp.Credentials{User: smart.User, Password: smart.Password,
			AllowClear: mode == TLSNone && smart.TLS == TLSNone})
		if err != nil {
			return fmt.Errorf("log in to the smarthost: %w", err)
		}
	}
	return nil
}

// Why a connection is not secured.
var (
	errNoTLS  = errors.New("server does not offer STARTTLS")
	errFailed = errors.New("TLS has failed with this server lately, so it is spoken to in the clear")
)

// secure begins TLS where that is asked for or offered, and tells the report what came of it.
func (s *session) secure(ctx context.Context, c *smtp.Client, a *attempt) error {
	offered := c.Extensions().StartTLS
	switch {
	case a.mode == TLSNone:
		s.report(a, c, tlspolicy.ValidationFailure, errFailed)
		return nil
	case !offered && a.mode != TLSImplicit:
		s.report(a, c, tlspolicy.STARTTLSUnoffered, errNoTLS)
		if a.mode == TLSRequired {
			return errNoTLS
		}
		return nil
	case a.mode == TLSImplicit:
		return nil
	}
	err := c.StartTLS(ctx, s.tls(a))
	if err == nil {
		result, why := a.outcome()
		s.report(a, c, result, why)
		return nil
	}
	if ctx.Err() == nil {
		s.report(a, c, tlspolicy.HandshakeResult(err), err)
	}
	declined := errors.As(err, new(smtp.Reply)) && c.Err() == nil
	if declined && a.mode != TLSRequired {
		return nil
	}
	return err
}

// tlsFor returns the configuration for a host, with or without a check of its certificate.
func (q *Queue) tlsFor(h host, verify bool) *tls.Config {
	cfg := q.tls.Clone()
	cfg.ServerName = h.name
	if ip, ok := smtp.LiteralDomain(h.name); ok {
		cfg.ServerName = ip.String()
	}
	cfg.InsecureSkipVerify = !verify
	return cfg
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

// watched dials for a session, and notes the connection's end here and when the other side is heard of.
type watched struct {
	s *session
	a *attempt
}

// DialContext implements smtp.Dialer.
func (w watched) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := w.s.q.o.Dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	w.a.local = conn.LocalAddr()
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
