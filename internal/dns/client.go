package dns

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
	"golang.org/x/sync/singleflight"

	"tram/internal/clock"
	"tram/internal/limits"
	"tram/internal/metrics"
)

var queries = metrics.CounterVec("dns_queries_total",
	"Questions to name servers by result (ok, none, failed).", "result")

// Options configure New. The zero value asks the servers of /etc/resolv.conf.
type Options struct {
	Servers []netip.AddrPort // empty: those of /etc/resolv.conf, read again when it changes
	Trusted []netip.Prefix   // servers whose DNSSEC bit counts, beside those on loopback
	Clock   clock.Clock      // for the cache; the network has its own time
	Limits  limits.DNS       // the zero value means limits.Default().DNS
	Logger  *slog.Logger
	// MixedCase asks in random upper and lower case and takes only answers in the same: harder to
	// forge, and a few old servers do not play along.
	MixedCase bool
}

// Client is a stub resolver with a cache. It is safe for concurrent use.
type Client struct {
	o     Options
	cache *cache
	calls singleflight.Group
	ask   asker

	mu      sync.Mutex
	servers []netip.AddrPort
	checked time.Time // when resolv.conf was last looked at
	changed time.Time // its modification time then
	next    int       // the server that the next look-up begins with
}

// asker sends one question to one server and returns its answer, over TCP when told so.
type asker func(ctx context.Context, q *dns.Msg, server netip.AddrPort, tcp bool) (*dns.Msg, error)

const (
	resolvConf = "/etc/resolv.conf"
	// checkConf is how often resolvConf is looked at.
	checkConf = 30 * time.Second
)

// New returns a resolver. It does not touch the network yet.
func New(o Options) *Client {
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Limits == (limits.DNS{}) {
		o.Limits = limits.Default().DNS
	}
	return &Client{o: o, cache: newCache(o.Clock, o.Limits), ask: askNetwork, servers: o.Servers}
}

// look finds the records of a type at a name, following aliases.
func (c *Client) look(ctx context.Context, name string, qtype uint16) (answer, error) {
	q, err := newQuestion(name, qtype)
	if err != nil {
		return answer{}, err
	}
	var whole answer
	for range c.o.Limits.CNAME + 1 {
		a, err := c.step(ctx, q)
		if err != nil {
			return answer{}, err
		}
		whole = whole.then(a)
		if a.next == "" {
			return whole, whole.outcome(q)
		}
		q.name = a.next
	}
	return answer{}, fmt.Errorf("look up %s: too many aliases: %w", name, ErrTemporary)
}

// step answers one question from the cache or from a server; a question that is being asked
// already is not asked twice.
func (c *Client) step(ctx context.Context, q question) (answer, error) {
	if a, err, ok := c.cache.get(q); ok {
		return a, err
	}
	done := c.calls.DoChan(q.String(), func() (any, error) {
		// Others may wait for the answer when the first one has gone.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.o.Limits.Total)
		defer cancel()
		a, err := c.query(ctx, q)
		c.cache.put(q, a, err)
		return a, err
	})
	select {
	case r := <-done:
		a, _ := r.Val.(answer)
		return a, r.Err
	case <-ctx.Done():
		return answer{}, fmt.Errorf("look up %s: %w", q, errors.Join(ErrTemporary, ctx.Err()))
	}
}

// query asks the servers in turn until one has an answer.
func (c *Client) query(ctx context.Context, q question) (answer, error) {
	servers, first := c.current()
	if len(servers) == 0 {
		return answer{}, fmt.Errorf("look up %s: no name servers: %w", q, ErrTemporary)
	}
	var failed []error
	for i := range c.o.Limits.Tries * len(servers) {
		server := servers[(first+i)%len(servers)]
		a, err := c.queryServer(ctx, q, server)
		if err == nil {
			a.authentic = a.authentic && c.trusts(server)
			queries.WithLabelValues(a.label()).Inc()
			return a, nil
		}
		queries.WithLabelValues("failed").Inc()
		if failed = append(failed, fmt.Errorf("%s: %w", server, err)); ctx.Err() != nil {
			break
		}
	}
	err := errors.Join(failed[len(failed)-1], ErrTemporary)
	c.o.Logger.Debug("dns look-up failed", "question", q.String(), "error", errors.Join(failed...))
	return answer{}, fmt.Errorf("look up %s: %w", q, err)
}

// queryServer asks one server that resolves for us, and reads its answer.
func (c *Client) queryServer(ctx context.Context, q question, server netip.AddrPort) (answer, error) {
	r, err := c.exchange(ctx, q, server, true)
	if err != nil {
		return answer{}, err
	}
	return readAnswer(q, r, c.o.Limits)
}

// exchange asks one server: over UDP, over TCP when the answer was cut off, and without EDNS when
// the server does not know it. recurse: it is to ask others.
func (c *Client) exchange(
	ctx context.Context, q question, server netip.AddrPort, recurse bool,
) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Limits.Query)
	defer cancel()
	edns := true
	for tcp := false; ; {
		m, err := q.message(edns, c.o.MixedCase)
		if err != nil {
			return nil, err
		}
		m.RecursionDesired = recurse
		r, err := c.ask(ctx, m, server, tcp)
		if err != nil {
			return nil, err
		}
		switch {
		case r.Truncated && !tcp:
			tcp = true
		case edns && refusesEDNS(r.Rcode):
			edns = false
		default:
			return r, nil
		}
	}
}

