package store

import (
	"fmt"
	"runtime"
	"time"
)

// Query asks for entries. The zero Query is all entries of all mailboxes.
type Query struct {
	Mailboxes []MailboxID  // none: all
	Filter    Filter       // nil: all
	Sort      []Comparator // none: mailbox by mailbox, by UID
	Position  int          // entries to leave out at the beginning; negative: from the end
	Limit     int          // entries at most; 0: all
	Distinct  bool         // an email comes once, not once per mailbox
	// Each gets the hits of a mailbox, if there are any, as soon as it is through, and the Result has
	// none: what is found in many mailboxes need not be in memory all at once. The hits are valid in
	// the call only. Not together with Sort, Position or Limit.
	Each func(list *List, hits []Hit) error
	// In is looked at in the place of Mailboxes: a list that its owner knows, which need not be the
	// newest. nil: the newest list of each mailbox.
	In *List
	// Among leaves out entries with other UIDs, and costs nothing for them; in ascending order. nil:
	// all are looked at.
	Among []UIDRange
}

// Hit is an entry found by a Query.
type Hit struct {
	Mailbox MailboxID
	Score   uint8 // 1 to 100: how well it matches what is Fuzzy in the query
	Index   int   // position in the mailbox's List of the same transaction
	Entry   Entry
}

// Result is the answer to a Query.
type Result struct {
	Hits  []Hit // the window
	Total int   // before Position and Limit
}

// Filter is a condition on an entry and its email: And, Or, Not or one of the types below them.
type Filter interface {
	compile(q *querier) (node, error)
}

// The filters. Text is matched as a substring, without case, runs of white space as one blank; a
// word of the query that has marks matches only with these marks, one without matches with any
// (message.Fold). Empty text matches everything.
type (
	And []Filter // all of them; none: true
	Or  []Filter // any of them; none: false
	Not struct{ Filter Filter }

	UIDs []UIDRange // in any order
	// UIDsIn are those of one mailbox each; in mailboxes that are not named it is false.
	UIDsIn     map[MailboxID][]UIDRange
	HasFlags   Flags // all of these bits
	Keyword    string
	Larger     int64  // more bytes than this
	Smaller    int64  // fewer bytes than this
	SinceMod   ModSeq // ModSeq at or above, RFC 7162 §3.1.5
	InThread   ThreadID
	IsEmail    EmailID
	InMailbox  MailboxID // the email is (also) in this mailbox
	Attachment struct{}  // Email.HasAttachment

	// ReceivedIn, SavedIn and SentAt are true from Since to just before Before; zero is open.
	ReceivedIn struct{ Since, Before time.Time }
	SavedIn    struct{ Since, Before time.Time }
	SentAt     struct{ Since, Before time.Time }
	// SentOn compares the date as written in the Date field, whatever its zone, with the dates of
	// Since and Before, whatever theirs (RFC 9051 §6.4.4 SENTSINCE, SENTBEFORE, SENTON).
	SentOn struct{ Since, Before time.Time }

	// AddressText is found in the names and addresses of the field, written as Name <local@host>.
	AddressText struct {
		Field AddressField
		Text  string
	}
	SubjectText string
	// HeaderText is found in a field called Name; an empty Text asks for the field only.
	HeaderText struct{ Name, Text string }
	BodyText   string // in the text of the parts
	AnyText    string // in the header or the text of the parts
)

// queryStep is after how many entries a Query looks whether it is still wanted.
const queryStep = 4096

// querier runs one query.
type querier struct {
	tx   *Tx
	q    *Query
	root node
	hits []Hit
	seen map[EmailID]bool // of Distinct
	// wait are the hits that only their emails' rows can decide, in the order of the list.
	wait []int
	keep []bool // by hit, for those in wait

	leaves []*leaf // what is Fuzzy
	words  int     // in texts of it

	fold folder
}

