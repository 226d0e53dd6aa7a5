package pgkv

import (
	"bytes"

	"github.com/jackc/pgx/v5"

	"tram/internal/kv/treap"
)

// overlay is what a transaction has written and the server does not know yet. All of it goes there
// with the commit. It is a value: a copy is a snapshot, for a Scan to go on over while more is
// written.
type overlay struct {
	rows   *treap.Map[row]
	ranges []span // deleted before the rows were written; the server's rows in them do not count
}

// row is a written value, or a deletion.
type row struct {
	value   []byte
	deleted bool
}

type span struct{ start, end []byte }

func (o *overlay) empty() bool { return o.rows == nil && len(o.ranges) == 0 }

func (o *overlay) set(key, value []byte) {
	o.rows = o.rows.Set(bytes.Clone(key), row{value: append([]byte{}, value...)})
}

func (o *overlay) delete(key []byte) {
	o.rows = o.rows.Set(bytes.Clone(key), row{deleted: true})
}

func (o *overlay) deleteRange(start, end []byte) {
	if end != nil && bytes.Compare(start, end) >= 0 {
		return
	}
	o.rows = o.rows.DeleteRange(start, end)
	// A copy: the array may belong to a snapshot.
	o.ranges = append(o.ranges[:len(o.ranges):len(o.ranges)],
		span{append([]byte{}, start...), bytes.Clone(end)})
}

// get returns what was written for key: its row, or that it lies in a deleted range, or nothing.
func (o *overlay) get(key []byte) (r row, known bool) {
	if n := o.rows.Get(key); n != nil {
		return n.Value, true
	}
	return row{deleted: true}, o.hides(key)
}

// hides reports whether the server's row of key was deleted by a range.
func (o *overlay) hides(key []byte) bool {
	for _, s := range o.ranges {
		if bytes.Compare(key, s.start) >= 0 && (s.end == nil || bytes.Compare(key, s.end) < 0) {
			return true
		}
	}
	return false
}

const (
	upsert = `INSERT INTO tram_kv (key, value) SELECT * FROM unnest($1::bytea[], $2::bytea[])
		ON CONFLICT (key) DO UPDATE SET value = excluded.value`
	deleteKeys   = `DELETE FROM tram_kv WHERE key = ANY ($1::bytea[])`
	deleteFrom   = `DELETE FROM tram_kv WHERE key >= $1`
	deleteWithin = `DELETE FROM tram_kv WHERE key >= $1 AND key < $2`

	// upsertBytes and upsertRows bound one statement.
	upsertBytes = 8 << 20
	upsertRows  = 2000
)

// queue adds the statements that write the overlay. Rows go in the order of their keys, so that two
// transactions that write the same rows do not wait for each other in a circle.
func (o *overlay) queue(b *pgx.Batch) {
	for _, s := range o.ranges {
		if s.end == nil {
			b.Queue(deleteFrom, s.start)
		} else {
			b.Queue(deleteWithin, s.start, s.end)
		}
	}
	var keys, values, gone [][]byte
	size := 0
	flush := func() {
		if len(keys) > 0 {
			b.Queue(upsert, keys, values)
		}
		if len(gone) > 0 {
			b.Queue(deleteKeys, gone)
		}
		keys, values, gone, size = nil, nil, nil, 0
	}
	o.rows.Ascend(nil, nil, func(n *treap.Map[row]) bool {
		if n.Value.deleted {
			gone = append(gone, n.Key)
		} else {
			keys, values = append(keys, n.Key), append(values, n.Value.value)
		}
		size += len(n.Key) + len(n.Value.value)
		if size >= upsertBytes || len(keys)+len(gone) >= upsertRows {
			flush()
		}
		return true
	})
	flush()
}
