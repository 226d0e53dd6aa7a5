package directory

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tram/internal/kv"
	"tram/internal/limits"
)

// acquired takes a permit that must be given.
func (g gate) acquired(from string, w who) *permit {
	g.t.Helper()
	p, err := g.acquire(context.Background(), netip.MustParseAddr(from), w, true)
	if err != nil {
		g.t.Fatalf("%s: %v", from, err)
	}
	return p
}

// idle checks that nothing is counted as being checked at an address and around it.
func (g gate) idle(from string) {
	g.t.Helper()
	own, wide := sources(netip.MustParseAddr(from))
	for _, k := range []sourceKey{own, wide} {
		if s := g.source(k); s.inflight != 0 || len(s.trying) != 0 {
			g.t.Errorf("%v: %d being checked, %d known names trying", k.prefix(), s.inflight, len(s.trying))
		}
	}
}

// restarted is the throttle of the next process: what was saved, and nothing else.
func (g gate) restarted() gate {
	g.t.Helper()
	if err := g.flush(context.Background()); err != nil {
		g.t.Fatal(err)
	}
	g.throttle = newThrottle(g.db, g.clock, g.limits)
	return g
}

// TestWiderNetworkAtOnce proves that the tries that a wider network has left are not multiplied by
// making them together from its addresses, and that each that ends gives its place back.
func TestWiderNetworkAtOnce(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	var running []*permit
	for i := range 100 {
		ctx := &impatient{Context: context.Background()}
		from := netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i))
		if p, err := g.acquire(ctx, from, who(i), true); err == nil {
			running = append(running, p)
		}
	}
	if len(running) != 30 {
		t.Fatalf("%d tries at once from a /24, want 30", len(running))
	}
	for i, p := range running {
		switch i % 3 {
		case 0:
			p.success()
		case 1:
			p.cancel()
		default:
			p.failure()
		}
	}
	for i := range 100 {
		g.idle(fmt.Sprintf("192.0.2.%d", i))
	}
	// Ten of the thirty failed: twenty are left.
	left := 0
	for i := range 100 {
		if g.try(fmt.Sprintf("192.0.2.%d", 100+i), who(1000+i), false) {
			left++
		}
	}
	if left != 20 {
		t.Errorf("%d tries were left, want 20", left)
	}
}

// TestKnownNameTakesNoPlace proves that a name heard while its source is blocked neither takes nor
// gives a place among those that are being checked.
func TestKnownNameTakesNoPlace(t *testing.T) {
	t.Parallel()
	const known, other = 1, 2
	g := newGate(t)
	g.try("192.0.2.1", known, true)
	for range 10 {
		g.try("192.0.2.1", other, false)
	}
	for _, end := range []func(*permit){(*permit).success, (*permit).cancel} {
		p := g.acquired("192.0.2.1", known)
		if !p.exempt {
			t.Fatal("the source was not blocked")
		}
		end(p)
		g.idle("192.0.2.1")
	}
	p := g.acquired("192.0.2.1", known)
	p.failure()
	g.idle("192.0.2.1")
	if g.try("192.0.2.1", known, true) {
		t.Error("a known name that has failed since is heard at a blocked source")
	}
}

// TestHowLong proves that who is turned away hears when it is worth coming back, and that he is
// heard then and not a moment before.
func TestHowLong(t *testing.T) {
	t.Parallel()
	wait := func(g gate, from string) time.Duration {
		t.Helper()
		var throttled ErrThrottled
		p, err := g.acquire(context.Background(), netip.MustParseAddr(from), 99, true)
		if err == nil {
			p.cancel()
			return 0
		}
		if !errors.As(err, &throttled) {
			t.Fatal(err)
		}
		return throttled.RetryAfter
	}
	minute := newGate(t)
	for i := range 10 {
		minute.try("192.0.2.1", who(i), false)
		minute.clock.Advance(time.Second)
	}
	wider := newGate(t)
	for i := range 30 {
		wider.try(fmt.Sprintf("192.0.2.%d", i), who(i), false)
		wider.clock.Advance(time.Second)
	}
	banned := newGate(t)
	for range 2 {
		for i := range 10 {
			banned.try("192.0.2.1", who(i), false)
		}
		banned.clock.Advance(time.Minute)
	}
	days := newGate(t)
	days.limits.BanMin, days.limits.BanMax = time.Minute, time.Minute
	days.throttle = newThrottle(days.db, days.clock, days.limits)
	for i := range 50 {
		days.try("192.0.2.1", who(i), false)
		days.clock.Advance(10 * time.Minute)
	}
	for _, tt := range []struct {
		what, from string
		g          gate
		want       time.Duration
	}{
		{"minute", "192.0.2.1", minute, 50 * time.Second},
		{"wider network's minute", "192.0.2.200", wider, 30 * time.Second},
		{"ban", "192.0.2.1", banned, 59 * time.Minute},
		{"day", "192.0.2.1", days, 24*time.Hour - 500*time.Minute},
	} {
		if got := wait(tt.g, tt.from); got != tt.want {
			t.Errorf("%s: come back in %v, want %v", tt.what, got, tt.want)
			continue
		}
		tt.g.clock.Advance(tt.want - time.Millisecond)
		if got := wait(tt.g, tt.from); got != time.Millisecond {
			t.Errorf("%s: a moment before: %v", tt.what, got)
		}
		tt.g.clock.Advance(time.Millisecond)
		if got := wait(tt.g, tt.from); got != 0 {
			t.Errorf("%s: turned away for another %v when it was time", tt.what, got)
		}
	}
}

