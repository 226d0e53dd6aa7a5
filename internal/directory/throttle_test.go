package directory

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
)

// gate is a throttle without the rest of the directory.
type gate struct {
	*throttle
	t     testing.TB
	clock *clock.Fake
	db    *memkv.DB
}

func newGate(t testing.TB) gate {
	c, db := clock.NewFake(noon), memkv.New()
	return gate{newThrottle(db, c, limits.Default().Auth), t, c, db}
}

// impatient is the context of one who leaves when he is made to wait.
type impatient struct {
	context.Context
	left bool
}

func (i *impatient) Done() <-chan struct{} {
	i.left = true
	c := make(chan struct{})
	close(c)
	return c
}

func (i *impatient) Err() error {
	if i.left {
		return context.Canceled
	}
	return nil
}

// try makes one try, and reports whether it was looked at. Waiting for a turn counts as not.
func (g gate) try(from string, w who, ok bool) bool {
	g.t.Helper()
	ctx := &impatient{Context: context.Background()}
	p, err := g.acquire(ctx, netip.MustParseAddr(from), w, true)
	switch {
	case errors.As(err, new(ErrThrottled)), errors.Is(err, context.Canceled):
		return false
	case err != nil:
		g.t.Fatal(err)
	case ok:
		p.success()
	default:
		p.failure()
	}
	return true
}

// TestGuessingFromOneSource makes 10,000 tries from one address over every protocol (A1): no more
// than 10 in any minute and 50 in any day are looked at.
func TestGuessingFromOneSource(t *testing.T) {
	t.Parallel()
	for _, pace := range []time.Duration{time.Millisecond, time.Second, 7 * time.Second, time.Minute,
		5 * time.Minute} {
		h := open(t, nil)
		ctx := context.Background()
		h.domain("example.test")
		h.account("alice@example.test")
		ran := h.hooked()
		protocols := []Protocol{SMTP, IMAP, POP3, JMAP, DAV, Sieve, Web, Admin}
		remotes := []netip.Addr{home, netip.MustParseAddr("::ffff:192.0.2.7")}
		var looked []time.Time
		for i := range 10_000 {
			ran.Store(0)
			_, err := h.Authenticate(ctx, Attempt{
				Protocol: protocols[i%len(protocols)], Remote: remotes[i%2],
				User: fmt.Sprintf("user%d@example.test", i%37), Password: fmt.Sprintf("guess %d", i),
			})
			switch {
			case err == ErrBadCredentials && ran.Load() == 1:
				looked = append(looked, h.clock.Now())
			case !errors.As(err, new(ErrThrottled)) || ran.Load() != 0:
				t.Fatalf("try %d: %v after %d hashes", i, err, ran.Load())
			}
			h.clock.Advance(pace)
		}
		if minute := most(looked, time.Minute); minute > 10 {
			t.Errorf("every %v: %d tries looked at in a minute", pace, minute)
		}
		if day := most(looked, 24*time.Hour); day > 50 {
			t.Errorf("every %v: %d tries looked at in a day", pace, day)
		}
		if len(looked) < 10 {
			t.Errorf("every %v: only %d tries looked at", pace, len(looked))
		}
	}
}

// most is the largest number of times that fall into any window.
func most(at []time.Time, window time.Duration) int {
	n := 0
	for i := range at {
		j := i
		for j < len(at) && at[j].Sub(at[i]) < window {
			j++
		}
		n = max(n, j-i)
	}
	return n
}

