package textindex

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"tram/internal/kv"
	"tram/internal/kv/memkv"
	"tram/internal/message"
)

// markedWords are alike but for their marks and their case, and of many kinds: with letters that
// fold to two, that only their marks tell apart, or that no table knows.
var markedWords = strings.Fields(`đồng dong đông dồng ĐỒNG Đồng hợp hop họp HỢP tiếng tieng việt Việt
	Straße STRASSE naïve naive ﬁancé fiance İstanbul istanbul ısı øre ἀρχή αρχή ёлка елка が か ガ
	漢字 漢é字 한국 e̱ x̂y q̣ ạ̄ Ａ́ b̃ ǆ’ế zu…ê a–ở “nợ” O´é ư ơ ₫ é ́a ﷺế ` + "\u0301\u0323x a\u0323\u0302b a\u0302\u0323b")

// markedText is text of markedWords, composed or not, with many ways between them.
func markedText(rnd *rand.Rand, words int) string {
	var b strings.Builder
	for range words {
		w := markedWords[rnd.IntN(len(markedWords))]
		switch rnd.IntN(3) {
		case 0:
			w = norm.NFD.String(w)
		case 1:
			w = norm.NFC.String(w)
		}
		b.WriteString(w)
		b.WriteString([]string{" ", ", ", "\r\n", "-", "", "\u00a0", "”", "。"}[rnd.IntN(8)])
	}
	return b.String()
}

// TestMarksAreExact: a query of one word with marks is answered exactly, and all that hold any other
// with its marks are candidates, however the text was cut into chunks.
func TestMarksAreExact(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	db := memkv.New()
	var docs []doc
	for id := uint64(1); id <= 400; id++ {
		d := doc{id, markedText(rnd, rnd.IntN(4)), markedText(rnd, rnd.IntN(12))}
		if rnd.IntN(20) == 0 { // a word of many windows, with and without drains
			d.body += strings.Repeat(string([]rune(markedText(rnd, 1))[:1])+"o", 20+rnd.IntN(2000))
		}
		docs = append(docs, d)
	}
	for rest := docs; len(rest) > 0; {
		n := min(len(rest), 1+rnd.IntN(9))
		index(t, db, rest[:n], nil)
		rest = rest[n:]
	}
	exact := 0
	for range 500 {
		fields := []Field{Header, Body, Any}[rnd.IntN(3)]
		query := cut(rnd, docs[rnd.IntN(len(docs))].text(Any))
		if rnd.IntN(2) == 0 {
			query = cut(rnd, markedWords[rnd.IntN(len(markedWords))])
		}
		if rnd.IntN(4) == 0 {
			query = strings.ToUpper(query)
		}
		if !message.HasMarks(query) {
			continue
		}
		kept := string(message.Fold(nil, []byte(query), false))
		c := find(t, db, query, fields)
		if c.Exact {
			exact++
		}
		for _, d := range docs {
			want := strings.Contains(string(message.Fold(nil, []byte(d.text(fields)), false)), kept)
			got := c.All || c.Emails.Contains(d.id)
			if got != want && (c.Exact || want) && !c.Unsure.Contains(d.id) {
				t.Fatalf("%+q in %d of %+q: %v, want %v", query, fields, d.text(fields), got, want)
			}
		}
		one := wordPrefix([]byte(kept)) == len(kept) && runes([]byte(kept), windowStep) == len(kept)
		if one && hasMark([]byte(kept)) && !c.Exact {
			if bare := message.Fold(nil, []byte(query), true); wordPrefix(bare) == len(bare) && len(bare) > 0 {
				t.Fatalf("%+q: not exact", query)
			}
		}
	}
	if exact < 40 {
		t.Errorf("%d exact answers", exact)
	}
}

