package httpd

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"tram/internal/limits"
)

// RFC 8461 §3.3: the policy of a domain is at its own host, in plain text, and nowhere else.
func TestMTASTSPolicy(t *testing.T) {
	t.Parallel()
	s := New(Options{Hostname: "mail.example.com", Limits: limits.Default().HTTP, STSPolicy: func(domain string) string {
		if domain == "example.com" {
			return "version: STSv1\r\n"
		}
		return ""
	}})
	for host, want := range map[string]int{
		"mta-sts.example.com": 200, "MTA-STS.Example.COM.:443": 200, "mta-sts.other.com": 404, "mail.example.com": 404,
		"mta-sts.": 404, "": 404, "example.com": 404,
	} {
		r := httptest.NewRequest(http.MethodGet, "https://x/.well-known/mta-sts.txt", nil)
		r.Host = host
		w := httptest.NewRecorder()
		s.secure.Handler.ServeHTTP(w, r)
		body, _ := io.ReadAll(w.Body)
		if w.Code != want {
			t.Errorf("%q: %d %s", host, w.Code, body)
		}
		if want == 200 && (string(body) != "version: STSv1\r\n" || w.Header().Get("Content-Type") != "text/plain; charset=utf-8") {
			t.Errorf("%q: %v %q", host, w.Header(), body)
		}
	}
	// Without policies there is no such path.
	w := httptest.NewRecorder()
	New(Options{Hostname: "mail.example.com", Limits: limits.Default().HTTP}).secure.Handler.ServeHTTP(w,
		httptest.NewRequest(http.MethodGet, "https://mta-sts.example.com/.well-known/mta-sts.txt", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("without policies: %d", w.Code)
	}
}
