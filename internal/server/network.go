package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"tram/internal/admin/doctor"
	"tram/internal/admin/zone"
	"tram/internal/config"
	"tram/internal/directory"
	"tram/internal/dns"
	"tram/internal/mailauth"
	"tram/internal/mailauth/spf"
	"tram/internal/reports"
	"tram/internal/tlspolicy"
)

// network tells the administration how the Internet sees the house: it implements admin.Network.
type network struct{ s *Server }

// issuer is who Let's Encrypt's certificates come from, as CAA records name it.
const issuer = "letsencrypt.org"

// Server implements admin.Network.
func (n network) Server(ctx context.Context) (zone.Server, error) {
	c := n.s.o.Config
	addrs, err := publicAddrs(net.InterfaceAddrs)
	if err != nil {
		return zone.Server{}, err
	}
	s := zone.Server{Hostname: c.Hostname, Addrs: addrs, Closed: map[string]bool{}}
	if c.Certs.Source == config.CertsACME && c.Certs.ACME.Directory == "" {
		s.Issuer = issuer
	}
	open := map[string]bool{}
	for _, d := range c.Listen.Doors() {
		open[d.Name] = len(d.Addresses) > 0 || n.s.port(d.Name) != 0 // the latter: from systemd
	}
	for service, door := range map[string]string{
		"_submissions": "submissions", "_submission": "submission", "_imaps": "imaps", "_imap": "imap",
		"_pop3s": "pop3s", "_pop3": "pop3",
	} {
		s.Closed[service] = !open[door]
	}
	if n.s.Certs != nil {
		s.TLSA, err = n.s.Certs.TLSA(ctx, c.Hostname)
	}
	return s, err
}

// publicAddrs are the addresses of the machine that the Internet may reach.
func publicAddrs(list func() ([]net.Addr, error)) ([]netip.Addr, error) {
	found, err := list()
	if err != nil {
		return nil, fmt.Errorf("list the machine's addresses: %w", err)
	}
	var addrs []netip.Addr
	for _, f := range found {
		p, err := netip.ParsePrefix(f.String())
		if a := p.Addr(); err == nil && dns.Public(a) {
			addrs = append(addrs, a)
		}
	}
	return addrs, nil
}

// Means implements admin.Network.
func (n network) Means(context.Context) (doctor.Options, error) {
	c := n.s.o.Config
	resolver, _ := n.s.resolver().(doctor.Resolver) // nil where there is nobody to ask
	o := doctor.Options{
		DNS: resolver, Dialer: n.s.dialer(), Clock: n.s.o.Clock, Full: n.s.DB.Full(),
		Lists: c.Doctor.Lists, Probes: c.Doctor.Probes, Local: n.s.Directory.IsLocal,
	}
	if n.s.o.RemotePort != 0 {
		o.MailPort = uint16(n.s.o.RemotePort)
	}
	if a := n.s.Addr("smtp"); a != nil {
		o.Door = reachable(a)
	}
	d := n.s.DB.Stats()
	o.Free, o.Reserve = d.FreeBytes, d.ReserveBytes
	if n.s.Certs != nil {
		for _, s := range n.s.Certs.Status() {
			o.Certificates = append(o.Certificates, doctor.Certificate{
				Names: s.Names, NotAfter: s.NotAfter, Error: s.Error, SelfMade: s.Source == config.CertsSelfMade,
			})
		}
	}
	if spfResolver, ok := resolver.(spf.Resolver); ok {
		o.SPF = func(ctx context.Context, addr netip.Addr, helo, domain string) mailauth.SPF {
			return spf.Check(ctx, spfResolver, spf.Query{Addr: addr, HELO: helo, Domain: domain},
				spf.Options{Limits: c.Limits.MailAuth, Hostname: c.Hostname, Now: n.s.o.Clock.Now()})
		}
		o.Policy = n.readPolicy
	}
	if c.Doctor.TimeServer != "" {
		o.Time = func(ctx context.Context) (time.Duration, error) {
			return doctor.AskTime(ctx, n.s.dialer().DialContext, n.s.o.Clock, c.Doctor.TimeServer)
		}
	}
	return o, nil
}

// reachable is where a listener's address can be dialled on this machine.
func reachable(a net.Addr) string {
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	switch {
	case p.Addr().IsUnspecified() && p.Addr().Is4():
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), p.Port()).String()
	case p.Addr().IsUnspecified():
		return netip.AddrPortFrom(netip.IPv6Loopback(), p.Port()).String()
	}
	return p.String()
}

// Domain implements admin.Network.
func (n network) Domain(ctx context.Context, name string) (zone.Domain, error) {
	d := zone.Domain{Name: name, DMARCReports: reports.DMARCLocal, TLSReports: reports.TLSLocal}
	keys, err := n.s.Directory.SigningKeys(ctx, name)
	if err != nil {
		return d, err
	}
	for _, k := range keys {
		d.Keys = append(d.Keys, zone.Key{
			Selector: k.Selector, Record: k.Record, Idle: k.State != directory.KeyActive,
		})
	}
	if p, ok := n.s.OwnPolicy(name); ok {
		d.PolicyID = p.ID()
	}
	return d, nil
}

// readPolicy reads the MTA-STS policy of a domain of ours as senders do (RFC 8461 §3.3), and compares it
// with the one that is meant. It dials this machine, which senders' checks of addresses would not.
func (n network) readPolicy(ctx context.Context, domain string) error {
	want, ok := n.s.OwnPolicy(domain)
	if !ok {
		return errors.New("none is served")
	}
	client := http.Client{
		Transport: &http.Transport{
			DialContext: n.s.dialer().DialContext, TLSClientConfig: n.s.clientTLS(), DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("it redirects") },
	}
	url := "https://" + tlspolicy.PolicyHost(domain) + tlspolicy.PolicyPath
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	switch {
	case err != nil:
		return err
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answers %s", url, answer.Status)
	case string(text) != want.Text():
		return fmt.Errorf("%s serves another policy", url)
	}
	return nil
}
