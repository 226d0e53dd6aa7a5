package spf

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"tram/internal/dns"
	"tram/internal/limits"
	"tram/internal/mailauth"
)

// scenario is a part of the openspf test suite: questions about one set of records.
type scenario struct {
	Description string
	Tests       []struct {
		Name, Helo, Host, Mailfrom, Explanation, Spec string
		Result                                        []string
	}
	Zonedata map[string][]json.RawMessage
}

// zone is a scenario's DNS. What the suite calls TIMEOUT is a failure for the types a name has no
// record of.
type zone struct {
	*dns.Fake
	hanging map[string]map[string]bool // name -> types that have records
}

func (z *zone) hangs(name, qtype string) error {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if types, ok := z.hanging[name]; ok && !types[qtype] {
		return dns.ErrTemporary
	}
	return nil
}

func (z *zone) TXT(ctx context.Context, name string) ([]string, dns.Result, error) {
	if err := z.hangs(name, "TXT"); err != nil {
		return nil, dns.Result{}, err
	}
	return z.Fake.TXT(ctx, name)
}

func (z *zone) MX(ctx context.Context, name string) ([]dns.MX, dns.Result, error) {
	if err := z.hangs(name, "MX"); err != nil {
		return nil, dns.Result{}, err
	}
	return z.Fake.MX(ctx, name)
}

func (z *zone) Family(ctx context.Context, name string, six bool) ([]netip.Addr, dns.Result, error) {
	if err := z.hangs(name, map[bool]string{false: "A", true: "AAAA"}[six]); err != nil {
		return nil, dns.Result{}, err
	}
	return z.Fake.Family(ctx, name, six)
}

// quoted writes a text for a zone file, in pieces of 255 octets.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		if i > 0 && i%250 == 0 {
			b.WriteString(`" "`)
		}
		switch c := s[i]; {
		case c == '"' || c == '\\' || c == ';':
			b.WriteString(`\` + string(c))
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03d`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String() + `"`
}

func (s *scenario) zone(t *testing.T) *zone {
	t.Helper()
	z := &zone{Fake: dns.NewFake(""), hanging: map[string]map[string]bool{}}
	for name, records := range s.Zonedata {
		name = strings.ToLower(name)
		types, timeout := map[string]bool{}, false
		var spf []string
		none := false
		for _, raw := range records {
			var word string
			if json.Unmarshal(raw, &word) == nil {
				timeout = timeout || word == "TIMEOUT"
				continue
			}
			var record map[string]json.RawMessage
			if err := json.Unmarshal(raw, &record); err != nil {
				t.Fatal(err)
			}
			for qtype, value := range record {
				var parts []string
				if json.Unmarshal(value, &word) == nil {
					parts = []string{word}
				} else if err := json.Unmarshal(value, &parts); err != nil {
					t.Fatal(err)
				}
				switch qtype {
				case "SPF":
					spf = append(spf, strings.Join(parts, ""))
					continue
				case "TXT":
					if word == "NONE" && len(parts) == 1 && parts[0] == "NONE" {
						none = true
						continue
					}
					parts = []string{quoted(strings.Join(parts, ""))}
				case "MX", "PTR", "CNAME":
					last := strings.TrimSuffix(parts[len(parts)-1], ".") + "."
					parts[len(parts)-1] = last
				}
				types[qtype] = true
				z.Add(escaped(name) + ". 300 IN " + qtype + " " + strings.Join(parts, " "))
			}
		}
		if len(spf) > 0 && !none && !types["TXT"] {
			types["TXT"] = true
			for _, s := range spf {
				z.Add(escaped(name) + ". 300 IN TXT " + quoted(s))
			}
		}
		if timeout {
			z.hanging[name] = types
			z.Add(escaped(name) + ". 300 IN HINFO a b") // the name exists
		}
	}
	return z
}

// escaped writes a name for a zone file.
func escaped(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if strings.IndexByte("\"\\();@' ", name[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(name[i])
	}
	return b.String()
}

var options = Options{
	Limits: limits.Default().MailAuth, Hostname: "mx.example.org", Now: time.Unix(1<<30, 0),
}

// TestSuite runs the openspf suite of RFC 7208, release 2014.04 with the additions of 2019.
func TestSuite(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/rfc7208-tests.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []scenario
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, s := range all {
		z := s.zone(t)
		for _, c := range s.Tests {
			n++
			t.Run(c.Name, func(t *testing.T) {
				t.Parallel()
				q := Query{Addr: netip.MustParseAddr(c.Host), HELO: c.Helo}
				if at := strings.LastIndexByte(c.Mailfrom, '@'); at >= 0 {
					q.Local, q.Domain = c.Mailfrom[:at], c.Mailfrom[at+1:]
				} else if c.Mailfrom != "" {
					q.Local, q.Domain = "postmaster", c.Mailfrom
				}
				got := Check(context.Background(), z, q, options)
				if !slices.Contains(c.Result, string(got.Status)) {
					t.Errorf("RFC 7208 §%s: %s from %s: %+v, want %v", c.Spec, c.Mailfrom, c.Host, got, c.Result)
				}
				want := strings.Replace(c.Explanation, "DEFAULT", "", 1)
				// The RFC's own examples have the nibbles of an address in lower case, the suite in upper.
				if c.Explanation != "" && !strings.EqualFold(got.Explanation, want) {
					t.Errorf("explanation %q, want %q", got.Explanation, want)
				}
				if (got.Status == mailauth.Pass) != (got.Mechanism != "") && got.Status == mailauth.Pass {
					t.Errorf("a pass by nothing: %+v", got)
				}
			})
		}
	}
	if n != 203 {
		t.Errorf("%d cases, the suite has 203", n)
	}
}
