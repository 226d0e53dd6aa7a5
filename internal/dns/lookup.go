package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// Answer is what the DNS says about a name and a type, as zone files write it.
type Answer struct {
	Records []string // the data of each: "10 mx.example.net.", "\"v=spf1 -all\""
	Result
}

// Lookup finds the records of any type ("CNAME", "CAA", "SRV", …) at a name, following aliases unless
// those are what is asked for. Errors are those of Resolver; a type nobody knows is ErrNoRecord.
func (c *Client) Lookup(ctx context.Context, name, qtype string) (Answer, error) {
	t, ok := dns.StringToType[strings.ToUpper(qtype)]
	if !ok || t == dns.TypeANY || t == dns.TypeAXFR || t == dns.TypeIXFR {
		return Answer{}, fmt.Errorf("look up %s %s: %w", name, qtype, ErrNoRecord)
	}
	a, err := c.look(ctx, name, t)
	return Answer{Records: texts(a.records), Result: a.result()}, err
}

// texts writes the data of records.
func texts(records []dns.RR) []string {
	var all []string
	for _, rr := range records {
		all = append(all, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	return all
}

// Direct is what one server says of its own knowledge.
type Direct struct {
	Answer
	Authoritative bool     // it is responsible for the name
	Referral      []string // else: the servers it points to, in lower case without trailing dot
	Alias         string   // the name is an alias for this one, of which the server says no more
}

// Ask asks one server, past the cache and without having it ask others: for finding out what the
// servers of a zone say each. Authentic is false: such servers do not validate. Errors are those of
// Lookup, and ErrTemporary for a server that refuses, fails or is silent.
func (c *Client) Ask(ctx context.Context, server netip.AddrPort, name, qtype string) (Direct, error) {
	t, ok := dns.StringToType[strings.ToUpper(qtype)]
	if !ok {
		return Direct{}, fmt.Errorf("ask %s for %s %s: %w", server, name, qtype, ErrNoRecord)
	}
	q, err := newQuestion(name, t)
	if err != nil {
		return Direct{}, err
	}
	var r *dns.Msg
	for range max(c.o.Limits.Tries, 1) {
		if r, err = c.exchange(ctx, q, server, false); err == nil {
			break
		}
	}
	if err != nil {
		return Direct{}, fmt.Errorf("ask %s for %s: %w", server, q, errors.Join(ErrTemporary, err))
	}
	d := Direct{Authoritative: r.Authoritative}
	for _, rr := range r.Ns {
		if ns, ok := rr.(*dns.NS); ok && !r.Authoritative && len(d.Referral) < c.o.Limits.MX {
			d.Referral = append(d.Referral, hostName(ns.Ns))
		}
	}
	a, err := readAnswer(q, r, c.o.Limits)
	if err != nil {
		if len(d.Referral) > 0 && r.Rcode == dns.RcodeSuccess {
			return d, nil
		}
		return d, fmt.Errorf("ask %s for %s: %w", server, q, err)
	}
	a.authentic = false
	d.Records, d.Result, d.Alias = texts(a.records), a.result(), hostName(a.next)
	return d, a.outcome(q)
}
