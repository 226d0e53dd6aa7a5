package reports

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"tram/internal/dns"
	"tram/internal/reports/fetch"
	"tram/internal/smtp"
)

// goal is an address that a domain wants reports at.
type goal struct {
	mail smtp.Address
	web  string // instead of mail
	most int64  // bytes of the message, 0: not said
}

// goals are those that a report is sent to.
type goals struct {
	mail []goal
	web  []string
}

// errDoubtful says that a record is not one that can be followed: there are several, for instance.
var errDoubtful = errors.New("record cannot be followed")

// where asks anew who wants the report, as the record may have changed since: one that is gone, or that
// asks for no reports any more, is obeyed. The error is the DNS's, for now.
func (s *Reports) where(ctx context.Context, p *parcel, c *content) (goals, error) {
	name, ver := "_dmarc."+p.domain, "DMARC1"
	if p.kind == TLS {
		name, ver = "_smtp._tls."+p.domain, "TLSRPTv1" // RFC 8460 §3
	}
	uris, err := s.rua(ctx, name, ver)
	switch {
	case errors.Is(err, dns.ErrNoDomain), errors.Is(err, dns.ErrNoRecord), errors.Is(err, errDoubtful):
		return goals{}, nil
	case err != nil:
		return goals{}, err
	}
	var all goals
	var unsure error
	looked := 0
	for _, uri := range uris {
		g, err := parseGoal(uri)
		if err != nil {
			continue
		}
		// Those that decline count too: else a record of a thousand addresses costs a thousand questions.
		if looked++; looked > s.limits.Recipients {
			break
		}
		if g.web != "" {
			if p.kind == TLS { // RFC 9990 knows mailto alone
				all.web = append(all.web, g.web)
			}
			continue
		}
		if p.kind == DMARC {
			if g, err = s.wanted(ctx, p, c, g); err != nil {
				unsure = err
				continue
			}
		}
		if g.mail != (smtp.Address{}) && !slices.Contains(all.mail, g) {
			all.mail = append(all.mail, g)
		}
	}
	// One whose DNS does not answer is waited for once: it must not keep the report from the others.
	if unsure != nil && (p.head.Tries == 0 || len(all.mail)+len(all.web) == 0) {
		return goals{}, unsure
	}
	return all, nil
}

// rua returns the addresses that the one record at a name has.
func (s *Reports) rua(ctx context.Context, name, ver string) ([]string, error) {
	texts, _, err := s.o.Resolver.TXT(ctx, name)
	if err != nil {
		return nil, err
	}
	var found []map[string]string
	for _, text := range texts {
		if tags, ok := record(text, ver); ok {
			found = append(found, tags)
		}
	}
	if len(found) != 1 { // RFC 9989 §4.7, RFC 8460 §3: several are none
		return nil, errDoubtful
	}
	var uris []string
	for uri := range strings.SplitSeq(found[0]["rua"], ",") {
		uris = append(uris, strings.TrimSpace(uri))
	}
	return uris, nil
}

// record reads the tags of a record whose first tag is its version; of a tag that is there twice the
// first holds.
func record(text, ver string) (map[string]string, bool) {
	tags := map[string]string{}
	for i, tag := range strings.Split(text, ";") {
		name, value, found := strings.Cut(tag, "=")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if i == 0 && (!found || name != "v" || value != ver) {
			return nil, false
		}
		if _, there := tags[name]; found && !there {
			tags[name] = value
		}
	}
	return tags, true
}

// errGoal says that an address is none that is written to.
var errGoal = errors.New("not an address for reports")

// parseGoal reads a URI of rua: "mailto:a@b", with "!10m" behind it for what is the largest message that
// is wanted (RFC 7489 §6.2), or "https://…".
func parseGoal(uri string) (goal, error) {
	scheme, rest, _ := strings.Cut(uri, ":")
	if strings.EqualFold(scheme, "https") {
		u, err := fetch.Check(uri)
		if err != nil {
			return goal{}, err
		}
		return goal{web: u.String()}, nil
	}
	if !strings.EqualFold(scheme, "mailto") {
		return goal{}, errGoal
	}
	var g goal
	if i := strings.LastIndexByte(rest, '!'); i >= 0 {
		var ok bool
		if g.most, ok = parseSize(rest[i+1:]); !ok {
			return goal{}, errGoal
		}
		rest = rest[:i]
	}
	rest, _, _ = strings.Cut(rest, "?")
	text, err := url.PathUnescape(rest)
	if err != nil {
		return goal{}, errGoal
	}
	if g.mail, err = smtp.ParseAddress(text); err != nil || g.mail.IsNull() || g.mail.Domain == "" {
		return goal{}, errGoal
	}
	if _, literal := g.mail.Literal(); literal {
		return goal{}, errGoal
	}
	return g, nil
}

// parseSize reads "10m": a number with a unit of powers of 1024.
func parseSize(s string) (int64, bool) {
	shift := 0
	if n := len(s); n > 0 {
		if i := strings.IndexByte("kmgt", s[n-1]|0x20); i >= 0 {
			s, shift = s[:n-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 || n > 1<<20 && shift > 0 {
		return 0, false
	}
	return n << shift, true
}

// within reports whether a name is a domain or below it.
func within(name, domain string) bool {
	return domain != "" && (name == domain || strings.HasSuffix(name, "."+domain))
}

// wanted asks the domain of an address whether it wants reports about another domain, RFC 9990 and RFC
// 7489 §7.1: else anybody could have a stranger flooded with reports. Its answer may name another
// address of the same domain. The zero goal: it does not want them.
func (s *Reports) wanted(ctx context.Context, p *parcel, c *content, g goal) (goal, error) {
	to := g.mail.Domain
	org := c.about.Organizational
	if org == "" {
		org = p.domain
	}
	if within(to, org) {
		return g, nil
	}
	texts, _, err := s.o.Resolver.TXT(ctx, p.domain+"._report._dmarc."+to)
	switch {
	case errors.Is(err, dns.ErrNoDomain), errors.Is(err, dns.ErrNoRecord):
		s.o.Logger.Info("address of another domain does not want reports", "domain", p.domain, "to", to)
		return goal{}, nil
	case err != nil:
		return goal{}, fmt.Errorf("ask %s whether it wants reports: %w", to, err)
	}
	for _, text := range texts {
		tags, ok := record(text, "DMARC1")
		if !ok {
			continue
		}
		if uri, _, _ := strings.Cut(tags["rua"], ","); uri != "" {
			other, err := parseGoal(strings.TrimSpace(uri))
			if err != nil || other.mail.Domain != to {
				return g, nil // an answer that would lead elsewhere is a yes without an address
			}
			return other, nil
		}
		return g, nil
	}
	return goal{}, nil
}
