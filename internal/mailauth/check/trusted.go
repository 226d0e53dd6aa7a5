package check

import (
	"strings"

	"tram/internal/mailauth"
	"tram/internal/mailauth/authres"
)

// vouched reports whether a trusted forwarder saw DMARC pass before he changed the message, RFC 8617
// §7.2.1: the oldest of the unbroken run of trusted sealers is believed, about this author's domain.
func vouched(r *mailauth.Results) bool {
	if !r.ARC.Trusted || r.ARC.Status != mailauth.Pass {
		return false
	}
	for _, set := range r.ARC.Sets {
		if set.Instance == r.ARC.Authority {
			return saysPass(set.Results, r.FromDomain)
		}
	}
	return false
}

// saysPass reports whether results hold a DMARC pass for a domain, and nothing else about it.
func saysPass(results, domain string) bool {
	f, err := authres.Parse(results)
	if err != nil {
		return false
	}
	pass := false
	for _, one := range f.Results {
		if one.Method != "dmarc" {
			continue
		}
		for _, p := range one.Props {
			if p.Type == "header" && p.Name == "from" && strings.EqualFold(p.Value, domain) {
				if one.Value != mailauth.Pass {
					return false
				}
				pass = true
			}
		}
	}
	return pass
}
