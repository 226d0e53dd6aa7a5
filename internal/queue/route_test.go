package queue

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tram/internal/dns"
)

// routeZone has a domain for each way that names can lead or mislead.
const routeZone = `
order.test. IN MX 20 mx2.order.test.
order.test. IN MX 10 mx1.order.test.
order.test. IN MX 30 mx3.order.test.
mx1.order.test. IN A 192.0.2.11
mx2.order.test. IN A 192.0.2.12
mx3.order.test. IN A 192.0.2.13
implicit.test. IN A 192.0.2.1
null.test. IN MX 0 .
nothing.test. IN TXT "no address"
bare.test. IN MX 10 nowhere.bare.test.
us-first.test. IN MX 10 us.test.
us-first.test. IN MX 20 mx2.order.test.
us-last.test. IN MX 10 mx2.order.test.
us-last.test. IN MX 20 us.test.
own.test. IN MX 10 mx.own.test.
mx.own.test. IN A 192.0.2.77
loop4.test. IN MX 10 mx.loop4.test.
mx.loop4.test. IN A 127.0.0.1
loop6.test. IN MX 10 mx.loop6.test.
mx.loop6.test. IN AAAA ::1
mapped.test. IN MX 10 mx.mapped.test.
mx.mapped.test. IN AAAA ::ffff:127.0.0.1
nat.test. IN MX 10 mx.nat.test.
mx.nat.test. IN AAAA 64:ff9b::127.0.0.1
natprivate.test. IN MX 10 mx.natprivate.test.
mx.natprivate.test. IN AAAA 64:ff9b::a00:1
natfar.test. IN MX 10 mx.natfar.test.
mx.natfar.test. IN AAAA 64:ff9b::cb00:7101
natown.test. IN MX 10 mx.natown.test.
mx.natown.test. IN AAAA 64:ff9b::c000:24d
zero.test. IN MX 10 mx.zero.test.
mx.zero.test. IN A 0.0.0.0
private.test. IN MX 10 mx.private.test.
mx.private.test. IN A 10.0.0.1
mx.private.test. IN AAAA fd00::1
link.test. IN MX 10 mx.link.test.
mx.link.test. IN A 169.254.169.254
shared.test. IN MX 10 mx.shared.test.
mx.shared.test. IN A 100.64.0.1
multi.test. IN MX 10 mx.multi.test.
mx.multi.test. IN A 224.0.0.1
`

// Permanent failures of routing, RFC 5321 §5.1, RFC 7505 §4.1 and reliability P25: nothing is
// dialled, and the sender is told with the right status.
func TestNoWay(t *testing.T) {
	t.Parallel()
	tests := []struct{ rcpt, reply string }{
		{"bob@null.test", "556 5.1.10 null.test takes no mail"},
		{"bob@absent.test", "550 5.1.2 Domain absent.test does not exist"},
		{"bob@nothing.test", "550 5.4.4 No address leads to nothing.test (nothing.test)"},
		{"bob@bare.test", "550 5.4.4 No address leads to bare.test (nowhere.bare.test)"},
		{"bob@us-first.test", "554 5.4.6 Mail for us-first.test loops back to this server"},
		{"bob@own.test", "554 5.4.6 Mail for own.test loops back to this server"},
		{"bob@loop4.test", "554 5.4.6 Mail for loop4.test loops back to this server"},
		{"bob@loop6.test", "554 5.4.6 Mail for loop6.test loops back to this server"},
		{"bob@mapped.test", "554 5.4.6 Mail for mapped.test loops back to this server"},
		{"bob@nat.test", "554 5.4.6 Mail for nat.test loops back to this server"},
		{"bob@natown.test", "554 5.4.6 Mail for natown.test loops back to this server"},
		{"bob@natprivate.test", "550 5.4.4 No public address leads to natprivate.test"},
		{"bob@zero.test", "554 5.4.6 Mail for zero.test loops back to this server"},
		{"bob@private.test", "550 5.4.4 No public address leads to private.test"},
		{"bob@link.test", "550 5.4.4 No public address leads to link.test"},
		{"bob@shared.test", "550 5.4.4 No public address leads to shared.test"},
		{"bob@multi.test", "550 5.4.4 No public address leads to multi.test"},
		{"bob@[127.0.0.1]", "554 5.4.6 Mail for [127.0.0.1] loops back to this server"},
		{"bob@[10.1.2.3]", "550 5.4.4 No public address leads to [10.1.2.3]"},
		{"bob@[IPv6:::ffff:10.1.2.3]",
			"550 5.4.4 No public address leads to [IPv6:::ffff:10.1.2.3]"},
	}
	for _, tt := range tests {
		w := newWorld(t, func(o *Options) { o.Own = []netip.Addr{netip.MustParseAddr("192.0.2.77")} })
		w.dns.Add(routeZone)
		w.run()
		w.send(tt.rcpt)
		if got := w.await("failed", 1); !strings.Contains(got, "reply="+tt.reply+" age") {
			t.Errorf("%s: %s", tt.rcpt, got)
		}
		w.await("done", 2) // and the notice
		w.net.mu.Lock()
		if len(w.net.dials) > 0 {
			t.Errorf("%s: dialled %v", tt.rcpt, w.net.dials)
		}
		w.net.mu.Unlock()
		w.stop()
	}
}

