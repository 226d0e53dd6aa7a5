package arc

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tram/internal/dns"
	"tram/internal/limits"
	"tram/internal/mailauth"
	"tram/internal/mailauth/dkim"
)

// scenario is one of ValiMail's test suite for ARC (testdata/LICENSE.txt), the RFC 8617 §5 procedures
// case by case.
type scenario struct {
	Description string
	Tests       map[string]struct {
		Description string
		Message     string
		CV          string
		T           int64
		Headers     string `json:"sig-headers"`
		ID          string `json:"srv-id"`
		AS, AMS     string
		AAR         string
	}
	Domain, Sel string
	Key         string            `json:"privatekey"`
	Records     map[string]string `json:"txt-records"`
}

func scenarios(t *testing.T, name string) []scenario {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var all []scenario
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// zone makes the records of a scenario answers of a resolver.
func zone(records map[string]string) *dns.Fake {
	f := dns.NewFake("")
	for name, text := range records {
		text = strings.ReplaceAll(text, "\n", "")
		var parts strings.Builder
		for len(text) > 0 {
			n := min(len(text), 200)
			parts.WriteString(` "` + text[:n] + `"`)
			text = text[n:]
		}
		f.Add(name + ". IN TXT" + parts.String())
	}
	return f
}

// split brings a message to CRLF and cuts it at the blank line.
func split(m string) (header, body string) {
	m = strings.ReplaceAll(m, "\n", "\r\n")
	if strings.HasPrefix(m, "\r\n") {
		return "", m[2:]
	}
	header, body, ok := strings.Cut(m, "\r\n\r\n")
	if !ok {
		return m, ""
	}
	return header + "\r\n", body
}

func TestValidation(t *testing.T) {
	t.Parallel()
	n := 0
	for _, s := range scenarios(t, "validation.json") {
		r := zone(s.Records)
		for name, c := range s.Tests {
			n++
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				header, body := split(c.Message)
				v := NewVerifier([]byte(header), Options{Limits: limits.Default().MailAuth, Now: time.Unix(20000, 0)})
				// In small pieces, so that every border is met.
				for i := range len(body) {
					_, _ = v.Write([]byte(body[i : i+1]))
				}
				got := v.Finish(t.Context(), r)
				want := mailauth.Status(strings.ToLower(c.CV))
				if want == "" { // a chain that was sealed as failed
					want = mailauth.Fail
				}
				if got.Status != want {
					t.Errorf("%s: %s (%s), want %s", c.Description, got.Status, got.Reason, want)
				}
				if (got.Reason == "") != (got.Status != mailauth.Fail) {
					t.Errorf("%s has the reason %q", got.Status, got.Reason)
				}
			})
		}
	}
	if n != 171 {
		t.Errorf("the suite has %d cases, it had 171", n)
	}
}

func TestSealing(t *testing.T) {
	t.Parallel()
	n := 0
	for _, s := range scenarios(t, "sign.json") {
		block, _ := pem.Decode([]byte(s.Key))
		key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range s.Tests {
			n++
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				header, body := split(c.Message)
				bodies := dkim.NewBodies()
				sum := bodies.Add(true, -1)
				_, _ = bodies.Write([]byte(body))
				bodies.Close()
				o := SealOptions{
					Now: time.Unix(c.T, 0), Limits: limits.Default().MailAuth, ID: c.ID,
					Chain: mailauth.None, Headers: strings.Split(c.Headers, ":"),
				}
				// The suite says in the results of its own server what the chain was found to be.
				for _, cv := range []mailauth.Status{mailauth.Pass, mailauth.Fail} {
					if strings.Contains(header, "Authentication-Results: "+c.ID+"; arc="+string(cv)) {
						o.Chain = cv
					}
				}
				got, err := Seal([]byte(header), sum.Sum(), dkim.Key{Domain: s.Domain, Selector: s.Sel, Signer: key}, o)
				if err != nil {
					t.Fatal(err)
				}
				want := ""
				if c.AS != "" {
					want = canonical("ARC-Seal:"+c.AS) + canonical("ARC-Message-Signature:"+c.AMS) +
						canonical("ARC-Authentication-Results:"+c.AAR)
				}
				lines := ""
				for _, f := range dkim.NewHeader([]byte(got)).Fields {
					lines += canonical(string(f.Raw))
				}
				if diff := cmp.Diff(want, lines); diff != "" {
					t.Error(diff)
				}
				for line := range strings.SplitSeq(got, "\r\n") {
					if len(line) > 78 && !strings.HasPrefix(line, "\tb=") && !strings.HasPrefix(line, MessageName) {
						t.Errorf("a line has %d octets: %s", len(line), line)
					}
				}
			})
		}
	}
	if n != 17 {
		t.Errorf("the suite has %d cases, it had 17", n)
	}
}

// canonical is a field without the folding of its signature.
func canonical(field string) string {
	name, list, _ := strings.Cut(field, ":")
	out := name + ":"
	for i, tag := range strings.Split(strings.Join(strings.Fields(list), " "), "; ") {
		if strings.HasPrefix(tag, "b=") {
			tag = strings.ReplaceAll(tag, " ", "")
		}
		if i > 0 {
			out += "; "
		}
		out += tag
	}
	return out + "\n"
}
