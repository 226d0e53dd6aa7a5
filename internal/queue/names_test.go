package queue

import (
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"tram/internal/dns"
	"tram/internal/limits"
)

// O11: a name server that fails, refuses, is lame, cuts its answers off, leads in circles or says nothing
// makes mail wait and never bounce, with policies asked for too; when it is well again, all flows.
func TestIllNameServers(t *testing.T) {
	t.Parallel()
	well := dns.NewFake(zone)
	ills := map[string]func(w mdns.ResponseWriter, m, r *mdns.Msg){
		"SERVFAIL": func(w mdns.ResponseWriter, m, r *mdns.Msg) { r.SetRcode(m, mdns.RcodeServerFailure) },
		"REFUSED":  func(w mdns.ResponseWriter, m, r *mdns.Msg) { r.SetRcode(m, mdns.RcodeRefused) },
		"NOTIMP":   func(w mdns.ResponseWriter, m, r *mdns.Msg) { r.SetRcode(m, mdns.RcodeNotImplemented) },
		"lame": func(w mdns.ResponseWriter, m, r *mdns.Msg) {
			r.SetReply(m)
			r.Ns = []mdns.RR{&mdns.NS{Hdr: mdns.RR_Header{Name: "test.", Rrtype: mdns.TypeNS, Class: mdns.ClassINET}, Ns: "ns.test."}}
		},
		"cut off": func(w mdns.ResponseWriter, m, r *mdns.Msg) { r.SetReply(m); r.Truncated = true },
		"circle": func(w mdns.ResponseWriter, m, r *mdns.Msg) {
			r.SetReply(m)
			for _, n := range []string{m.Question[0].Name, "one.test.", "two.test."} {
				next := map[string]string{"one.test.": "two.test.", "two.test.": "one.test."}[n]
				if next == "" {
					next = "one.test."
				}
				h := mdns.RR_Header{Name: n, Rrtype: mdns.TypeCNAME, Class: mdns.ClassINET, Ttl: 60}
				r.Answer = append(r.Answer, &mdns.CNAME{Hdr: h, Target: next})
			}
		},
		"silent":           func(w mdns.ResponseWriter, m, r *mdns.Msg) { r.Id = 0 },
		"another question": func(w mdns.ResponseWriter, m, r *mdns.Msg) { r.SetReply(m); r.Question[0].Name = "evil.test." },
	}
	for name, ill := range ills {
		for _, only := range []string{"", "mx.alive.test."} { // all of it, or the exchanger alone
			t.Run(name+" "+only, func(t *testing.T) {
				t.Parallel()
				var healed atomic.Bool
				addr, stop, err := dns.Serve(mdns.HandlerFunc(func(w mdns.ResponseWriter, m *mdns.Msg) {
					if healed.Load() || only != "" && !strings.HasSuffix(m.Question[0].Name, only) {
						well.ServeDNS(w, m)
						return
					}
					r := new(mdns.Msg)
					r.Id = 1
					if ill(w, m, r); r.Id != 0 {
						_ = w.WriteMsg(r)
					}
				}))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(stop)
				p := newPoliced(t, func(o *Options) {
					l := limits.Default().DNS
					l.Query, l.Total = 100*time.Millisecond, 2*time.Second
					o.Resolver = dns.New(dns.Options{Servers: []netip.AddrPort{addr}, Clock: o.Clock, Limits: l})
					o.Limits.Jitter = 0
				})
				s := p.net.listen(t, "192.0.2.1")
				p.run()
				p.send("bob@alive.test")
				for n := range 3 {
					p.await("destination failed", n+1)
					p.later(4 * time.Hour)
				}
				p.await("destination failed", 4)
				if p.log.times("failed") > 0 || len(s.taken()) > 0 {
					t.Fatalf("something bounced or left:\n%s", p.log)
				}
				healed.Store(true)
				p.later(4 * time.Hour)
				p.get(s)
				p.await("done", 1)
				if p.log.times("failed") > 0 {
					t.Errorf("something bounced:\n%s", p.log)
				}
			})
		}
	}
}
