package store

import (
	"errors"
	"slices"
	"time"
)

// verdict is what is known of an entry without its email.
type verdict uint8

const (
	no verdict = iota
	yes
	unknown
)

func verdictOf(b bool) verdict {
	if b {
		return yes
	}
	return no
}

// node is a compiled filter. quick judges by the entry alone. full, which may be nil when quick
// never says unknown, judges by the email; costs order the parts of And and Or.
type node struct {
	quick func(m MailboxID, e *Entry) verdict
	full  func(c *candidate) (bool, error)
	cost  int
	// scored says that full gives a score, and wants to be asked even when the answer is known.
	scored bool
}

// What a filter reads.
const (
	costEntry = iota
	costRow
	costState
	costHeader
	costBody
)

func always(MailboxID, *Entry) verdict { return yes }
func doubt(MailboxID, *Entry) verdict  { return unknown }

// candidate is an entry under examination.
type candidate struct {
	q       *querier
	mailbox MailboxID
	entry   *Entry
	email   *Email // nil when it cannot be read
}

// examine applies the whole filter.
func (c *candidate) examine() (bool, error) {
	for _, l := range c.q.leaves {
		l.score = 0
	}
	return c.holds(&c.q.root)
}

func (c *candidate) holds(n *node) (bool, error) {
	if v := n.quick(c.mailbox, c.entry); v != unknown {
		return v == yes, nil
	}
	if c.email == nil {
		return false, nil
	}
	ok, err := n.full(c)
	if lost(err) {
		c.q.tx.s.log.Error("email cannot be searched", "account", uint64(c.q.tx.id), "err", err)
		return false, nil
	}
	return ok, err
}

// byEntry makes the node of a filter that needs the entry only.
func byEntry(holds func(e *Entry) bool) (node, error) {
	return node{quick: func(_ MailboxID, e *Entry) verdict { return verdictOf(holds(e)) }}, nil
}

// byRow makes the node of a filter that needs the email row.
func byRow(holds func(e *Email) bool) (node, error) {
	return node{quick: doubt, cost: costRow, full: func(c *candidate) (bool, error) {
		return holds(c.email), nil
	}}, nil
}

func (q *querier) compileAll(filters []Filter) ([]node, int, error) {
	nodes := make([]node, len(filters))
	cost := 0
	for i, f := range filters {
		if f == nil {
			return nil, 0, errFilter("an empty filter among others")
		}
		var err error
		if nodes[i], err = f.compile(q); err != nil {
			return nil, 0, err
		}
		cost = max(cost, nodes[i].cost)
	}
	slices.SortStableFunc(nodes, func(a, b node) int { return a.cost - b.cost })
	return nodes, cost, nil
}

func (f And) compile(q *querier) (node, error) { return q.compileList(f, no) }
func (f Or) compile(q *querier) (node, error)  { return q.compileList(f, yes) }

// compileList makes the node of filters of which one with the verdict end decides, and the opposite
// holds when none has it.
func (q *querier) compileList(filters []Filter, end verdict) (node, error) {
	nodes, cost, err := q.compileAll(filters)
	if err != nil {
		return node{}, err
	}
	n := node{cost: cost, scored: slices.ContainsFunc(nodes, func(n node) bool { return n.scored })}
	// Every alternative of an Or counts for the score, while an And that fails has none.
	all := n.scored && end == yes
	n.quick = func(m MailboxID, e *Entry) verdict {
		v := verdictOf(end == no)
		for i := range nodes {
			switch nodes[i].quick(m, e) {
			case end:
				if !all {
					return end
				}
				if v != unknown {
					v = end
				}
			case unknown:
				v = unknown
			}
		}
		return v
	}
	n.full = func(c *candidate) (bool, error) {
		held := false
		for i := range nodes {
			ok, err := c.holds(&nodes[i])
			if err != nil || !all && ok == (end == yes) {
				return ok, err
			}
			held = held || ok
		}
		return end == no || held, nil
	}
	return n, nil
}

func (f Not) compile(q *querier) (node, error) {
	if f.Filter == nil {
		return node{}, errFilter("not of nothing")
	}
	before := len(q.leaves)
	in, err := f.Filter.compile(q)
	if err != nil {
		return node{}, err
	}
	for _, l := range q.leaves[before:] {
		l.muted = true // how well it does not match is nobody's question
	}
	return node{
		cost: in.cost,
		quick: func(m MailboxID, e *Entry) verdict {
			switch in.quick(m, e) {
			case yes:
				return no
			case no:
				return yes
			}
			return unknown
		},
		full: func(c *candidate) (bool, error) {
			ok, err := in.full(c)
			return !ok && err == nil, err
		},
	}, nil
}

func (f UIDs) compile(*querier) (node, error) {
	ranges := normalRanges(f)
	return byEntry(func(e *Entry) bool { return inRanges(ranges, e.UID) })
}

