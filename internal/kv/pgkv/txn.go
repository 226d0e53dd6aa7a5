package pgkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"tram/internal/kv"
)

// txn is the kv.Reader of a View and the kv.Txn of an Update, on a connection of its own.
type txn struct {
	db       *DB
	ctx      context.Context
	conn     *pgx.Conn
	begun    bool // a View begins with its first read
	writable bool
	ended    bool
	broken   error // the first error of the server, after which nothing may be committed
	o        overlay
}

const beginView = `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`

// end ends the server's transaction if it was begun and is not over; a connection that does not
// manage to is closed by its pool.
func (t *txn) end() {
	t.ended = true
	if !t.begun || t.conn.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), 5*time.Second)
	defer cancel()
	if _, err := t.conn.Exec(ctx, `ROLLBACK`); err != nil {
		_ = t.conn.Close(ctx)
	}
	t.begun = false
}

// query runs a statement and gives its rows to fn. In a View the first one takes the BEGIN with it,
// which saves a round trip.
func (t *txn) query(fn func(pgx.Rows) error, sql string, args ...any) (err error) {
	defer func() {
		if err != nil && t.broken == nil {
			t.broken = err
		}
	}()
	if t.begun {
		rows, err := t.conn.Query(t.ctx, sql, args...)
		if err != nil {
			return err
		}
		return each(rows, fn)
	}
	t.begun = true
	b := &pgx.Batch{}
	b.Queue(beginView)
	b.Queue(sql, args...)
	results := t.conn.SendBatch(t.ctx, b)
	_, err = results.Exec()
	if err == nil {
		var rows pgx.Rows
		if rows, err = results.Query(); err == nil {
			err = each(rows, fn)
		}
	}
	return errors.Join(err, results.Close())
}

func each(rows pgx.Rows, fn func(pgx.Rows) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Get implements kv.Reader.
func (t *txn) Get(key []byte) ([]byte, error) {
	if t.ended {
		return nil, errEnded
	}
	if r, known := t.o.get(key); known {
		if r.deleted {
			return nil, kv.ErrNotFound
		}
		return r.value, nil
	}
	var value []byte
	err := t.query(func(rows pgx.Rows) error {
		value = append([]byte{}, rows.RawValues()[0]...)
		return nil
	}, `SELECT value FROM tram_kv WHERE key = $1`, notNil(key))
	if err != nil {
		return nil, t.db.mapError(fmt.Sprintf("read key %x", key), err)
	}
	if value == nil {
		return nil, kv.ErrNotFound
	}
	return value, nil
}

// notNil makes a key of nil the empty key, which is not NULL.
func notNil(key []byte) []byte {
	if key == nil {
		return []byte{}
	}
	return key
}

// Set implements kv.Txn.
func (t *txn) Set(key, value []byte) error {
	if err := t.mayWrite(); err != nil {
		return err
	}
	if len(key) == 0 {
		return kv.ErrEmptyKey
	}
	t.o.set(key, value)
	return nil
}

// Delete implements kv.Txn.
func (t *txn) Delete(key []byte) error {
	if err := t.mayWrite(); err != nil {
		return err
	}
	t.o.delete(key)
	return nil
}

// DeleteRange implements kv.Txn.
func (t *txn) DeleteRange(start, end []byte) error {
	if err := t.mayWrite(); err != nil {
		return err
	}
	t.o.deleteRange(start, end)
	return nil
}

func (t *txn) mayWrite() error {
	if t.ended || !t.writable {
		return errEnded
	}
	return nil
}

// Scan implements kv.Reader: the server's rows and the overlay's, merged.
func (t *txn) Scan(r kv.Range, fn func(key, value []byte) error) error {
	if t.ended {
		return errEnded
	}
	if r.End != nil && bytes.Compare(r.Start, r.End) >= 0 {
		return nil
	}
	o := t.o // as it is now: fn may write
	stored := newCursor(t, r)
	written := o.list(r)
	for n := 0; ; {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		have, err := stored.next()
		if err != nil {
			return t.db.mapError("scan", err)
		}
		if !have && len(written) == 0 {
			return nil
		}
		var key, value []byte
		switch first := order(have, stored.key(), written, r.Reverse); {
		case first < 0:
			key, value = stored.key(), stored.value()
			stored.skip()
			if o.hides(key) {
				continue
			}
		default:
			w := written[0]
			written = written[1:]
			if first == 0 {
				stored.skip()
			}
			if w.Value.deleted {
				continue
			}
			key, value = w.Key, w.Value.value
		}
		if r.KeysOnly {
			value = nil
		}
		err = fn(key, value)
		if err == kv.Stop {
			return nil
		}
		if err != nil {
			return err
		}
		if n++; n == r.Limit {
			return nil
		}
	}
}
