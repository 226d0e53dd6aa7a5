package textindex

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"tram/internal/kv"
	"tram/internal/kv/memkv"
)

func TestGrades(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		query, text string
		want        Grade
	}{
		{"hello", "Hello, world", Equal},
		{"Viet", "tiếng Việt", Equal},
		{"Việt", "tieng viet", Equal},
		{"đường", "duong", Equal},
		{"meet", "meeting", Start},
		{"m", "meeting", Start},
		{"helo", "hello", Near},  // one is missing
		{"helo", "help", Near},   // one is wrong
		{"hello", "helo", Near},  // one is too many
		{"hlelo", "hello", Near}, // two are exchanged
		{"truong", "Trưởng", Equal},
		{"truogn", "Trường", Near},
		{"quarterly", "quartrely", Near},
		{"quarterly", "quatrely", Far},
		{"quarterly", "quatrle", None},
		{"ell", "hello", Inside},
		{"el", "hello", None}, // too short to be looked for inside
		{"字", "漢字かな", Inside},
		{"tue", "tuy", None}, // a word of three letters is another word
		{"2025", "2026", None},
		{"x1234567", "x1234568", None},
		{"один", "одни", Near},
		{"hello", "", None},
		{"ab", "a b", None},
	} {
		a := NewApprox(tt.query)
		if a.Words() != 1 {
			t.Fatalf("%q has %d words", tt.query, a.Words())
		}
		g := a.Gauge()
		g.Write(Header, []byte(tt.text))
		g.End()
		if got := g.Grade(0, Header); got != tt.want {
			t.Errorf("%q in %q: %d, want %d", tt.query, tt.text, got, tt.want)
		}
		if g.Grade(0, Body) != None {
			t.Errorf("%q: found in the other field", tt.query)
		}
	}
}

// TestApproxIsBounded: long texts and words cost no more than short ones.
func TestApproxIsBounded(t *testing.T) {
	t.Parallel()
	if n := NewApprox(strings.Repeat("a ", 1000)).Words(); n != 1 {
		t.Errorf("one word, many times: %d", n)
	}
	if n := NewApprox("?! \x00 \xff ...").Words(); n != 0 {
		t.Errorf("no word: %d", n)
	}
	var b strings.Builder
	for i := range 1000 {
		b.WriteString(strings.Repeat(string(rune('a'+i%26)), 1+i/26) + " ")
	}
	if n := NewApprox(b.String()).Words(); n != maxApprox {
		t.Errorf("many words: %d", n)
	}
	long := strings.Repeat("abcdefghij", 100)
	g := NewApprox(long).Gauge()
	g.Write(Body, []byte(long))
	g.End()
	if g.Grade(0, Body) != Start {
		t.Errorf("a word of a thousand letters: %d", g.Grade(0, Body))
	}
}

// slowDistance is the definition of distance.
func slowDistance(a, b []rune) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		for k := range d[i] {
			switch {
			case i == 0 || k == 0:
				d[i][k] = i + k
				continue
			case a[i-1] == b[k-1]:
				d[i][k] = d[i-1][k-1]
			default:
				d[i][k] = 1 + min(d[i-1][k-1], d[i-1][k], d[i][k-1])
			}
			if i > 1 && k > 1 && a[i-1] == b[k-2] && a[i-2] == b[k-1] {
				d[i][k] = min(d[i][k], 1+d[i-2][k-2])
			}
		}
	}
	return d[len(a)][len(b)]
}

// TestDistance compares with the definition, and checks that the quick test before it loses nothing.
func TestDistance(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 2))
	word := func() []rune {
		r := make([]rune, 4+rnd.IntN(8))
		for i := range r {
			r[i] = []rune("abcжש漢")[rnd.IntN(6)]
		}
		return r
	}
	for range 20000 {
		a, b := word(), word()
		want := slowDistance(a, b)
		for most := range 3 {
			if got := distance(a, b, most); got != min(want, most+1) {
				t.Fatalf("%q and %q up to %d: %d, want %d", string(a), string(b), most, got, want)
			}
		}
		w := newApproxWord([]byte(string(a)))
		if want <= w.wrong && !w.like([]byte(string(b))) {
			t.Fatalf("%q and %q: left out, distance %d", string(a), string(b), want)
		}
	}
}