// TestTurnedAwayTakesNoPlace proves that strangers who are turned away from an account, or leave
// while they wait for their turn at it, do not use up the tries of their source.
func TestTurnedAwayTakesNoPlace(t *testing.T) {
	t.Parallel()
	const popular = 1
	g := newGate(t)
	for i := range 20 {
		g.try(fmt.Sprintf("10.%d.0.1", i), popular, false)
	}
	for range 100 {
		if g.try("192.0.2.1", popular, true) {
			t.Fatal("a stranger did not wait")
		}
	}
	g.idle("192.0.2.1")
	if !g.try("192.0.2.1", popular+1, true) {
		t.Error("waiting at one account took the source's tries at another")
	}
}

// TestTurnsAfterClockJump proves that turns given out by a clock that was ahead keep nobody away
// when it is put right.
func TestTurnsAfterClockJump(t *testing.T) {
	t.Parallel()
	const popular = 1
	g := newGate(t)
	for i := range 30 {
		g.try(fmt.Sprintf("10.%d.0.1", i), popular, false)
	}
	target, _ := g.targets.get(popular)
	for range 10 {
		target.failures = append(target.failures, g.clock.Now().UnixNano())
	}
	target.next = g.clock.Now().Add(365 * day)
	ctx := &impatient{Context: context.Background()}
	_, err := g.acquire(ctx, netip.MustParseAddr("192.0.2.1"), popular, true)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v instead of a turn to wait for", err)
	}
	if wait := target.next.Sub(g.clock.Now()); wait != g.limits.DelayMax {
		t.Errorf("the turn comes in %v", wait)
	}
}

// TestKnownDoNotSlowOthers proves that the failures of a device that was here before do not count
// among the strangers' at its account.
func TestKnownDoNotSlowOthers(t *testing.T) {
	t.Parallel()
	const alice = 1
	g := newGate(t)
	g.try("192.0.2.1", alice, true)
	for range 30 {
		g.try("192.0.2.1", alice, false)
		g.clock.Advance(time.Minute)
	}
	if !g.try("198.51.100.1", alice, true) {
		t.Error("a stranger waits because a known device failed")
	}
}

// TestStrangersAreCountedBounded proves that what is remembered of an account under attack stays
// small, and that old failures leave it.
func TestStrangersAreCountedBounded(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	for i := range 500 {
		p := &permit{t: g.throttle, key: knownKey{who: 1}, stranger: true}
		p.failure()
		if i == 250 {
			g.clock.Advance(59 * time.Minute)
		}
	}
	target, _ := g.targets.get(1)
	if n := len(target.failures); n != g.limits.AccountPerHour+16 {
		t.Errorf("%d failures are kept", n)
	}
	g.clock.Advance(time.Hour)
	if target.prune(g.clock.Now()); len(target.failures) != 0 {
		t.Errorf("%d failures of more than an hour ago count", len(target.failures))
	}
}

