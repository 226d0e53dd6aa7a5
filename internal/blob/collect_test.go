package blob

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/kv/memkv"
)

func TestCollect(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 500, 300_000} {
		f := newFixture(t)
		ref := f.store(random(n), "a")
		f.update(func(txn kv.Txn) error { return f.Link(txn, ref, []byte("b")) })
		f.unlink(ref, "a")
		f.unlink(ref, "a") // again
		f.now.Advance(25 * time.Hour)
		f.collect()
		if err := f.Verify(ctx, ref); err != nil {
			t.Errorf("%d bytes: with a reference left: %v", n, err)
		}
		f.unlink(ref, "b")
		f.now.Advance(24*time.Hour - time.Millisecond)
		if s := f.collect(); s.Removed != 0 {
			t.Errorf("%d bytes: removed before the grace period: %+v", n, s)
		}
		if err := f.Verify(ctx, ref); err != nil {
			t.Errorf("%d bytes: within the grace period: %v", n, err)
		}
		f.now.Advance(2 * time.Millisecond)
		f.collect()
		if got := f.keys(); got != [3]int{} {
			t.Errorf("%d bytes: %v keys are left", n, got)
		}
		err := f.db.Update(ctx, "a", func(txn kv.Txn) error { return f.Link(txn, ref, []byte("c")) })
		if n > 0 && !errors.Is(err, ErrGone) {
			t.Errorf("%d bytes: Link of what was removed: %v, want ErrGone", n, err)
		}
		if s := f.collect(); s != (Stats{}) {
			t.Errorf("%d bytes: a second Collect had work: %+v", n, s)
		}
	}
}

// TestRelinked: the grace period counts from the last Unlink, and a body that is linked again
// stays.
func TestRelinked(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ref := f.store(random(100), "a")
	f.unlink(ref, "a")
	f.now.Advance(23 * time.Hour)
	f.update(func(txn kv.Txn) error { return f.Link(txn, ref, []byte("a")) })
	f.now.Advance(23 * time.Hour)
	f.collect()
	f.unlink(ref, "a")
	f.now.Advance(23 * time.Hour)
	f.collect()
	if err := f.Verify(ctx, ref); err != nil {
		t.Errorf("23 h after the last Unlink: %v", err)
	}
	f.now.Advance(2 * time.Hour)
	if s := f.collect(); s.Removed != 1 || s.Chunks != 1 {
		t.Errorf("Collect: %+v, want 1 body of 1 chunk", s)
	}
}

// TestCrashedUpload: an upload that a crash ends leaves a candidate, or nothing at all.
func TestCrashedUpload(t *testing.T) {
	t.Parallel()
	for kept := range 5 {
		f := newFixture(t)
		f.store(nil, "keep") // something durable
		w := f.Create(ctx)
		if _, err := w.Write(random(firstChunk + 3*laterChunk + 1)); err != nil {
			t.Fatal(err)
		}
		f.on(f.db.CrashKeeping(kept))
		got := f.keys()
		if want := min(kept, 1); got[0] != kept || got[2] != want {
			t.Errorf("after the crash: %v chunks, references, candidates, want %d, 1, %d", got, kept, want)
		}
		f.now.Advance(25 * time.Hour)
		f.collect()
		if got := f.keys(); got != [3]int{0, 1, 0} {
			t.Errorf("after Collect: %v keys", got)
		}
	}
}

// TestSlowUpload: an upload that was collected before it was linked cannot be linked.
func TestSlowUpload(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	p := f.pending(random(100_000), 1<<20)
	f.now.Advance(25 * time.Hour)
	f.collect()
	err := f.db.Update(ctx, "a", func(txn kv.Txn) error { return p.Link(txn, []byte("o")) })
	if !errors.Is(err, ErrGone) {
		t.Errorf("Link: %v, want ErrGone", err)
	}
	if got := f.keys(); got != [3]int{} {
		t.Errorf("%v keys are left", got)
	}
}

// TestManyCandidates: Collect works in batches, on an engine that runs each transaction twice.
func TestManyCandidates(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.db.SetTwice(true)
	const n = 3*collectBatch + 7
	for i := range n {
		ref := f.store([]byte("body"), "o")
		if i%3 > 0 {
			f.unlink(ref, "o")
		}
		f.now.Advance(time.Second)
	}
	f.now.Advance(25 * time.Hour)
	want := int64(n - (n+2)/3)
	if s := f.collect(); s.Removed != want || s.Candidates != want {
		t.Errorf("Collect: %+v, want %d bodies", s, want)
	}
	if got := f.keys(); got != [3]int{(n + 2) / 3, (n + 2) / 3, 0} {
		t.Errorf("%v keys are left", got)
	}
}

