package zone_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"tram/internal/admin/zone"
)

func server() zone.Server {
	return zone.Server{
		Hostname: "mail.example.com", Issuer: "letsencrypt.org",
		Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8:1::7")},
		TLSA:  []string{"3 1 1 " + strings.Repeat("ab", 32)},
	}
}

func domain() zone.Domain {
	return zone.Domain{
		Name: "example.com", PolicyID: "20261122", DMARCReports: "dmarc-reports", TLSReports: "tls-reports",
		Keys: []zone.Key{{Selector: "ed202611", Record: "v=DKIM1; k=ed25519; p=x"},
			{Selector: "rsa202611", Record: "v=DKIM1; k=rsa; p=" + strings.Repeat("A", 392), Idle: true}},
	}
}

// TestZoneFileIsRead has an independent parser read what is printed: every record must come back with
// its data, the long keys in one piece.
func TestZoneFileIsRead(t *testing.T) {
	t.Parallel()
	records := zone.Records(server(), domain())
	var b strings.Builder
	if err := zone.Write(&b, records); err != nil {
		t.Fatal(err)
	}
	p := dns.NewZoneParser(strings.NewReader(b.String()), ".", "")
	n := 0
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		want := records[n]
		if h := rr.Header(); h.Name != want.Name || dns.TypeToString[h.Rrtype] != want.Type || h.Ttl != zone.TTL {
			t.Errorf("record %d is %v, want %+v", n, rr, want)
		}
		if txt, ok := rr.(*dns.TXT); ok && strings.Join(txt.Txt, "") != want.Text {
			t.Errorf("%s: %q, want %q", want.Name, txt.Txt, want.Text)
		}
		n++
	}
	if err := p.Err(); err != nil || n != len(records) {
		t.Errorf("%d records of %d, %v:\n%s", n, len(records), err, b.String())
	}
}

// TestRecords follows what the server does: no record announces what is not there.
func TestRecords(t *testing.T) {
	t.Parallel()
	names := func(s zone.Server, d zone.Domain) map[string]int {
		count := map[string]int{}
		for _, r := range zone.Records(s, d) {
			count[r.Type+" "+r.Name]++
		}
		return count
	}
	all := names(server(), domain())
	for _, want := range []string{
		"A mail.example.com.", "AAAA mail.example.com.", "MX example.com.", "TXT example.com.",
		"TXT mail.example.com.", "TXT ed202611._domainkey.example.com.",
		"TXT rsa202611._domainkey.example.com.", "TXT _dmarc.example.com.", "TXT _mta-sts.example.com.",
		"CNAME mta-sts.example.com.", "TXT _smtp._tls.example.com.", "TLSA _25._tcp.mail.example.com.",
		"SRV _submissions._tcp.example.com.", "SRV _submission._tcp.example.com.",
		"SRV _imaps._tcp.example.com.", "SRV _imap._tcp.example.com.", "SRV _pop3s._tcp.example.com.",
		"SRV _pop3._tcp.example.com.", "CNAME autoconfig.example.com.", "CNAME autodiscover.example.com.",
		"SRV _autodiscover._tcp.example.com.", "CAA mail.example.com.",
	} {
		if all[want] != 1 {
			t.Errorf("%s: %d times", want, all[want])
		}
		delete(all, want)
	}
	if len(all) > 0 {
		t.Errorf("more: %v", all)
	}

	bare := names(zone.Server{Hostname: "example.com", Closed: map[string]bool{"_pop3": true}},
		zone.Domain{Name: "example.com", DMARCReports: "d", TLSReports: "t"})
	for _, not := range []string{
		"TXT _mta-sts.example.com.", "TLSA _25._tcp.example.com.", "CAA example.com.",
		"SRV _pop3._tcp.example.com.",
	} {
		if bare[not] != 0 {
			t.Errorf("%s is announced and not there", not)
		}
	}
	if bare["TXT example.com."] != 1 {
		t.Error("a host that is the domain has two SPF records, which is an error (RFC 7208 §3.2)")
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                       `""`,
		`a "b" \c`:               `"a \"b\" \\c"`,
		strings.Repeat("x", 255): `"` + strings.Repeat("x", 255) + `"`,
		strings.Repeat("x", 256): `"` + strings.Repeat("x", 255) + `" "x"`,
	} {
		if diff := cmp.Diff(want, zone.Quote(text)); diff != "" {
			t.Error(diff)
		}
	}
}
