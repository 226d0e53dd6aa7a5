package conn

import (
	"net/netip"
	"testing"

	"tram/internal/limits"
)

// TestSessionsCount: both bounds hold for each account by itself, what ends makes room, and who came
// over a unix socket counts against the account alone.
func TestSessionsCount(t *testing.T) {
	t.Parallel()
	s := NewSessions(limits.Conn{PerUser: 3, PerUserIP: 2})
	a, b, none := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.Addr{}
	for i, step := range []struct {
		account uint64
		addr    netip.Addr
		leave   bool
		want    bool
	}{
		{1, a, false, true}, {1, a, false, true}, {1, a, false, false}, {1, b, false, true},
		{1, b, false, false}, {2, a, false, true}, {1, a, true, true}, {1, none, false, true},
		{1, a, false, false}, {1, none, true, true}, {1, a, false, true},
		{1, a, true, true}, {1, a, true, true}, {1, b, true, true}, {2, a, true, true},
	} {
		if step.leave {
			s.Leave(step.account, step.addr)
			continue
		}
		if got := s.Join(step.account, step.addr); got != step.want {
			t.Errorf("step %d: Join(%d, %v) = %t", i, step.account, step.addr, got)
		}
	}
	if len(s.n) != 0 {
		t.Errorf("left over: %v", s.n)
	}
	unbound := NewSessions(limits.Conn{})
	for range 100 {
		if !unbound.Join(1, a) {
			t.Fatal("there is no bound, and it was reached")
		}
	}
}
