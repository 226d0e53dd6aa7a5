// Package textindex answers "which emails of an account may contain this text?" without opening
// them: an inverted index over kv, built from folded words, searched by any part of a word.
//
// It promises never to leave out an email that it has indexed and that contains the text; where it
// cannot be sure by itself (a phrase, punctuation, a very long word) it says so and the caller
// looks into the candidates. It is derived data: dropping it loses nothing but time.
//
// What must never happen: a query that misses an indexed email; an index that stops mail from being
// stored or read because it is damaged.
//
// # Layout
//
// Everything of an account is under 'x', account (8 bytes, big endian), then:
//
//	'c'                          cursor: version, newest email indexed, next segment number (varints)
//	'h' segment (4)              header: version, first and last email, emails, terms (varints)
//	't' segment (4) first word   a block of terms, sorted, front-coded
//	'p' segment (4) block (4)    a block of postings
//
// A segment is immutable and covers a range of email numbers that no other segment touches. New
// segments are small; neighbours of one size are merged into one of the next (as in a
// log-structured tree), so an account of n emails has O(log n) segments and each email is written
// O(log n) times. A term is a word without case and marks (message.Fold), so that a dictionary is
// small enough to be read from end to end for the queries that need it: "ell" finds "hello". A word
// that is written with marks has a second term with them, "\x01đồng" beside "dong", by which a query
// with marks is answered as exactly as one without.
package textindex

import (
	"encoding/binary"
	"errors"
	"fmt"

	"tram/internal/kv"
)

const (
	space   = 'x'
	version = 3 // 2 had no terms with marks

	tagCursor   = 'c'
	tagHeader   = 'h'
	tagTerms    = 't'
	tagPostings = 'p'
)

// Field says where in an email a word stands. It is a set.
type Field uint8

// The fields.
const (
	Header Field = 1 << iota // a value of the message's header
	Body                     // a text part
	Any    = Header | Body
)

// ErrDamaged says that the index of an account cannot be read; Drop it and index again.
var ErrDamaged = errors.New("text index is damaged")

// ErrOutdated says that the index of an account was made by an older version of this package; Drop it
// and index again.
var ErrOutdated = errors.New("text index has an older layout")

// Scope is the scope of an account's index in kv.
func Scope(account uint64) kv.Scope { return kv.Scope(fmt.Sprintf("textindex/%d", account)) }

func prefix(account uint64) []byte { return kv.AppendUint64([]byte{space}, account) }

func cursorKey(account uint64) []byte { return append(prefix(account), tagCursor) }

func segmentKey(account uint64, tag byte, segment uint32) []byte {
	return kv.AppendUint32(append(prefix(account), tag), segment)
}

// cursor is how far an account is indexed.
type cursor struct {
	newest  uint64 // email; every indexed email has a number up to this
	segment uint32 // next number to give
}

func readCursor(r kv.Reader, account uint64) (cursor, error) {
	b, err := r.Get(cursorKey(account))
	if errors.Is(err, kv.ErrNotFound) {
		return cursor{}, nil
	}
	if err != nil {
		return cursor{}, fmt.Errorf("read text index cursor: %w", err)
	}
	if len(b) > 0 && b[0] < version {
		return cursor{}, ErrOutdated
	}
	d := decoder{b: b}
	d.version()
	c := cursor{newest: d.uvarint(), segment: uint32(d.uvarint())}
	return c, d.err
}

func (c cursor) write(txn kv.Txn, account uint64) error {
	b := binary.AppendUvarint([]byte{version}, c.newest)
	b = binary.AppendUvarint(b, uint64(c.segment))
	return txn.Set(cursorKey(account), b)
}

// Newest returns the number of the newest email that the account's index covers, 0 for none.
func Newest(r kv.Reader, account uint64) (uint64, error) {
	c, err := readCursor(r, account)
	return c.newest, err
}

// Drop removes the account's index.
func Drop(txn kv.Txn, account uint64) error {
	p := prefix(account)
	return txn.DeleteRange(p, kv.PrefixEnd(p))
}

// decoder reads varints with a sticky error.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail() {
	if d.err == nil {
		d.err = ErrDamaged
	}
	d.b = nil
}

func (d *decoder) version() {
	if len(d.b) == 0 || d.b[0] != version {
		d.fail()
		return
	}
	d.b = d.b[1:]
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}
