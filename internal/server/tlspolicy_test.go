package server

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"tram/internal/config"
	"tram/internal/dns"
	"tram/internal/kv/memkv"
	"tram/internal/tlspolicy"
)

// TestLeadsTo: a host gets a certificate when the DNS leads it here, and keeps it while the DNS fails.
func TestLeadsTo(t *testing.T) {
	t.Parallel()
	d := dns.NewFake("mail.test. IN A 192.0.2.1\nmail.test. IN AAAA 2001:db8::1\nalias.test. IN CNAME mail.test.\n" +
		"six.test. IN AAAA 2001:db8::1\nother.test. IN A 192.0.2.2\nbroken.test. IN A 192.0.2.1")
	d.Fail("broken.test", dns.ErrTemporary)
	own, _, err := d.Addrs(t.Context(), "mail.test")
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{"alias.test": true, "six.test": true, "other.test": false, "none.test": false} {
		for _, was := range []bool{false, true} {
			if got := leadsTo(t.Context(), d, host, own, was); got != want {
				t.Errorf("%s, before %v: %v", host, was, got)
			}
		}
	}
	for _, was := range []bool{false, true} {
		if got := leadsTo(t.Context(), d, "broken.test", own, was); got != was {
			t.Errorf("a DNS that fails, before %v: %v", was, got)
		}
	}
	if leadsTo(t.Context(), d, "mail.test", []netip.Addr{}, false) {
		t.Error("nothing leads to no address")
	}
}

// TestOwnPolicy: the policy that is served is what the configuration says, for our own domains alone.
func TestOwnPolicy(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Options{Config: loopback(t), DB: memkv.New(), Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Directory.AddDomain(t.Context(), "example.com"); err != nil {
		t.Fatal(err)
	}
	p, ok := s.OwnPolicy("example.com")
	if !ok || p.Mode != tlspolicy.ModeTesting || len(p.MX) != 1 || p.MX[0] != s.o.Config.Hostname ||
		p.MaxAge != 7*24*time.Hour {
		t.Errorf("%+v, %v", p, ok)
	}
	if got := s.ownPolicyText("example.com"); got != p.Text() {
		t.Errorf("served: %q", got)
	}
	if got := s.ownPolicyText("example.net"); got != "" {
		t.Errorf("served for a domain of somebody else: %q", got)
	}
	s.o.Config.TLSPolicy.Publish, s.o.Config.TLSPolicy.MX = config.PublishEnforce, []string{"*.example.com"}
	if p, ok := s.OwnPolicy("example.com"); !ok || p.Mode != tlspolicy.ModeEnforce || p.MX[0] != "*.example.com" {
		t.Errorf("%+v, %v", p, ok)
	}
	s.o.Config.TLSPolicy.Publish = config.PublishOff
	if _, ok := s.OwnPolicy("example.com"); ok {
		t.Error("switched off, and served")
	}
}

// TestPolicyIsServed over HTTPS, at the host of a domain of ours alone.
func TestPolicyIsServed(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Config: loopback(t), DB: memkv.New(), OutsideWaits: true})
	defer s.end(t)
	if _, err := s.Admin.AddDomain(t.Context(), "example.com"); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true,
		ServerName: "localhost"}, DisableKeepAlives: true}}
	for host, want := range map[string]int{"mta-sts.example.com": http.StatusOK, "mta-sts.example.net": http.StatusNotFound} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
			"https://"+s.Addr("https").String()+tlspolicy.PolicyPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != want || want == http.StatusOK && string(body) != s.ownPolicyText("example.com") {
			t.Errorf("%s: %d %q, %v", host, resp.StatusCode, body, err)
		}
	}
}
