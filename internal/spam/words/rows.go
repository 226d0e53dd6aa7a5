package words

import (
	"encoding/binary"
	"errors"
	"fmt"

	"tram/internal/kv"
)

// The keys, after 'p' 'w':
//
//	'k'                        how words are hashed: 16 random bytes
//	'm' owner                  what was learnt in all: meta
//	't' owner number (4)       a row of the table of words, sorted over all rows
//	'l' owner number (8)       a lesson
//	'i' owner hash of an id    the number of the lesson that was learnt from it (8)
//
// owner and the hash have 8 bytes. Numbers in keys are big-endian, those in values little-endian or
// varints. All values begin with the version byte 1.
const (
	space, room = 'p', 'w'

	keyRow    = 'k'
	metaRow   = 'm'
	tableRow  = 't'
	lessonRow = 'l'
	idRow     = 'i'

	version = 1
)

// scope serialises all learning: a lesson may change what is shared as well, and people teach seldom.
const scope kv.Scope = "words"

// rowKey makes the key of an owner's row.
func rowKey(row byte, owner Owner, tail ...byte) []byte {
	return append(kv.AppendUint64([]byte{space, room, row}, uint64(owner)), tail...)
}

func lessonKey(owner Owner, seq uint64) []byte {
	return kv.AppendUint64(rowKey(lessonRow, owner), seq)
}

func idKey(owner Owner, id uint64) []byte { return kv.AppendUint64(rowKey(idRow, owner), id) }

// meta is what is known of an owner without looking at the words:
// version, then 11 uvarints in the order of the fields.
type meta struct {
	era        uint64 // drawn at random when the first lesson came: tells a removed owner from a new one
	seq        uint64 // the number of the last lesson
	merged     uint64 // of the last lesson that is in the table
	junk, good int64  // messages learnt
	words      int64  // in the table
	fresh      int64  // words of the lessons behind merged, one counted as often as it is in one
	faded      uint64 // times that all counts were halved
	// lentJunk and lentGood are how many of an account's lessons count for all accounts, since the day
	// lentSince.
	lentJunk, lentGood int64
	lentSince          uint64
}

func (m *meta) fields() [11]*uint64 {
	signed := func(v *int64) *uint64 { u := uint64(max(*v, 0)); return &u }
	return [11]*uint64{&m.era, &m.seq, &m.merged, signed(&m.junk), signed(&m.good), signed(&m.words),
		signed(&m.fresh), &m.faded, signed(&m.lentJunk), signed(&m.lentGood), &m.lentSince}
}

func (m *meta) append(b []byte) []byte {
	b = append(b, version)
	for _, v := range m.fields() {
		b = binary.AppendUvarint(b, *v)
	}
	return b
}

// readMeta returns the meta of an owner; a zero one where nothing was learnt.
func readMeta(r kv.Reader, owner Owner) (meta, error) {
	b, err := r.Get(rowKey(metaRow, owner))
	if errors.Is(err, kv.ErrNotFound) {
		return meta{}, nil
	}
	if err != nil {
		return meta{}, err
	}
	d := decoder{b: b}
	d.version()
	m := meta{era: d.uvarint(), seq: d.uvarint(), merged: d.uvarint(), junk: int64(d.uvarint()),
		good: int64(d.uvarint()), words: int64(d.uvarint()), fresh: int64(d.uvarint()), faded: d.uvarint(),
		lentJunk: int64(d.uvarint()),
		lentGood: int64(d.uvarint()), lentSince: d.uvarint()}
	return m, d.done("what was learnt")
}

func (m *meta) write(txn kv.Txn, owner Owner) error {
	return txn.Set(rowKey(metaRow, owner), m.append(nil))
}

// lesson is a message that was learnt, or taken back:
//
//	version, flags, faded, shared, era (uvarints), day (2), id (8), of (8), number of words (4),
//	words (8 each), a bit for each word that has a new witness
type lesson struct {
	junk    bool // else good
	back    bool // taken back: everything counts negative
	lent    bool // it counts for all accounts as well
	trusted bool // by the operator: each word has witnesses enough
	only    bool // only witnesses, no message

	faded  uint64 // the owner's when it was learnt
	shared uint64 // the shared table's, if lent
	era    uint64 // and its era
	day    uint16
	id     uint64 // 0: it cannot be taken back
	of     uint64 // if back: the number of the lesson that it takes back
	words  []uint64
	who    []byte // bits
}

