package queue

import (
	"net"
	"net/netip"
	"testing"
)

// A connection that died while it waited for work is found out before a message goes into it: with
// CHUNKING the whole of a small one would, and nobody could say whether it was taken.
func TestRestedConnection(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{"hung up", "CUT", "421 4.4.2 idle for too long", "502 5.5.1 what?"} {
		w := newWorld(t).run()
		s := w.net.listen(t, "192.0.2.1", "PIPELINING", "CHUNKING")
		w.send("bob@alive.test")
		w.await("done", 1)
		w.idle("alive.test", 1)
		if reply == "hung up" {
			s.cut()
		} else {
			s.on(at("RSET", reply))
		}
		w.send("bob@alive.test")
		w.await("done", 2)
		if n := len(s.taken()); n != 2 || w.log.times("deferred")+w.log.times("destination failed") > 0 {
			t.Errorf("%s: %d arrived; the queue said:\n%s", reply, n, w.log)
		}
		w.empty()
		w.stop()
	}
}

// A session that connects anew asks the DNS anew: it may go on for hours.
func TestRouteIsFoundAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		o.Limits.PerSession, o.Limits.DestMin, o.Limits.DestMax = 10, 1, 1
	})
	w.dns.Add("moves.test. IN A 192.0.2.1")
	s := w.net.listen(t, "192.0.2.1")
	next := w.net.listen(t, "192.0.2.9")
	open := w.block(s, "DOT")
	for range 20 {
		w.send("bob@moves.test")
	}
	w.run()
	w.reached(s, "DATA")
	w.dns.Add("moves.test. IN MX 10 mx.dead.test.")
	open()
	w.await("done", 20)
	if a, b := len(s.taken()), len(next.taken()); a != 10 || b != 10 {
		t.Errorf("%d went to the old place and %d to the new one", a, b)
	}
	w.empty()
}

// An address that this machine gets while it runs is not dialled either.
func TestOwnAddressesChange(t *testing.T) {
	t.Parallel()
	list := make(chan []net.Addr, 1)
	list <- nil
	w := newWorld(t, func(o *Options) {
		o.interfaces = func() ([]net.Addr, error) {
			l := <-list
			list <- l
			return l, nil
		}
		o.Own = []netip.Addr{netip.MustParseAddr("192.0.2.77")}
	}).run()
	s := w.net.listen(t, "192.0.2.1")
	w.send("bob@alive.test")
	w.get(s)
	w.await("done", 1)
	<-list
	list <- []net.Addr{&net.IPNet{IP: net.ParseIP("192.0.2.1"), Mask: net.CIDRMask(24, 32)}}
	w.idle("alive.test", 1)
	w.later(ownFor)
	w.idle("alive.test", 0)
	w.send("bob@alive.test")
	w.await("failed", 1)
	for _, a := range []string{"192.0.2.1", "192.0.2.77"} {
		if !w.q.isSelf(netip.MustParseAddr(a)) {
			t.Errorf("%s is not known as our own", a)
		}
	}
	if n := w.net.dialled("192.0.2.1:25"); n != 1 {
		t.Errorf("dialled %d times", n)
	}
}
