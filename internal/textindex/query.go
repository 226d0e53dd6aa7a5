package textindex

import (
	"bytes"
	"context"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"tram/internal/kv"
)

// Candidates are the emails that may contain a text.
type Candidates struct {
	// All is set when the index cannot narrow the search (a query without a word): every email is
	// a candidate and Emails is nil.
	All    bool
	Emails *roaring64.Bitmap
	// Exact is set when each candidate does contain the text, but for those in Unsure.
	Exact bool
	// Unsure are emails that the index does not know whole: they may contain any text.
	Unsure *roaring64.Bitmap
	// Newest is the newest email that the index covers; later ones must be looked into.
	Newest uint64
}

// Find returns the emails whose fields may contain the query, by the rules of IMAP's SEARCH:
// any part of the text, case and, where the query has none, marks ignored (RFC 9051 §6.4.4).
// It reads the dictionaries of the segments: O(terms) for an open word, O(log terms) for one with
// both its ends known.
func Find(
	ctx context.Context, r kv.Reader, account uint64, query string, fields Field,
) (Candidates, error) {
	c, err := readCursor(r, account)
	if err != nil {
		return Candidates{}, err
	}
	terms, exact := parse(query)
	if len(terms) == 0 {
		return Candidates{All: true, Newest: c.newest}, nil
	}
	segments, err := headers(r, account)
	if err != nil {
		return Candidates{}, err
	}
	found, open := roaring64.New(), roaring64.New()
	for _, h := range segments {
		if err := ctx.Err(); err != nil {
			return Candidates{}, err
		}
		in, err := h.find(r, account, terms, fields)
		if err != nil {
			return Candidates{}, fmt.Errorf("search text index: %w", err)
		}
		found.Or(in)
		if in, err = h.find(r, account, []term{{word: []byte(unsure)}}, Any); err != nil {
			return Candidates{}, fmt.Errorf("search text index: %w", err)
		}
		open.Or(in)
	}
	return Candidates{Emails: found, Exact: exact, Unsure: open, Newest: c.newest}, nil
}

// find returns the emails of a segment that contain every term.
func (h header) find(
	r kv.Reader, account uint64, terms []term, fields Field,
) (*roaring64.Bitmap, error) {
	var all *roaring64.Bitmap
	for _, t := range terms {
		one := roaring64.New()
		// Entries are gathered first: reading postings inside the scan would nest two reads.
		hits, err := h.matching(r, account, t)
		if err != nil {
			return nil, err
		}
		from := h.blocks(r, account)
		for i := range hits {
			err := h.eachPosting(from, &hits[i], func(p posting) {
				if p.fields&fields != 0 {
					one.Add(p.email)
				}
			})
			if err != nil {
				return nil, err
			}
		}
		if all == nil {
			all = one
		} else {
			all.And(one)
		}
		if all.IsEmpty() {
			break
		}
	}
	return all, nil
}

// matching returns the entries of the terms that t matches, without their words.
func (h header) matching(r kv.Reader, account uint64, t term) ([]entry, error) {
	var hits []entry
	keep := func(e *entry) {
		held := *e
		held.word = nil
		hits = append(hits, held)
	}
	if t.left { // any term of its kind may hold it
		from := []byte(afterMarked)
		if t.marked() {
			from = []byte{marked}
			t.word = t.word[1:]
		}
		kind := from[0]
		err := h.scanTerms(r, account, from, func(e *entry) (bool, error) {
			if e.word[0] < kind {
				return true, nil
			}
			if kind == marked && e.word[0] != marked {
				return false, nil
			}
			if t.right && bytes.Contains(e.word, t.word) || bytes.HasSuffix(e.word, t.word) {
				keep(e)
			}
			return true, nil
		})
		return hits, err
	}
	err := h.scanTerms(r, account, t.word, func(e *entry) (bool, error) {
		switch {
		case bytes.Equal(e.word, t.word), t.right && bytes.HasPrefix(e.word, t.word):
			keep(e)
		case bytes.Compare(e.word, t.word) > 0:
			return false, nil
		}
		return true, nil
	})
	return hits, err
}
