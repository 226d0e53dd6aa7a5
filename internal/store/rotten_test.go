package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"

	"tram/internal/kv"
	"tram/internal/kv/memkv"
)

// rotten is a database on a disk with a bad place: reading some keys fails, and so does a scan that
// comes across one.
type rotten struct {
	kv.Database
	bad func(key []byte) bool
}

func (r *rotten) View(ctx context.Context, scope kv.Scope, fn func(kv.Reader) error) error {
	return r.Database.View(ctx, scope, func(kr kv.Reader) error {
		return fn(&rottenReader{kr, r.bad})
	})
}

type rottenReader struct {
	kv.Reader
	bad func(key []byte) bool
}

func (r *rottenReader) Get(key []byte) ([]byte, error) {
	if r.bad(key) {
		return nil, fmt.Errorf("read key %x: %w", key, kv.ErrCorrupt)
	}
	return r.Reader.Get(key)
}

func (r *rottenReader) Scan(rng kv.Range, fn func(key, value []byte) error) error {
	return r.Reader.Scan(rng, func(key, value []byte) error {
		if r.bad(key) {
			return fmt.Errorf("read key %x: %w", key, kv.ErrCorrupt)
		}
		return fn(key, value)
	})
}

// TestRottenPlace: what the engine cannot read back costs what stood there. The neighbours are
// listed and read, bodies and rows alike, and a check says what it is and goes on.
func TestRottenPlace(t *testing.T) {
	t.Parallel()
	db := &rotten{Database: memkv.New(), bad: func([]byte) bool { return false }}
	h := &house{t: t, db: db}
	h.clock, h.limit = newHouse(t).clock, newHouse(t).limit
	h.open()
	h.appendMany(20, 1)
	var body []byte
	h.view(func(tx *Tx) error {
		e, err := tx.Email(15)
		if err == nil {
			body = append([]byte("bc"), e.Blob.ID[:]...)
		}
		return err
	})
	db.bad = func(key []byte) bool {
		return bytes.Equal(key, key64(nil, 1, kindEmail, 7)) ||
			bytes.Equal(key, key64(nil, 1, kindEmail, 8)) || bytes.HasPrefix(key, body)
	}
	h.open()
	served := h.served()
	for uid := UID(1); uid <= 20; uid++ {
		if lost := served[uid] == "unreadable"; lost != (uid == 7 || uid == 8) {
			t.Errorf("UID %d is %q", uid, served[uid])
		}
	}
	if got := len(h.raw()); got != 17 {
		t.Errorf("%d messages can be read of 17", got)
	}
	found := h.findings()
	if !slices.ContainsFunc(found, func(f Finding) bool { return f.Kind == "damaged" }) {
		t.Errorf("a check finds %+v", found)
	}
}
