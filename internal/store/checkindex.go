package store

import (
	"errors"
	"fmt"

	"tram/internal/kv"
	"tram/internal/textindex"
)

// index compares the text index with the text of the mail, when the check is a deep one. For each
// email both sides have a sum of its words, so that memory follows a segment's number of emails and
// not its words.
func (c *checker) index() error {
	if !c.o.Deep || !c.s.indexed {
		return nil
	}
	newest, err := textindex.Newest(c.tx.r, uint64(c.id))
	if err == nil && newest >= uint64(c.tx.row.NextEmail) {
		c.hurt.index = true
		c.find("text-index", "text index", true, "covers emails up to %d; the next one will be %d",
			newest, c.tx.row.NextEmail)
		return nil
	}
	next := uint64(1)
	if err == nil {
		err = textindex.Sums(c.ctx, c.tx.r, uint64(c.id), func(first, last uint64,
			sums map[uint64]uint64) error {
			if err := c.indexed(next, first-1, nil); err != nil {
				return err
			}
			next = last + 1
			return c.indexed(first, last, sums)
		})
	}
	if err == nil {
		err = c.indexed(next, newest, nil)
	}
	if errors.Is(err, textindex.ErrOutdated) {
		return nil // nothing is read of it any more; the server builds it anew
	}
	if errors.Is(err, textindex.ErrDamaged) {
		c.hurt.index = true
		c.find("text-index", "text index", true, "%v", err)
		return nil
	}
	return err
}

// indexed compares the emails from first to last with their sums in the index. What the index has
// of emails that are gone stays there until a merge, and matters to nobody.
func (c *checker) indexed(first, last uint64, sums map[uint64]uint64) error {
	for first != 0 && first <= last {
		batch := textindex.NewBatch()
		var ids []EmailID
		var e Email
		more := false
		err := c.tx.r.Scan(kv.Range{
			Start: key64(nil, c.id, kindEmail, first), End: key64(nil, c.id, kindEmail, last+1),
		}, func(key, value []byte) error {
			if len(ids) == feedEmails || batch.Bytes() > feedBytes {
				more = true
				return kv.Stop
			}
			id := emailOfKey(key)
			first = uint64(id) + 1
			if c.hurt.bodies[id] || c.hurt.emails[id] || e.decode(key, value) != nil {
				return nil // it could not be read then as it cannot now, or comes again
			}
			ids = append(ids, id)
			return c.tx.addText(batch, &e)
		})
		if err != nil {
			return wrap(err, "read emails")
		}
		want, err := batch.Sums(c.ctx)
		if err != nil {
			return err
		}
		for _, id := range ids {
			c.compareText(id, want[uint64(id)], sums[uint64(id)])
		}
		if !more {
			break
		}
	}
	return nil
}

func (c *checker) compareText(id EmailID, want, got uint64) {
	if want == got {
		return
	}
	c.hurt.index = true
	what := "its words in the index are not those of its text"
	if got == 0 {
		what = "its words are not in the index: no search finds them"
	}
	c.find("text-index", fmt.Sprintf("email %d", id), true, "%s", what)
}