const (
	flagJunk = 1 << iota
	flagBack
	flagLent
	flagTrusted
	flagOnly
)

func (l *lesson) append(b []byte) []byte {
	var flags byte
	for i, set := range []bool{l.junk, l.back, l.lent, l.trusted, l.only} {
		if set {
			flags |= 1 << i
		}
	}
	b = append(b, version, flags)
	b = binary.AppendUvarint(b, l.faded)
	b = binary.AppendUvarint(b, l.shared)
	b = binary.AppendUvarint(b, l.era)
	b = binary.LittleEndian.AppendUint16(b, l.day)
	b = binary.LittleEndian.AppendUint64(b, l.id)
	b = binary.LittleEndian.AppendUint64(b, l.of)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(l.words)))
	for _, w := range l.words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return append(b, l.who...)
}

func readLesson(b []byte) (lesson, error) {
	d := decoder{b: b}
	d.version()
	flags := d.take(1)[0]
	l := lesson{junk: flags&flagJunk != 0, back: flags&flagBack != 0, lent: flags&flagLent != 0,
		trusted: flags&flagTrusted != 0, only: flags&flagOnly != 0,
		faded: d.uvarint(), shared: d.uvarint(), era: d.uvarint()}
	l.day = binary.LittleEndian.Uint16(d.take(2))
	l.id = binary.LittleEndian.Uint64(d.take(8))
	l.of = binary.LittleEndian.Uint64(d.take(8))
	n := int(binary.LittleEndian.Uint32(d.take(4)))
	if n > len(d.b)/8 {
		d.bad = true
		n = 0
	}
	l.words = make([]uint64, n)
	for i := range l.words {
		l.words[i] = binary.LittleEndian.Uint64(d.take(8))
	}
	l.who = append([]byte(nil), d.take((n+7)/8)...)
	return l, d.done("a lesson")
}

// effect is what the lesson does to the counts of its word i.
func (l *lesson) effect(i int) delta {
	var d delta
	switch {
	case l.only:
	case l.junk:
		d.junk = 1
	default:
		d.good = 1
	}
	switch {
	case l.trusted:
		d.who = witnesses
	case l.who[i/8]>>(i%8)&1 != 0:
		d.who = 1
	}
	if l.back {
		d.junk, d.good, d.who = -d.junk, -d.good, -d.who
	}
	return d
}

// sign is 1, or -1 for a lesson that takes back, and 0 for one that is no message.
func (l *lesson) sign() int64 {
	switch {
	case l.only:
		return 0
	case l.back:
		return -1
	}
	return 1
}

// tableEntries is how many words stand in one row of a table.
const tableEntries = 4096

// appendEntry adds an entry to a row: the distance from the hash before it, the counts, the day.
func appendEntry(b []byte, before uint64, e entry) []byte {
	b = binary.AppendUvarint(b, e.hash-before)
	b = binary.AppendUvarint(b, uint64(e.junk))
	b = binary.AppendUvarint(b, uint64(e.good))
	b = binary.AppendUvarint(b, uint64(e.who))
	return binary.LittleEndian.AppendUint16(b, e.day)
}

// readRow adds the entries of a row: version, their number (2), then the entries.
func readRow(list []entry, b []byte) ([]entry, error) {
	d := decoder{b: b}
	d.version()
	left := binary.LittleEndian.Uint16(d.take(2))
	var hash uint64
	for ; left > 0 && !d.bad; left-- {
		hash += d.uvarint()
		e := entry{hash, count{junk: uint32(d.uvarint()), good: uint32(d.uvarint()), who: uint32(d.uvarint())}}
		e.day = binary.LittleEndian.Uint16(d.take(2))
		if n := len(list); n > 0 && list[n-1].hash >= hash {
			d.bad = true
		}
		list = append(list, e)
	}
	return list, d.done("a table of words")
}

// decoder reads values; what is missing is zero, and done tells.
type decoder struct {
	b   []byte
	bad bool
}

var zeros [16]byte

func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.bad = true
		d.b = nil
		return zeros[:min(n, len(zeros))]
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		d.b = nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) version() {
	if d.take(1)[0] != version {
		d.bad = true
	}
}

// done returns what went wrong. A damaged row is no reason to keep mail out: what calls logs it and has
// no opinion.
func (d *decoder) done(what string) error {
	if d.bad || len(d.b) > 0 {
		return fmt.Errorf("read %s of the classifier: %w", what, kv.ErrCorrupt)
	}
	return nil
}
