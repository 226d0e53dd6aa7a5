package textindex

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"

	"tram/internal/kv"
)

const (
	termsBlock    = 16 << 10 // bytes after which a block of terms is written
	postingsBlock = 32 << 10
)

// header describes a segment.
type header struct {
	id          uint32
	first, last uint64 // emails covered, both inclusive
	emails      uint64
	terms       uint64
}

func (h header) write(txn kv.Txn, account uint64) error {
	b := []byte{version}
	for _, v := range []uint64{h.first, h.last, h.emails, h.terms} {
		b = binary.AppendUvarint(b, v)
	}
	return txn.Set(segmentKey(account, tagHeader, h.id), b)
}

// headers returns the account's segments in the order of the emails they cover.
func headers(r kv.Reader, account uint64) ([]header, error) {
	p := append(prefix(account), tagHeader)
	var all []header
	err := r.Scan(kv.Prefix(p), func(key, value []byte) error {
		id, _, err := kv.TakeUint32(key[len(p):])
		if err != nil {
			return ErrDamaged
		}
		d := decoder{b: value}
		d.version()
		h := header{id: id, first: d.uvarint(), last: d.uvarint(), emails: d.uvarint()}
		h.terms = d.uvarint()
		all = append(all, h)
		return d.err
	})
	if err != nil {
		return nil, fmt.Errorf("read text index segments: %w", err)
	}
	sortHeaders(all)
	return all, nil
}

// A term in a block of terms:
//
//	shared, suffix length, suffix   front coding against the term before it in the block
//	emails                          how many contain it
//	posting                         when emails is 1: (email − segment's first) << 2 | fields
//	block, offset                   otherwise: where its postings start
//
// Postings are uvarints of (email − the one before, or the segment's first) << 2 | fields, and run
// on into the next block only at a posting's border.

// writer writes one segment. Terms must come in order, and the emails of a term too.
type writer struct {
	txn     kv.Txn
	account uint64
	h       header

	terms     []byte
	firstWord []byte
	last      []byte

	postings []byte
	block    uint32
	key      []byte
}

func newWriter(txn kv.Txn, account uint64, h header) *writer {
	return &writer{txn: txn, account: account, h: h}
}

// posting is one email that contains a term.
type posting struct {
	email  uint64
	fields Field
}

func (p posting) encode(base uint64) uint64 { return (p.email-base)<<2 | uint64(p.fields) }

func (w *writer) add(word []byte, list []posting) error {
	if len(w.terms) > termsBlock {
		if err := w.flushTerms(); err != nil {
			return err
		}
	}
	shared := 0
	if len(w.terms) == 0 {
		w.firstWord = append(w.firstWord[:0], word...)
	} else {
		shared = commonPrefix(w.last, word)
	}
	w.last = append(w.last[:0], word...)
	w.terms = binary.AppendUvarint(w.terms, uint64(shared))
	w.terms = binary.AppendUvarint(w.terms, uint64(len(word)-shared))
	w.terms = append(w.terms, word[shared:]...)
	w.terms = binary.AppendUvarint(w.terms, uint64(len(list)))
	w.h.terms++
	if len(list) == 1 {
		w.terms = binary.AppendUvarint(w.terms, list[0].encode(w.h.first))
		return nil
	}
	if err := w.spillPostings(); err != nil {
		return err
	}
	w.terms = binary.AppendUvarint(w.terms, uint64(w.block))
	w.terms = binary.AppendUvarint(w.terms, uint64(len(w.postings)))
	base := w.h.first
	for _, p := range list {
		if err := w.spillPostings(); err != nil {
			return err
		}
		w.postings = binary.AppendUvarint(w.postings, p.encode(base))
		base = p.email
	}
	return nil
}

func (w *writer) blockKey() []byte {
	w.key = append(w.key[:0], segmentKey(w.account, tagPostings, w.h.id)...)
	w.key = kv.AppendUint32(w.key, w.block)
	return w.key
}

func (w *writer) spillPostings() error {
	if len(w.postings) < postingsBlock {
		return nil
	}
	if err := w.txn.Set(w.blockKey(), w.postings); err != nil {
		return err
	}
	w.postings = w.postings[:0]
	w.block++
	return nil
}

func (w *writer) flushTerms() error {
	if len(w.terms) == 0 {
		return nil
	}
	w.key = append(w.key[:0], segmentKey(w.account, tagTerms, w.h.id)...)
	w.key = append(w.key, w.firstWord...)
	err := w.txn.Set(w.key, w.terms)
	w.terms = w.terms[:0]
	return err
}