// TestGuessingAtOnce proves that a thousand tries at the same time are not a thousand answers.
func TestGuessingAtOnce(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	h.domain("example.test")
	h.account("alice@example.test")
	ran := h.hooked()
	var all sync.WaitGroup
	var mu sync.Mutex
	looked := 0
	for i := range 1000 {
		all.Go(func() {
			_, err := h.Authenticate(context.Background(),
				attempt("alice@example.test", fmt.Sprintf("guess %d", i)))
			if err == ErrBadCredentials {
				mu.Lock()
				looked++
				mu.Unlock()
			} else if !errors.As(err, new(ErrThrottled)) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if looked != 10 || ran.Load() != 10 {
		t.Errorf("%d tries looked at, %d hashes", looked, ran.Load())
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b      string
		own, wide bool
	}{
		{"192.0.2.1", "192.0.2.1", true, true},
		{"192.0.2.1", "::ffff:192.0.2.1", true, true},
		{"192.0.2.1", "192.0.2.2", false, true},
		{"192.0.2.1", "192.0.3.1", false, false},
		{"2001:db8::1", "2001:db8::ffff:1", true, true},
		{"2001:db8:0:1::1", "2001:db8:0:2::1", false, true},
		{"2001:db8:0:100::1", "2001:db8:0:200::1", false, false},
		{"fe80::1%eth0", "fe80::2%eth1", true, true},
	} {
		ownA, wideA := sources(netip.MustParseAddr(tt.a))
		ownB, wideB := sources(netip.MustParseAddr(tt.b))
		if (ownA == ownB) != tt.own || (wideA == wideB) != tt.wide {
			t.Errorf("%s and %s: same %v, same wider %v", tt.a, tt.b, ownA == ownB, wideA == wideB)
		}
	}
	for s, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "2001:db8:1:2:3::4": "2001:db8:1:2::/64",
	} {
		own, _ := sources(netip.MustParseAddr(s))
		if got := own.prefix().String(); got != want {
			t.Errorf("%s belongs to %s, want %s", s, got, want)
		}
	}
	if own, _ := sources(netip.Addr{}); own.prefix().IsValid() {
		t.Error("no address has a network")
	}
}

// TestWiderNetwork proves that a /24 has three times an address's tries, and no more.
func TestWiderNetwork(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	looked := 0
	for i := range 250 {
		if g.try(fmt.Sprintf("192.0.2.%d", i), who(i), false) {
			looked++
		}
	}
	if looked != 30 {
		t.Errorf("%d tries in a minute from a /24", looked)
	}
	for range 48 {
		g.clock.Advance(30 * time.Minute)
		for i := range 250 {
			if g.try(fmt.Sprintf("192.0.2.%d", i), who(i), false) {
				looked++
			}
		}
	}
	if looked != 150 && looked != 180 { // the first minute's leave as the day goes by
		t.Errorf("%d tries in a day from a /24", looked)
	}
	if !g.try("192.0.3.1", 1, false) {
		t.Error("the network next to it was blocked too")
	}
}

// TestProofInTheWiderNetwork proves that what is forgiven at an address is forgiven in its wider
// network, and that other addresses' failures of the same name are not.
func TestProofInTheWiderNetwork(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	for range 3 {
		for range 8 {
			g.try("192.0.2.1", 1, false)
		}
		if !g.try("192.0.2.1", 1, true) {
			t.Fatal("a right password was not looked at")
		}
	}
	for i := range 5 {
		for range 5 {
			g.try(fmt.Sprintf("192.0.2.%d", 10+i), 1+who(i), false)
		}
	}
	g.try("192.0.2.1", 1, true)
	looked := 0
	for i := range 20 {
		if g.try(fmt.Sprintf("192.0.2.%d", 100+i), who(100+i), false) {
			looked++
		}
	}
	if looked != 5 {
		t.Errorf("%d of 5 tries that were left in the wider network were looked at", looked)
	}
}

// TestDayLimitAtOnce proves that the day's last tries are not multiplied by making them together.
func TestDayLimitAtOnce(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	for i := range 48 {
		if !g.try("192.0.2.1", who(i), false) {
			t.Fatalf("try %d was not looked at", i)
		}
		g.clock.Advance(time.Minute)
	}
	var running []*permit
	for i := range 20 {
		ctx := &impatient{Context: context.Background()}
		p, err := g.acquire(ctx, netip.MustParseAddr("192.0.2.1"), who(100+i), true)
		if err == nil {
			running = append(running, p)
		}
	}
	if len(running) != 2 {
		t.Fatalf("%d tries at once, 2 were left", len(running))
	}
	// One that proves itself leaves its place to the next.
	running[0].success()
	if !g.try("192.0.2.1", 200, true) {
		t.Error("a place that was given back is lost")
	}
	running[1].failure()
	if !g.try("192.0.2.1", 201, false) || g.try("192.0.2.1", 202, false) {
		t.Error("the day has more or less than 50 tries")
	}
}

// TestBans proves that going on is answered by bans that double from an hour to a day.
func TestBans(t *testing.T) {
	t.Parallel()
	l := limits.Default().Auth
	s := &source{}
	now := noon
	b := bounds{perMinute: 2, perDay: 1000, bans: true}
	var bans []time.Duration
	for range 9 {
		for range 2 {
			s.fail(now, 1, b, l)
		}
		ban := max(s.until.Sub(now), 0)
		bans = append(bans, ban)
		now = now.Add(ban + time.Minute)
	}
	h := time.Hour
	want := []time.Duration{0, h, 2 * h, 4 * h, 8 * h, 16 * h, 24 * h, 24 * h, 24 * h}
	if !slices.Equal(bans, want) {
		t.Errorf("bans %v, want %v", bans, want)
	}
	s.prune(now.Add(48 * time.Hour))
	if s.strikes != 0 {
		t.Error("a quiet day was not forgiven")
	}
	// The day's limit bans at once.
	s = &source{}
	for i := range 5 {
		s.fail(noon.Add(time.Duration(i)*h), 1, bounds{perMinute: 10, perDay: 5, bans: true}, l)
	}
	if got := s.until.Sub(noon); got != 5*h {
		t.Errorf("banned until %v after the first", got)
	}
	// The wider network is only slowed.
	s = &source{}
	for range 100 {
		s.fail(noon, 1, bounds{perMinute: 2, perDay: 5}, l)
	}
	if !s.until.IsZero() {
		t.Error("a wider network was banned")
	}
}

// TestProof proves that a success takes back the failures of its own user from its own source, and
// of nobody else (A1).
func TestProof(t *testing.T) {
	t.Parallel()
	const alice, bob = 1, 2
	g := newGate(t)
	for range 9 {
		g.try("192.0.2.1", alice, false)
	}
	if !g.try("192.0.2.1", alice, true) {
		t.Fatal("the tenth was not looked at")
	}
	for i := range 9 {
		if !g.try("192.0.2.1", alice, false) {
			t.Fatalf("failure %d after a success was not looked at", i)
		}
	}
	if !g.try("192.0.2.1", bob, true) {
		t.Fatal("bob was not looked at")
	}
	if !g.try("192.0.2.1", alice, false) {
		t.Fatal("the tenth failure was not looked at")
	}
	if g.try("192.0.2.1", alice, false) {
		t.Error("bob's success took back alice's failures")
	}
	if g.try("192.0.2.1", alice, true) {
		t.Error("a right guess was looked at while blocked")
	}
	// Bob was here before and has not failed since: he is heard.
	if !g.try("192.0.2.1", bob, true) {
		t.Error("bob suffers for alice's failures where he is known")
	}
	if !g.try("192.0.2.1", bob, false) || g.try("192.0.2.1", bob, true) {
		t.Error("bob may guess while his source is blocked")
	}
	if g.try("192.0.2.1", 3, true) {
		t.Error("a stranger was heard while the source is blocked")
	}
}

// TestKnownSourceIsHeardOneAtATime proves that a known name's tries while its source is blocked
// are not all looked at just because they came at once.
func TestKnownSourceIsHeardOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(memkv.New(), clock.System, limits.Default().Auth)
		ctx := context.Background()
		from := netip.MustParseAddr("192.0.2.1")
		p, err := th.acquire(ctx, from, 1, true)
		if err != nil {
			t.Fatal(err)
		}
		p.success()
		for range 10 {
			p, err := th.acquire(ctx, from, 2, true)
			if err != nil {
				t.Fatal(err)
			}
			p.failure()
		}
		var all sync.WaitGroup
		var mu sync.Mutex
		looked := 0
		for range 20 {
			all.Go(func() {
				p, err := th.acquire(ctx, from, 1, true)
				if err != nil {
					return
				}
				mu.Lock()
				looked++
				mu.Unlock()
				p.failure()
			})
		}
		all.Wait()
		if looked != 1 {
			t.Errorf("%d tries were looked at", looked)
		}
	})
}

