package imapd

import (
	"tram/internal/imap"
)

const (
	// minBatch is the smallest batch a client may ask for, RFC 10022 §3.1.3.
	minBatch = 500
	// maxBatched is how many messages the batches that a client names may hold together, RFC 10022
	// §3.1.5.
	maxBatched = 100000
)

// uidBatches is UIDBATCHES, RFC 10022: ranges of UIDs that cut the mailbox into batches of so many
// messages, the newest first. A mailbox's list is one array, so each batch costs two steps however
// large it is, and every batch but the last has exactly the size that was asked for.
func (s *session) uidBatches() error {
	d := s.dec
	d.SP()
	size := d.NonZero()
	first, last := uint32(1), uint32(0)
	ranged := d.TrySP()
	if ranged {
		first = d.NonZero()
		d.Expect(':')
		last = d.NonZero()
	}
	if err := s.args(); err != nil {
		return err
	}
	switch {
	case ranged && last < first:
		return &imap.Error{Code: "CLIENTBUG", Text: "The range of batches runs backwards"}
	case size < minBatch:
		return &no{"TOOFEW", "A batch has 500 messages or more"}
	case ranged && (uint64(last-first)+1)*uint64(size) > maxBatched:
		return &no{"TOOMANY", "The batches would have more than 100000 messages"}
	}
	if err := s.catchUp(mayExpunge); err != nil {
		return err
	}
	b := append(*s.buf(), "* UIDBATCHES (TAG "...)
	b = append(imap.AppendString(b, s.tag, false), ')')
	sep := byte(' ')
	for k := first; !ranged || k <= last; k++ {
		high, low, ok := s.sel.batch(int64(k), int64(size))
		if !ok {
			break
		}
		b = imap.AppendNumber(append(b, sep), high)
		b = imap.AppendNumber(append(b, ':'), low)
		sep = ','
	}
	*s.buf() = append(b, "\r\n"...)
	return s.spill()
}

// batch returns the range of UIDs of the k-th batch, counted from the newest message and from 1. The
// ranges leave no gap between them, and the last one reaches down to 1.
func (v *view) batch(k, size int64) (high, low uint32, ok bool) {
	above := (k - 1) * size // so many messages are in the batches before it
	n := int64(v.list.Len())
	if above >= n {
		return 0, 0, false
	}
	high, low = v.largestUID(), 1
	if above > 0 {
		high = uint32(v.list.At(int(n-above)).UID) - 1
	}
	if rest := n - above - size; rest > 0 {
		low = uint32(v.list.At(int(rest)).UID)
	}
	return high, low, true
}
