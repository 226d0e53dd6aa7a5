package store

import "sync/atomic"

// When a message was sent stands in its row, which SENTSINCE and its like had to read for every message
// of a mailbox. It never changes, and eight bytes hold it: what a search has read, the next one finds in
// memory.

const (
	// sentPage is how many emails, by their identifiers, are kept together.
	sentPage = 512
	// sentPageBytes is about what a page takes, and sentBytes bounds all of them: two million emails.
	sentPageBytes = 8*sentPage + 128
	sentBytes     = 16 << 20

	// A date is packed as its seconds since 1970 and, in the lowest bits, its zone: less than a day to
	// either side, so that 0 is no date.
	zoneBits = 18
	zoneZero = 1 << (zoneBits - 1)
)

type sentPageID struct {
	account AccountID
	page    uint64
}

// sentDates are packed dates of emails with neighbouring identifiers; 0 is not known yet.
type sentDates [sentPage]atomic.Int64

// sentReader knows the page of the email that was asked for last.
type sentReader struct {
	tx   *Tx
	at   sentPageID
	page *sentDates // nil: there is none
}

// turn goes to the page of an email.
func (r *sentReader) turn(id EmailID) {
	if at := (sentPageID{r.tx.id, uint64(id) / sentPage}); at != r.at {
		r.at = at
		r.page, _ = r.tx.s.sent.Get(at)
	}
}

// get returns an email's date: seconds since 1970, and its zone in seconds east.
func (r *sentReader) get(id EmailID) (sent, zone int64, ok bool) {
	r.turn(id)
	if r.page == nil {
		return 0, 0, false
	}
	v := r.page[uint64(id)%sentPage].Load()
	return v >> zoneBits, v&(1<<zoneBits-1) - zoneZero, v != 0
}

// keep notes what the row of an email says. What an Update reads may be its own, which can still be
// taken back.
func (r *sentReader) keep(e *Email) {
	sent, zone := e.sentUnix(), e.sentDate()-e.sentUnix()
	if r.tx.w != nil || zone <= -zoneZero || zone >= zoneZero || sent<<zoneBits>>zoneBits != sent {
		return
	}
	r.turn(e.ID)
	if r.page == nil {
		r.tx.s.sent.Put(r.at, new(sentDates), sentPageBytes)
		if r.page, _ = r.tx.s.sent.Get(r.at); r.page == nil {
			return
		}
	}
	r.page[uint64(e.ID)%sentPage].Store(sent<<zoneBits | (zone + zoneZero))
}

// bySent makes the node of a filter that needs the date of the Date field only.
func (q *querier) bySent(holds func(sent, zone int64) bool) (node, error) {
	r := &sentReader{tx: q.tx}
	return node{
		cost: costRow,
		quick: func(_ MailboxID, e *Entry) verdict {
			if sent, zone, ok := r.get(e.Email); ok {
				return verdictOf(holds(sent, zone))
			}
			return unknown
		},
		full: func(c *candidate) (bool, error) {
			r.keep(c.email)
			return holds(c.email.sentUnix(), c.email.sentDate()-c.email.sentUnix()), nil
		},
	}, nil
}