// TestSpraying proves that an account that strangers fail at makes strangers wait ever longer, and
// its own devices not at all (A2).
func TestSpraying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const alice = 1
		th := newThrottle(memkv.New(), clock.System, limits.Default().Auth)
		ctx := context.Background()
		phone := netip.MustParseAddr("198.51.100.1")
		p, err := th.acquire(ctx, phone, alice, true)
		if err != nil {
			t.Fatal(err)
		}
		p.success()
		var waits []time.Duration
		for i := range 40 {
			start := time.Now()
			p, err := th.acquire(ctx, netip.AddrFrom4([4]byte{10, byte(i), 1, 1}), alice, true)
			if err != nil {
				t.Fatal(err)
			}
			p.failure()
			if took := time.Since(start); took > 0 {
				waits = append(waits, took)
			}
			start = time.Now()
			p, err = th.acquire(ctx, phone, alice, true)
			if err != nil || time.Since(start) > 0 {
				t.Fatalf("a device with an earlier success: %v after %v", err, time.Since(start))
			}
			p.success()
		}
		s := time.Second
		want := []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s}
		if len(waits) != 20 || !slices.Equal(waits[:7], want) || waits[19] != 30*s {
			t.Errorf("strangers waited %v", waits)
		}
		// Many at once do not share a turn: one or two wait, the rest are turned away.
		var all sync.WaitGroup
		var mu sync.Mutex
		heard, turnedAway := 0, 0
		start := time.Now()
		for i := range 200 {
			all.Go(func() {
				p, err := th.acquire(ctx, netip.AddrFrom4([4]byte{11, byte(i), 1, 1}), alice, true)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					turnedAway++
					return
				}
				heard++
				p.cancel()
			})
		}
		all.Wait()
		if heard != 1 || turnedAway != 199 || time.Since(start) != 30*s {
			t.Errorf("%d heard, %d turned away in %v", heard, turnedAway, time.Since(start))
		}
		// An hour later it is over.
		<-time.After(time.Hour)
		start = time.Now()
		p, err = th.acquire(ctx, netip.MustParseAddr("203.0.113.1"), alice, true)
		if err != nil || time.Since(start) != 0 {
			t.Errorf("an hour later: %v after %v", err, time.Since(start))
		}
		p.cancel()
	})
}

