package httpd

import (
	"net"
	"net/http"
	"strings"

	"tram/internal/tlspolicy"
)

// mtaSTS serves the MTA-STS policies of the domains of this house, RFC 8461 §3.3: each at the host that
// is called after its domain, and nothing at any other.
func (s *Server) mtaSTS(w http.ResponseWriter, r *http.Request) {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	domain, is := strings.CutPrefix(host, tlspolicy.PolicyHost(""))
	policy := ""
	if is {
		policy = s.o.STSPolicy(domain)
	}
	if policy == "" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Write([]byte(policy))
}
