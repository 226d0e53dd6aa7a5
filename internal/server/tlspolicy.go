package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"tram/internal/config"
	"tram/internal/dns"
	"tram/internal/tlspolicy"
)

// openPolicies makes the room that finds out how other domains want to be spoken to. Where there is
// nobody to ask for names, everything goes to a smarthost or waits: there is nothing to find out.
func (s *Server) openPolicies(context.Context) error {
	c := s.o.Config
	if s.resolver() == nil || !c.TLSPolicy.MTASTS && !c.TLSPolicy.DANE {
		return nil
	}
	s.policies = tlspolicy.New(tlspolicy.Options{
		DB: s.DB, Resolver: s.resolver(), Dialer: s.dialer(), Clock: s.o.Clock,
		Logger: s.o.Logger.With("room", "tlspolicy"), Limits: c.Limits.TLSPolicy, Reporter: s.tlsReports(),
		NoSTS: !c.TLSPolicy.MTASTS, NoDANE: !c.TLSPolicy.DANE, AllowPrivate: s.o.AllowPrivate,
		Roots: s.o.Roots,
	})
	return nil
}

// clientTLS is the configuration of outgoing connections.
func (s *Server) clientTLS() *tls.Config { return &tls.Config{RootCAs: s.o.Roots} }

// tlsReports is who hears of TLS with other servers, nil for nobody.
func (s *Server) tlsReports() tlspolicy.Reporter {
	if s.Reports == nil {
		return nil
	}
	return s.Reports
}

// OwnPolicy returns the MTA-STS policy that is served for a domain, false for none.
func (s *Server) OwnPolicy(domain string) (tlspolicy.OwnPolicy, bool) {
	c := s.o.Config
	if c.TLSPolicy.Publish == config.PublishOff || c.TLSPolicy.Publish == "" || !s.Directory.IsLocal(domain) {
		return tlspolicy.OwnPolicy{}, false
	}
	p := tlspolicy.OwnPolicy{Mode: tlspolicy.Mode(c.TLSPolicy.Publish), MX: c.TLSPolicy.MX,
		MaxAge: time.Duration(c.TLSPolicy.MaxAge) * time.Second}
	if len(p.MX) == 0 {
		p.MX = []string{c.Hostname}
	}
	return p, true
}

// ownPolicyText is what the web front serves.
func (s *Server) ownPolicyText(domain string) string {
	p, ok := s.OwnPolicy(domain)
	if !ok {
		return ""
	}
	return p.Text()
}

// policyJobs are the chores of TLS between servers.
var policyJobs = []job{
	{"policies of other domains", 10 * time.Minute, time.Hour, func(s *Server, ctx context.Context) error {
		if s.policies == nil {
			return nil
		}
		return s.policies.Refresh(ctx)
	}},
	{"certificates of policy hosts", 30 * time.Second, 10 * time.Minute, (*Server).certifyPolicyHosts},
	{"keys of certificates", 20 * time.Minute, 6 * time.Hour, func(s *Server, ctx context.Context) error {
		after := time.Duration(s.o.Config.TLSPolicy.NewKeyAfter) * 24 * time.Hour
		return s.Certs.RollKeys(ctx, after, s.resolver())
	}},
}

// certifyPolicyHosts sees to certificates for the hosts of our domains that others look for by name, where
// the DNS leads them to this server: others could not be proved to the authority. They are the policy host
// (RFC 8461 §3.3) and those that mail programs ask for their settings, Outlook over TLS alone. One that
// had a certificate keeps it while the DNS fails.
func (s *Server) certifyPolicyHosts(ctx context.Context) error {
	c, r := s.o.Config, s.resolver()
	if r == nil || c.Certs.Source != config.CertsACME {
		return nil
	}
	own, _, err := r.Addrs(ctx, c.Hostname)
	if err != nil {
		return fmt.Errorf("look up %s: %w", c.Hostname, err)
	}
	domains, err := s.Directory.Domains(ctx)
	if err != nil {
		return err
	}
	var hosts []string
	for _, d := range domains {
		wanted := []string{"autoconfig." + d.Name, "autodiscover." + d.Name}
		if c.TLSPolicy.Publish != config.PublishOff {
			wanted = append(wanted, tlspolicy.PolicyHost(d.Name))
		}
		for _, host := range wanted {
			if leadsTo(ctx, r, host, own, slices.Contains(s.policyHosts, host)) {
				hosts = append(hosts, host)
			}
		}
	}
	s.policyHosts = hosts
	return s.Certs.Also(ctx, hosts)
}

// leadsTo reports whether a host has one of the addresses; was is the answer while the DNS fails.
func leadsTo(ctx context.Context, r dns.Resolver, host string, own []netip.Addr, was bool) bool {
	addrs, _, err := r.Addrs(ctx, host)
	if errors.Is(err, dns.ErrTemporary) {
		return was
	}
	return slices.ContainsFunc(addrs, func(a netip.Addr) bool { return slices.Contains(own, a) })
}
