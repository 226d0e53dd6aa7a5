package config

import "strings"

// Authentication says what is made of who vouches for mail from outside.
type Authentication struct {
	Enabled bool `toml:"enabled"` // look at all
	// DMARC and SPF are Enforce or Mark.
	DMARC string `toml:"dmarc"`
	SPF   string `toml:"spf"`
	// TrustedARCSealers are the domains of forwarders whose word about a message counts, RFC 8617.
	TrustedARCSealers []string `toml:"trusted_arc_sealers"`
}

// What is done with mail that does not pass.
const (
	Enforce = "enforce" // it is refused where the domain wants that
	Mark    = "mark"    // it is taken, and marked
)

func defaultAuthentication() Authentication {
	return Authentication{Enabled: true, DMARC: Enforce, SPF: Mark}
}

func (v *validator) authentication() {
	a := &v.c.Authentication
	for _, one := range []struct{ key, value string }{{"dmarc", a.DMARC}, {"spf", a.SPF}} {
		if one.value != Enforce && one.value != Mark {
			v.fail("authentication."+one.key, `authentication.%s: %q is neither "enforce" nor "mark"`, one.key, one.value)
		}
	}
	for _, d := range a.TrustedARCSealers {
		if !validHost(d) || !strings.Contains(d, ".") {
			v.fail("authentication.trusted_arc_sealers",
				"authentication.trusted_arc_sealers: %q is not a domain such as lists.example.com", d)
		}
	}
}
