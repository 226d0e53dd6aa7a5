package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"tram/internal/blob"
	"tram/internal/kv"
	"tram/internal/message"
)

// emailRows goes over the emails, each with its state row.
func (c *checker) emailRows() error {
	var e Email
	return c.scan(kindEmail, func(key, value []byte) error {
		id := emailOfKey(key)
		c.step("emails")
		where := fmt.Sprintf("email %d", id)
		if id >= c.tx.row.NextEmail {
			c.find("next-id", where, true, "the next identifier is %d", c.tx.row.NextEmail)
		}
		st, stateErr := c.tx.state(id)
		if stateErr != nil && !lost(stateErr) {
			return stateErr
		}
		if stateErr != nil {
			c.find("email-state", where, true, "its state row: %v", stateErr)
			st = nil
		}
		if st != nil {
			where = c.locate(where, st)
		}
		if err := e.decode(key, value); err != nil {
			// From the body, as long as that is there.
			c.hurt.emails[id] = true
			c.find("damaged", where, true, "%v", err)
			if st != nil {
				c.state(id, nil, st)
			}
			return nil
		}
		if st != nil {
			c.state(id, &e, st)
		}
		return c.body(where, &e, value)
	})
}

// locate adds to an email where people find it.
func (c *checker) locate(where string, st *stateRow) string {
	for _, p := range st.Places {
		name := fmt.Sprintf("mailbox %d", p.Mailbox)
		if b := c.boxes[p.Mailbox]; b != nil && b.name != "" {
			name = b.name
		}
		where += fmt.Sprintf(", UID %d of %s", p.UID, name)
	}
	return where
}

// state compares a state row with the email and the entries that it names.
func (c *checker) state(id EmailID, e *Email, st *stateRow) {
	where := c.locate(fmt.Sprintf("email %d", id), st)
	c.threads[st.Thread]++
	if e != nil && st.Thread != e.Thread {
		c.hurt.threads[st.Thread], c.hurt.threads[e.Thread] = true, true
		c.find("thread", where, true, "is of thread %d, its state row says %d", e.Thread, st.Thread)
	}
	if st.ModSeq == 0 || st.ModSeq > c.tx.row.ModSeq {
		c.find("modseq", where, true, "has ModSeq %d, the account %d", st.ModSeq, c.tx.row.ModSeq)
	}
	c.stateKeywords(where, st)
	size := int64(-1)
	if e != nil {
		size = e.Blob.Size
	}
	for _, p := range st.Places {
		size = c.place(where, e, id, size, st, p)
	}
	size = max(size, 0)
	if len(st.Places) > 0 {
		c.usage.Bytes += size
		c.usage.Messages++
		return
	}
	c.usage.RecoverableBytes += size
	c.usage.RecoverableMessages++
	key := recoverKey(nil, c.id, st.Removed, id)
	value, err := c.tx.r.Get(key)
	if err == nil {
		_, err = decodeRecoverable(key, value)
	}
	if err != nil || st.Removed == 0 {
		c.find("recoverable", where, true, "is in no mailbox and not among the recoverable")
	}
}

func (c *checker) stateKeywords(where string, st *stateRow) {
	for k := range keywordBits {
		if st.Flags&(1<<(firstKeywordBit+k)) != 0 && k >= len(c.words.names) {
			c.find("keyword", where, true, "has keyword %d of %d", k, len(c.words.names))
		}
	}
	if st.Flags&(Deleted|Recent|MoreKeywords) != 0 {
		c.find("keyword", where, true, "has flags that belong to entries")
	}
	for i, k := range st.More {
		if k < keywordBits || int(k) >= len(c.words.names) || i > 0 && k <= st.More[i-1] {
			c.find("keyword", where, true, "has keyword %d of %d", k, len(c.words.names))
		}
	}
}

// place compares one place with the entry in the mailbox's list, and returns the email's size:
// where the email row cannot tell, the entry can.
func (c *checker) place(where string, e *Email, id EmailID, size int64, st *stateRow,
	p place) int64 {
	b := c.boxes[p.Mailbox]
	if b == nil {
		c.find("list-state", where, true, "is in mailbox %d, which does not exist", p.Mailbox)
		return size
	}
	i, ok := b.list.Find(p.UID)
	if !ok || b.list.At(i).Email != id {
		c.find("list-state", where, true, "has UID %d in mailbox %d, whose list does not have it",
			p.UID, p.Mailbox)
		return size
	}
	b.claimed[i/64] |= 1 << (i % 64)
	entry := b.list.At(i)
	if entry.Flags&^Deleted != st.entryFlags() {
		c.find("list-state", where, true, "has flags %x, its entry in mailbox %d %x",
			st.entryFlags(), p.Mailbox, entry.Flags)
	}
	if size >= 0 && int64(entry.Size) != size {
		c.find("list-state", where, true, "has %d bytes, its entry in mailbox %d %d", size,
			p.Mailbox, entry.Size)
	}
	if e != nil && entry.Received != e.Received.Unix() {
		c.find("list-state", where, true, "came at %d, its entry in mailbox %d says %d",
			e.Received.Unix(), p.Mailbox, entry.Received)
	}
	return max(size, int64(entry.Size))
}

