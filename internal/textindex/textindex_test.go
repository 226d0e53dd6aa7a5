package textindex

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"tram/internal/kv"
	"tram/internal/kv/memkv"
	"tram/internal/message"
)

const account = 7

// doc is an email of the model: its text by field.
type doc struct {
	id           uint64
	header, body string
}

func (d doc) text(f Field) string {
	var parts []string
	if f&Header != 0 {
		parts = append(parts, d.header)
	}
	if f&Body != 0 {
		parts = append(parts, d.body)
	}
	return strings.Join(parts, "\x00")
}

// contains says whether query is in text: with its marks, if it has any.
func contains(text, query string) bool {
	bare := !message.HasMarks(query)
	return bytes.Contains(message.Fold(nil, []byte(text), bare), message.Fold(nil, []byte(query), bare))
}

func index(t *testing.T, db kv.Database, docs []doc, living Living) {
	t.Helper()
	b := NewBatch()
	for _, d := range docs {
		b.Begin(d.id)
		b.Write(Header, []byte(d.header))
		for i := 0; i < len(d.body); i += 5 { // in chunks that cut words
			b.Write(Body, []byte(d.body[i:min(i+5, len(d.body))]))
		}
	}
	err := db.Update(context.Background(), Scope(account), func(txn kv.Txn) error {
		return b.Commit(txn, account, docs[len(docs)-1].id, living)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func find(t *testing.T, db kv.Database, query string, f Field) Candidates {
	t.Helper()
	var c Candidates
	err := db.View(context.Background(), Scope(account), func(r kv.Reader) error {
		var err error
		c, err = Find(context.Background(), r, account, query, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var vocabulary = strings.Fields(`hello yellow shell ell meeting báo cáo bao cao đường duong THÔNG
	Thong báo-cáo a.b.c x1 x12 2026 Straße 漢字かな один два internationalization trạm trám tram`)

func randomText(rnd *rand.Rand) string {
	var b strings.Builder
	for range rnd.IntN(12) {
		b.WriteString(vocabulary[rnd.IntN(len(vocabulary))])
		b.WriteString([]string{" ", ", ", "\r\n", "-", ""}[rnd.IntN(5)])
	}
	return b.String()
}

// TestFindMissesNothing compares with a scan: a candidate may be too many unless the answer is
// exact, and none may be missing, before and after merges.
func TestFindMissesNothing(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	db := memkv.New()
	var docs []doc
	for id := uint64(1); len(docs) < 600; {
		batch := []doc{}
		for range 1 + rnd.IntN(9) {
			id += 1 + rnd.Uint64N(3)
			batch = append(batch, doc{id, randomText(rnd), randomText(rnd)})
		}
		index(t, db, batch, nil)
		docs = append(docs, batch...)
	}
	for range 300 {
		text := docs[rnd.IntN(len(docs))].text(Any)
		query := cut(rnd, text)
		fields := []Field{Header, Body, Any}[rnd.IntN(3)]
		c := find(t, db, query, fields)
		for _, d := range docs {
			want := contains(d.text(fields), query)
			got := c.All || c.Emails.Contains(d.id)
			if want && !got {
				t.Fatalf("%q in %d: not found in %q", query, fields, d.text(fields))
			}
			if !want && got && c.Exact {
				t.Fatalf("%q in %d: called exact, found in %q", query, fields, d.text(fields))
			}
		}
	}
}

// cut takes a piece of text at rune borders.
func cut(rnd *rand.Rand, text string) string {
	r := []rune(text)
	if len(r) == 0 {
		return "none"
	}
	from := rnd.IntN(len(r))
	piece := string(r[from:min(len(r), from+1+rnd.IntN(12))])
	return strings.ReplaceAll(piece, "\x00", "")
}

func TestExactness(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	index(t, db, []doc{{1, "Subject one", "Hello, thông báo mới"}, {2, "", "othello"}, {3, "", "mello"}}, nil)
	tests := []struct {
		query string
		ids   []uint64
		exact bool
	}{
		{"ello", []uint64{1, 2, 3}, true},
		{"hello", []uint64{1, 2}, true},
		{"HELLO", []uint64{1, 2}, true},
		{"thong", []uint64{1}, true},
		{"thông", []uint64{1}, true},
		{"hông", []uint64{1}, true},
		{"thống", nil, true},
		{"thông báo", []uint64{1}, false},
		{"thong báo", []uint64{1}, false},
		{"thồng báo", nil, false},
		{"thong bao", []uint64{1}, false},
		{" hello", []uint64{1}, false}, // a word's beginning
		{"hello,", []uint64{1, 2}, false},
		{"absent", nil, true},
	}
	for _, tt := range tests {
		c := find(t, db, tt.query, Any)
		if got := c.Emails.ToArray(); fmt.Sprint(got) != fmt.Sprint(tt.ids) || c.Exact != tt.exact {
			t.Errorf("%q: %v exact=%v, want %v exact=%v", tt.query, got, c.Exact, tt.ids, tt.exact)
		}
	}
	if c := find(t, db, "?!", Any); !c.All || c.Exact {
		t.Errorf("a query without a word: %+v", c)
	}
	if c := find(t, db, "one", Body); !c.Emails.IsEmpty() {
		t.Errorf("a header's word was found in the body: %v", c.Emails)
	}
}

// TestLongWords: a part of up to windowStep runes of an endless word is found, and the time for a
// word of a megabyte is not the square of its length.
func TestLongWords(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4))
	long := make([]byte, 1<<20)
	for i := range long {
		long[i] = "abcdefghijklmnopqrstuvwxyz"[rnd.IntN(26)]
	}
	db := memkv.New()
	b := NewBatch()
	b.Begin(1)
	b.Write(Body, long)
	if err := db.Update(context.Background(), Scope(account), func(txn kv.Txn) error {
		return b.Commit(txn, account, 1, nil)
	}); err != nil {
		t.Fatal(err)
	}
	if c := find(t, db, "nowhere", Body); !c.Unsure.Contains(1) {
		t.Error("an email with an endless word is not marked")
	}
	for range 50 {
		at := rnd.IntN(maxWindows*windowStep - 100) // what is indexed of it
		for _, n := range []int{1, 7, windowStep, windowStep + 1, 60, 100} {
			c := find(t, db, string(long[at:at+n]), Body)
			if !c.Emails.Contains(1) {
				t.Fatalf("%d letters at %d not found", n, at)
			}
			if n > windowStep && c.Exact {
				t.Errorf("%d letters: called exact", n)
			}
		}
	}
}

func TestMergesKeepSegmentsFew(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	for id := uint64(1); id <= 700; id++ {
		index(t, db, []doc{{id, fmt.Sprintf("s%d", id), "common text"}}, nil)
	}
	var all []header
	if err := db.View(context.Background(), Scope(account), func(r kv.Reader) error {
		var err error
		all, err = headers(r, account)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(all) > 24 {
		t.Errorf("%d segments for 700 emails", len(all))
	}
	for i := range all[1:] {
		if all[i].last >= all[i+1].first {
			t.Errorf("segments overlap: %+v", all[i:i+2])
		}
	}
	if c := find(t, db, "common", Body); c.Emails.GetCardinality() != 700 {
		t.Errorf("found %d of 700", c.Emails.GetCardinality())
	}
	if c := find(t, db, "s699", Header); fmt.Sprint(c.Emails.ToArray()) != "[699]" {
		t.Errorf("s699: %v", c.Emails)
	}
}

// TestManyWords: an email with more words than a book has costs no more than a book, and is always
// looked into.
func TestManyWords(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	b := NewBatch()
	for email := uint64(1); email <= 2; email++ {
		b.Begin(email)
		for i := range maxDistinct*2 - int(email-1)*maxDistinct - 10 {
			b.Write(Body, fmt.Appendf(nil, "w%d ", i))
		}
	}
	if err := db.Update(context.Background(), Scope(account), func(txn kv.Txn) error {
		return b.Commit(txn, account, 2, nil)
	}); err != nil {
		t.Fatal(err)
	}
	c := find(t, db, fmt.Sprintf("w%d", maxDistinct+1), Body)
	if c.Emails.Contains(1) || !c.Unsure.Contains(1) || c.Unsure.Contains(2) {
		t.Errorf("found %v, unsure %v; want email 1 unsure", c.Emails, c.Unsure)
	}
	if c := find(t, db, fmt.Sprintf("w%d", maxDistinct-11), Body); c.Emails.GetCardinality() != 2 {
		t.Errorf("found %v, want both", c.Emails)
	}
}

// TestMergeForgetsTheDead: words of emails that are gone leave the index with the next merge.
func TestMergeForgetsTheDead(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	even := func(first, last uint64) (func(uint64) bool, error) {
		return func(id uint64) bool {
			if id < first || id > last {
				t.Errorf("asked for email %d of %d to %d", id, first, last)
			}
			return id%2 == 0
		}, nil
	}
	for id := uint64(1); id <= fanout*3; id++ {
		index(t, db, []doc{{id, fmt.Sprintf("secret%d", id), "x"}}, even)
	}
	if c := find(t, db, "secret1", Header); c.Emails.Contains(1) {
		t.Error("a dead email's word is still there")
	}
	if c := find(t, db, "secret2", Header); !c.Emails.Contains(2) {
		t.Error("a living email's word is gone")
	}
}

func TestCommitRefusesWhatIsCovered(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	index(t, db, []doc{{5, "", "five"}}, nil)
	b := NewBatch()
	b.Begin(5)
	b.Write(Body, []byte("again"))
	err := db.Update(context.Background(), Scope(account), func(txn kv.Txn) error {
		return b.Commit(txn, account, 5, nil)
	})
	if !errors.Is(err, ErrOrder) {
		t.Errorf("Commit = %v, want ErrOrder", err)
	}
}

// FuzzBlock: damaged blocks give an error, never a panic or a walk without end.
func FuzzBlock(f *testing.F) {
	db := memkv.New()
	b := NewBatch()
	for id := uint64(1); id < 20; id++ {
		b.Begin(id)
		b.Write(Body, []byte("some words that repeat and one"+fmt.Sprint(id)))
	}
	err := db.Update(context.Background(), Scope(account), func(txn kv.Txn) error {
		if err := b.Commit(txn, account, 19, nil); err != nil {
			return err
		}
		return txn.Scan(kv.Prefix(prefix(account)), func(_, value []byte) error {
			f.Add(bytes.Clone(value))
			return nil
		})
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, block []byte) {
		n := 0
		err := eachEntry(block, func(e *entry) (bool, error) { n++; return true, nil })
		if err == nil && n == 0 && len(block) > 0 {
			t.Error("bytes were read and gave neither a term nor an error")
		}
	})
}

func BenchmarkCommit512(b *testing.B) {
	text := []byte(strings.Repeat("the quick brown fox jumps over the lazy dog và một con khác ", 60))
	b.ReportAllocs()
	for b.Loop() {
		db := memkv.New()
		batch := NewBatch()
		for id := uint64(1); id <= 512; id++ {
			batch.Begin(id)
			batch.Write(Body, text)
		}
		if err := db.Update(context.Background(), Scope(account), func(txn kv.Txn) error {
			return batch.Commit(txn, account, 512, nil)
		}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWrite is the splitting and counting of words: English and Vietnamese letters of 4 kB.
func BenchmarkWrite(b *testing.B) {
	for name, line := range map[string]string{
		"english":    "the report that was on our agenda for this morning has been sent to all of the clients\r\n",
		"vietnamese": "chúng tôi đã gửi báo cáo của dự án cho khách hàng và sẽ họp với công ty vào ngày mai\r\n",
	} {
		b.Run(name, func(b *testing.B) {
			text := []byte(strings.Repeat(line, 4096/len(line)))
			batch := NewBatch()
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for id := uint64(1); b.Loop(); id++ {
				if id%256 == 0 {
					batch.Reset()
				}
				batch.Begin(id)
				batch.Write(Body, text)
			}
		})
	}
}
