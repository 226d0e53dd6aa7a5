package words

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"tram/internal/kv"
	"tram/internal/kv/pebblekv"
)

// TestOnPebble: what was learnt is the same after the database was closed and opened again, tables of many
// rows included.
func TestOnPebble(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := pebblekv.Open(dir, pebblekv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := open(db, nil)
	list := corpus(t)
	teach(t, c, 1, list)
	teach(t, c, 1, []Lesson{{large(1), true, "large"}})
	for range 8 {
		teach(t, c, 1, []Lesson{{large(2), true, "once"}, {large(2), false, "once"}})
	}
	fill(t, c, 1, 10_000)
	want := judge(t, c, 1, list[30].Text)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = pebblekv.Open(dir, pebblekv.Options{}); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	again := open(db, nil)
	if got := judge(t, again, 1, list[30].Text); got.Probability != want.Probability || got.Probability < 0.9 {
		t.Errorf("%v, before %v", got, want)
	}
	if all, _ := state(t, again, 1); len(all) < 10_000 {
		t.Errorf("%d words", len(all))
	}
}

// large is a text of as many words as are taken.
func large(seed uint64) Text {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var b []byte
	for range 3000 {
		for range 5 {
			b = append(b, byte('a'+rnd.IntN(26)))
		}
		b = append(b, ' ')
	}
	return Text{Body: string(b)}
}

// fill puts n words into the table of an owner.
func fill(t testing.TB, c *Classifier, o Owner, n int) {
	t.Helper()
	ctx := context.Background()
	learn(t, c, o, 0, true)
	forceCompact(t, c, o)
	err := c.db.Update(ctx, scope, func(txn kv.Txn) error {
		tab, m, err := newView(c).current(txn, o)
		if err != nil {
			return err
		}
		defer tab.mu.RUnlock()
		for i := range n {
			tab.fresh[rand.Uint64()] = delta{junk: int32(i%3 + 1), good: int32(i % 2)}
		}
		all := tab.merged()
		m.words, m.merged, m.seq = int64(len(all)), m.merged+1, m.seq+1
		if err := c.writeTable(txn, o, all); err != nil {
			return err
		}
		return m.write(txn, o)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func onPebble(b *testing.B, words int) *Classifier {
	db, err := pebblekv.Open(b.TempDir(), pebblekv.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	c := open(db, nil)
	teach(b, c, 1, corpus(b))
	fill(b, c, 1, words)
	fill(b, c, Shared, 5*words)
	return c
}

// BenchmarkWarm judges 20 kB with tables as large as they may become, in memory.
func BenchmarkWarm(b *testing.B) {
	c := onPebble(b, 200_000)
	text := large(1)
	judge(b, c, 1, text)
	for b.Loop() {
		judge(b, c, 1, text)
	}
}

// BenchmarkCold judges by an account whose table is not in memory.
func BenchmarkCold(b *testing.B) {
	for _, n := range []int{10_000, 200_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := onPebble(b, n)
			text := large(1)
			for b.Loop() {
				c.tables.drop(1)
				judge(b, c, 1, text)
			}
		})
	}
}

// BenchmarkLearn learns messages with 2,000 words each, the writing of tables included.
func BenchmarkLearn(b *testing.B) {
	c := onPebble(b, 200_000)
	i := uint64(0)
	for b.Loop() {
		i++
		teach(b, c, 1, []Lesson{{large(i), i%2 == 0, fmt.Sprint(i)}})
	}
}
