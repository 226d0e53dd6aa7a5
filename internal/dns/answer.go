package dns

import (
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"

	"tram/internal/limits"
)

// answer is what one or more messages say about a question.
type answer struct {
	name      string   // at the end of the aliases
	records   []dns.RR // of the type that was asked for, at that name
	missing   error    // ErrNoDomain or ErrNoRecord when there are none
	next      string   // an alias leads here, and the message says no more
	authentic bool
	ttl       time.Duration
}

// then joins an answer with the one about the name it led to. The zero answer joins with any.
func (a answer) then(b answer) answer {
	if a.next != "" {
		b.authentic = b.authentic && a.authentic
		b.ttl = min(b.ttl, a.ttl)
	}
	return b
}

func (a answer) outcome(q question) error {
	if a.missing == nil {
		return nil
	}
	return fmt.Errorf("look up %s: %w", q, a.missing)
}

func (a answer) result() Result {
	return Result{Authentic: a.authentic, TTL: a.ttl, Name: hostName(a.name)}
}

func (a answer) label() string {
	if a.missing != nil {
		return "none"
	}
	return "ok"
}

// matches reports whether r is an answer to m: the same identifier and the same question, letter
// by letter where case was mixed. Everything else was sent by somebody who guesses.
func matches(m, r *dns.Msg) bool {
	if !r.Response || r.Id != m.Id || r.Opcode != m.Opcode {
		return false
	}
	if len(r.Question) == 0 { // some servers drop it when they refuse
		return r.Rcode == dns.RcodeFormatError || r.Rcode == dns.RcodeNotImplemented
	}
	return len(r.Question) == 1 && r.Question[0] == m.Question[0]
}

// readAnswer reads a message that matches the question. What is no answer at all is an error:
// another server may know better.
func readAnswer(q question, r *dns.Msg, l limits.DNS) (answer, error) {
	switch {
	case r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError:
		return answer{}, fmt.Errorf("server says %s: %w", rcode(r.Rcode), ErrTemporary)
	case r.Truncated:
		return answer{}, fmt.Errorf("answer is cut off over TCP too: %w", ErrTemporary)
	}
	a := answer{authentic: r.AuthenticatedData, ttl: l.MaxTTL}
	name, err := a.followAliases(q, r, l)
	if err != nil {
		return answer{}, err
	}
	a.name = name
	for _, rr := range r.Answer {
		h := rr.Header()
		if h.Rrtype == q.qtype && h.Class == dns.ClassINET && strings.EqualFold(h.Name, name) {
			a.records = append(a.records, rr)
			a.ttl = min(a.ttl, seconds(h.Ttl))
		}
	}
	switch {
	case len(a.records) > 0:
		return a, nil
	case r.Rcode == dns.RcodeNameError:
		a.missing = ErrNoDomain
	case name != q.name && !hasSOA(r):
		a.next = name // the alias leads out of what this server knows
		return a, nil
	default:
		a.missing = ErrNoRecord
	}
	if lame(r) {
		return answer{}, fmt.Errorf("server knows nothing of %s: %w", q.name, ErrTemporary)
	}
	a.ttl = min(a.ttl, negativeTTL(r, l))
	return a, nil
}

// followAliases finds the name that the CNAME records of a message lead to.
func (a *answer) followAliases(q question, r *dns.Msg, l limits.DNS) (string, error) {
	if q.qtype == dns.TypeCNAME {
		return q.name, nil
	}
	name := q.name
	for range l.CNAME + 1 {
		alias := aliasOf(name, r)
		if alias == nil {
			return name, nil
		}
		next, err := newQuestion(alias.Target, q.qtype)
		if err != nil || next == q {
			break
		}
		name = next.name
		a.ttl = min(a.ttl, seconds(alias.Hdr.Ttl))
	}
	return "", fmt.Errorf("aliases of %s lead in a circle, too far or nowhere: %w", q.name, ErrTemporary)
}

func aliasOf(name string, r *dns.Msg) *dns.CNAME {
	for _, rr := range r.Answer {
		c, ok := rr.(*dns.CNAME)
		if ok && c.Hdr.Class == dns.ClassINET && strings.EqualFold(c.Hdr.Name, name) {
			return c
		}
	}
	return nil
}

func hasSOA(r *dns.Msg) bool {
	for _, rr := range r.Ns {
		if _, ok := rr.(*dns.SOA); ok {
			return true
		}
	}
	return false
}

// lame reports whether an empty message is only a pointer to other servers: from one that neither
// resolves nor is responsible.
func lame(r *dns.Msg) bool {
	if r.Rcode != dns.RcodeSuccess || r.Authoritative || r.RecursionAvailable || hasSOA(r) {
		return false
	}
	for _, rr := range r.Ns {
		if _, ok := rr.(*dns.NS); ok {
			return true
		}
	}
	return false
}

// negativeTTL is how long a denial may be kept: what the zone's SOA says (RFC 2308 §5), and not at
// all without one.
func negativeTTL(r *dns.Msg, l limits.DNS) time.Duration {
	for _, rr := range r.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(seconds(min(soa.Hdr.Ttl, soa.Minttl)), l.MaxNegative)
		}
	}
	return 0
}

// seconds reads a TTL; one with the highest bit set is 0, RFC 2181 §8.
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

func rcode(code int) string {
	if s, ok := dns.RcodeToString[code]; ok {
		return s
	}
	return fmt.Sprintf("error %d", code)
}