// TestRestartForgetsNothing proves that bans, the day's failures and known sources survive.
func TestRestartForgetsNothing(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	h.account("alice@example.test")
	office, cafe := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.9")
	fail := func(h house, from netip.Addr, i int) error {
		_, err := h.Authenticate(ctx, Attempt{Remote: from, User: fmt.Sprintf("u%d", i), Password: "x"})
		return err
	}
	if _, err := h.Authenticate(ctx, Attempt{Remote: office, User: "alice", Password: password}); err != nil {
		t.Fatal(err)
	}
	for i := range 49 {
		if err := fail(h, cafe, i); err != ErrBadCredentials {
			t.Fatalf("failure %d: %v", i, err)
		}
		h.clock.Advance(time.Minute)
	}
	for i := range 10 {
		if err := fail(h, office, i); err != ErrBadCredentials {
			t.Fatalf("failure %d: %v", i, err)
		}
	}
	if err := h.throttle.flush(ctx); err != nil {
		t.Fatal(err)
	}
	again := h.again(h.db)
	if err := fail(again, cafe, 1); err != ErrBadCredentials {
		t.Errorf("the day's 50th failure: %v", err)
	}
	if err := fail(again, cafe, 1); !errors.As(err, new(ErrThrottled)) {
		t.Errorf("the day's 51st failure, after a restart: %v", err)
	}
	if err := fail(again, office, 1); !errors.As(err, new(ErrThrottled)) {
		t.Errorf("the minute's 11th failure, after a restart: %v", err)
	}
	if _, err := again.Authenticate(ctx, Attempt{Remote: office, User: "alice", Password: password}); err != nil {
		t.Errorf("a known source after a restart: %v", err)
	}
	bans, err := again.Bans(ctx)
	if err != nil || len(bans) != 1 || bans[0].Network.String() != "198.51.100.9/32" || bans[0].Failures != 50 {
		t.Errorf("Bans = %v, %v", bans, err)
	}
	if err := again.Unban(ctx, cafe); err != nil {
		t.Fatal(err)
	}
	if err := fail(again, cafe, 1); err != ErrBadCredentials {
		t.Errorf("after Unban: %v", err)
	}
	if bans, err := again.Bans(ctx); err != nil || len(bans) != 0 {
		t.Errorf("Bans after Unban = %v, %v", bans, err)
	}
}

