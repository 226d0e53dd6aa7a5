package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"tram/internal/clock"
	"tram/internal/limits"
)

// Fake is a resolver over records in memory, for tests. It answers as a recursive server does, and
// its Resolver methods read those answers with the code that reads real ones, without a cache. It
// is safe for concurrent use.
type Fake struct {
	*Client

	mu        sync.Mutex
	records   map[string][]dns.RR // by lower-case name
	failing   map[string]error
	authentic map[string]bool
	asked     []string
	err       error // of a record that did not parse
}

// NewFake takes records in zone-file form, one a line: "example.net. 300 IN MX 10 mx.example.net."
// Records that do not parse make every look-up fail, with the reason.
func NewFake(zone string) *Fake {
	f := &Fake{
		records: map[string][]dns.RR{}, failing: map[string]error{}, authentic: map[string]bool{},
	}
	l := limits.Default().DNS
	l.Cache, l.Tries = 0, 1
	f.Client = &Client{
		o:     Options{Limits: l, Clock: clock.System, Servers: []netip.AddrPort{fakeServer}},
		cache: newCache(clock.System, l), servers: []netip.AddrPort{fakeServer},
		ask: func(_ context.Context, q *dns.Msg, _ netip.AddrPort, _ bool) (*dns.Msg, error) {
			return f.answer(q)
		},
	}
	f.Client.o.Logger = slog.New(slog.DiscardHandler)
	f.Add(zone)
	return f
}

var fakeServer = netip.MustParseAddrPort("127.0.0.1:53")

// Add adds records in zone-file form.
func (f *Fake) Add(zone string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := dns.NewZoneParser(strings.NewReader(zone), ".", "")
	p.SetDefaultTTL(300)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		name := strings.ToLower(rr.Header().Name)
		f.records[name] = append(f.records[name], rr)
	}
	if err := p.Err(); err != nil {
		f.err = fmt.Errorf("fake zone: %w", err)
	}
}

// Remove removes all records of a name.
func (f *Fake) Remove(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.records, dns.Fqdn(strings.ToLower(name)))
}

// Fail makes look-ups of a name fail until err is nil: ErrNoDomain and ErrNoRecord as such, every
// other error as a server failure, which is ErrTemporary.
func (f *Fake) Fail(name string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing[dns.Fqdn(strings.ToLower(name))] = err
}

// SetAuthentic sets the DNSSEC bit of answers about a name and what is below it.
func (f *Fake) SetAuthentic(name string, authentic bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.authentic[dns.Fqdn(strings.ToLower(name))] = authentic
}

// Asked returns the questions so far, "example.net. MX", in their order.
func (f *Fake) Asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.asked...)
}

// answer answers a query as a recursive server would.
func (f *Fake) answer(m *dns.Msg) (*dns.Msg, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	r := new(dns.Msg)
	r.SetReply(m)
	if len(m.Question) != 1 {
		r.Rcode = dns.RcodeFormatError
		return r, nil
	}
	r.RecursionAvailable = true
	q := m.Question[0]
	name := strings.ToLower(q.Name)
	f.asked = append(f.asked, name+" "+dns.TypeToString[q.Qtype])
	r.AuthenticatedData = f.isAuthentic(name)
	for range 32 {
		if err := f.failing[name]; err != nil {
			f.failure(r, err)
			return r, nil
		}
		if !f.exists(name) {
			f.failure(r, ErrNoDomain)
			return r, nil
		}
		alias := ""
		for _, rr := range f.records[name] {
			if c, ok := rr.(*dns.CNAME); ok && q.Qtype != dns.TypeCNAME {
				r.Answer = append(r.Answer, rr)
				alias = strings.ToLower(c.Target)
				continue
			}
			if rr.Header().Rrtype == q.Qtype {
				r.Answer = append(r.Answer, rr)
			}
		}
		if alias == "" {
			break
		}
		name = alias
		r.AuthenticatedData = r.AuthenticatedData && f.isAuthentic(name)
	}
	if n := len(r.Answer); n == 0 || r.Answer[n-1].Header().Rrtype != q.Qtype {
		f.failure(r, ErrNoRecord)
	}
	return r, nil
}

// failure makes a message deny or fail.
func (f *Fake) failure(r *dns.Msg, err error) {
	switch {
	case errors.Is(err, ErrNoDomain):
		r.Rcode = dns.RcodeNameError
	case errors.Is(err, ErrNoRecord):
	default:
		r.Rcode = dns.RcodeServerFailure
		return
	}
	r.Ns = []dns.RR{&dns.SOA{
		Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 300},
		Ns:  "ns.invalid.", Mbox: "hostmaster.invalid.", Serial: 1, Refresh: 3600, Retry: 600,
		Expire: 86400, Minttl: 60,
	}}
}

// exists reports whether there is anything at a name or below it (RFC 8020).
func (f *Fake) exists(name string) bool {
	for n := range f.records {
		if n == name || strings.HasSuffix(n, "."+name) {
			return true
		}
	}
	return false
}

func (f *Fake) isAuthentic(name string) bool {
	for ; name != ""; _, name, _ = strings.Cut(name, ".") {
		if is, ok := f.authentic[name]; ok {
			return is
		}
	}
	return f.authentic["."]
}

// ServeDNS answers as a real server does, dropping nothing.
func (f *Fake) ServeDNS(w dns.ResponseWriter, m *dns.Msg) {
	r, err := f.answer(m)
	if err != nil {
		r = new(dns.Msg)
		r.SetRcode(m, dns.RcodeServerFailure)
	}
	size := dns.MinMsgSize
	if opt := m.IsEdns0(); opt != nil {
		r.SetEdns0(ednsSize, false)
		size = int(opt.UDPSize())
	}
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		r.Truncate(size)
	}
	// A client that has gone needs no answer.
	_ = w.WriteMsg(r)
}

// Listen serves the records on a free port of loopback, over UDP and TCP, until close is called.
func (f *Fake) Listen() (addr netip.AddrPort, close func(), err error) { return Serve(f) }

// Serve runs a DNS handler on a free port of loopback, over UDP and TCP, until close is called.
func Serve(h dns.Handler) (addr netip.AddrPort, close func(), err error) {
	// The port that TCP was given may be taken for UDP.
	for range 20 {
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			break
		}
		var p net.PacketConn
		if p, err = net.ListenPacket("udp", l.Addr().String()); err != nil {
			l.Close()
			continue
		}
		return l.Addr().(*net.TCPAddr).AddrPort(), serve(h, l, p), nil
	}
	return netip.AddrPort{}, nil, fmt.Errorf("serve dns: %w", err)
}

func serve(h dns.Handler, l net.Listener, p net.PacketConn) (close func()) {
	var running sync.WaitGroup
	servers := []*dns.Server{{Listener: l, Handler: h}, {PacketConn: p, Handler: h}}
	for _, s := range servers {
		started := make(chan struct{}, 2)
		s.NotifyStartedFunc = func() { started <- struct{}{} }
		running.Go(func() {
			if err := s.ActivateAndServe(); err != nil {
				started <- struct{}{}
			}
		})
		<-started
	}
	return func() {
		for _, s := range servers {
			// One that is no longer running needs no stopping.
			_ = s.Shutdown()
		}
		running.Wait()
	}
}