// close writes what is left and the header, which makes the segment exist.
func (w *writer) close() error {
	if err := w.flushTerms(); err != nil {
		return err
	}
	if len(w.postings) > 0 {
		if err := w.txn.Set(w.blockKey(), w.postings); err != nil {
			return err
		}
	}
	return w.h.write(w.txn, w.account)
}

func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// entry is a term as it stands in a block.
type entry struct {
	word   []byte // valid until the next entry is read
	emails uint64
	single uint64 // when emails is 1
	block  uint32
	offset uint64
}

// read reads the term that follows in a block; the one before it is in e.
func (e *entry) read(d *decoder) error {
	shared, suffix := d.uvarint(), d.uvarint()
	if shared > uint64(len(e.word)) {
		return ErrDamaged
	}
	e.word = append(e.word[:shared], d.bytes(suffix)...)
	if len(e.word) == 0 {
		return ErrDamaged
	}
	if e.emails = d.uvarint(); e.emails == 1 {
		e.single = d.uvarint()
	} else {
		e.block, e.offset = uint32(d.uvarint()), d.uvarint()
	}
	return d.err
}

// eachEntry calls fn for the terms of a block until fn returns false.
func eachEntry(block []byte, fn func(e *entry) (bool, error)) error {
	d := decoder{b: block}
	var e entry
	for len(d.b) > 0 {
		if err := e.read(&d); err != nil {
			return err
		}
		if more, err := fn(&e); err != nil || !more {
			return err
		}
	}
	return nil
}

// blocks reads a segment's blocks of postings and keeps the last one: the postings of neighbouring
// terms are in the same block.
type blocks struct {
	r    kv.Reader
	key  []byte // without the block's number
	at   uint32
	held []byte
}

func (h header) blocks(r kv.Reader, account uint64) *blocks {
	return &blocks{r: r, key: segmentKey(account, tagPostings, h.id)}
}

// get returns a block, valid until the next call.
func (b *blocks) get(n uint32) ([]byte, error) {
	if b.at == n && len(b.held) > 0 {
		return b.held, nil
	}
	b.at, b.held = n, b.held[:0]
	key := kv.AppendUint32(b.key[:len(b.key):len(b.key)], n)
	err := kv.Peek(b.r, key, func(value []byte) error {
		b.held = append(b.held, value...)
		return nil
	})
	return b.held, err
}

// eachPosting calls fn for the emails of a term.
func (h header) eachPosting(from *blocks, e *entry, fn func(posting)) error {
	if e.emails == 1 {
		fn(posting{email: h.first + e.single>>2, fields: Field(e.single & 3)})
		return nil
	}
	block, offset, email := e.block, e.offset, h.first
	d := decoder{}
	for range e.emails {
		if len(d.b) == 0 {
			b, err := from.get(block)
			if err != nil || offset > uint64(len(b)) {
				return fmt.Errorf("read postings of segment %d: %w", h.id, ErrDamaged)
			}
			d.b, block, offset = b[offset:], block+1, 0
		}
		v := d.uvarint()
		if d.err != nil {
			return d.err
		}
		email += v >> 2
		fn(posting{email: email, fields: Field(v & 3)})
	}
	return nil
}

// remove deletes a segment.
func (h header) remove(txn kv.Txn, account uint64) error {
	for _, tag := range []byte{tagTerms, tagPostings} {
		p := segmentKey(account, tag, h.id)
		if err := txn.DeleteRange(p, kv.PrefixEnd(p)); err != nil {
			return err
		}
	}
	return txn.Delete(segmentKey(account, tagHeader, h.id))
}

// scanTerms calls fn for the segment's terms from the block that may hold `from` on, until fn
// returns false.
func (h header) scanTerms(
	r kv.Reader, account uint64, from []byte, fn func(e *entry) (bool, error),
) error {
	p := segmentKey(account, tagTerms, h.id)
	start := append([]byte(nil), p...)
	if len(from) > 0 {
		upTo := kv.Range{Start: p, End: append(append(bytes.Clone(p), from...), 0), Reverse: true}
		upTo.Limit, upTo.KeysOnly = 1, true
		err := r.Scan(upTo, func(key, _ []byte) error {
			start = bytes.Clone(key)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return r.Scan(kv.Range{Start: start, End: kv.PrefixEnd(p)}, func(_, block []byte) error {
		runtime.Gosched() // a dictionary is long, and others have short work
		more := true
		err := eachEntry(block, func(e *entry) (bool, error) {
			var err error
			more, err = fn(e)
			return more, err
		})
		if err == nil && !more {
			return kv.Stop
		}
		return err
	})
}
