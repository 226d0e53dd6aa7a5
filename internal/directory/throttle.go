package directory

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/limits"
)

// throttle decides who may try to log in now. It counts failures per source over all protocols
// together, and slows strangers down at an account that many fail at.
//
// A log-in that is being checked counts as a failure until it has succeeded, so that a thousand
// tries at once are not a thousand answers. A name that logged in from a source before, and has not
// failed there since, is heard even while others have got the source blocked: an office does not
// lose its mail to one broken phone. That costs one guess per known name and day at most.
type throttle struct {
	db     kv.Database
	clock  clock.Clock
	limits limits.Auth

	mu      sync.Mutex
	sources *lru[sourceKey, *source]
	targets *lru[who, *target]
	known   *lru[knownKey, int64] // Unix seconds of the last success; 0: never
	dirty   map[sourceKey]*source
	proved  map[knownKey]int64
}

// knownKey is a name at a source.
type knownKey struct {
	who    who
	source sourceKey
}

func (k knownKey) row() []byte {
	return append(kv.AppendUint64(key(kindKnown), uint64(k.who)), k.source[:]...)
}

// target is what is remembered of an account, or of a name that is none, that strangers fail at.
type target struct {
	failures []int64   // Unix nanoseconds, oldest first
	next     time.Time // the last turn that was given out
}

func newThrottle(db kv.Database, c clock.Clock, l limits.Auth) *throttle {
	return &throttle{
		db: db, clock: c, limits: l,
		sources: newLRU[sourceKey, *source](2 * l.Sources), targets: newLRU[who, *target](l.Sources),
		known: newLRU[knownKey, int64](2 * l.Sources),
		dirty: map[sourceKey]*source{}, proved: map[knownKey]int64{},
	}
}

// permit is the leave to check one log-in. Exactly one of success, failure and cancel ends it.
type permit struct {
	t         *throttle
	key       knownKey
	own, wide *source // nil: not counted per address
	wideKey   sourceKey
	exempt    bool
	stranger  bool
}

