package config

import (
	"net/mail"
	"strings"
)

// Reports says what is told to other domains about their mail, and what is looked up about them.
type Reports struct {
	DMARC   bool   `toml:"dmarc"`   // aggregate reports to domains that ask for them
	TLS     bool   `toml:"tls"`     // the same about TLS
	Org     string `toml:"org"`     // the name that reports give; "": the server's domain
	Contact string `toml:"contact"` // an address; "": postmaster of the server's domain
	Icons   bool   `toml:"icons"`   // BIMI is looked up
	// IconRoots is a PEM file of authorities that may vouch for icons; "": none is believed.
	IconRoots string `toml:"icon_roots"`
}

func defaultReports() Reports { return Reports{DMARC: true, TLS: true, Icons: true} }

func (v *validator) reports() {
	r := v.c.Reports
	if strings.ContainsAny(r.Org, "\r\n") || len(r.Org) > 200 {
		v.fail("reports.org", "reports.org is not a name of one line")
	}
	if r.Contact == "" {
		return
	}
	if a, err := mail.ParseAddress(r.Contact); err != nil || a.Address != r.Contact {
		v.fail("reports.contact", "reports.contact: %q is not an address such as postmaster@example.com", r.Contact)
	}
}