// Query answers q. It reads lists, then the rows of emails whose entries leave a doubt, then the
// messages where the rows do. It ends with the context's error soon after the context is done.
// An email that is damaged matches no condition that asks for it.
func (tx *Tx) Query(q Query) (Result, error) {
	qr := &querier{tx: tx, q: &q, root: node{quick: always}}
	if q.Distinct {
		qr.seen = map[EmailID]bool{}
	}
	var err error
	if q.Filter != nil {
		if qr.root, err = q.Filter.compile(qr); err != nil {
			return Result{}, err
		}
	}
	boxes := q.Mailboxes
	if q.In != nil {
		boxes = []MailboxID{q.In.mailbox}
		if err := tx.need(q.In.mailbox, RightRead); err != nil {
			return Result{}, err
		}
	}
	if len(boxes) == 0 {
		if boxes, err = tx.readableMailboxes(); err != nil {
			return Result{}, err
		}
	}
	for _, id := range boxes {
		if err := qr.mailbox(id); err != nil {
			return Result{}, err
		}
	}
	if err := qr.sort(); err != nil {
		return Result{}, err
	}
	return qr.window(), nil
}

// everyMailbox returns all mailboxes of the account.
func (tx *Tx) everyMailbox() ([]MailboxID, error) {
	rows, err := tx.mailboxRows()
	ids := make([]MailboxID, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
	}
	return ids, err
}

// mailbox adds the hits of one mailbox.
func (q *querier) mailbox(id MailboxID) error {
	list := q.q.In
	if list == nil {
		var err error
		if list, err = q.tx.List(id); err != nil {
			return err
		}
	}
	begin, looked := len(q.hits), 0
	q.wait, q.keep = q.wait[:0], q.keep[:0]
	for i, e := range list.among(q.q.Among) {
		if looked++; looked%queryStep == 1 {
			runtime.Gosched()
			if err := q.tx.ctx.Err(); err != nil {
				return err
			}
		}
		v := q.root.quick(id, e)
		if v == no || q.seen[e.Email] {
			continue
		}
		if v == unknown {
			q.wait = append(q.wait, len(q.hits))
		}
		q.hits = append(q.hits, Hit{id, q.leastScore(), i, *e})
		q.keep = append(q.keep, v == yes)
	}
	if err := q.decide(begin); err != nil {
		return err
	}
	out := q.hits[:begin]
	for i, hit := range q.hits[begin:] {
		if q.keep[i] {
			if q.seen != nil {
				q.seen[hit.Entry.Email] = true
			}
			out = append(out, hit)
		}
	}
	q.hits = out
	if q.q.Each == nil || len(out) == begin {
		return nil
	}
	q.hits = out[:begin]
	return q.q.Each(list, out[begin:])
}

// yieldEvery is after how many rows a query lets others have the processor: whoever asks much must not
// make everybody else wait for the scheduler's ten milliseconds.
const yieldEvery = 32

// decide looks at the rows of the hits in wait.
func (q *querier) decide(begin int) error {
	const batch = 1024
	few := len(q.wait) <= keepRows
	entries := make([]Entry, 0, min(batch, len(q.wait)))
	c := &candidate{q: q}
	all := len(q.wait)
	for len(q.wait) > 0 {
		n := min(batch, len(q.wait))
		entries = entries[:0]
		for _, h := range q.wait[:n] {
			entries = append(entries, q.hits[h].Entry)
		}
		err := q.tx.eachRow(entries, few, func(i int, e *Email) error {
			h := q.wait[i]
			q.tx.progress.At(all-len(q.wait)+i, all)
			c.mailbox, c.entry, c.email = q.hits[h].Mailbox, &entries[i], e
			if i%yieldEvery == yieldEvery-1 {
				runtime.Gosched() // others have waited for a fraction of a millisecond
			}
			ok, err := c.examine()
			q.keep[h-begin] = ok
			q.hits[h].Score = q.relevancy()
			return err
		})
		if err != nil {
			return err
		}
		q.wait = q.wait[n:]
	}
	return nil
}

// window cuts the hits to Position and Limit.
func (q *querier) window() Result {
	total := len(q.hits)
	from := q.q.Position
	if from < 0 {
		from = max(0, total+from)
	}
	from = min(from, total)
	to := total
	if q.q.Limit > 0 {
		to = min(total, from+q.q.Limit)
	}
	return Result{Hits: q.hits[from:to:to], Total: total}
}

// errFilter is the error for a filter that cannot be.
func errFilter(what string) error { return fmt.Errorf("query: %s", what) }