// body checks that the email's body is referred to and, if asked, what is in it. row is the email
// row, which the body must give again.
func (c *checker) body(where string, e *Email, row []byte) error {
	linked, err := c.s.blobs.Linked(c.tx.r, e.Blob, c.tx.owner(e.ID))
	if err != nil && !errors.Is(err, kv.ErrCorrupt) {
		return err
	}
	if !linked {
		c.hurt.links[e.ID] = true
		c.find("blob-link", where, true, "its body does not know that it is referred to")
	}
	parsed, err := e.Structure()
	if err != nil && !c.o.Deep {
		c.hurt.emails[e.ID] = true
		c.find("structure", where, true, "%v", err)
	}
	if err == nil && !c.o.Deep {
		if err := c.lineForm(where, e.ID, lineFormOf(parsed), false); err != nil {
			return err
		}
	}
	if !c.o.Deep {
		return nil
	}
	fresh, err := c.tx.parse(e)
	if errors.Is(err, blob.ErrDamaged) || errors.Is(err, kv.ErrNotFound) {
		c.hurt.bodies[e.ID] = true
		c.find("blob-missing", where, false, "its body cannot be read: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	key := key64(nil, c.id, kindEmail, uint64(e.ID))
	want := seal(key, c.tx.appendEmail(nil, e.Thread, e.Blob, e.Received, fresh))
	if !bytes.Equal(want, row) {
		c.hurt.emails[e.ID] = true
		c.find("structure", where, true,
			"its envelope, structure or preview is not what its body gives")
		return nil
	}
	return c.lineForm(where, e.ID, lineFormOf(fresh), true)
}

// parse reads an email's body from end to end and makes its parse again.
func (tx *Tx) parse(e *Email) (*message.Message, error) {
	r := tx.s.blobs.OpenAnew(tx.r, e.Blob)
	defer r.Close()
	p := message.NewParser(tx.s.message)
	if _, err := r.WriteTo(p); err != nil {
		return nil, err
	}
	m := p.Finish()
	return m, measure(m, r)
}

// stateRows looks for state rows without email.
func (c *checker) stateRows() error {
	return c.scan(kindState, func(key, value []byte) error {
		_, err := c.tx.r.Get(key64(nil, c.id, kindEmail, uint64(emailOfKey(key))))
		if !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		var st stateRow
		where := fmt.Sprintf("email %d", emailOfKey(key))
		if err := st.decode(key, value); err == nil {
			where = c.locate(where, &st)
			c.state(emailOfKey(key), nil, &st)
		}
		c.find("email-row", where, true, "its row is missing, only its state is there")
		return nil
	})
}

func (c *checker) threadRows() error {
	err := c.scan(kindThread, func(key, value []byte) error {
		id := ThreadID(emailOfKey(key))
		row, err := decodeThread(key, value)
		if err != nil {
			c.bad(key, err, true)
			c.hurt.threads[id] = true
			delete(c.threads, id)
			return nil
		}
		where := fmt.Sprintf("thread %d", id)
		if id >= c.tx.row.NextThread {
			c.find("next-id", where, true, "the next identifier is %d", c.tx.row.NextThread)
		}
		if len(row.Members) == 0 || len(row.Members) != c.threads[id] {
			c.hurt.threads[id] = true
			c.find("thread", where, true, "has %d members, %d emails say so", len(row.Members),
				c.threads[id])
		}
		delete(c.threads, id)
		for i, m := range row.Members {
			if i > 0 && m.Email <= row.Members[i-1].Email {
				c.hurt.threads[id] = true
				c.find("thread", where, true, "members are out of order")
			}
			c.member1(where, id, m)
		}
		for _, h := range row.Hashes {
			if t, err := c.tx.threadOf(h); err != nil || t == 0 {
				c.hurt.threads[id] = true
				c.find("thread-index", where, true, "its hash %016x leads nowhere", h)
			}
		}
		return nil
	})
	for id, n := range c.threads {
		c.hurt.threads[id] = true
		c.find("thread", fmt.Sprintf("thread %d", id), true,
			"does not exist; %d emails are in it", n)
	}
	return err
}

// member1 compares one member of a thread with its state row.
func (c *checker) member1(where string, id ThreadID, m member) {
	st, err := c.tx.state(m.Email)
	if err != nil {
		c.hurt.threads[id] = true
		c.find("thread", where, true, "has email %d: %v", m.Email, err)
		return
	}
	if st.Thread != id || m.Hidden != (len(st.Places) == 0) {
		c.hurt.threads[id] = true
		c.find("thread", where, true,
			"has email %d, hidden %t, which is of thread %d in %d mailboxes",
			m.Email, m.Hidden, st.Thread, len(st.Places))
	}
}

func (c *checker) threadIndex() error {
	return c.scan(kindThreadOf, func(key, value []byte) error {
		d, err := unseal(key, value)
		t := ThreadID(d.uint())
		if err == nil {
			err = d.done(key)
		}
		if err != nil {
			c.bad(key, err, true)
			return nil
		}
		row, err := c.tx.thread(t)
		switch {
		case errors.Is(err, ErrNotFound):
			c.find("thread-index", describeKey(key), true,
				"leads to thread %d, which does not exist", t)
		case err == nil && !slices.Contains(row.Hashes, uint64(emailOfKey(key))):
			c.find("thread-index", describeKey(key), true,
				"leads to thread %d, which does not know it", t)
		case err != nil && !errors.Is(err, ErrDamaged):
			return err
		}
		return nil
	})
}

// recoverables looks for recoverable rows whose email is not recoverable.
func (c *checker) recoverables() error {
	return c.scan(kindRecover, func(key, value []byte) error {
		rec, err := decodeRecoverable(key, value)
		if err != nil {
			c.bad(key, err, true)
			return nil
		}
		st, err := c.tx.state(rec.Email)
		if err != nil && !lost(err) {
			return err
		}
		if err != nil || len(st.Places) > 0 || st.Removed != rec.Removed.Unix() {
			c.find("recoverable", describeKey(key), true,
				"email %d is not recoverable, or was removed at another time", rec.Email)
		}
		return nil
	})
}
