package words

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func open(db kv.Database, change func(*limits.Words)) *Classifier {
	l := limits.Default().Words
	if change != nil {
		change(&l)
	}
	return Open(Options{DB: db, Limits: l, Clock: clock.NewFake(now), Secret: []byte("secret")})
}

// note is a message of some of a few words, so that messages have words in common.
func note(seed int) Text {
	rnd := rand.New(rand.NewPCG(1, uint64(seed)))
	var b strings.Builder
	for range 5 + rnd.IntN(20) {
		fmt.Fprintf(&b, "word%c ", 'a'+rnd.IntN(26))
	}
	return Text{Subject: fmt.Sprintf("about %c", 'a'+seed%7), From: fmt.Sprintf("P <p%d@e%d.example>", seed, seed%5),
		Body: b.String()}
}

func learn(t testing.TB, c *Classifier, o Owner, seed int, junk bool) {
	t.Helper()
	if err := c.Learn(context.Background(), o, note(seed), junk, fmt.Sprint("id", seed)); err != nil {
		t.Fatal(err)
	}
}

func judge(t testing.TB, c *Classifier, o Owner, text Text) Verdict {
	t.Helper()
	v, err := c.Judge(context.Background(), o, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// state is all counts of an owner, as one reads them that has no table in memory.
func state(t testing.TB, c *Classifier, o Owner) (map[uint64]count, meta) {
	t.Helper()
	fresh := Open(Options{DB: c.db, Limits: c.limits, Clock: c.clock, Secret: c.secret})
	all, m := map[uint64]count{}, meta{}
	err := c.db.View(context.Background(), scope, func(r kv.Reader) error {
		tab, known, err := fresh.current(r, o)
		if err != nil || tab == nil {
			return err
		}
		defer tab.mu.RUnlock()
		m = known
		for _, e := range tab.merged() {
			e.day = 0
			all[e.hash] = e.count
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, m
}

// TestLearnAndForget: whatever is learnt, learnt the other way, learnt again and forgotten, in any order and
// with tables written in between, the counts are those of the messages that are learnt in the end.
func TestLearnAndForget(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		ctx := context.Background()
		db := memkv.New()
		defer db.Close()
		c := open(db, func(l *limits.Words) { l.Least = 1 })
		want := map[Owner]map[int]bool{1: {}, 2: {}, 3: {}, Shared: {}}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			o := Owner(rapid.IntRange(0, 3).Draw(rt, "owner"))
			seed := rapid.IntRange(0, 12).Draw(rt, "message")
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				if err := c.Forget(ctx, o, fmt.Sprint("id", seed)); err != nil {
					rt.Fatal(err)
				}
				delete(want[o], seed)
			case 1:
				learn(t, c, o, seed, true)
				want[o][seed] = true
			case 2:
				learn(t, c, o, seed, false)
				want[o][seed] = false
			case 3:
				forceCompact(t, c, o)
			}
		}
		other := memkv.New()
		defer other.Close()
		d := open(other, func(l *limits.Words) { l.Least = 1 })
		copyKey(t, db, other)
		for o, lessons := range want {
			for _, seed := range slices.Sorted(maps.Keys(lessons)) {
				learn(t, d, o, seed, lessons[seed])
			}
		}
		model := expected(c, want)
		for o := range want {
			got, gm := state(t, c, o)
			if diff := cmp.Diff(model[o], got, cmp.AllowUnexported(count{})); diff != "" {
				rt.Errorf("owner %d, counted one by one (-want +got):\n%s", o, diff)
			}
			exp, em := state(t, d, o)
			if diff := cmp.Diff(exp, got, cmp.AllowUnexported(count{})); diff != "" {
				rt.Errorf("owner %d (-want +got):\n%s", o, diff)
			}
			if gm.junk != em.junk || gm.good != em.good || gm.lentJunk != em.lentJunk || gm.lentGood != em.lentGood {
				rt.Errorf("owner %d: %+v, want %+v", o, gm, em)
			}
			for seed := range 15 {
				a, b := judge(t, c, o, note(seed)), judge(t, d, o, note(seed))
				if a.Probability != b.Probability {
					rt.Errorf("owner %d message %d: %v, want %v", o, seed, a.Probability, b.Probability)
				}
			}
		}
	})
}

// expected counts words one by one.
func expected(c *Classifier, want map[Owner]map[int]bool) map[Owner]map[uint64]count {
	all := map[Owner]map[uint64]count{}
	add := func(o Owner, hash uint64, junk bool, who uint32) {
		if all[o] == nil {
			all[o] = map[uint64]count{}
		}
		n := all[o][hash]
		if junk {
			n.junk++
		} else {
			n.good++
		}
		n.who += who
		all[o][hash] = n
	}
	for o := range want {
		if all[o] == nil {
			all[o] = map[uint64]count{}
		}
		seen := map[uint64]bool{}
		for seed, junk := range want[o] {
			l := c.lesson(*c.key, &Lesson{Text: note(seed), Junk: junk})
			for _, w := range l.words {
				if o == Shared {
					add(Shared, w, junk, witnesses)
					continue
				}
				add(o, w, junk, 1)
				who := uint32(1)
				if seen[w] {
					who = 0
				}
				seen[w] = true
				add(Shared, w, junk, who)
			}
		}
	}
	return all
}

// forceCompact writes the table of an owner, however little is new.
func forceCompact(t testing.TB, c *Classifier, o Owner) {
	t.Helper()
	d := newView(c)
	d.always = true
	if err := d.compact(context.Background(), o); err != nil {
		t.Fatal(err)
	}
}

// newView is another classifier on the same database, as on another machine.
func newView(c *Classifier) *Classifier {
	return Open(Options{DB: c.db, Limits: c.limits, Clock: c.clock, Secret: c.secret, Log: c.log})
}

// copyKey makes two databases hash alike.
func copyKey(t testing.TB, from, to kv.Database) {
	t.Helper()
	ctx, key := context.Background(), []byte{space, room, keyRow}
	var row []byte
	err := from.View(ctx, scope, func(r kv.Reader) error {
		v, err := r.Get(key)
		if errors.Is(err, kv.ErrNotFound) {
			return nil
		}
		row = slices.Clone(v)
		return err
	})
	if err == nil && row != nil {
		err = to.Update(ctx, scope, func(txn kv.Txn) error { return txn.Set(key, row) })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestLearnTogether: several processes teach at once, on an engine that runs each transaction twice, and
// some of them teach the same; nothing is lost or counted twice.
func TestLearnTogether(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	defer db.Close()
	db.SetTwice(true)
	first := open(db, nil)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			c := newView(first)
			for i := range 30 {
				learn(t, c, Owner(1+w%2), i, i%3 == 0)
				judge(t, c, Owner(1+w%2), note(i))
				if i%10 == 9 {
					forceCompact(t, c, Owner(w%3))
				}
			}
		})
	}
	wg.Wait()
	for _, o := range []Owner{1, 2, Shared} {
		all, m := state(t, first, o)
		times := int64(1)
		if o == Shared {
			times = 2
		}
		if m.junk != 10*times || m.good != 20*times {
			t.Errorf("owner %d: %d and %d messages", o, m.junk, m.good)
		}
		for hash, n := range all {
			if int64(n.junk) > m.junk || int64(n.good) > m.good || o == Shared && n.who > 2 {
				t.Errorf("owner %d: word %x counted %+v", o, hash, n)
			}
		}
		for i := range 30 {
			a, b := judge(t, first, o, note(i)), judge(t, newView(first), o, note(i))
			if a.Probability != b.Probability {
				t.Errorf("owner %d: a table in memory says %v, a fresh one %v", o, a.Probability, b.Probability)
			}
		}
	}
}
