package admin

import (
	"context"
	"errors"
	"fmt"

	"tram/internal/admin/doctor"
	"tram/internal/admin/zone"
	"tram/internal/smtp"
)

// Network is what the house knows of how the Internet sees it; the server makes it.
type Network interface {
	// Server is what records say of the machine.
	Server(ctx context.Context) (zone.Server, error)
	// Domain is what they say of a domain of ours, in A-labels.
	Domain(ctx context.Context, name string) (zone.Domain, error)
	// Means are the doctor's: everything but Server and Domains is filled in.
	Means(ctx context.Context) (doctor.Options, error)
}

var errNoNetwork = errors.New("nothing is known of the network here")

// Records lists the DNS records that a domain of ours needs.
func (h *House) Records(ctx context.Context, name string) ([]zone.Record, error) {
	if h.o.Network == nil {
		return nil, errNoNetwork
	}
	domain, err := h.ownDomain(ctx, name)
	if err != nil {
		return nil, err
	}
	s, err := h.o.Network.Server(ctx)
	if err != nil {
		return nil, fmt.Errorf("describe the server: %w", err)
	}
	d, err := h.o.Network.Domain(ctx, domain)
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", domain, err)
	}
	return zone.Records(s, d), nil
}

func (h *House) ownDomain(ctx context.Context, name string) (string, error) {
	domain, err := smtp.ParseDomain(name)
	if err != nil {
		return "", invalid("%q is no domain: %v", name, err)
	}
	if _, err := h.o.Directory.Domain(ctx, domain); err != nil {
		return "", fault(err)
	}
	return domain, nil
}

// maxExamined bounds the domains of one examination of all: each costs some twenty questions to each
// of its name servers.
const maxExamined = 50

// Examine compares what the Internet sees with what the server and a domain need; "" stands for all
// domains, of which the first 50 are looked at.
func (h *House) Examine(ctx context.Context, name string) ([]doctor.Line, error) {
	if h.o.Network == nil {
		return nil, errNoNetwork
	}
	names := []string{name}
	if name == "" {
		domains, err := h.o.Directory.Domains(ctx)
		if err != nil {
			return nil, fmt.Errorf("list domains: %w", err)
		}
		names = names[:0]
		for _, d := range domains[:min(len(domains), maxExamined)] {
			names = append(names, d.Name)
		}
	}
	o, err := h.o.Network.Means(ctx)
	if err != nil {
		return nil, fmt.Errorf("prepare the examination: %w", err)
	}
	if o.Server, err = h.o.Network.Server(ctx); err != nil {
		return nil, fmt.Errorf("describe the server: %w", err)
	}
	for _, n := range names {
		domain, err := h.ownDomain(ctx, n)
		if err != nil {
			return nil, err
		}
		d, err := h.o.Network.Domain(ctx, domain)
		if err != nil {
			return nil, fmt.Errorf("describe %s: %w", domain, err)
		}
		o.Domains = append(o.Domains, d)
		if d.PolicyID != "" {
			o.Policies = append(o.Policies, "mta-sts."+domain)
		}
	}
	return doctor.Run(ctx, o), nil
}