// Exchangers are tried in order, and the next one when one does not take the message now.
func TestNextExchanger(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		rcpt  string
		edit  func(m1, m2 *sink)
		which int
	}{
		{"the first", "bob@order.test", func(_, _ *sink) {}, 0},
		{"refused connection", "bob@order.test", func(m1, _ *sink) { m1.setDown(true) }, 1},
		{"greeting later", "bob@order.test", func(m1, _ *sink) { m1.on(at("greeting", "421 x")) }, 1},
		{"greeting never", "bob@order.test", func(m1, _ *sink) { m1.on(at("greeting", "554 x")) }, 1},
		{"cut at hello", "bob@order.test", func(m1, _ *sink) { m1.on(at("EHLO", "CUT")) }, 1},
		{"later at MAIL", "bob@order.test", func(m1, _ *sink) { m1.on(at("MAIL", "451 x")) }, 1},
		{"closing at MAIL", "bob@order.test", func(m1, _ *sink) { m1.on(at("MAIL", "421 x")) }, 1},
		{"cut at MAIL", "bob@order.test", func(m1, _ *sink) { m1.on(at("MAIL", "CUT")) }, 1},
		{"the third", "bob@order.test", func(m1, m2 *sink) { m1.setDown(true); m2.on(at("MAIL", "421 x")) }, 2},
		{"we are the backup", "bob@us-last.test", func(_, _ *sink) {}, 1},
		{"implicit", "bob@implicit.test", func(_, _ *sink) {}, 3},
		{"literal", "bob@[192.0.2.1]", func(_, _ *sink) {}, 3},
		{"through NAT64", "bob@natfar.test", func(_, _ *sink) {}, 4},
	}
	for _, tt := range tests {
		w := newWorld(t)
		w.dns.Add(routeZone)
		sinks := []*sink{w.net.listen(t, "192.0.2.11"), w.net.listen(t, "192.0.2.12"),
			w.net.listen(t, "192.0.2.13"), w.net.listen(t, "192.0.2.1"), w.net.listen(t, "64:ff9b::cb00:7101")}
		tt.edit(sinks[0], sinks[1])
		w.run()
		w.send(tt.rcpt)
		w.await("done", 1)
		for i, s := range sinks {
			if got := len(s.taken()); (got == 1) != (i == tt.which) {
				t.Errorf("%s: sink %d took %d", tt.name, i, got)
			}
		}
		w.empty()
		w.stop()
	}
}

