package textindex

import (
	"bytes"
	"runtime"

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
	alive := func(uint64) bool { return true }
	if living != nil {
		var err error
		if alive, err = living(h.first, h.last); err != nil {
			return err
		}
	}
	sources := make([]*source, len(run))
	for i, part := range run {
		h.emails += part.emails
		sources[i] = newSource(txn, account, part)
		if err := sources[i].load(nil); err != nil {
			return err
		}
	}
	w := newWriter(txn, account, h)
	var list []posting
	for {
		word := least(sources)
		if word == nil {
			break
		}
		word = bytes.Clone(word)
		list = list[:0]
		for _, s := range sources {
			if err := s.take(word, func(p posting) {
				if alive(p.email) {
					list = append(list, p)
				}
			}); err != nil {
				return err
			}
		}
		if len(list) == 0 {
			continue
		}
		if err := w.add(word, list); err != nil {
			return err
		}
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

// source reads a segment's terms in order, a block at a time.
type source struct {
	r       kv.Reader
	account uint64
	h       header
	blocks  *blocks
	entries []entry
	next    int
	lastKey []byte
}

func newSource(r kv.Reader, account uint64, h header) *source {
	return &source{r: r, account: account, h: h, blocks: h.blocks(r, account)}
}

// load reads the block after the key.
func (s *source) load(after []byte) error {
	runtime.Gosched() // a merge is long, and others have short work
	s.entries, s.next = s.entries[:0], 0
	p := segmentKey(s.account, tagTerms, s.h.id)
	rng := kv.Range{Start: p, End: kv.PrefixEnd(p), Limit: 1}
	if after != nil {
		rng.Start = append(bytes.Clone(after), 0)
	}
	return s.r.Scan(rng, func(key, block []byte) error {
		s.lastKey = bytes.Clone(key)
		return eachEntry(block, func(e *entry) (bool, error) {
			held := *e
			held.word = bytes.Clone(e.word)
			s.entries = append(s.entries, held)
			return true, nil
		})
	})
}

func (s *source) word() []byte {
	if s.next >= len(s.entries) {
		return nil
	}
	return s.entries[s.next].word
}

// take hands over the postings of word when the source stands at it, and moves on.
func (s *source) take(word []byte, fn func(posting)) error {
	if !bytes.Equal(s.word(), word) || s.word() == nil {
		return nil
	}
	if err := s.h.eachPosting(s.blocks, &s.entries[s.next], fn); err != nil {
		return err
	}
	if s.next++; s.next == len(s.entries) {
		return s.load(s.lastKey)
	}
	return nil
}

// least returns the smallest word at which a source stands, nil at the end of all.
func least(sources []*source) []byte {
	var word []byte
	for _, s := range sources {
		if w := s.word(); w != nil && (word == nil || bytes.Compare(w, word) < 0) {
			word = w
		}
	}
	return word
}