// TestSplitIsFold: the words of a text are those of the whole text folded at once, whatever the
// chunks.
func TestSplitIsFold(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	random := func() string {
		var b strings.Builder
		for range rnd.IntN(30) {
			r := rune(rnd.IntN([]int{0x80, 0x380, 0x2100, 0x3100, 0x11000}[rnd.IntN(5)]))
			if utf8.ValidRune(r) {
				b.WriteRune(r)
			}
		}
		return b.String()
	}
	for round := range 4000 {
		text := markedText(rnd, rnd.IntN(4))
		if round%2 == 0 {
			text = random()
		}
		want := map[string]bool{}
		for _, w := range strings.FieldsFunc(string(message.Fold(nil, []byte(text), true)), notWord) {
			want[w] = true
		}
		for _, w := range strings.FieldsFunc(string(message.Fold(nil, []byte(text), false)), notWord) {
			if hasMark([]byte(w)) {
				want[string(marked)+w] = true
			}
		}
		got := map[string]bool{}
		s := splitter{both: true}
		s.emit = func(w []byte) { got[string(w)] = true }
		s.long = func(w []byte) { got["long"] = true }
		for rest := text; len(rest) > 0; {
			n := min(len(rest), 1+rnd.IntN(9))
			s.write([]byte(rest[:n]))
			rest = rest[n:]
		}
		s.end()
		if !got["long"] && fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%+q:\n%+q, want\n%+q", text, fmt.Sprint(got), fmt.Sprint(want))
		}
	}
}

func notWord(r rune) bool { return !isWord(r) }

// TestBareHasNoMarks: what is left of a letter without its marks has none, which is why a query with
// a marked letter is a query with marks.
func TestBareHasNoMarks(t *testing.T) {
	t.Parallel()
	for r := range rune(unicode.MaxRune + 1) {
		if bare := message.Fold(nil, []byte(string(r)), true); hasMark(bare) {
			t.Errorf("%U without marks is %+q", r, bare)
		}
	}
}

// TestLongMarkedWords: a part of a long word is found with its marks, and exactly, up to windowStep
// letters; what is longer than its limit is looked into.
func TestLongMarkedWords(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(5, 6))
	some := []rune("abcdefghiklmnopqđêộữ")
	long := make([]rune, 20_000)
	for i := range long {
		long[i] = some[rnd.IntN(len(some))]
	}
	endless := strings.Repeat("ạ", (maxWindows+10)*windowStep)
	db := memkv.New()
	index(t, db, []doc{{1, "", string(long)}, {2, "", string(long[:100])}, {3, endless, ""}}, nil)
	for range 200 {
		at, n := rnd.IntN(len(long)-60), 1+rnd.IntN(40)
		part := string(long[at : at+n])
		if !message.HasMarks(part) {
			continue
		}
		c := find(t, db, part, Body)
		if !c.Emails.Contains(1) || c.Exact != (n <= windowStep) {
			t.Fatalf("%d letters at %d: found %v, exact %v", n, at, c.Emails, c.Exact)
		}
		if got, want := c.Emails.Contains(2), strings.Contains(string(long[:100]), part); c.Exact && got != want {
			t.Fatalf("%q in the short one: %v, want %v", part, got, want)
		}
	}
	if c := find(t, db, "ậ", Header); !c.Unsure.Contains(3) || c.Unsure.Contains(1) {
		t.Errorf("unsure of %v, want 3", c.Unsure)
	}
}

// TestEndlessMarks: a letter with more marks than a language has is not understood, and known not to
// be.
func TestEndlessMarks(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	index(t, db, []doc{{1, "", strings.Repeat("\u0323", 1000)}, {2, "", "ạ"}}, nil)
	if c := find(t, db, "ạ", Body); !c.Exact || !c.Unsure.Contains(1) || fmt.Sprint(c.Emails.ToArray()) != "[2]" {
		t.Errorf("%v, unsure of %v", c.Emails, c.Unsure)
	}
}

// TestFuzzyBesideMarks: words are graded without their marks, whatever terms stand before theirs.
func TestFuzzyBesideMarks(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	index(t, db, []doc{{1, "", "đồng"}, {2, "", "dong"}}, nil)
	err := db.View(context.Background(), Scope(account), func(r kv.Reader) error {
		near, err := NewApprox("đông").Find(context.Background(), r, account)
		if err != nil {
			return err
		}
		for email := uint64(1); email <= 2; email++ {
			if g := near.Grade(0, Body, email); g != Equal {
				t.Errorf("email %d: grade %d, want %d", email, g, Equal)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestOldLayout: an index of an older version is told from a damaged one.
func TestOldLayout(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	index(t, db, []doc{{1, "", "text"}}, nil)
	for first, want := range map[byte]error{version - 1: ErrOutdated, version + 1: ErrDamaged} {
		err := db.Update(context.Background(), Scope(account), func(txn kv.Txn) error {
			if err := txn.Set(cursorKey(account), []byte{first, 1, 1}); err != nil {
				return err
			}
			_, err := Find(context.Background(), txn, account, "text", Body)
			return err
		})
		if !errors.Is(err, want) {
			t.Errorf("version %d: %v, want %v", first, err, want)
		}
	}
}
