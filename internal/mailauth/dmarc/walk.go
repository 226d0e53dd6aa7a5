package dmarc

import (
	"context"
	"errors"
	"strings"

	"tram/internal/dns"
	"tram/internal/mailauth"
)

// Resolver is the part of dns.Resolver that DMARC asks.
type Resolver interface {
	TXT(ctx context.Context, name string) ([]string, dns.Result, error)
}

// maxLabels is where the shortcut of a walk leads: with the first query, eight are asked at most (RFC
// 9989 §4.10).
const maxLabels = 7

// found is what stands at one name.
type found struct {
	domain string
	record *mailauth.DMARCRecord // nil: none that is valid
	usable bool                  // it asks for something that can be followed
}

// walker asks for records, each name once for a message: the walks from the author's domain and from
// the domains of signatures meet soon.
type walker struct {
	r     Resolver
	limit int // bytes of a record that is read
	seen  map[string]answer
}

type answer struct {
	found
	err error
}

// at returns the record of one domain, RFC 9989 §4.10 steps 1 and 2. An error is one of the DNS that
// says nothing about the name.
func (w *walker) at(ctx context.Context, domain string) (found, error) {
	if a, ok := w.seen[domain]; ok {
		return a.found, a.err
	}
	f := found{domain: domain}
	texts, _, err := w.r.TXT(ctx, "_dmarc."+domain)
	if errors.Is(err, dns.ErrNoDomain) || errors.Is(err, dns.ErrNoRecord) {
		err = nil
	}
	n := 0
	for _, t := range texts {
		if len(t) > w.limit {
			continue
		}
		if r, ok, usable := parse(t); ok {
			f.record, f.usable = r, usable
			n++
		}
	}
	if n > 1 { // all are discarded
		f.record, f.usable = nil, false
	}
	w.seen[domain] = answer{f, err}
	return f, err
}

// walk does the DNS tree walk from a domain: it returns the records that were found, from the longest
// name to the shortest.
func (w *walker) walk(ctx context.Context, domain string) ([]found, error) {
	var all []found
	for name := domain; name != ""; name = shorten(name) {
		f, err := w.at(ctx, name)
		if err != nil {
			return all, err
		}
		if f.record == nil {
			continue
		}
		all = append(all, f)
		if f.record.PSD != "u" {
			break
		}
	}
	return all, nil
}

// shorten is the name that is asked after this one, RFC 9989 §4.10 steps 3, 4 and 7; "" after the last.
func shorten(name string) string {
	for {
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			return ""
		}
		if name = rest; strings.Count(name, ".") < maxLabels {
			return name
		}
	}
}

// organizational selects the organisational domain from what a walk from domain has found, RFC 9989
// §4.10.2.
func organizational(domain string, all []found) string {
	for _, f := range all {
		switch {
		case f.record.PSD == "n":
			return f.domain
		case f.record.PSD == "y" && f.domain != domain:
			return below(domain, f.domain)
		}
	}
	if len(all) > 0 {
		return all[len(all)-1].domain
	}
	return domain
}

// below returns the part of name that is one label longer than its parent.
func below(name, parent string) string {
	head := strings.TrimSuffix(name, "."+parent)
	return head[strings.LastIndexByte(head, '.')+1:] + "." + parent
}
