package blob

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"tram/internal/kv"
)

// rotten stores a body whose chunks are right one by one, but whose SHA-256 is another's: what a
// faulty codec leaves behind.
func (f *fixture) rotten(body []byte) Ref {
	f.t.Helper()
	ref := f.store(body, "o")
	for index := 0; ; index++ {
		start := int64(0)
		if index > 0 {
			start = firstChunk + int64(index-1)*laterChunk
		}
		if start >= ref.Size {
			return ref
		}
		plain := bytes.Clone(body[start : start+int64(chunkLen(index, start, ref.Size))])
		plain[len(plain)/2] ^= 1
		record := append(make([]byte, recordHeader), plain...)
		seal(record, ref.ID, index, flagRaw)
		f.update(func(txn kv.Txn) error { return txn.Set(chunkKey(ref.ID, index), record) })
	}
}

// TestFirstReadCompares: the first read of a body in a process compares it with its SHA-256, also
// when only a part of a short one is asked for, and a body that failed is never taken for good.
func TestFirstReadCompares(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, n := range []int{1, 5000, firstChunk, firstChunk + 1, 600_000} {
		ref := f.rotten(text(n))
		for range 3 {
			if _, err := io.ReadAll(f.Open(ctx, ref)); !errors.Is(err, ErrDamaged) {
				t.Errorf("%d bytes: reading all: %v, want ErrDamaged", n, err)
			}
			_, err := f.Open(ctx, ref).ReadAt(make([]byte, 1), 0)
			if n <= firstChunk && !errors.Is(err, ErrDamaged) {
				t.Errorf("%d bytes: reading one: %v, want ErrDamaged", n, err)
			}
		}
	}
}

// TestLaterReads: what a disk does to a body between two reads is found though it was compared
// before, unless it was kept in memory, which is the right body then; Verify looks at the disk in
// any case.
func TestLaterReads(t *testing.T) {
	t.Parallel()
	for _, n := range []int{5000, 600_000} {
		for _, reads := range []int{1, 3} {
			f := newFixture(t)
			body := text(n)
			ref := f.store(body, "o")
			for range reads {
				if _, err := io.ReadAll(f.Open(ctx, ref)); err != nil {
					t.Fatal(err)
				}
			}
			key := chunkKey(ref.ID, 0)
			record := f.record(key)
			f.update(func(txn kv.Txn) error {
				bad := bytes.Clone(record)
				bad[len(bad)/2] ^= 4
				return txn.Set(key, bad)
			})
			if err := f.Verify(ctx, ref); !errors.Is(err, ErrDamaged) {
				t.Errorf("%d bytes: Verify: %v, want ErrDamaged", n, err)
			}
			got, err := io.ReadAll(f.Open(ctx, ref))
			if kept := f.known.body(&ref) != nil; kept {
				if n > firstChunk {
					t.Errorf("%d bytes, read %d times, were kept", n, reads)
				}
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("%d bytes kept in memory: %v", n, err)
				}
			} else if !errors.Is(err, ErrDamaged) {
				t.Errorf("%d bytes damaged after %d reads: %v, want ErrDamaged", n, reads, err)
			}
		}
	}
}

// TestKeptIsGivenUp: who reads with another Ref gets nothing of a kept body, Rest gives the memory
// back, and a body that is removed is not kept.
func TestKeptIsGivenUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	body := text(5000)
	ref := f.store(body, "o")
	keep := func() {
		t.Helper()
		for range 3 {
			f.read(f.Open(ctx, ref), body, "kept")
		}
		if f.CacheBytes() < int64(len(body)) {
			t.Fatalf("%d bytes kept after three reads", f.CacheBytes())
		}
	}
	keep()
	other := ref
	other.SHA256[31] ^= 1
	if _, err := io.ReadAll(f.Open(ctx, other)); !errors.Is(err, ErrDamaged) {
		t.Errorf("read with a wrong SHA-256: %v, want ErrDamaged", err)
	}
	shorter := ref
	shorter.Size--
	if _, err := io.ReadAll(f.Open(ctx, shorter)); !errors.Is(err, ErrDamaged) {
		t.Errorf("read with a wrong size: %v, want ErrDamaged", err)
	}
	f.Rest()
	f.Rest()
	if n := f.CacheBytes(); n != 0 {
		t.Errorf("%d bytes are kept for nobody", n)
	}
	keep()
	f.update(func(txn kv.Txn) error { return f.Unlink(txn, ref, []byte("o")) })
	f.now.Advance(48 * time.Hour)
	if _, err := f.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if n := f.CacheBytes(); n != 0 {
		t.Errorf("%d bytes are kept of a body that was removed", n)
	}
	if _, err := io.ReadAll(f.Open(ctx, ref)); !errors.Is(err, ErrDamaged) {
		t.Errorf("read of a removed body: %v", err)
	}
}

// TestKnownForgets: the memory of comparisons is bounded, and one body is never taken for another.
func TestKnownForgets(t *testing.T) {
	t.Parallel()
	k := newKnown()
	const n = 2 * knownPages * knownPage
	wrong, last := 0, 0
	for i := range n {
		ref := Ref{ID: ID{0: byte(i), 3: byte(i >> 8), 9: byte(i >> 16)}, Size: int64(i % 7)}
		if k.compared(&ref) {
			wrong++
		}
		k.remember(&ref)
		if k.compared(&ref) {
			last++
		}
	}
	if wrong > 0 || last != n {
		t.Errorf("%d new bodies are taken for known ones, %d of %d are remembered", wrong, last, n)
	}
}
