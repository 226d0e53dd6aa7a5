package queue

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"tram/internal/dns"
	"tram/internal/message"
	"tram/internal/smtp"
	"tram/internal/tlspolicy"
)

// How securely a host must be spoken to is decided here, before it is dialled: by what its domain asks
// (tlspolicy), by the configuration for a smarthost, and by nothing for messages whose sender wants
// them to arrive at any price (RFC 8689 §3). What a policy forbids is never made up for by going on in
// the clear: the host is passed over, and the mail waits.

// optional is what the destinations of messages end with whose senders asked for policies to be
// ignored. Such mail has sessions, failures and connections of its own, so that other mail never goes
// over a connection that proves less than it should, and none waits for the other.
const optional = ";tls=optional"

// domainOf returns the domain of a destination, and whether its policies are to be ignored.
func domainOf(dest string) (domain string, lax bool) { return strings.CutSuffix(dest, optional) }

// tlsOptional reports whether a header has the field "TLS-Required: No", RFC 8689 §3. There must not be
// more than one, and nothing else may stand in it.
func tlsOptional(header []byte) bool {
	n, no := 0, false
	for f := range message.Header(header) {
		if f.Is("TLS-Required") {
			n++
			no = strings.EqualFold(f.Value(), "No")
		}
	}
	return n == 1 && no
}

// policyFailure is the error of a host that does not do what its domain's policy asks.
type policyFailure struct {
	policy tlspolicy.Policy
	err    error
}

func short(p tlspolicy.Policy, err error) error {
	metricShort.WithLabelValues(string(p.Type)).Inc()
	return &policyFailure{p, err}
}

// Error says in words what was asked, where that comes from, and what was found.
func (f *policyFailure) Error() string {
	return fmt.Sprintf("no mail is sent here for now: %v (%s)", f.err, f.policy.Why())
}

// Unwrap returns the cause.
func (f *policyFailure) Unwrap() error { return f.err }

// police notes in a route what its domain asks of all its hosts. authentic: DNSSEC vouches for them.
func (q *Queue) police(ctx context.Context, r *route, domain string, authentic bool) (*route, error) {
	if q.o.Policies == nil || r.lax {
		return r, nil
	}
	sts, err := q.o.Policies.STS(ctx, domain)
	if err != nil {
		return nil, err
	}
	r.policed = true
	r.domain = tlspolicy.Domain{Name: domain, Authentic: authentic, STS: sts}
	return r, nil
}

// outdated reports whether a connection that waited was made under a policy that has changed since.
func (s *session) outdated(ctx context.Context) bool {
	if s.way == nil || !s.way.policed {
		return false
	}
	sts, err := s.q.o.Policies.STS(ctx, s.way.domain.Name)
	return err != nil || !sts.Same(s.way.domain.STS)
}

// policyOf finds out how a host must be spoken to. The error is that it must not be used.
func (s *session) policyOf(ctx context.Context, h host, res dns.Result) (tlspolicy.Policy, error) {
	if !s.way.policed {
		return tlspolicy.Policy{}, nil
	}
	p, err := s.q.o.Policies.Policy(ctx, s.way.domain, tlspolicy.Host{Name: h.name, Result: res})
	var unknown *tlspolicy.Unknown
	if errors.As(err, &unknown) {
		a := attempt{host: h, policy: unknown.Policy}
		s.report(&a, nil, unknown.Result, err)
		return p, short(p, err)
	}
	if err == nil && p.Refused != "" && !p.Testing {
		err = fmt.Errorf("the policy does not name the exchanger %s", h.name)
		s.report(&attempt{host: h, policy: p}, nil, p.Refused, err)
		return p, short(p, err)
	}
	return p, err
}

// attempt is one connection as it is to be made.
type attempt struct {
	host   host
	mode   TLSMode
	policy tlspolicy.Policy
	quiet  bool     // it is the second half of one that was reported
	wrong  error    // what the policy has against the certificate
	addr   string   // "address:port" that is dialled
	local  net.Addr // our end of the connection
}

// enforced reports whether the host's policy is one that forbids to go on without.
func (a *attempt) enforced() bool {
	return a.policy.Level > tlspolicy.Opportunistic && !a.policy.Testing
}