func (f UIDsIn) compile(*querier) (node, error) {
	ranges := make(map[MailboxID][]UIDRange, len(f))
	for m, rs := range f {
		ranges[m] = normalRanges(rs)
	}
	return node{quick: func(m MailboxID, e *Entry) verdict {
		return verdictOf(inRanges(ranges[m], e.UID))
	}}, nil
}

func (f HasFlags) compile(*querier) (node, error) {
	return byEntry(func(e *Entry) bool { return e.Flags&Flags(f) == Flags(f) })
}

func (f Larger) compile(*querier) (node, error) {
	return byEntry(func(e *Entry) bool { return int64(e.Size) > int64(f) })
}

func (f Smaller) compile(*querier) (node, error) {
	return byEntry(func(e *Entry) bool { return int64(e.Size) < int64(f) })
}

func (f SinceMod) compile(*querier) (node, error) {
	return byEntry(func(e *Entry) bool { return e.ModSeq >= ModSeq(f) })
}

func (f IsEmail) compile(*querier) (node, error) {
	return byEntry(func(e *Entry) bool { return e.Email == EmailID(f) })
}

func (f ReceivedIn) compile(*querier) (node, error) {
	in := span(f)
	return byEntry(func(e *Entry) bool { return in.has(e.Received) })
}

func (f Keyword) compile(q *querier) (node, error) {
	words, err := q.tx.Keywords()
	if err != nil {
		return node{}, err
	}
	if bit, ok := words.Bit(string(f)); ok {
		return HasFlags(bit).compile(q)
	}
	k := words.index(string(f))
	return node{
		cost: costState,
		quick: func(_ MailboxID, e *Entry) verdict {
			if k < 0 || e.Flags&MoreKeywords == 0 {
				return no
			}
			return unknown
		},
		full: func(c *candidate) (bool, error) {
			st, err := q.tx.state(c.entry.Email)
			return err == nil && slices.Contains(st.More, uint32(k)), err
		},
	}, nil
}

func (f InThread) compile(q *querier) (node, error) {
	row, err := q.tx.thread(ThreadID(f))
	if errors.Is(err, ErrNotFound) {
		row, err = &threadRow{}, nil
	}
	if err != nil {
		return node{}, err
	}
	return byEntry(func(e *Entry) bool {
		_, found := row.find(e.Email)
		return found
	})
}

func (f InMailbox) compile(q *querier) (node, error) {
	if have, err := q.tx.rightsTo(MailboxID(f)); q.tx.as != nil && (lost(err) || !have.Has(RightRead)) {
		return byEntry(func(*Entry) bool { return false })
	}
	return node{
		cost: costState,
		quick: func(m MailboxID, _ *Entry) verdict {
			if m == MailboxID(f) {
				return yes
			}
			return unknown
		},
		full: func(c *candidate) (bool, error) {
			st, err := q.tx.state(c.entry.Email)
			if err != nil {
				return false, err
			}
			_, in := st.in(MailboxID(f))
			return in, nil
		},
	}, nil
}

func (Attachment) compile(*querier) (node, error) {
	return byRow(func(e *Email) bool { return e.HasAttachment })
}

func (f SavedIn) compile(q *querier) (node, error) {
	in := span(f)
	return node{quick: doubt, cost: costState, full: func(c *candidate) (bool, error) {
		at, err := c.saved()
		return err == nil && in.has(at), err
	}}, nil
}

// saved is when the candidate came into its mailbox.
func (c *candidate) saved() (int64, error) {
	st, err := c.q.tx.state(c.entry.Email)
	if err != nil {
		return 0, err
	}
	for _, p := range st.Places {
		if p.Mailbox == c.mailbox {
			return p.Saved, nil
		}
	}
	return 0, damaged(nil, "email without the place it was found in")
}

func (f SentAt) compile(q *querier) (node, error) {
	in := span(f)
	return q.bySent(func(sent, _ int64) bool { return in.has(sent) })
}

func (f SentOn) compile(q *querier) (node, error) {
	in := span{Since: dateOnly(f.Since), Before: dateOnly(f.Before)}
	return q.bySent(func(sent, zone int64) bool { return in.has(sent + zone) })
}

// sentDate is the time that the Date field shows, as if it were UTC.
func (e *Email) sentDate() int64 {
	if !e.hasSent {
		return e.Received.Unix()
	}
	return e.sent + int64(e.zone)
}

// sentUnix is Sent in seconds since 1970.
func (e *Email) sentUnix() int64 {
	if !e.hasSent {
		return e.Received.Unix()
	}
	return e.sent
}

// dateOnly is the date that t shows in its own zone, at midnight UTC.
func dateOnly(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	y, m, d := t.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// span is a time from Since to just before Before, open where zero.
type span struct{ Since, Before time.Time }

func (s span) has(unix int64) bool {
	return (s.Since.IsZero() || unix >= ceilUnix(s.Since)) &&
		(s.Before.IsZero() || unix < ceilUnix(s.Before))
}

// ceilUnix is t in whole seconds, rounded up: stored times have no fractions.
func ceilUnix(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		return t.Unix() + 1
	}
	return t.Unix()
}