// TestForgivenIsSaved proves that what a success took back stays taken back after a restart, at the
// address and in its wider network, and that what it did not take back stays too.
func TestForgivenIsSaved(t *testing.T) {
	t.Parallel()
	const alice, bob = 1, 2
	g := newGate(t)
	for range 3 {
		g.try("192.0.2.1", bob, false)
	}
	for i := range 3 {
		for range 4 {
			g.try("192.0.2.1", alice, false)
			g.try(fmt.Sprintf("192.0.2.%d", 10+i), bob, false)
		}
		g = g.restarted() // the failures are on disk
		if !g.try("192.0.2.1", alice, true) {
			t.Fatal("a right password was not looked at")
		}
		g = g.restarted()
	}
	own, wide := sources(netip.MustParseAddr("192.0.2.1"))
	if err := g.load(context.Background(), own, wide, knownKey{}); err != nil {
		t.Fatal(err)
	}
	if n := len(g.source(own).failures); n != 3 {
		t.Errorf("%d failures at the address after a restart, want bob's 3", n)
	}
	if n := len(g.source(wide).failures); n != 15 {
		t.Errorf("%d failures in the wider network after a restart, want bob's 15", n)
	}
}

// TestKnownIsRenewed proves that a name stays known at a source that it keeps logging in from, that
// this is written once a day and not with each log-in, and that a clock put back does not end it.
func TestKnownIsRenewed(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	written := 0
	for range 100 {
		g.try("192.0.2.1", 1, true)
		g.try("192.0.2.1", 1, true)
		written += len(g.proved)
		g = g.restarted()
		g.clock.Advance(day + time.Second)
	}
	if written != 100 {
		t.Errorf("written %d times in 100 days", written)
	}
	for range 10 {
		g.clock.Advance(time.Hour)
		g.try("192.0.2.1", 1, true)
	}
	if len(g.proved) != 1 {
		t.Errorf("%d rows to write after a morning's log-ins", len(g.proved))
	}
	own, _ := sources(netip.MustParseAddr("192.0.2.1"))
	k := knownKey{1, own}
	g.clock.Advance(g.limits.KnownFor - 9*time.Hour - time.Second)
	if !g.isKnown(k, g.clock.Now()) {
		t.Error("forgotten too early")
	}
	if g.clock.Advance(time.Second); g.isKnown(k, g.clock.Now()) {
		t.Error("never forgotten")
	}
	g.known.put(k, g.clock.Now().Add(365*day).Unix())
	g.try("192.0.2.1", 1, true)
	if at, _ := g.known.get(k); at != g.clock.Now().Unix() {
		t.Error("a success of the future was not replaced by one of today")
	}
}

// stubborn is a database that takes no rows while it is told not to.
type stubborn struct {
	kv.Database
	err error
}

func (s *stubborn) Stage(ctx context.Context, pairs ...kv.Pair) error {
	if s.err != nil {
		return s.err
	}
	return s.Database.Stage(ctx, pairs...)
}

// TestSavedLater proves that what could not be saved is saved the next time, and that what
// happened in between is not overwritten by it.
func TestSavedLater(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	g := newGate(t)
	full := errors.New("no room")
	db := &stubborn{g.db, full}
	g.throttle = newThrottle(db, g.clock, g.limits)
	for range 9 {
		g.try("192.0.2.1", 1, false)
	}
	for range 10 {
		g.try("203.0.113.1", 3, false)
	}
	g.try("198.51.100.1", 2, true)
	if err := g.flush(ctx); !errors.Is(err, full) {
		t.Fatalf("flush = %v", err)
	}
	own, _ := sources(netip.MustParseAddr("198.51.100.1"))
	g.proved[knownKey{2, own}] -= 5 // an older one never wins
	if err := g.flush(ctx); !errors.Is(err, full) {
		t.Fatalf("flush = %v", err)
	}
	g.try("192.0.2.1", 1, false)
	db.err = nil
	g = g.restarted()
	if g.try("192.0.2.1", 1, false) || g.try("203.0.113.1", 4, false) {
		t.Error("failures that could not be saved at first are forgotten")
	}
	wide := sourceKey{}
	if err := g.load(ctx, own, wide, knownKey{2, own}); err != nil || !g.isKnown(knownKey{2, own}, g.clock.Now()) {
		t.Errorf("a success that could not be saved at first is forgotten (%v)", err)
	}
}