// A domain that names addresses without end costs no more than others do.
func TestManyAddresses(t *testing.T) {
	t.Parallel()
	for _, perHost := range []int{1, 3, 60} {
		w := newWorld(t).run()
		var zone strings.Builder
		for i := range 60 {
			fmt.Fprintf(&zone, "many.test. IN MX %d mx%d.many.test.\n", i, i/perHost)
			fmt.Fprintf(&zone, "mx%d.many.test. IN A 198.51.100.%d\n", i/perHost, i+1)
		}
		w.dns.Add(zone.String())
		w.send("bob@many.test")
		w.await("destination failed", 1)
		dials := 0
		w.net.mu.Lock()
		for _, n := range w.net.dials {
			dials += n
		}
		w.net.mu.Unlock()
		if dials != maxDials {
			t.Errorf("dialled %d times with %d addresses a host", dials, perHost)
		}
		w.stop()
	}
}

// O11: whatever ails the DNS, nothing bounces.
func TestNameTroubleIsTemporary(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"alive.test", "mx.alive.test"} {
		w := newWorld(t).run()
		w.dns.Fail(name, dns.ErrTemporary)
		s := w.net.listen(t, "192.0.2.1")
		w.send("bob@alive.test")
		w.await("destination failed", 1)
		w.dns.Fail(name, nil)
		w.later(10 * time.Minute)
		w.get(s)
		w.await("done", 1)
		if w.log.times("failed") > 0 {
			t.Errorf("%s: something failed: %s", name, w.log)
		}
		w.empty()
		w.stop()
	}
}

// Without a name server and without a smarthost mail for others waits; one of the two lets it go.
func TestNoWayOutYet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Resolver = nil }).run()
	id := w.send("bob@alive.test", "dan@us.test")
	w.await("destination failed", 1)
	w.await("delivered", 1)
	if got := w.show(id).Recipients[0].LastReply; !strings.Contains(got, "neither a smarthost nor a name server") {
		t.Errorf("reason %q", got)
	}
	// With a smarthost it goes there when the server is started again.
	w.stop()
	s := w.net.listen(t, "192.0.2.50")
	w.o.Smarthost = Smarthost{Host: "192.0.2.50:25"}
	w.reopen()
	w.run()
	w.send("carol@dead.test")
	w.get(s)
	w.later(10 * time.Minute)
	w.get(s)
	w.await("done", 2)
	w.empty()
}

// A domain that becomes local takes its waiting mail along.
func TestDomainBecomesLocal(t *testing.T) {
	t.Parallel()
	w := newWorld(t).run()
	w.send("bob@dead.test", "eve@dead.test")
	w.await("destination failed", 1)
	w.local.mu.Lock()
	w.local.domains = map[string]bool{"dead.test": true}
	w.local.mu.Unlock()
	w.later(10 * time.Minute)
	w.await("done", 1)
	w.local.mu.Lock()
	if len(w.local.got) != 1 || len(w.local.got[0].Recipients) != 2 {
		t.Errorf("%+v", w.local.got)
	}
	w.local.mu.Unlock()
	w.empty()
}

// A server that greets with our own name is us, whatever its address says.
func TestGreetingShowsLoop(t *testing.T) {
	t.Parallel()
	w := newWorld(t).run()
	s := w.net.listen(t, "192.0.2.1")
	s.mu.Lock()
	s.name = "us.test"
	s.mu.Unlock()
	w.send("bob@alive.test")
	if got := w.await("failed", 1); !strings.Contains(got, "5.4.6") {
		t.Error(got)
	}
	w.await("done", 2)
	if len(s.taken()) > 0 {
		t.Error("it was sent just the same")
	}
}

// P23: what has been through too many servers is not sent on.
func TestForwardLoop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	text := strings.Repeat("Received: from a by b; Sun, 1 Mar 2026 12:00:00 +0000\r\n", 51) + note
	e := w.envelope(text, "bob@alive.test")
	if err := w.q.Forward(t.Context(), e); !errors.Is(err, ErrLoop) {
		t.Errorf("Forward = %v", err)
	}
	w.empty()
	if err := w.q.Forward(t.Context(), w.envelope(note, "bob@alive.test")); err != nil {
		t.Error(err)
	}
}