// TestApproxByIndexAndByReading: both come to the same grades, in each field of each email, before and
// after merges.
func TestApproxByIndexAndByReading(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 3))
	db := memkv.New()
	var docs []doc
	for id := uint64(1); len(docs) < 400; {
		batch := []doc{}
		for range 1 + rnd.IntN(9) {
			id += 1 + rnd.Uint64N(3)
			batch = append(batch, doc{id, randomText(rnd), randomText(rnd)})
		}
		index(t, db, batch, nil)
		docs = append(docs, batch...)
	}
	for range 100 {
		a := NewApprox(misspell(rnd, cut(rnd, docs[rnd.IntN(len(docs))].text(Any))))
		if a.Words() == 0 {
			continue
		}
		var near *Relatives
		err := db.View(context.Background(), Scope(account), func(r kv.Reader) (err error) {
			near, err = a.Find(context.Background(), r, account)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		all := map[Field]func(uint64) bool{}
		for _, f := range []Field{Header, Body, Any} {
			all[f] = near.Emails(f).Contains
		}
		g := a.Gauge()
		for _, d := range docs {
			g.Reset()
			g.Write(Header, []byte(d.header))
			g.Write(Body, []byte(d.body))
			g.End()
			found := map[Field]bool{Header: true, Body: true, Any: true}
			for i := range a.Words() {
				h, b := g.Grade(i, Header), g.Grade(i, Body)
				if near.Grade(i, Header, d.id) != h || near.Grade(i, Body, d.id) != b {
					t.Fatalf("%q in %q and %q: %d %d by reading, %d %d by the index", a.words[i].text,
						d.header, d.body, h, b, near.Grade(i, Header, d.id), near.Grade(i, Body, d.id))
				}
				found[Header] = found[Header] && h != None
				found[Body] = found[Body] && b != None
				found[Any] = found[Any] && (h != None || b != None)
			}
			for f, want := range found {
				if all[f](d.id) != want || !near.Covers(d.id) {
					t.Fatalf("words in field %d of %q and %q: %t", f, d.header, d.body, !want)
				}
			}
		}
		if near.Covers(docs[len(docs)-1].id + 1) {
			t.Fatal("an email that is not indexed is covered")
		}
	}
}

// misspell changes a letter of a text here and there.
func misspell(rnd *rand.Rand, s string) string {
	r := []rune(s)
	for i := range r {
		if rnd.IntN(8) == 0 {
			r[i] = []rune("aeoh ắ")[rnd.IntN(6)]
		}
	}
	return string(r)
}

// TestApproxDamage: an index that cannot be read is an error, for the caller to read everything.
func TestApproxDamage(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	index(t, db, []doc{{1, "hello", "world"}}, nil)
	ctx := context.Background()
	var keys [][]byte
	err := db.Update(ctx, Scope(account), func(txn kv.Txn) error {
		err := txn.Scan(kv.Prefix(segmentKey(account, tagTerms, 0)), func(key, _ []byte) error {
			keys = append(keys, append([]byte(nil), key...))
			return nil
		})
		if err != nil {
			return err
		}
		for _, key := range keys {
			if err := txn.Set(key, []byte{0xff, 0xff}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || len(keys) == 0 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	err = db.View(ctx, Scope(account), func(r kv.Reader) error {
		_, err := NewApprox("hello").Find(ctx, r, account)
		return err
	})
	if err == nil {
		t.Fatal("no error")
	}
}

// BenchmarkApprox is what one text costs in a dictionary of 200,000 words.
func BenchmarkApprox(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 1))
	batch := NewBatch()
	db := memkv.New()
	var text strings.Builder
	for email := range uint64(1000) {
		batch.Begin(email + 1)
		text.Reset()
		for range 200 {
			for range 3 + rnd.IntN(8) {
				text.WriteByte(byte('a' + rnd.IntN(26)))
			}
			text.WriteByte(' ')
		}
		batch.Write(Body, []byte(text.String()))
	}
	ctx := context.Background()
	err := db.Update(ctx, Scope(account), func(txn kv.Txn) error {
		return batch.Commit(txn, account, 1000, nil)
	})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		err := db.View(ctx, Scope(account), func(r kv.Reader) error {
			_, err := NewApprox("quarterly figures attached").Find(ctx, r, account)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
