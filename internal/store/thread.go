package store

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"unicode"

	"tram/internal/kv"
	"tram/internal/message"
)

// A thread row has the emails of a thread, and under which hashes it is found:
//
//	n { email hidden:1 received(signed) } n { hash:8, little endian }
//
// hidden is set for emails in the recoverable area. A thread index row, under the hash of a message
// identifier and a base subject, has: thread.
//
// Two emails are in one thread when a message identifier of one's Message-ID, In-Reply-To or
// References is among the other's, and their base subjects are the same (RFC 8621 §3). The thread
// of the nearest relative is taken. Threads that turn out later to belong together stay apart, as
// an email's ThreadID is immutable.
type threadRow struct {
	Members []member // by email
	Hashes  []uint64
}

type member struct {
	Email    EmailID
	Hidden   bool
	Received int64
}

// maxThread is how many emails a thread has at most: its row is rewritten with each. What comes
// later begins a thread of its own, which the following join.
const maxThread = 500

// maxHashes bounds the identifiers of one email that are looked up.
const maxHashes = 128

func (t *threadRow) append(dst []byte) []byte {
	dst = appendUint(append(dst, version1), uint64(len(t.Members)))
	for _, m := range t.Members {
		dst = appendInt(appendBool(appendUint(dst, m.Email), m.Hidden), m.Received)
	}
	dst = appendUint(dst, uint64(len(t.Hashes)))
	for _, h := range t.Hashes {
		dst = append(dst, byte(h), byte(h>>8), byte(h>>16), byte(h>>24),
			byte(h>>32), byte(h>>40), byte(h>>48), byte(h>>56))
	}
	return dst
}

func decodeThread(key, value []byte) (*threadRow, error) {
	d, err := unseal(key, value)
	if err != nil {
		return nil, err
	}
	t := &threadRow{}
	for range d.count(3) {
		t.Members = append(t.Members,
			member{Email: EmailID(d.uint()), Hidden: d.byte() != 0, Received: d.int()})
	}
	for range d.count(8) {
		var h uint64
		for i, b := range d.raw(8) {
			h |= uint64(b) << (8 * i)
		}
		t.Hashes = append(t.Hashes, h)
	}
	return t, d.done(key)
}

func (t *threadRow) find(id EmailID) (int, bool) {
	return slices.BinarySearchFunc(t.Members, id, func(m member, id EmailID) int {
		return cmp.Compare(m.Email, id)
	})
}

// threadHash is 64-bit FNV-1a of a message identifier, a zero byte and a base subject without white
// space and case. It is stored: it must never change.
func threadHash(id, subject string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := 0; i < len(id); i++ {
		h = (h ^ uint64(id[i])) * prime
	}
	h *= prime
	for i := 0; i < len(subject); i++ {
		h = (h ^ uint64(subject[i])) * prime
	}
	return h
}

// threadSubject is the form of a base subject in which those of one thread are the same.
func threadSubject(base string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, base)
}

// threadHashes returns the hashes of a message, the nearest relative first: In-Reply-To, References
// from the last to the first, Message-ID.
func threadHashes(dst []uint64, m *message.Message) []uint64 {
	if m.MessageID == "" && len(m.InReplyTo) == 0 && len(m.References) == 0 {
		return dst
	}
	subject := threadSubject(m.BaseSubject)
	add := func(id string) {
		if h := threadHash(id, subject); len(dst) < maxHashes && !slices.Contains(dst, h) {
			dst = append(dst, h)
		}
	}
	if m.MessageID != "" {
		add(m.MessageID)
	}
	for _, id := range m.InReplyTo {
		add(id)
	}
	for _, id := range slices.Backward(m.References) {
		add(id)
	}
	if m.MessageID != "" {
		dst = append(dst[1:], dst[0])
	}
	return dst
}

// joinThread puts a new email into the thread of its relatives or a new one.
func (tx *Tx) joinThread(id EmailID, received int64, m *message.Message) (ThreadID, error) {
	hashes := threadHashes(make([]uint64, 0, 8), m)
	thread, row, missing, err := tx.findThread(hashes)
	if err != nil {
		return 0, err
	}
	if thread == 0 {
		thread, row, missing = tx.row.NextThread, &threadRow{}, hashes
		tx.row.NextThread++
	}
	was := row.visible()
	row.Members = append(row.Members, member{Email: id, Received: received})
	tx.logThread(thread, was, was+1)
	for _, h := range missing {
		tx.key = key64(tx.key[:0], tx.id, kindThreadOf, h)
		if err := tx.set(appendUint(append(tx.value[:0], version1), thread)); err != nil {
			return 0, err
		}
		if !slices.Contains(row.Hashes, h) {
			row.Hashes = append(row.Hashes, h)
		}
	}
	return thread, tx.writeThread(thread, row)
}