// TestCollectEnds: a Collect that is broken off has done part of its work, and the next the rest.
func TestCollectEnds(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for range 2 * collectBatch {
		f.unlink(f.store([]byte("body"), "o"), "o")
	}
	f.now.Advance(25 * time.Hour)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := f.Collect(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Collect with an ended context: %v", err)
	}
	f.collect()
	if got := f.keys(); got != [3]int{} {
		t.Errorf("%v keys are left", got)
	}
}

var interleavings = flag.Int("blob.interleavings", 1500, "runs of TestInterleavings; B5 asks for 10000")

// TestInterleavings runs deliveries, copies, moves, deletions and Collects against each other, in
// an order that a seed decides at every transaction, also between what a transaction reads and its
// commit. A body that somebody refers to must be whole at any time; none may go before the grace
// period; in the end none that nobody refers to may be left. (reliability B5)
func TestInterleavings(t *testing.T) {
	t.Parallel()
	const parts = 4
	for part := range parts {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			for seed := part; seed < *interleavings && !t.Failed(); seed += parts {
				interleave(t, uint64(seed))
			}
		})
	}
}

const grace = 24 * time.Hour

// play is one run: its actors take turns, and only one of them runs at a time.
type play struct {
	t    *testing.T
	seed uint64
	rnd  *rand.Rand
	now  *clock.Fake
	db   *memkv.DB
	s    *Store

	arrived chan struct{} // the actor that was running waits or has ended
	waiting []chan struct{}
	alive   int

	refs  map[string]Ref // what each owner refers to, owner being account/name
	ended map[ID]time.Time
	open  map[*time.Time]bool // since when those hold a body or Ref that they have not linked yet
	names int
}

func interleave(t *testing.T, seed uint64) {
	p := &play{t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 7)),
		now: clock.NewFake(time.Unix(1700000000, 0)), db: memkv.New(),
		arrived: make(chan struct{}), refs: map[string]Ref{}, ended: map[ID]time.Time{},
		open: map[*time.Time]bool{}}
	p.s = New(turns{p.db, p}, Options{Clock: p.now, Grace: grace,
		Rand: rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})})
	p.act(func() { p.account("1") })
	p.act(func() { p.account("2") })
	p.act(func() { p.account("3") })
	p.act(p.collector)
	p.act(p.time)
	for p.alive > 0 {
		i := p.rnd.IntN(len(p.waiting))
		next := p.waiting[i]
		p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
		next <- struct{}{}
		<-p.arrived
	}
	p.after()
}

// act starts an actor, which waits for its first turn.
func (p *play) act(fn func()) {
	p.alive++
	turn := make(chan struct{})
	p.waiting = append(p.waiting, turn)
	go func() {
		<-turn
		fn()
		p.alive--
		p.arrived <- struct{}{}
	}()
}

// yield lets another actor run.
func (p *play) yield() {
	turn := make(chan struct{})
	p.waiting = append(p.waiting, turn)
	p.arrived <- struct{}{}
	<-turn
}

// turns is a database that gives others a turn before each transaction, and before each commit.
type turns struct {
	kv.Database
	p *play
}

func (d turns) View(ctx context.Context, s kv.Scope, fn func(kv.Reader) error) error {
	d.p.yield()
	return d.Database.View(ctx, s, fn)
}

func (d turns) Stage(ctx context.Context, pairs ...kv.Pair) error {
	d.p.yield()
	return d.Database.Stage(ctx, pairs...)
}

func (d turns) Update(ctx context.Context, s kv.Scope, fn func(kv.Txn) error) error {
	d.p.yield()
	return d.Database.Update(ctx, s, func(txn kv.Txn) error {
		err := fn(txn)
		// Scopes that two actors share would wait for each other with the turn in hand.
		if s[:5] != "blob/" || s == "blob/collect" {
			d.p.yield()
		}
		return err
	})
}

func (p *play) errorf(format string, args ...any) {
	p.t.Errorf("seed %d: %s", p.seed, fmt.Sprintf(format, args...))
}

// update is a transaction of an account. What it does to references is noted when it is committed.
func (p *play) update(account string, fn func(kv.Txn) error, committed func()) bool {
	err := turns{p.db, p}.Update(ctx, kv.Scope("account/"+account), fn)
	if err != nil {
		p.errorf("Update: %v", err)
		return false
	}
	committed()
	return true
}

// held notes that somebody holds a body or Ref that he has not linked, or is ending a reference:
// the clock does not go on for half a grace period then, so that both together take less than one.
func (p *play) held() func() {
	since := p.now.Now()
	p.open[&since] = true
	return func() { delete(p.open, &since) }
}

func (p *play) owner(account string) string {
	p.names++
	return fmt.Sprintf("%s/%d", account, p.names)
}

// mine returns one of the account's references.
func (p *play) mine(account string) (string, Ref, bool) {
	for i := range p.names + 1 {
		name := fmt.Sprintf("%s/%d", account, (i+p.names/2)%(p.names+1))
		if ref, ok := p.refs[name]; ok {
			return name, ref, true
		}
	}
	return "", Ref{}, false
}

