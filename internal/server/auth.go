package server

import (
	"tram/internal/config"
	"tram/internal/deliver"
	"tram/internal/mailauth/check"
	"tram/internal/smtp"
)

// origins is how mail from outside is looked at. Without anybody to ask for names nobody looks: no
// result would mean anything.
func (s *Server) origins() deliver.Origins {
	c := s.o.Config.Authentication
	names := s.resolver()
	if !c.Enabled || names == nil {
		return deliver.Origins{}
	}
	trusted := map[string]bool{}
	for _, d := range c.TrustedARCSealers {
		if d, err := smtp.ParseDomain(d); err == nil { // the configuration was checked
			trusted[d] = true
		}
	}
	return deliver.Origins{
		Checker: check.New(check.Options{
			Resolver: names, Hostname: s.o.Config.Hostname, Limits: s.o.Config.Limits.MailAuth,
			Clock: s.o.Clock, Trusted: func(domain string) bool { return trusted[domain] },
		}),
		EnforceDMARC: c.DMARC == config.Enforce, EnforceSPF: c.SPF == config.Enforce,
	}
}