// findThread returns the first thread that one of hashes leads to and that has room, and the hashes
// that do not lead there yet. Without one the thread is 0.
func (tx *Tx) findThread(hashes []uint64) (ThreadID, *threadRow, []uint64, error) {
	found := make([]ThreadID, len(hashes))
	var full []ThreadID
	var thread ThreadID
	var row *threadRow
	for i, h := range hashes {
		t, err := tx.threadOf(h)
		if err != nil {
			return 0, nil, nil, err
		}
		found[i] = t
		if t == 0 || thread != 0 || slices.Contains(full, t) {
			continue
		}
		r, err := tx.thread(t)
		switch {
		case lost(err):
			full = append(full, t) // a new thread takes its place
		case err != nil:
			return 0, nil, nil, err
		case len(r.Members) >= maxThread:
			full = append(full, t)
		default:
			thread, row = t, r
		}
	}
	if thread == 0 {
		return 0, nil, nil, nil
	}
	var missing []uint64
	for i, h := range hashes {
		// What leads to another living thread goes on leading there.
		if found[i] == 0 || slices.Contains(full, found[i]) {
			missing = append(missing, h)
		}
	}
	return thread, row, missing, nil
}

// threadOf returns the thread a hash leads to, 0 for none.
func (tx *Tx) threadOf(h uint64) (ThreadID, error) {
	tx.key = key64(tx.key[:0], tx.id, kindThreadOf, h)
	value, err := tx.r.Get(tx.key)
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, wrap(err, "read thread index")
	}
	d, err := unseal(tx.key, value)
	if err != nil {
		return 0, nil // a damaged row leads nowhere; it will be written anew
	}
	t := ThreadID(d.uint())
	if d.done(tx.key) != nil {
		return 0, nil
	}
	return t, nil
}

func (tx *Tx) thread(id ThreadID) (*threadRow, error) {
	tx.key = key64(tx.key[:0], tx.id, kindThread, uint64(id))
	value, err := tx.r.Get(tx.key)
	if err != nil {
		return nil, wrap(err, "read thread")
	}
	return decodeThread(tx.key, value)
}

func (tx *Tx) writeThread(id ThreadID, t *threadRow) error {
	tx.key = key64(tx.key[:0], tx.id, kindThread, uint64(id))
	return tx.set(t.append(tx.value[:0]))
}

// Thread returns the emails of a thread that are in a mailbox, the oldest first (RFC 8621 §3).
func (tx *Tx) Thread(id ThreadID) ([]EmailID, error) {
	row, err := tx.thread(id)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(row.Members, func(a, b member) int {
		return cmp.Compare(a.Received, b.Received)
	})
	var out []EmailID
	for _, m := range row.Members {
		if m.Hidden {
			continue
		}
		switch err := tx.needEmail(m.Email); {
		case err == nil:
			out = append(out, m.Email)
		case !lost(err):
			return nil, err
		}
	}
	if len(out) == 0 {
		return nil, wrap(ErrNotFound, "read thread")
	}
	return out, nil
}

// hideInThread marks an email as recoverable, or as back.
func (tx *Tx) hideInThread(thread ThreadID, id EmailID, hidden bool) error {
	row, err := tx.thread(thread)
	if lost(err) {
		tx.s.log.Error("thread cannot be changed", "account", uint64(tx.id), "err", err)
		return nil
	}
	if err != nil {
		return err
	}
	i, found := row.find(id)
	if !found || row.Members[i].Hidden == hidden {
		return nil
	}
	was := row.visible()
	row.Members[i].Hidden = hidden
	tx.logThread(thread, was, row.visible())
	return tx.writeThread(thread, row)
}

func (t *threadRow) visible() int {
	n := 0
	for _, m := range t.Members {
		if !m.Hidden {
			n++
		}
	}
	return n
}

// logThread notes that the number of a thread's emails that are in a mailbox has changed.
func (tx *Tx) logThread(id ThreadID, was, now int) {
	kind := updated
	switch {
	case was == 0:
		tx.log.Threads = comesBack(tx.log.Threads, uint64(id))
		return
	case now == 0:
		kind = destroyed
	}
	tx.log.Threads[kind] = append(tx.log.Threads[kind], uint64(id))
}

// leaveThread takes a purged email out of its thread; with the last one the thread goes.
func (tx *Tx) leaveThread(thread ThreadID, id EmailID) error {
	row, err := tx.thread(thread)
	if lost(err) {
		return nil
	}
	if err != nil {
		return err
	}
	i, found := row.find(id)
	if !found {
		return nil
	}
	was := row.visible()
	row.Members = slices.Delete(row.Members, i, i+1)
	if now := row.visible(); now != was {
		tx.logThread(thread, was, now)
	}
	if len(row.Members) > 0 {
		return tx.writeThread(thread, row)
	}
	// A hash may by now lead to a younger thread, which keeps it.
	for _, h := range row.Hashes {
		t, err := tx.threadOf(h)
		if err != nil {
			return err
		}
		if t == thread {
			if err := tx.w.Delete(key64(nil, tx.id, kindThreadOf, h)); err != nil {
				return err
			}
		}
	}
	return tx.w.Delete(key64(nil, tx.id, kindThread, uint64(thread)))
}