// refusesEDNS reports whether a server may do better without EDNS, RFC 6891 §7.
func refusesEDNS(code int) bool {
	return code == dns.RcodeFormatError || code == dns.RcodeNotImplemented ||
		code == dns.RcodeBadVers
}

func (c *Client) trusts(server netip.AddrPort) bool {
	addr := server.Addr().Unmap()
	if addr.IsLoopback() {
		return true
	}
	for _, p := range c.o.Trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// current returns the servers and which of them to begin with.
func (c *Client) current() (servers []netip.AddrPort, first int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.o.Servers) == 0 {
		c.readConf(resolvConf)
	}
	if len(c.servers) == 0 {
		return nil, 0
	}
	c.next = (c.next + 1) % len(c.servers)
	return c.servers, c.next
}

// readConf reads the servers of a resolv.conf file when it has changed. What cannot be read leaves
// the servers as they are, at first the one on this machine.
func (c *Client) readConf(file string) {
	now := c.o.Clock.Now()
	if age := now.Sub(c.checked); !c.checked.IsZero() && age >= 0 && age < checkConf {
		return
	}
	c.checked = now
	if c.servers == nil {
		c.servers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}
	}
	info, err := os.Stat(file)
	if err != nil || info.ModTime().Equal(c.changed) {
		return
	}
	conf, err := dns.ClientConfigFromFile(file)
	if err != nil {
		c.o.Logger.Warn("dns: read servers", "file", file, "error", err)
		return
	}
	var servers []netip.AddrPort
	for _, s := range conf.Servers {
		if addr, err := netip.ParseAddr(s); err == nil {
			servers = append(servers, netip.AddrPortFrom(addr, 53))
		}
	}
	if c.changed = info.ModTime(); len(servers) > 0 {
		c.servers = servers
	}
}

// question is a name in lower-case A-labels with the trailing dot, and a type.
type question struct {
	name  string
	qtype uint16
}

func (q question) String() string { return q.name + " " + dns.TypeToString[q.qtype] }

var lookup = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false))

// newQuestion takes a name as people and protocols write it. ErrNoDomain for what cannot be one.
func newQuestion(name string, qtype uint16) (question, error) {
	n := plain(strings.TrimSuffix(name, "."))
	var err error
	if strings.IndexFunc(n, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
		n, err = lookup.ToASCII(n)
	}
	// After the mapping, for other scripts have dots and semicolons of their own.
	n = strings.ToLower(n)
	if err != nil || !validName(n) {
		return question{}, fmt.Errorf("look up %q: %w", name, ErrNoDomain)
	}
	return question{escape(n) + ".", qtype}, nil
}

// validName reports whether a name can be asked for: labels of 1 to 63 octets of ASCII that is no
// control and no backslash, 253 together. Names that no host can have are asked for all the same: the
// macros of SPF make such, and records may stand there (RFC 7208 §7.1).
func validName(n string) bool {
	for i := 0; i < len(n); i++ {
		if n[i] < ' ' || n[i] >= 0x7f || n[i] == '\\' {
			return false
		}
	}
	_, ok := dns.IsDomainName(n)
	return ok && n != "" && len(n) <= 253 && !strings.HasSuffix(n, ".")
}

// special are the octets before which the library's text form of a name has a backslash.
const special = ` '@;()"`

// plain undoes escape, for names that come from answers. What else has a backslash stays as it is, and
// is refused.
func plain(n string) string {
	if strings.IndexByte(n, '\\') < 0 {
		return n
	}
	var b strings.Builder
	for i := 0; i < len(n); i++ {
		if n[i] == '\\' && i+1 < len(n) && strings.IndexByte(special, n[i+1]) >= 0 {
			i++
		}
		b.WriteByte(n[i])
	}
	return b.String()
}

// escape puts a name into the library's text form.
func escape(n string) string {
	if !strings.ContainsAny(n, special) {
		return n
	}
	var b strings.Builder
	for i := range len(n) {
		if strings.IndexByte(special, n[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(n[i])
	}
	return b.String()
}

// ednsSize is the largest answer that crosses the Internet over UDP unbroken, RFC 9715 §3.2.
const ednsSize = 1232

// message makes the query, with an identifier that cannot be guessed.
func (q question) message(edns, mixedCase bool) (*dns.Msg, error) {
	var random [2 + 32]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("make query: %w", err)
	}
	name := q.name
	if mixedCase {
		name = mixCase(name, random[2:])
	}
	m := new(dns.Msg)
	m.SetQuestion(name, q.qtype)
	m.Id = binary.BigEndian.Uint16(random[:2])
	m.AuthenticatedData = true // asks for the bit without the signatures, RFC 6840 §5.7
	if edns {
		m.SetEdns0(ednsSize, false)
	}
	return m, nil
}

// mixCase turns letters to upper case as the bits say.
func mixCase(name string, bits []byte) string {
	b := []byte(name)
	for i, c := range b {
		if c >= 'a' && c <= 'z' && bits[i/8%len(bits)]>>(i%8)&1 == 1 {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}