// acquire waits for leave to check a log-in of w from addr. ErrThrottled, or ctx's error.
// perAddress is false when failures are not counted per address.
func (t *throttle) acquire(
	ctx context.Context, addr netip.Addr, w who, perAddress bool,
) (*permit, error) {
	ownKey, wideKey := sources(addr)
	p := &permit{t: t, key: knownKey{w, ownKey}, wideKey: wideKey}
	for {
		if err := t.load(ctx, ownKey, wideKey, p.key); err != nil {
			return nil, err
		}
		wake, err := t.reserve(p, perAddress)
		if err != nil {
			return nil, err
		}
		if wake == nil {
			break
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := t.turn(ctx, p); err != nil {
		p.cancel()
		return nil, err
	}
	return p, nil
}

// reserve takes a place at the source. A channel says to try again when it is closed.
func (t *throttle) reserve(p *permit, perAddress bool) (wake <-chan struct{}, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.Now()
	p.stranger = !t.isKnown(p.key, now)
	if !perAddress {
		return nil, nil
	}
	own, wide := t.source(p.key.source), t.source(p.wideKey)
	ownState, ownWait := own.look(now, ownBounds(t.limits))
	wideState, wideWait := wide.look(now, wideBounds(t.limits))
	switch {
	case ownState == free && wideState == free:
		own.inflight++
		wide.inflight++
	case !p.stranger && !own.failed(p.key.who):
		if own.trying[p.key.who] {
			return own.wait(), nil
		}
		if own.trying == nil {
			own.trying = map[who]bool{}
		}
		own.trying[p.key.who] = true
		p.exempt = true
	case ownState == blocked || wideState == blocked:
		return nil, ErrThrottled{RetryAfter: max(ownWait, wideWait)}
	case ownState == full:
		return own.wait(), nil
	default:
		return wide.wait(), nil
	}
	p.own, p.wide = own, wide
	return nil, nil
}

// turn makes a stranger wait for his turn at an account that strangers fail at. Turns are given
// out one after the other, ever further apart; when the next is too far away there is none.
func (t *throttle) turn(ctx context.Context, p *permit) error {
	if !p.stranger {
		return nil
	}
	t.mu.Lock()
	now := t.clock.Now()
	g, ok := t.targets.get(p.key.who)
	if !ok {
		t.mu.Unlock()
		return nil
	}
	g.prune(now)
	over := len(g.failures) - t.limits.AccountPerHour
	if over < 0 {
		t.mu.Unlock()
		return nil
	}
	delay := min(t.limits.DelayMin<<min(over, 16), t.limits.DelayMax)
	at := now
	if g.next.After(now) && g.next.Before(now.Add(time.Hour)) {
		at = g.next
	}
	at = at.Add(delay)
	wait := at.Sub(now)
	if wait > t.limits.DelayMax {
		t.mu.Unlock()
		return ErrThrottled{RetryAfter: wait}
	}
	g.next = at
	t.mu.Unlock()
	return clock.Sleep(ctx, t.clock, wait)
}

func (g *target) prune(now time.Time) {
	from := now.Add(-time.Hour).UnixNano()
	n := 0
	for n < len(g.failures) && g.failures[n] <= from {
		n++
	}
	g.failures = append(g.failures[:0], g.failures[n:]...)
}

// success ends a check that proved who it was: the name's own failures from there are taken back.
func (p *permit) success() {
	t := p.t
	t.mu.Lock()
	defer t.mu.Unlock()
	p.release()
	now := t.clock.Now()
	if p.own != nil {
		if forgiven := p.own.forgive(p.key.who); len(forgiven) > 0 {
			p.wide.remove(forgiven)
			t.dirty[p.key.source], t.dirty[p.wideKey] = p.own, p.wide
		}
	}
	at, _ := t.known.get(p.key)
	if now.Unix()-at > int64(day/time.Second) || at > now.Unix() {
		t.known.put(p.key, now.Unix())
		t.proved[p.key] = now.Unix()
	}
}

// failure ends a check that failed and counts it. banned says that it got the source banned.
func (p *permit) failure() (banned bool) {
	t := p.t
	t.mu.Lock()
	defer t.mu.Unlock()
	p.release()
	now := t.clock.Now()
	if p.own != nil {
		before := p.own.until
		p.own.fail(now, p.key.who, ownBounds(t.limits), t.limits)
		p.wide.fail(now, p.key.who, wideBounds(t.limits), t.limits)
		t.dirty[p.key.source], t.dirty[p.wideKey] = p.own, p.wide
		banned = p.own.until.After(before) && p.own.until.After(now)
	}
	if !p.stranger {
		return banned
	}
	g, ok := t.targets.get(p.key.who)
	if !ok {
		g = &target{}
		t.targets.put(p.key.who, g)
	}
	g.prune(now)
	if g.failures = append(g.failures, now.UnixNano()); len(g.failures) > t.limits.AccountPerHour+16 {
		g.failures = g.failures[1:]
	}
	return banned
}

// cancel ends a check that came to nothing: no secret was compared.
func (p *permit) cancel() {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	p.release()
}

func (p *permit) release() {
	if p.own == nil {
		return
	}
	p.own.release(p.key.who, p.exempt)
	if !p.exempt {
		p.wide.release(p.key.who, false)
	}
}

// source returns a source that load has brought into memory.
func (t *throttle) source(k sourceKey) *source {
	s, ok := t.sources.get(k)
	if !ok { // pushed out since
		s = &source{}
		t.sources.put(k, s)
	}
	return s
}

func (t *throttle) isKnown(k knownKey, now time.Time) bool {
	at, _ := t.known.get(k)
	return at > 0 && now.Sub(time.Unix(at, 0)) < t.limits.KnownFor
}

// load brings what the database knows of two sources and a name there into memory.
func (t *throttle) load(ctx context.Context, own, wide sourceKey, k knownKey) error {
	t.mu.Lock()
	var missing []sourceKey
	for _, s := range []sourceKey{own, wide} {
		if _, ok := t.sources.get(s); ok {
			continue
		}
		if dirty := t.dirty[s]; dirty != nil {
			t.sources.put(s, dirty)
			continue
		}
		missing = append(missing, s)
	}
	_, known := t.known.get(k)
	known = known || k == (knownKey{})
	t.mu.Unlock()
	if len(missing) == 0 && known {
		return nil
	}
	found := make([]*source, len(missing))
	var at int64
	err := t.db.View(ctx, scope, func(r kv.Reader) error {
		for i, s := range missing {
			var err error
			if found[i], err = readSource(r, s); err != nil {
				return err
			}
		}
		if known {
			return nil
		}
		n, err := number(r, k.row())
		at = int64(n)
		return err
	})
	if err != nil {
		return fmt.Errorf("read throttle: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, s := range missing {
		if _, ok := t.sources.get(s); !ok {
			t.sources.put(s, found[i])
		}
	}
	if _, ok := t.known.get(k); !ok && !known {
		t.known.put(k, max(at, t.proved[k]))
	}
	return nil
}

func readSource(r kv.Reader, k sourceKey) (*source, error) {
	b, err := r.Get(k.row())
	if errors.Is(err, kv.ErrNotFound) {
		return &source{}, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeSource(b)
}

// flush stages what changed since the last time. What a crash takes is at most the last second.
func (t *throttle) flush(ctx context.Context) error {
	t.mu.Lock()
	pairs := make([]kv.Pair, 0, len(t.dirty)+len(t.proved))
	for k, s := range t.dirty {
		pairs = append(pairs, kv.Pair{Key: k.row(), Value: s.encode()})
	}
	for k, at := range t.proved {
		pairs = append(pairs, kv.Pair{
			Key: k.row(), Value: binary.BigEndian.AppendUint64(nil, uint64(at)),
		})
	}
	dirty, proved := t.dirty, t.proved
	t.dirty, t.proved = map[sourceKey]*source{}, map[knownKey]int64{}
	t.mu.Unlock()
	if len(pairs) == 0 {
		return nil
	}
	err := t.db.Stage(ctx, pairs...)
	if err == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, s := range dirty {
		if t.dirty[k] == nil {
			t.dirty[k] = s
		}
	}
	for k, at := range proved {
		t.proved[k] = max(t.proved[k], at)
	}
	return fmt.Errorf("save throttle: %w", err)
}
