package pebblekv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tram/internal/kv"
)

// TestShape: while mail streams in, bodies are written once behind the log, and rows, which are a
// hundredth, do not grow dear with what is stored already.
func TestShape(t *testing.T) {
	t.Parallel()
	db, err := Open("db", Options{FS: vfs.NewMem(), MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rnd := rand.New(rand.NewPCG(3, 3))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	body := noise(64 << 10)
	// One of 20,000 accounts gets a message: the rows of a memory table are spread over all.
	rows, mail := 0, 0
	deliver := func(n int) error {
		row := noise(500)
		rows, mail = rows+len(row), mail+len(body)
		return db.Update(context.Background(), "s", func(txn kv.Txn) error {
			return errors.Join(txn.Set(fmt.Appendf(nil, "%s%012d", bodies, n), body),
				txn.Set(fmt.Appendf(nil, "br%012d", n), []byte{1}),
				txn.Set(fmt.Appendf(nil, "s%08d/%d", rnd.IntN(20_000), n), row))
		})
	}
	for n := range 4000 {
		if err := deliver(n); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.pebble.Flush(); err != nil {
		t.Fatal(err)
	}
	m := db.pebble.Metrics()
	var compacted, values, rewritten uint64
	for i, l := range m.Levels {
		compacted += l.TableBytesCompacted
		values += l.BlobBytesFlushed
		if i > 0 { // a flush counts as a compaction into level 0
			rewritten += l.BlobBytesCompacted
		}
		t.Logf("L%d: %d tables, %d kB, %d kB compacted into it", i, l.TablesCount, l.TablesSize>>10,
			l.TableBytesCompacted>>10)
	}
	if rewritten != 0 || values < uint64(mail) {
		t.Errorf("of %d bytes of bodies %d were flushed and %d written again", mail, values, rewritten)
	}
	if most := uint64(20 * rows); compacted > most {
		t.Errorf("compactions wrote %d bytes for %d of rows", compacted, rows)
	}
}
