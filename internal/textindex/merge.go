package textindex

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"runtime"
	"slices"

	"tram/internal/kv"
)

const (
	fanout     = 8       // segments of one tier that become one of the next
	smallest   = 64      // emails: segments below are of one tier
	maxSegment = 1 << 16 // emails: a segment this large stays as it is
)

// tier is a segment's size class: each is fanout times the one below.
func (h header) tier() int {
	t := 0
	for n := uint64(smallest); n < h.emails; n *= fanout {
		t++
	}
	return t
}

// merge joins the newest segments of one tier when there are fanout of them, and goes on with the
// tier above as long as that fills one.
func merge(txn kv.Txn, account uint64, c *cursor, living Living) error {
	for {
		all, err := headers(txn, account)
		if err != nil {
			return err
		}
		run := mergeable(all)
		if run == nil {
			return nil
		}
		if err := mergeRun(txn, account, run, c.segment, living); err != nil {
			return err
		}
		c.segment++
	}
}

// mergeable returns the run of neighbours at the young end that should become one segment.
func mergeable(all []header) []header {
	for end := len(all); end > 0; {
		start := end - 1
		for start > 0 && all[start-1].tier() <= all[end-1].tier() {
			start--
		}
		var emails uint64
		for _, h := range all[start:end] {
			emails += h.emails
		}
		if end-start >= fanout && emails <= maxSegment {
			return all[start:end]
		}
		end = start
	}
	return nil
}

// Living says which emails from first to last still exist.
type Living func(first, last uint64) (alive func(email uint64) bool, err error)

func mergeRun(txn kv.Txn, account uint64, run []header, id uint32, living Living) error {
	h := header{id: id, first: run[0].first, last: run[len(run)-1].last}
	var alive func(uint64) bool
	if living != nil {
		var err error
		if alive, err = living(h.first, h.last); err != nil {
			return err
		}
	}
	sources := make([]*source, 0, len(run))
	for _, part := range run {
		h.emails += part.emails
		s := newSource(txn, account, part)
		if more, err := s.next(); err != nil {
			return err
		} else if more {
			sources = append(sources, s)
		}
	}
	w := newWriter(txn, account, h)
	var at []int // of the sources that stand at the word, in the order of their emails
	var list []posting
	for len(sources) > 0 {
		at = least(sources, at[:0])
		list = list[:0]
		for _, i := range at {
			var err error
			if list, err = sources[i].appendPostings(list); err != nil {
				return err
			}
		}
		if alive != nil {
			list = slices.DeleteFunc(list, func(p posting) bool { return !alive(p.email) })
		}
		if len(list) > 0 {
			if err := w.add(sources[at[0]].e.word, list); err != nil {
				return err
			}
		}
		for _, i := range at {
			more, err := sources[i].next()
			if err != nil {
				return err
			}
			if !more {
				sources[i] = nil
			}
		}
		sources = slices.DeleteFunc(sources, func(s *source) bool { return s == nil })
	}
	if err := w.close(); err != nil {
		return err
	}
	for _, part := range run {
		if err := part.remove(txn, account); err != nil {
			return err
		}
	}
	return nil
}

// source reads a segment's terms in order, a block at a time. It stands at e.
type source struct {
	r      kv.Reader
	h      header
	blocks *blocks
	e      entry
	head   uint64 // the first bytes of e.word, which mostly tell words apart

	rest  decoder // of the block
	block []byte
	after []byte // the blocks that were not read yet begin behind this key
	end   []byte
}

func newSource(r kv.Reader, account uint64, h header) *source {
	p := segmentKey(account, tagTerms, h.id)
	return &source{r: r, h: h, blocks: h.blocks(r, account), after: p, end: kv.PrefixEnd(p)}
}

// next goes on to the next term, and reports whether there is one.
func (s *source) next() (bool, error) {
	if len(s.rest.b) == 0 {
		if more, err := s.load(); !more {
			return false, err
		}
	}
	if err := s.e.read(&s.rest); err != nil {
		return false, err
	}
	s.head = head(s.e.word)
	return true, nil
}

// load reads the next block, and reports whether there is one.
func (s *source) load() (more bool, err error) {
	runtime.Gosched() // a merge is long, and others have short work
	s.e.word = s.e.word[:0]
	err = s.r.Scan(kv.Range{Start: append(s.after, 0), End: s.end, Limit: 1},
		func(key, block []byte) error {
			s.after = append(s.after[:0], key...)
			s.block = append(s.block[:0], block...)
			s.rest.b, more = s.block, len(block) > 0
			return nil
		})
	return more, err
}

// appendPostings appends the postings of the term at which the source stands.
func (s *source) appendPostings(list []posting) ([]posting, error) {
	err := s.h.eachPosting(s.blocks, &s.e, func(p posting) { list = append(list, p) })
	return list, err
}

// head is a word's first eight bytes as a number that sorts like them.
func head(word []byte) uint64 {
	var b [8]byte
	copy(b[:], word)
	return binary.BigEndian.Uint64(b[:])
}

// least appends to at which sources stand at the smallest of their words.
func least(sources []*source, at []int) []int {
	first := sources[0]
	at = append(at, 0)
	for i, s := range sources[1:] {
		order := cmp.Compare(s.head, first.head)
		if order == 0 {
			order = bytes.Compare(s.e.word, first.e.word)
		}
		if order < 0 {
			first, at = s, at[:0]
		}
		if order <= 0 {
			at = append(at, i+1)
		}
	}
	return at
}