// tls returns the configuration for an attempt. Without a policy any certificate will do: RFC 7435,
// some protection beats none, and the name came from a DNS nobody vouched for anyhow. With one, it is
// the policy that judges.
func (s *session) tls(a *attempt) *tls.Config {
	q := s.q
	if s.way.smart != nil {
		return q.tlsFor(a.host, a.mode == TLSRequired || a.mode == TLSImplicit)
	}
	cfg := q.tlsFor(a.host, false)
	if a.policy.Level < tlspolicy.Verified {
		return cfg
	}
	cfg.ServerName = a.policy.ServerName()
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		a.wrong = a.policy.Verify(state, q.tls.RootCAs, q.o.Clock.Now())
		if a.policy.Testing {
			return nil
		}
		return a.wrong
	}
	return cfg
}

// report tells of an attempt that came as far as TLS, once: RFC 8460 §4.3. c is nil where there was no
// connection.
func (s *session) report(a *attempt, c *smtp.Client, result tlspolicy.ResultType, why error) {
	if s.q.o.TLSReports == nil || !s.way.policed || a.quiet {
		return
	}
	e := a.policy.Event()
	e.Time, e.Domain, e.MX, e.Result = s.q.o.Clock.Now(), s.way.domain.Name, a.host.name, result
	e.SendingIP, e.ReceivingIP = addrOf(a.local), ipOf(a.addr)
	if c != nil {
		e.ReceivingHELO = c.Name()
	}
	if why != nil {
		e.Code = clip(why.Error(), maxReplyText)
	}
	s.q.o.TLSReports.Result(e)
}

func addrOf(a net.Addr) netip.Addr {
	if a == nil {
		return netip.Addr{}
	}
	return ipOf(a.String())
}

// ipOf returns the address of "address:port", not valid when there is none.
func ipOf(s string) netip.Addr {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// outcome is what a connection that goes on came to: a policy in testing may have something against
// it, and records that cannot be used are worth telling of.
func (a *attempt) outcome() (tlspolicy.ResultType, error) {
	switch {
	case a.wrong != nil:
		return tlspolicy.HandshakeResult(a.wrong), a.wrong
	case a.policy.Refused != "":
		return a.policy.Refused, fmt.Errorf("the policy does not name the exchanger %s", a.host.name)
	case a.policy.Unusable:
		return tlspolicy.TLSAInvalid, errors.New("none of the TLSA records can be used for mail")
	}
	return tlspolicy.Success, nil
}

// proves reports whether a connection's certificate proves the host's name, whether that was asked for
// or not: it lets mail that requires TLS use the connection (RFC 8689 §4.2.1: by RFC 6125 or RFC 7672).
func (q *Queue) proves(c *smtp.Client, a *attempt) bool {
	state := c.TLS()
	if state == nil || len(state.PeerCertificates) == 0 {
		return false
	}
	if a.policy.Type == tlspolicy.TypeTLSA && a.policy.Level == tlspolicy.Verified {
		return true // it would not be there otherwise
	}
	o := x509.VerifyOptions{DNSName: q.tlsFor(a.host, true).ServerName, Roots: q.tls.RootCAs,
		Intermediates: x509.NewCertPool(), CurrentTime: q.o.Clock.Now()}
	for _, cert := range state.PeerCertificates[1:] {
		o.Intermediates.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(o)
	return err == nil
}

// vouched reports whether the host's name is worth checking a certificate against: it comes from the
// configuration, the address itself, DNSSEC, or an MTA-STS policy that names it (RFC 8689 §4.2.1).
func (s *session) vouched() bool {
	return s.way.secure || s.way.policed && s.way.domain.STS != nil &&
		s.way.domain.STS.Matches(s.host.name)
}

// secrecy tells how the session's connection is secured, for the trail of a message.
func (s *session) secrecy() string {
	state := s.c.TLS()
	if state == nil {
		return "in the clear"
	}
	text := tls.VersionName(state.Version)
	switch {
	case s.policy.Level == tlspolicy.Verified && !s.policy.Testing && s.policy.Type == tlspolicy.TypeTLSA:
		return text + ", verified by DANE"
	case s.policy.Level == tlspolicy.Verified && !s.policy.Testing:
		return text + ", verified by MTA-STS"
	case s.verified:
		return text + ", verified"
	}
	return text
}
