package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/kv/memkv"
)

var ctx = context.Background()

// fixture is a Store on memory with a clock that stands still.
type fixture struct {
	*Store
	t   testing.TB
	db  *memkv.DB
	now *clock.Fake
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, db: memkv.New(), now: clock.NewFake(time.Unix(1700000000, 0))}
	f.on(f.db)
	return f
}

// on makes a Store of a database, as after a restart.
func (f *fixture) on(db *memkv.DB) {
	f.db = db
	f.Store = New(db, Options{Clock: f.now, Rand: rand.NewChaCha8([32]byte{byte(f.now.Now().Unix())})})
}

func (f *fixture) update(fn func(kv.Txn) error) {
	f.t.Helper()
	if err := f.db.Update(ctx, "account/1", fn); err != nil {
		f.t.Fatal(err)
	}
}

// pending writes a body in pieces of the given size.
func (f *fixture) pending(body []byte, piece int) *Pending {
	f.t.Helper()
	w := f.Create(ctx)
	for p := body; len(p) > 0; {
		n := min(piece, len(p))
		if m, err := w.Write(p[:n]); m != n || err != nil {
			f.t.Fatalf("Write of %d: %d, %v", n, m, err)
		}
		p = p[n:]
	}
	if w.Size() != int64(len(body)) {
		f.t.Errorf("Size: %d, want %d", w.Size(), len(body))
	}
	p, err := w.Finish()
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

// store writes a body and links it to owner.
func (f *fixture) store(body []byte, owner string) Ref {
	f.t.Helper()
	p := f.pending(body, 10_000)
	f.update(func(txn kv.Txn) error { return p.Link(txn, []byte(owner)) })
	p.Committed()
	return p.Ref()
}

func (f *fixture) unlink(ref Ref, owner string) {
	f.t.Helper()
	f.update(func(txn kv.Txn) error { return f.Unlink(txn, ref, []byte(owner)) })
}

func (f *fixture) collect() Stats {
	f.t.Helper()
	s, err := f.Collect(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

// keys returns how many keys of each kind the database has: chunks, references, candidates.
func (f *fixture) keys() (n [3]int) {
	f.t.Helper()
	err := f.db.View(ctx, "", func(r kv.Reader) error {
		return r.Scan(kv.Range{KeysOnly: true}, func(key, _ []byte) error {
			n[strings.IndexByte("crg", key[1])]++
			return nil
		})
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

// text returns n bytes that compress, random n bytes that do not.
func text(n int) []byte {
	line := "Thư điện tử gửi lúc 09:30, một dòng như mọi dòng khác %d\r\n"
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, line, i*i)
	}
	return b.Bytes()[:n]
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(b)
	return b
}

var sizes = []int{0, 1, 2, 100, 511, 512, 4091, 4096, 4097, 32767, 32768, 32769, 40000,
	firstChunk + laterChunk - 1, firstChunk + laterChunk, firstChunk + laterChunk + 1, 1_000_000}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(int) []byte{"text": text, "random": random} {
		for _, n := range sizes {
			f := newFixture(t)
			body := make(n)
			for _, piece := range []int{1 << 30, 70_000, 1000} {
				p := f.pending(body, piece)
				ref := p.Ref()
				if ref.Size != int64(n) || ref.SHA256 != sha256.Sum256(body) {
					t.Errorf("%s %d: Ref %+v", name, n, ref)
				}
				f.read(p.Open(ctx), body, "pending")
				f.update(func(txn kv.Txn) error { return p.Link(txn, []byte("o")) })
				f.read(p.Open(ctx), body, "linked")
				p.Committed()
				f.read(p.Open(ctx), body, "committed")
				f.read(f.Open(ctx, ref), body, "stored")
				f.update(func(txn kv.Txn) error {
					f.read(f.OpenIn(txn, ref), body, "inside")
					return nil
				})
				if err := f.Verify(ctx, ref); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// read compares all ways of reading with body.
func (f *fixture) read(r *Reader, body []byte, what string) {
	f.t.Helper()
	if r.Size() != int64(len(body)) {
		f.t.Errorf("%s: Size %d, want %d", what, r.Size(), len(body))
	}
	got, err := io.ReadAll(iotest.OneByteReader(io.LimitReader(r, 100)))
	if err != nil || !bytes.Equal(got, body[:min(100, len(body))]) {
		f.t.Errorf("%s: the first %d bytes: %v", what, len(got), err)
	}
	var rest bytes.Buffer
	n, err := r.WriteTo(&rest)
	if err != nil || n != int64(rest.Len()) || !bytes.Equal(rest.Bytes(), body[len(got):]) {
		f.t.Errorf("%s: WriteTo: %d of %d bytes, %v", what, n, len(body)-len(got), err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		f.t.Errorf("%s: Read after the end: %d, %v", what, n, err)
	}
	rnd := rand.New(rand.NewPCG(uint64(len(body)), 0))
	for range 20 {
		off, n := rnd.IntN(len(body)+2), rnd.IntN(min(len(body), 300_000)+2)
		p := make([]byte, n)
		got, err := r.ReadAt(p, int64(off))
		want := body[min(off, len(body)):min(off+n, len(body))]
		if !bytes.Equal(p[:got], want) || (err == io.EOF) != (got < n) || err != nil && err != io.EOF {
			f.t.Errorf("%s: ReadAt %d bytes at %d: %d, %v", what, n, off, got, err)
		}
	}
	if _, err := r.ReadAt(make([]byte, 1), -1); err == nil {
		f.t.Errorf("%s: ReadAt at -1: no error", what)
	}
	if err := r.Close(); err != nil {
		f.t.Errorf("%s: Close: %v", what, err)
	}
}

// TestFormat pins what is on disk to the byte.
func TestFormat(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ref := f.store([]byte("From: a\r\n\r\nb"), "own")
	want := "018bcfe56800"
	if got := ref.ID.String(); got[:12] != want || !ref.ID.Time().Equal(f.now.Now()) {
		t.Errorf("ID %s at %v, want %s…", got, ref.ID.Time(), want)
	}
	enc := ref.AppendBinary(nil)
	if len(enc) != RefSize || hex.EncodeToString(enc[16:24]) != "000000000000000c" ||
		!bytes.Equal(enc[24:], ref.SHA256[:]) {
		t.Errorf("Ref is stored as %x", enc)
	}
	if got, err := ParseRef(enc); err != nil || got != ref {
		t.Errorf("ParseRef: %+v, %v, want %+v", got, err, ref)
	}
	for _, bad := range [][]byte{nil, enc[1:], append(enc[:len(enc):len(enc)], 0),
		append(append(append([]byte{}, enc[:16]...), 0xff), enc[17:]...)} {
		if _, err := ParseRef(bad); !errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("ParseRef of %x: %v, want ErrCorrupt", bad, err)
		}
	}
	f.unlink(ref, "gone")
	id := ref.ID.String()
	var got []string
	err := f.db.View(ctx, "", func(r kv.Reader) error {
		return r.Scan(kv.Range{}, func(k, v []byte) error {
			got = append(got, fmt.Sprintf("%c%c %x = %x", k[0], k[1], k[2:], v))
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	ms := "0000018bcfe56800"
	wantKeys := []string{
		"bc " + id + "00000000 = 00" + "XXXXXXXX" + hex.EncodeToString([]byte("From: a\r\n\r\nb")),
		"bg " + ms + id + " = ",
		"br " + id + hex.EncodeToString([]byte("gone")) + " = 00" + ms,
		"br " + id + hex.EncodeToString([]byte("own")) + " = 01",
	}
	sum := fmt.Sprintf("%08x", chunkSum(append(make([]byte, 5), "From: a\r\n\r\nb"...), ref.ID, 0))
	wantKeys[0] = strings.Replace(wantKeys[0], "XXXXXXXX", sum, 1)
	if strings.Join(got, "\n") != strings.Join(wantKeys, "\n") {
		t.Errorf("on disk:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(wantKeys, "\n"))
	}
}

// TestSmallIsNotStaged: a body of one chunk travels in the transaction that links it, and leaves
// nothing to collect.
func TestSmallIsNotStaged(t *testing.T) {
	t.Parallel()
	for n, want := range map[int][3]int{0: {0, 1, 0}, 1: {1, 1, 0}, firstChunk: {1, 1, 0}, firstChunk + 1: {2, 1, 0}} {
		f := newFixture(t)
		p := f.pending(random(n), 9999)
		if staged := f.db.Stats().Staged; (staged > 0) != (n > firstChunk) {
			t.Errorf("%d bytes: %d pairs were staged", n, staged)
		}
		f.update(func(txn kv.Txn) error { return p.Link(txn, []byte("o")) })
		p.Committed()
		if got := f.keys(); got != want {
			t.Errorf("%d bytes: %v chunks, references, candidates, want %v", n, got, want)
		}
		f.now.Advance(100 * time.Hour)
		if s := f.collect(); s != (Stats{}) {
			t.Errorf("%d bytes: Collect had work: %+v", n, s)
		}
	}
}

// TestGivenUp: what is given up before it is linked leaves nothing behind, at once.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	for _, n := range sizes {
		f := newFixture(t)
		w := f.Create(ctx)
		if _, err := w.Write(random(n)); err != nil {
			t.Fatal(err)
		}
		w.Abort()
		w.Abort()
		if _, err := w.Write([]byte("x")); err == nil {
			t.Errorf("%d bytes: Write after Abort: no error", n)
		}
		if _, err := w.Finish(); err == nil {
			t.Errorf("%d bytes: Finish after Abort: no error", n)
		}
		p := f.pending(random(n), 1<<20)
		p.Discard()
		p.Discard()
		p.Committed()
		if got := f.keys(); got != [3]int{} {
			t.Errorf("%d bytes: %v keys are left", n, got)
		}
	}
	// Once a transaction has tried to link it, nobody knows whether it is referred to.
	f := newFixture(t)
	p := f.pending(random(100_000), 1<<20)
	f.update(func(txn kv.Txn) error { return p.Link(txn, []byte("o")) })
	p.Discard() // by a caller to whom the commit has failed
	if err := f.Verify(ctx, p.Ref()); err != nil {
		t.Errorf("body that was linked, and discarded: %v", err)
	}
}

// TestSeveralRecipients links one body in several transactions, of which some fail.
func TestSeveralRecipients(t *testing.T) {
	t.Parallel()
	for _, n := range []int{500, 50_000} {
		f := newFixture(t)
		body := text(n)
		p := f.pending(body, 1<<20)
		fails := errors.New("no")
		for i := range 6 {
			err := f.db.Update(ctx, kv.Scope(fmt.Sprint("account/", i)), func(txn kv.Txn) error {
				if err := p.Link(txn, fmt.Append(nil, i)); err != nil {
					return err
				}
				if err := p.Link(txn, fmt.Append(nil, i)); err != nil { // again
					return err
				}
				if i%2 == 0 {
					return fails
				}
				return nil
			})
			if i%2 == 0 && err != fails || i%2 == 1 && err != nil {
				t.Fatal(err)
			}
			if i == 3 {
				p.Committed()
			}
		}
		f.read(f.Open(ctx, p.Ref()), body, "linked thrice")
		if got := f.keys(); got[1] != 3 || got[2] != 0 {
			t.Errorf("%d bytes: %v chunks, references, candidates, want 3 references", n, got)
		}
		// Links are told apart by their owners.
		var owners []string
		err := f.EachLink(ctx, func(id ID, owner []byte) error {
			if id != p.Ref().ID {
				t.Errorf("EachLink: body %s", id)
			}
			owners = append(owners, string(owner))
			return nil
		})
		if err != nil || strings.Join(owners, ",") != "1,3,5" {
			t.Errorf("EachLink: %v, %v", owners, err)
		}
		err = f.db.View(ctx, "", func(r kv.Reader) error {
			for i := range 6 {
				ok, err := f.Linked(r, p.Ref(), fmt.Append(nil, i))
				if ok != (i%2 == 1) || err != nil {
					t.Errorf("Linked %d: %v, %v", i, ok, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestFull: a full disk is seen by the writer, and stays.
func TestFull(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.Create(ctx)
	f.db.SetFull(true)
	if _, err := w.Write(random(firstChunk)); err != nil {
		t.Errorf("the first chunk is not staged: %v", err)
	}
	for range 2 {
		if _, err := w.Write(random(firstChunk)); !errors.Is(err, kv.ErrFull) {
			t.Errorf("Write: %v, want ErrFull", err)
		}
	}
	if _, err := w.Finish(); !errors.Is(err, kv.ErrFull) {
		t.Errorf("Finish: %v, want ErrFull", err)
	}
	w.Abort()
	if got := f.keys(); got != [3]int{} {
		t.Errorf("%v keys are left", got)
	}
}

// TestWriterMemory: a connection that has sent little holds little.
func TestWriterMemory(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.Create(ctx)
	defer w.Abort()
	for _, c := range []struct{ write, most int }{
		{1, smallBuffer}, {smallBuffer - recordHeader - 1, smallBuffer}, {1, mediumBuffer},
		{firstChunk, mediumBuffer}, {10 * laterChunk, largeBuffer},
	} {
		if _, err := w.Write(random(c.write)); err != nil {
			t.Fatal(err)
		}
		if cap(*w.buf) > c.most {
			t.Errorf("after %d bytes the writer holds %d, want %d at most", w.size, cap(*w.buf), c.most)
		}
	}
}

// TestLongBodiesWait: one more long body than there is room for waits for another's end, not for ever,
// and short ones do not care.
func TestLongBodiesWait(t *testing.T) {
	t.Parallel()
	fake := clock.NewFake(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	s := New(memkv.New(), Options{Clock: fake, Long: 1})
	long := make([]byte, firstChunk+1)
	a := s.Create(ctx)
	if _, err := a.Write(long); err != nil {
		t.Fatal(err)
	}
	short := s.Create(ctx)
	if _, err := short.Write(long[:firstChunk]); err != nil {
		t.Errorf("a short body: %v", err)
	}
	short.Abort()

	waits := func() chan error {
		done := make(chan error, 1)
		go func() {
			w := s.Create(ctx)
			_, err := w.Write(long)
			w.Abort()
			done <- err
		}()
		for n, changed := fake.Armed(); n == 0; n, changed = fake.Armed() {
			<-changed
		}
		return done
	}
	done := waits()
	p, err := a.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("after the other's end: %v", err)
	}
	p.Discard()

	b := s.Create(ctx)
	if _, err := b.Write(long); err != nil {
		t.Fatal(err)
	}
	done = waits()
	fake.Advance(longWait)
	if err := <-done; !errors.Is(err, ErrBusy) {
		t.Errorf("waited in vain: %v", err)
	}
	cut, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Create(cut).Write(long); !errors.Is(err, context.Canceled) {
		t.Errorf("waited with a context that had ended: %v", err)
	}
	b.Abort()
	if len(s.long) != 0 {
		t.Error("a place was not given back")
	}
}
