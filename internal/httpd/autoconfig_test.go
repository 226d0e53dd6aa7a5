package httpd

import (
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func finder(t *testing.T) *Server {
	t.Helper()
	return front(t, func(o *Options) {
		o.IsLocal = func(domain string) bool { return domain == "example.org" }
		o.Doors = []Door{{"IMAP", 993, "TLS"}, {"IMAP", 143, "STARTTLS"}, {"POP3", 995, "TLS"},
			{"SMTP", 465, "TLS"}, {"SMTP", 587, "STARTTLS"}}
	})
}

func TestAutoconfig(t *testing.T) {
	t.Parallel()
	s := finder(t)
	ask := func(host, target string) *http.Response {
		r := httptest.NewRequest("GET", "https://"+host+target, nil)
		w := httptest.NewRecorder()
		s.secure.Handler.ServeHTTP(w, r)
		return w.Result()
	}
	for _, c := range []struct {
		host, target string
		code         int
	}{
		{"autoconfig.example.org", "/mail/config-v1.1.xml", 200},
		{"AutoConfig.Example.ORG:443", "/mail/config-v1.1.xml", 200},
		{"example.org", "/.well-known/autoconfig/mail/config-v1.1.xml", 200},
		{"mail.example.com", "/mail/config-v1.1.xml?emailaddress=a%40example.org", 200},
		{"autoconfig.example.net", "/mail/config-v1.1.xml", 404},
		{"autoconfig.example.org", "/mail/config-v1.1.xml?emailaddress=a%40example.net", 404},
		{"mail.example.com", "/mail/config-v1.1.xml?emailaddress=" + strings.Repeat("x", 3000), 404},
	} {
		if r := ask(c.host, c.target); r.StatusCode != c.code {
			t.Errorf("%s%s: %d, want %d", c.host, c.target, r.StatusCode, c.code)
		}
	}
	var got clientConfig
	if err := xml.Unmarshal([]byte(body(t, ask("autoconfig.example.org", "/mail/config-v1.1.xml"))), &got); err != nil {
		t.Fatal(err)
	}
	in, out := got.Provider.Incoming, got.Provider.Outgoing
	if len(in) != 3 || len(out) != 2 || in[0] != (mailServer{"imap", "mail.example.com", 993, "SSL",
		"%EMAILADDRESS%", "password-cleartext"}) || in[1].Socket != "STARTTLS" || out[0].Port != 465 {
		t.Errorf("%+v", got)
	}
}

// TestAutoconfigInTheClear is sent on to the secure front, with the domain it asked about.
func TestAutoconfigInTheClear(t *testing.T) {
	t.Parallel()
	s := finder(t)
	for host, want := range map[string]string{
		"autoconfig.example.org":    "@example.org",
		"autoconfig.example.org:80": "@example.org",
	} {
		r := httptest.NewRequest("GET", "http://"+host+"/mail/config-v1.1.xml", nil)
		r.RemoteAddr = outside
		w := httptest.NewRecorder()
		s.plain.Handler.ServeHTTP(w, r)
		to, err := url.Parse(w.Result().Header.Get("Location"))
		if err != nil || to.Scheme != "https" || to.Host != "mail.example.com" || to.Query().Get("emailaddress") != want {
			t.Errorf("%s leads to %v, %v", host, to, err)
		}
		again := httptest.NewRecorder()
		s.secure.Handler.ServeHTTP(again, httptest.NewRequest("GET", to.String(), nil))
		if again.Code != 200 {
			t.Errorf("%s: %d", to, again.Code)
		}
	}
}

const discoverQuestion = `<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">
  <Request><EMailAddress>ADDRESS</EMailAddress>
  <AcceptableResponseSchema>` + outlookSpace + `</AcceptableResponseSchema></Request>
</Autodiscover>`

func TestAutodiscover(t *testing.T) {
	t.Parallel()
	s := finder(t)
	ask := func(path, question string) (int, string) {
		r := httptest.NewRequest("POST", path, strings.NewReader(question))
		w := httptest.NewRecorder()
		s.secure.Handler.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	question := strings.Replace(discoverQuestion, "ADDRESS", "lê@example.org", 1)
	for _, path := range []string{"/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml"} {
		code, text := ask(path, question)
		var got discoverAnswer
		if err := xml.Unmarshal([]byte(text), &got); err != nil || code != 200 || got.Response.Account == nil {
			t.Fatalf("%s: %d, %v:\n%s", path, code, err, text)
		}
		var doors []string
		for _, p := range got.Response.Account.Protocols {
			if p.Server != "mail.example.com" || p.Login != "lê@example.org" || p.SSL != "on" {
				t.Errorf("%+v", p)
			}
			doors = append(doors, p.Type)
		}
		if strings.Join(doors, " ") != "IMAP POP3 SMTP" {
			t.Errorf("doors %v", doors)
		}
	}
	for _, c := range []struct {
		question, says string
		code           int
	}{
		{strings.Replace(discoverQuestion, "ADDRESS", "a@example.net", 1), "<ErrorCode>500<", 200},
		{strings.Replace(discoverQuestion, "ADDRESS", "example.org", 1), "<ErrorCode>500<", 200},
		{strings.Replace(question, outlookSpace, "http://schemas.example/mobilesync", 1), "<ErrorCode>601<", 200},
		{"", "no Autodiscover", 400},
		{"{}", "no Autodiscover", 400},
		{"<Autodiscover>" + strings.Repeat("<a>", discoverBody), "no Autodiscover", 400},
		{`<!DOCTYPE x [<!ENTITY a "b">]><Autodiscover><Request><EMailAddress>&a;</EMailAddress></Request></Autodiscover>`,
			"no Autodiscover", 400},
	} {
		if code, text := ask("/autodiscover/autodiscover.xml", c.question); code != c.code || !strings.Contains(text, c.says) {
			t.Errorf("%.60q: %d %s", c.question, code, text)
		}
	}
}
