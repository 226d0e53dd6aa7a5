package pgkv

import (
	"bytes"
	"slices"

	"github.com/jackc/pgx/v5"

	"tram/internal/kv"
	"tram/internal/kv/treap"
)

// list returns the overlay's rows in r, in the order of r.
func (o *overlay) list(r kv.Range) []*treap.Map[row] {
	var out []*treap.Map[row]
	o.rows.Ascend(r.Start, r.End, func(n *treap.Map[row]) bool {
		out = append(out, n)
		return true
	})
	if r.Reverse {
		slices.Reverse(out)
	}
	return out
}

// order says which of the two comes first: -1 the stored row, 1 the written one, 0 both have the
// same key.
func order(have bool, key []byte, written []*treap.Map[row], reverse bool) int {
	switch {
	case !have:
		return 1
	case len(written) == 0:
		return -1
	}
	d := bytes.Compare(key, written[0].Key)
	if reverse {
		return -d
	}
	return d
}

// A cursor fetches the server's rows of a range in chunks, so that a scan of a whole table takes no
// memory and may be left at any time.
type cursor struct {
	t    *txn
	r    kv.Range // what was not fetched yet
	size int      // rows in the next chunk
	done bool     // nothing is left at the server

	rows []int  // where each row of the chunk ends its key, and its value, in buf
	at   int    // the row at hand
	buf  []byte // keys and values of the chunk
}

const (
	firstChunk = 64
	maxChunk   = 1024
	// chunkBytes is the size of a chunk's values after which the chunks do not grow any more.
	chunkBytes = 1 << 20
)

func newCursor(t *txn, r kv.Range) *cursor {
	c := &cursor{t: t, r: r, size: firstChunk}
	// Rows of the overlay can stand in for some of the server's, or hide them.
	if r.Limit > 0 && t.o.empty() {
		c.size = min(r.Limit, maxChunk)
	}
	return c
}

// next makes sure that there is a row at hand, and reports whether there is.
func (c *cursor) next() (bool, error) {
	if c.at < len(c.rows)/2 {
		return true, nil
	}
	if c.done {
		return false, nil
	}
	if err := c.fetch(); err != nil {
		return false, err
	}
	return len(c.rows) > 0, nil
}

func (c *cursor) bounds(i int) (from, key, value int) {
	if i > 0 {
		from = c.rows[2*i-1]
	}
	return from, c.rows[2*i], c.rows[2*i+1]
}

// key returns the key of the row at hand, nil if there is none.
func (c *cursor) key() []byte {
	if c.at >= len(c.rows)/2 {
		return nil
	}
	from, key, _ := c.bounds(c.at)
	return c.buf[from:key:key]
}

func (c *cursor) value() []byte {
	_, key, value := c.bounds(c.at)
	return c.buf[key:value:value]
}

func (c *cursor) skip() { c.at++ }

// fetch reads the next chunk. The buffer of the last one is used again: a callback's key and value
// are valid until it returns.
func (c *cursor) fetch() error {
	sql, args := c.statement()
	c.rows, c.buf, c.at = c.rows[:0], c.buf[:0], 0
	err := c.t.query(func(rows pgx.Rows) error {
		raw := rows.RawValues()
		c.buf = append(c.buf, raw[0]...)
		c.rows = append(c.rows, len(c.buf))
		if !c.r.KeysOnly {
			c.buf = append(c.buf, raw[1]...)
		}
		c.rows = append(c.rows, len(c.buf))
		return nil
	}, sql, args...)
	if err != nil {
		return err
	}
	n := len(c.rows) / 2
	if n < c.size {
		c.done = true
		return nil
	}
	from, key, _ := c.bounds(n - 1)
	last := bytes.Clone(c.buf[from:key])
	if c.r.Reverse {
		c.r.End = last
	} else {
		c.r.Start = append(last, 0)
	}
	if len(c.buf) < chunkBytes {
		c.size = min(4*c.size, maxChunk)
	} else {
		c.size = max(c.size/2, 1)
	}
	return nil
}

// statement returns the query of the next chunk. There are eight, which the driver keeps prepared.
func (c *cursor) statement() (string, []any) {
	sql, args := `SELECT key, value FROM tram_kv WHERE key >= $1`, []any{notNil(c.r.Start)}
	if c.r.KeysOnly {
		sql = `SELECT key FROM tram_kv WHERE key >= $1`
	}
	limit := ` LIMIT $2`
	if c.r.End != nil {
		sql += ` AND key < $2`
		args = append(args, c.r.End)
		limit = ` LIMIT $3`
	}
	sql += ` ORDER BY key`
	if c.r.Reverse {
		sql += ` DESC`
	}
	return sql + limit, append(args, c.size)
}
