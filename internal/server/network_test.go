package server

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"tram/internal/admin"
	"tram/internal/admin/doctor"
	"tram/internal/admin/zone"
	"tram/internal/dns"
)

// TestNetwork: the records that a house tells people to publish are those that its doctor then finds
// in order.
func TestNetwork(t *testing.T) {
	t.Parallel()
	c := loopback(t)
	c.Doctor.TimeServer, c.Doctor.Probes = "", nil
	f := dns.NewFake("example.test. 300 IN NS ns.example.test.\nns.example.test. 300 IN A 192.0.2.53\n")
	r := start(t, Options{Config: c, Resolver: f, AllowPrivate: true})
	addAlice(t, r.Server)
	client := admin.NewClient(c.AdminSocket())
	defer client.Close()

	records, err := client.Records(t.Context(), "Example.TEST")
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range records {
		if !rec.Example {
			f.Add(rec.Name + " 300 IN " + rec.Type + " " + rec.Data)
		}
	}
	kinds := map[zone.Kind]int{}
	for _, rec := range records {
		kinds[rec.Kind]++
	}
	for kind, want := range map[zone.Kind]int{zone.MX: 1, zone.DKIM: 2, zone.DMARC: 1, zone.MTASTS: 1,
		zone.TLSA: 1, zone.CAA: 0, zone.SRV: 4} { // POP3 has no door here
		if kinds[kind] != want {
			t.Errorf("%d records for %s, want %d", kinds[kind], kind, want)
		}
	}
	lines, err := client.Examine(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	fine := map[string]bool{}
	for _, l := range lines {
		if l.Level == doctor.OK {
			fine[l.Check] = true
		}
	}
	for _, want := range []string{"mx", "dkim", "tls-rpt", "srv", "autoconfig", "autodiscover", "relay", "disk"} {
		if !fine[want] {
			t.Errorf("%s is not in order: %+v", want, lines)
		}
	}
	var fault *admin.Fault
	for _, name := range []string{"example.net", "", "not a domain"} {
		_, err := client.Records(t.Context(), name)
		if !errors.As(err, &fault) || fault.Kind == admin.KindInternal {
			t.Errorf("records of %q: %v", name, err)
		}
	}
	if _, err := client.Examine(t.Context(), "example.net"); !errors.As(err, &fault) || fault.Kind != admin.KindNotFound {
		t.Errorf("examination of a domain of others: %v", err)
	}
	r.end(t)
}

// TestPublicAddresses leaves out what the Internet does not reach.
func TestPublicAddresses(t *testing.T) {
	t.Parallel()
	list := func() ([]net.Addr, error) {
		var all []net.Addr
		for _, p := range []string{"127.0.0.1/8", "10.1.2.3/8", "198.51.100.7/24", "fe80::1/64", "2001:db8::7/64", "::1/128"} {
			ip, n, err := net.ParseCIDR(p)
			if err != nil {
				return nil, err
			}
			all = append(all, &net.IPNet{IP: ip, Mask: n.Mask})
		}
		return all, nil
	}
	got, err := publicAddrs(list)
	if err != nil || len(got) != 2 || got[0] != netip.MustParseAddr("198.51.100.7") ||
		got[1] != netip.MustParseAddr("2001:db8::7") {
		t.Errorf("%v, %v", got, err)
	}
	_, err = publicAddrs(func() ([]net.Addr, error) { return nil, errors.New("no netlink") })
	if err == nil || !strings.Contains(err.Error(), "no netlink") {
		t.Errorf("addresses that cannot be read: %v", err)
	}
}
