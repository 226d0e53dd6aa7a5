package store

// stateRow is what can change of an email:
//
//	thread modseq flags n { keyword number } n { mailbox uid saved(signed) }
//	removed(signed) lastMailbox
//
// The flags are those of [Flags] without Deleted, Recent and MoreKeywords, which belong to entries
// or follow from the keyword numbers: places in the keyword table that have no bit. An email
// without places is recoverable; then removed is when it left the last, in seconds since 1970.
type stateRow struct {
	Thread  ThreadID // as in the email row, which is larger
	ModSeq  ModSeq
	Flags   Flags
	More    []uint32 // ascending
	Places  []place  // by mailbox; a mailbox comes at most once
	Removed int64
	Last    MailboxID
}

// place is an email's entry in a mailbox.
type place struct {
	Mailbox MailboxID
	UID     UID
	Saved   int64
}

// entryFlags are the flags that an entry has from its email.
func (s *stateRow) entryFlags() Flags {
	if len(s.More) > 0 {
		return s.Flags | MoreKeywords
	}
	return s.Flags
}

func (s *stateRow) in(m MailboxID) (UID, bool) {
	for _, p := range s.Places {
		if p.Mailbox == m {
			return p.UID, true
		}
	}
	return 0, false
}

func (s *stateRow) append(dst []byte) []byte {
	dst = appendUint(append(dst, version1), s.Thread)
	dst = appendUint(appendUint(dst, s.ModSeq), s.Flags)
	dst = appendUint(dst, uint64(len(s.More)))
	for _, k := range s.More {
		dst = appendUint(dst, k)
	}
	dst = appendUint(dst, uint64(len(s.Places)))
	for _, p := range s.Places {
		dst = appendInt(appendUint(appendUint(dst, p.Mailbox), p.UID), p.Saved)
	}
	return appendUint(appendInt(dst, s.Removed), s.Last)
}

// decode reads a row into s and reuses its slices.
func (s *stateRow) decode(key, value []byte) error {
	d, err := unseal(key, value)
	if err != nil {
		return err
	}
	s.Thread, s.ModSeq, s.Flags = ThreadID(d.uint()), ModSeq(d.uint()), Flags(d.uint())
	s.More, s.Places = s.More[:0], s.Places[:0]
	for range d.count(1) {
		s.More = append(s.More, d.uint32())
	}
	for range d.count(3) {
		s.Places = append(s.Places,
			place{Mailbox: MailboxID(d.uint32()), UID: UID(d.uint32()), Saved: d.int()})
	}
	s.Removed, s.Last = d.int(), MailboxID(d.uint32())
	return d.done(key)
}
