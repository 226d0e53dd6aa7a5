package blob

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"tram/internal/kv"
)

// TestDamage changes what is stored in every way that can be told, and reads.
func TestDamage(t *testing.T) {
	t.Parallel()
	for name, body := range map[string][]byte{
		"text": text(firstChunk + laterChunk + 3000), "random": random(firstChunk + laterChunk + 3000),
	} {
		f := newFixture(t)
		ref := f.store(body, "o")
		other := f.store(append([]byte("x"), body...), "o")
		for index := range 3 {
			key := chunkKey(ref.ID, index)
			record := f.record(key)
			for at := range record {
				if at > 40 && at < len(record)-3 && at%(len(record)/50) != 0 {
					continue
				}
				f.damaged(fmt.Sprintf("%s, chunk %d, byte %d", name, index, at), ref, index, func(txn kv.Txn) error {
					bad := bytes.Clone(record)
					bad[at] ^= 0x10
					return txn.Set(key, bad)
				})
			}
			for what, value := range map[string][]byte{
				"empty": {}, "header": record[:5], "short": record[:len(record)-1],
				"long": append(bytes.Clone(record), 0), "other body": f.record(chunkKey(other.ID, index)),
				"other chunk": f.record(chunkKey(ref.ID, (index+1)%3)),
			} {
				f.damaged(name+" "+what, ref, index, func(txn kv.Txn) error { return txn.Set(key, value) })
			}
			f.damaged(name+" missing", ref, index, func(txn kv.Txn) error { return txn.Delete(key) })
			// A record with a right checksum and a wrong content.
			for what, plain := range map[string][]byte{"long": random(300_000), "short": {1}} {
				bad := append(make([]byte, recordHeader), plain...)
				seal(bad, ref.ID, index, flagRaw)
				f.damaged(name+" sealed "+what, ref, index, func(txn kv.Txn) error { return txn.Set(key, bad) })
				seal(bad, ref.ID, index, flagZstd)
				f.damaged(name+" no frame "+what, ref, index, func(txn kv.Txn) error { return txn.Set(key, bad) })
				seal(bad, ref.ID, index, flagS2)
				f.damaged(name+" no block "+what, ref, index, func(txn kv.Txn) error { return txn.Set(key, bad) })
				seal(bad, ref.ID, index, 7)
				f.damaged(name+" unknown "+what, ref, index, func(txn kv.Txn) error { return txn.Set(key, bad) })
			}
			f.update(func(txn kv.Txn) error { return txn.Set(key, record) })
		}
		if err := f.Verify(ctx, ref); err != nil {
			t.Errorf("%s: not damaged: %v", name, err)
		}
	}
}

func (f *fixture) record(key []byte) (record []byte) {
	f.t.Helper()
	err := f.db.View(ctx, "", func(r kv.Reader) error {
		v, err := r.Get(key)
		record = bytes.Clone(v)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return record
}

// damaged changes the database with do and wants every read of the chunk to fail, and to say where.
func (f *fixture) damaged(what string, ref Ref, index int, do func(kv.Txn) error) {
	f.t.Helper()
	f.update(do)
	start := int64(0)
	if index > 0 {
		start = firstChunk + int64(index-1)*laterChunk
	}
	_, whole := io.Copy(io.Discard, struct{ io.Reader }{f.Open(ctx, ref)})
	_, some := f.Open(ctx, ref).ReadAt(make([]byte, 10), start)
	for how, err := range map[string]error{
		"Verify": f.Verify(ctx, ref), "Read": whole, "ReadAt": some,
	} {
		place := fmt.Sprintf("blob %s, chunk %d at offset %d", ref.ID, index, start)
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), place) {
			f.t.Errorf("%s: %s: %v, want ErrDamaged in %s", what, how, err, place)
		}
	}
}

// TestWholeIsChecked: chunks that are right one by one do not make a body that is right. The last
// bytes of a wrong one are never handed out, however often one asks.
func TestWholeIsChecked(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 100, firstChunk + 1000} {
		f := newFixture(t)
		ref := f.store(text(n), "o")
		ref.SHA256[5] ^= 1
		r := f.Open(ctx, ref)
		for range 3 {
			got, err := io.ReadAll(r)
			if !errors.Is(err, ErrDamaged) || n > 0 && len(got) >= n {
				t.Errorf("%d bytes: %d were read of a body that is not the one meant, %v", n, len(got), err)
			}
		}
		if _, err := r.WriteTo(io.Discard); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes: WriteTo: %v", n, err)
		}
		_ = r.Close()
	}
	// A reader that was closed on the way starts a new sum with its next chunk from the beginning
	// only, and does not call a right body wrong.
	f := newFixture(t)
	body := text(600_000)
	ref := f.store(body, "o")
	r := f.Open(ctx, ref)
	if _, err := io.ReadFull(r, make([]byte, 50_000)); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	rest, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(rest, body[50_000:]) {
		t.Errorf("the rest after Close: %d bytes, %v", len(rest), err)
	}
}

// FuzzRecord stores anything as a chunk: a reader says ErrDamaged or returns what the checksum
// promises, in bounded memory.
func FuzzRecord(f *testing.F) {
	f.Add([]byte{}, byte(0), uint16(10))
	f.Add([]byte("hello"), byte(flagRaw), uint16(5))
	small, _ := newCodec().compress(nil, text(4000))
	f.Add(small, byte(flagS2), uint16(4000))
	large, _ := newCodec().compress(nil, text(zstdFrom))
	f.Add(large, byte(flagZstd), uint16(65535))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0}, byte(flagS2), uint16(9))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0xff, 0xff, 0xff, 0x7f}, byte(flagZstd), uint16(9))
	f.Fuzz(func(t *testing.T, payload []byte, flag byte, size uint16) {
		fx := newFixture(t)
		ref := Ref{Size: int64(size)}
		record := append(make([]byte, recordHeader), payload...)
		seal(record, ref.ID, 0, flag)
		fx.update(func(txn kv.Txn) error { return txn.Set(chunkKey(ref.ID, 0), record) })
		p := make([]byte, size)
		n, err := fx.Open(ctx, ref).ReadAt(p, 0)
		if err == nil && n != int(size) {
			t.Errorf("%d bytes of %d without an error", n, size)
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("ReadAt: %v, want ErrDamaged", err)
		}
	})
}

// FuzzParseRef: parse(print(x)) = x, and nothing else parses.
func FuzzParseRef(f *testing.F) {
	f.Add(Ref{ID: ID{1}, Size: 5, SHA256: [32]byte{9}}.AppendBinary(nil))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ref, err := ParseRef(b)
		if err == nil && !bytes.Equal(ref.AppendBinary(nil), b) {
			t.Errorf("%x is read as %+v", b, ref)
		}
		if err != nil && !errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("ParseRef: %v", err)
		}
	})
}