// TestStrikes proves when strikes are forgiven: after a day without a failure that begins with the
// end of the ban, and that their number cannot run over.
func TestStrikes(t *testing.T) {
	t.Parallel()
	l := limits.Default().Auth
	old := failure{noon.Add(-time.Hour).UnixNano(), 1}
	for _, tt := range []struct {
		what    string
		s       source
		strikes uint8
	}{
		{"a failure within the day", source{strikes: 3, failures: []failure{old}}, 3},
		{"a ban that ended less than a day ago", source{strikes: 3, until: noon.Add(time.Second - day)}, 3},
		{"a ban that ended a day ago", source{strikes: 3, until: noon.Add(-day)}, 0},
		{"a ban that goes on", source{strikes: 3, until: noon.Add(time.Hour)}, 3},
	} {
		if tt.s.prune(noon); tt.s.strikes != tt.strikes {
			t.Errorf("%s: %d strikes, want %d", tt.what, tt.s.strikes, tt.strikes)
		}
		if tt.s.quiet() != (tt.strikes == 0 && len(tt.s.failures) == 0) {
			t.Errorf("%s: quiet %v", tt.what, tt.s.quiet())
		}
	}
	s := &source{}
	for i := range 1000 {
		at := noon.Add(time.Duration(i) * time.Minute)
		s.fail(at, 1, bounds{perMinute: 1, perDay: 1 << 20, bans: true}, l)
		if ban := s.until.Sub(at); i > 10 && ban != l.BanMax {
			t.Fatalf("strike %d bans for %v", i, ban)
		}
	}
	// A ban that no clock of ours has made ends with the jump.
	s = &source{strikes: 1, until: noon.Add(31*day + time.Second)}
	if s.prune(noon); s.until.After(noon) {
		t.Errorf("banned until %v", s.until)
	}
	s = &source{strikes: 1, until: noon.Add(31 * day)}
	if s.prune(noon); !s.until.After(noon) {
		t.Error("the longest ban there is was lifted")
	}
}

// TestFailuresStayInOrder proves that failures are kept oldest first whatever the clock does, and
// that the newest are kept when there are too many: the windows are counted from the end.
func TestFailuresStayInOrder(t *testing.T) {
	t.Parallel()
	s := &source{}
	l := limits.Default().Auth
	for i, offset := range []int{0, 10, 5, -3, 30, 29, 31, 2} {
		s.fail(noon.Add(time.Duration(offset)*time.Second), who(i), bounds{perMinute: 100, perDay: 6}, l)
	}
	byTime := func(a, b failure) int { return int(a.at - b.at) }
	if len(s.failures) != 6 || !slices.IsSortedFunc(s.failures, byTime) {
		t.Errorf("kept %v", s.failures)
	}
	if last := s.failures[5].at; last != noon.Add(31*time.Second).UnixNano() {
		t.Errorf("the newest kept is of %v", time.Unix(0, last))
	}
}

// TestSourceRows proves that a source comes back from its row as it was, with its ban, and that
// rows of another form are not taken for one.
func TestSourceRows(t *testing.T) {
	t.Parallel()
	for _, s := range []*source{
		{},
		{strikes: 2, until: noon.Add(time.Hour)},
		{strikes: 255, failures: []failure{{noon.UnixNano(), 7}, {noon.UnixNano() + 1, 1<<64 - 1}}},
	} {
		got, err := decodeSource(s.encode())
		if err != nil || got.strikes != s.strikes || !got.until.Equal(s.until) ||
			!slices.Equal(got.failures, s.failures) {
			t.Errorf("%+v came back as %+v, %v", s, got, err)
		}
	}
	good := (&source{failures: []failure{{1, 2}}}).encode()
	for _, bad := range [][]byte{nil, good[:9], good[:11], good[:len(good)-1], append([]byte{2}, good[1:]...)} {
		if s, err := decodeSource(bad); !errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("%x was read as %+v, %v", bad, s, err)
		}
	}
}

// TestSourcesHaveTheirNetwork proves that a key tells the network it stands for.
func TestSourcesHaveTheirNetwork(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string][2]string{
		"192.0.2.7":           {"192.0.2.7/32", "192.0.2.0/24"},
		"::ffff:192.0.2.7":    {"192.0.2.7/32", "192.0.2.0/24"},
		"2001:db8:1:2ff:3::4": {"2001:db8:1:2ff::/64", "2001:db8:1:200::/56"},
	} {
		own, wide := sources(netip.MustParseAddr(addr))
		if own.prefix().String() != want[0] || wide.prefix().String() != want[1] {
			t.Errorf("%s is of %v in %v, want %v", addr, own.prefix(), wide.prefix(), want)
		}
	}
}
