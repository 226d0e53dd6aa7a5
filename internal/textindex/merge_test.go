package textindex

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"tram/internal/kv"
	"tram/internal/kv/memkv"
)

// BenchmarkMerge makes one segment of eight, each of 512 emails with 300 words that are as unevenly
// common as those of a language.
func BenchmarkMerge(b *testing.B) {
	db := memkv.New()
	rnd := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rnd, 1.2, 8, 100_000)
	batch := NewBatch()
	var c cursor
	err := db.Update(context.Background(), Scope(account), func(txn kv.Txn) error {
		for email := uint64(1); email <= 8*512; email++ {
			batch.Begin(email)
			for range 300 {
				w := zipf.Uint64()
				batch.Write(Body, fmt.Appendf(nil, "%c%c%x ", 'a'+w%26, 'a'+w/26%26, w*2654435761))
			}
			if email%512 == 0 {
				batch.End()
				if err := batch.write(txn, account, c.segment); err != nil {
					return err
				}
				c.segment++
				batch.Reset()
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		err := db.Update(context.Background(), Scope(account), func(txn kv.Txn) error {
			all, err := headers(txn, account)
			if err != nil {
				return err
			}
			if err := mergeRun(txn, account, all, c.segment, nil); err != nil {
				return err
			}
			return errRollback
		})
		if err != errRollback {
			b.Fatal(err)
		}
	}
}

var errRollback = errors.New("not kept")
