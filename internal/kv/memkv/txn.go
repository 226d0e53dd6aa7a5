package memkv

import (
	"bytes"
	"context"

	"tram/internal/kv"
	"tram/internal/kv/treap"
)

// root is a state of the database.
type root = treap.Map[[]byte]

type op byte

const (
	opSet op = iota
	opDelete
	opDeleteRange // key is the start, value the end; nil is open
)

// write is one change of a transaction. Its slices are its own.
type write struct {
	op         op
	key, value []byte
}

// apply returns r after the writes.
func apply(r *root, writes []write) *root {
	for _, w := range writes {
		switch w.op {
		case opSet:
			r = r.Set(w.key, w.value)
		case opDelete:
			r = r.Delete(w.key)
		case opDeleteRange:
			r = r.DeleteRange(w.key, w.value)
		}
	}
	return r
}

// txn is a kv.Reader, and a kv.Txn when it is writable: a root of its own that its writes go to at
// once, and the list of them, for the commit to repeat on whatever the root is by then.
type txn struct {
	ctx      context.Context
	root     *root
	writable bool
	ended    bool
	writes   []write
}

func (t *txn) end() { t.ended = true }

func (t *txn) Get(key []byte) ([]byte, error) {
	if t.ended {
		return nil, errEnded
	}
	n := t.root.Get(key)
	if n == nil {
		return nil, kv.ErrNotFound
	}
	return n.Value, nil
}

func (t *txn) Scan(r kv.Range, fn func(key, value []byte) error) error {
	if t.ended {
		return errEnded
	}
	walk := t.root.Ascend
	if r.Reverse {
		walk = t.root.Descend
	}
	var err error
	n := 0
	walk(r.Start, r.End, func(p *root) bool {
		if err = t.ctx.Err(); err != nil {
			return false
		}
		value := p.Value
		if r.KeysOnly {
			value = nil
		}
		err = fn(p.Key, value)
		n++
		return err == nil && n != r.Limit
	})
	if err == kv.Stop {
		return nil
	}
	return err
}

func (t *txn) Set(key, value []byte) error {
	if len(key) == 0 {
		return kv.ErrEmptyKey
	}
	return t.write(write{opSet, bytes.Clone(key), clone(value)})
}

func (t *txn) Delete(key []byte) error {
	return t.write(write{opDelete, bytes.Clone(key), nil})
}

func (t *txn) DeleteRange(start, end []byte) error {
	return t.write(write{opDeleteRange, bytes.Clone(start), bytes.Clone(end)})
}

func (t *txn) write(w write) error {
	if t.ended || !t.writable {
		return errEnded
	}
	t.root = apply(t.root, []write{w})
	t.writes = append(t.writes, w)
	return nil
}

// clone copies b; the copy of an empty value is empty, never nil.
func clone(b []byte) []byte { return append([]byte{}, b...) }