// TestCrashForgetsLittle proves that a ban reaches the disk with the next write of anything.
func TestCrashForgetsLittle(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	for i := range 10 {
		_, _ = h.Authenticate(ctx, Attempt{Remote: home, User: fmt.Sprintf("u%d", i), Password: "x"})
	}
	for stats := h.db.Stats(); h.db.Stats().Staged == stats.Staged; {
		_, armed := h.clock.Armed()
		h.clock.Advance(pollEvery)
		<-armed
	}
	h.domain("other.test")
	again := h.again(h.db.Crash())
	h.clock.Advance(time.Second)
	_, err := again.Authenticate(ctx, Attempt{Remote: home, User: "u", Password: "x"})
	if !errors.As(err, new(ErrThrottled)) {
		t.Errorf("after a crash: %v", err)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	g := newGate(t)
	for i := range 3000 {
		from := fmt.Sprintf("10.%d.%d.1", i/250, i%250)
		g.try(from, who(i), i%2 == 0)
	}
	rows := func() (n int) {
		err := g.db.View(ctx, scope, func(r kv.Reader) error {
			n = 0
			return r.Scan(kv.Range{}, func(_, _ []byte) error { n++; return nil })
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := g.flush(ctx); err != nil {
		t.Fatal(err)
	}
	// 1500 known; 1500 sources and as many wider ones with a failure.
	if n := rows(); n != 4500 {
		t.Errorf("%d rows", n)
	}
	for _, step := range []struct {
		after time.Duration
		rows  int
	}{{0, 4500}, {23 * time.Hour, 4500}, {time.Hour, 1500}, {89*day - time.Second, 1500}, {time.Second, 0}} {
		g.clock.Advance(step.after)
		if err := g.sweep(ctx); err != nil {
			t.Fatal(err)
		}
		if n := rows(); n != step.rows {
			t.Errorf("after another %v: %d rows, want %d", step.after, n, step.rows)
		}
	}
}

// TestMemoryIsBounded makes tries from more sources than are kept in memory: the oldest go, and
// are found again in the database.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.limits.Sources = 50
	g.throttle = newThrottle(g.db, g.clock, g.limits)
	for range 9 {
		g.try("192.0.2.1", 7, false)
	}
	for i := range 1000 {
		g.try(fmt.Sprintf("10.0.%d.1", i%250), who(i), false)
		if i%100 == 0 {
			if err := g.flush(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := len(g.sources.items) + len(g.targets.items) + len(g.known.items); n > 5*50 {
		t.Errorf("%d things are remembered", n)
	}
	if !g.try("192.0.2.1", 7, false) || g.try("192.0.2.1", 7, false) {
		t.Error("a source that was pushed out of memory was forgotten")
	}
}

// TestPushedOutBeforeItWasSaved proves that a source that memory has no room for is not forgotten
// between two saves.
func TestPushedOutBeforeItWasSaved(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.limits.Sources = 5
	g.throttle = newThrottle(g.db, g.clock, g.limits)
	for range 10 {
		g.try("192.0.2.1", 7, false)
	}
	g.try("198.51.100.1", 8, true)
	for i := range 100 {
		g.try(fmt.Sprintf("10.0.%d.1", i), who(100+i), i%2 == 0)
	}
	if g.try("192.0.2.1", 9, false) {
		t.Error("failures were forgotten")
	}
	own, wide := sources(netip.MustParseAddr("198.51.100.1"))
	k := knownKey{8, own}
	if err := g.load(context.Background(), own, wide, k); err != nil || !g.isKnown(k, g.clock.Now()) {
		t.Errorf("a success was forgotten (%v)", err)
	}
}

func TestClockJumps(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{-24 * time.Hour, -10 * 365 * 24 * time.Hour, 10 * 365 * 24 * time.Hour} {
		g := newGate(t)
		for range 10 {
			g.try("192.0.2.1", 1, false)
		}
		g.clock.Advance(jump)
		looked := 0
		for range 100 {
			if g.try("192.0.2.1", 1, false) {
				looked++
			}
			g.clock.Advance(time.Second)
		}
		if looked < 1 || looked > 20 {
			t.Errorf("after a jump of %v %d of 100 tries were looked at", jump, looked)
		}
	}
}

// TestModel compares the throttle with a model that keeps every try, on random histories.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		g := newGate(t)
		l := g.limits
		type past struct {
			at  time.Time
			net string
			who who
		}
		var failures []past
		known, lastFail := map[string]bool{}, map[string]bool{}
		perTarget := map[who][]time.Time{}
		count := func(net string, prefix int, window time.Duration) (n int) {
			for _, f := range failures {
				if f.net[:prefix] == net[:prefix] && g.clock.Now().Sub(f.at) < window {
					n++
				}
			}
			return n
		}
		steps := rapid.IntRange(1, 300).Draw(rt, "steps")
		seed := rapid.Uint64().Draw(rt, "seed")
		r := rand.New(rand.NewPCG(seed, 1))
		for range steps {
			g.clock.Advance(time.Duration(r.Int64N(int64(40 * time.Second))))
			net := fmt.Sprintf("192.0.%d.%d", 2+r.IntN(2), 1+r.IntN(3))
			w := who(1 + r.IntN(4))
			ok := r.IntN(6) == 0
			pair := fmt.Sprint(net, w)
			within := count(net, len(net), time.Minute) < l.PerMinute && count(net, len(net), day) < l.PerDay &&
				count(net, len("192.0.2"), time.Minute) < 3*l.PerMinute &&
				count(net, len("192.0.2"), day) < 3*l.PerDay
			own, _ := sources(netip.MustParseAddr(net))
			banned := g.source(own).until.After(g.clock.Now())
			strangers := 0
			for _, at := range perTarget[w] {
				if g.clock.Now().Sub(at) < time.Hour {
					strangers++
				}
			}
			looked := g.try(net, w, ok)
			if !looked && within && !banned && strangers < l.AccountPerHour {
				rt.Fatalf("%s was not looked at within its limits", pair)
			}
			if looked && !within && (!known[pair] || lastFail[pair]) {
				rt.Fatalf("%s was looked at beyond its limits", pair)
			}
			if !looked && known[pair] && !lastFail[pair] {
				rt.Fatalf("%s is known and was not looked at", pair)
			}
			if !looked {
				continue
			}
			if ok {
				known[pair], lastFail[pair] = true, false
				failures = slices.DeleteFunc(failures, func(f past) bool {
					return f.net == net && f.who == w
				})
				continue
			}
			failures = append(failures, past{g.clock.Now(), net, w})
			lastFail[pair] = true
			if !known[pair] {
				perTarget[w] = append(perTarget[w], g.clock.Now())
			}
		}
	})
}

func FuzzSource(f *testing.F) {
	s := &source{strikes: 3, until: noon, failures: []failure{{noon.UnixNano(), 7}, {noon.UnixNano() + 1, 8}}}
	f.Add(s.encode())
	f.Add((&source{}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeSource(b)
		if err != nil {
			if !errors.Is(err, kv.ErrCorrupt) {
				t.Fatalf("decodeSource = %v", err)
			}
			return
		}
		// What was read serves, whatever it says.
		s.look(noon, bounds{10, 50, true})
		s.fail(noon, 1, bounds{10, 50, true}, limits.Default().Auth)
		if n := len(s.failures); n > 50 {
			t.Fatalf("%d failures are kept", n)
		}
		again, err := decodeSource(s.encode())
		if err != nil || !slices.Equal(again.failures, s.failures) || again.strikes != s.strikes {
			t.Fatalf("%+v came back as %+v, %v", s, again, err)
		}
	})
}