func (p *play) account(account string) {
	for range 5 {
		switch p.rnd.IntN(6) {
		case 0, 1:
			p.deliver(account)
		case 2:
			p.copy(account, account)
		case 3:
			p.copy(account, fmt.Sprint(p.rnd.IntN(3)+1))
		case 4:
			p.move(account)
		case 5:
			p.remove(account)
		}
	}
	for p.remove(account) {
	}
}

func (p *play) deliver(account string) {
	defer p.held()()
	w := p.s.Create(ctx)
	if _, err := w.Write(random([]int{50, 200, 2 * firstChunk}[p.rnd.IntN(3)])); err != nil {
		p.errorf("Write: %v", err)
		return
	}
	if p.rnd.IntN(8) == 0 {
		w.Abort()
		return
	}
	b, err := w.Finish()
	if err != nil {
		p.errorf("Finish: %v", err)
		return
	}
	if p.rnd.IntN(8) == 0 {
		b.Discard()
		return
	}
	for range 1 + p.rnd.IntN(2) {
		name := p.owner(account)
		p.update(account, func(txn kv.Txn) error { return b.Link(txn, []byte(name)) },
			func() { p.refs[name] = b.Ref() })
	}
	b.Committed()
}

// copy takes a Ref from one account and links it in another, later.
func (p *play) copy(to, from string) {
	_, ref, ok := p.mine(from)
	if !ok {
		return
	}
	defer p.held()()
	p.yield()
	name := p.owner(to)
	p.update(to, func(txn kv.Txn) error { return p.s.Link(txn, ref, []byte(name)) },
		func() { p.refs[name] = ref })
}

func (p *play) move(account string) {
	old, ref, ok := p.mine(account)
	if !ok {
		return
	}
	defer p.held()()
	name := p.owner(account)
	p.update(account, func(txn kv.Txn) error {
		return errors.Join(p.s.Link(txn, ref, []byte(name)), p.s.Unlink(txn, ref, []byte(old)))
	}, func() {
		p.refs[name] = ref
		delete(p.refs, old)
		p.ended[ref.ID] = p.now.Now()
	})
}

func (p *play) remove(account string) bool {
	name, ref, ok := p.mine(account)
	if !ok || len(p.refs) < 3 && p.rnd.IntN(2) == 0 {
		return false // something stays to the end
	}
	defer p.held()()
	var at time.Time
	return p.update(account, func(txn kv.Txn) error {
		at = p.now.Now()
		return p.s.Unlink(txn, ref, []byte(name))
	}, func() {
		delete(p.refs, name)
		p.ended[ref.ID] = at
	})
}

func (p *play) collector() {
	for range 6 {
		if _, err := p.s.Collect(ctx); err != nil {
			p.errorf("Collect: %v", err)
		}
		p.check()
	}
}

// time lets up to a grace period pass, and less while somebody holds something.
func (p *play) time() {
	for range 12 {
		step := time.Duration(p.rnd.Int64N(int64(grace)))
		for since := range p.open {
			if left := grace/2 - time.Minute - p.now.Now().Sub(*since); left < step {
				step = left
			}
		}
		if step > 0 {
			p.now.Advance(step)
		}
		p.yield()
	}
}

// check: every body that is referred to is whole, and so is one that was until a moment ago.
func (p *play) check() {
	plain := New(p.db, Options{Clock: p.now})
	for owner, ref := range p.refs {
		if err := plain.Verify(ctx, ref); err != nil {
			p.errorf("body of %s: %v", owner, err)
		}
	}
	err := p.db.View(ctx, "", func(r kv.Reader) error {
		for id, at := range p.ended {
			if p.now.Now().Sub(at) < grace && present(r, id) != nil {
				p.errorf("body %s was removed %v after its last reference", id, p.now.Now().Sub(at))
			}
		}
		return nil
	})
	if err != nil {
		p.errorf("View: %v", err)
	}
}

// after: when all is quiet, what is left is what is referred to.
func (p *play) after() {
	p.check()
	plain := New(p.db, Options{Clock: p.now, Grace: grace})
	p.now.Advance(grace + time.Second)
	if _, err := plain.Collect(ctx); err != nil {
		p.errorf("Collect: %v", err)
	}
	p.check()
	used := map[ID]bool{}
	for _, ref := range p.refs {
		used[ref.ID] = true
	}
	err := p.db.View(ctx, "", func(r kv.Reader) error {
		return r.Scan(kv.Range{KeysOnly: true}, func(key, _ []byte) error {
			if key[1] == candidateSpace || !used[ID(key[2:18])] {
				p.errorf("key %x is left, nobody refers to it", key)
			}
			return nil
		})
	})
	if err != nil {
		p.errorf("View: %v", err)
	}
}
