package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"tram/internal/kv"
)

// sentRow is what an account has sent. Its row: version:1, day, messages of it, new recipients of
// it, minute, messages of it, all but the first varints. Days and minutes are of queue time, so a
// clock that jumps does not give an account another day.
type sentRow struct {
	day      int
	messages int
	fresh    int // addresses it had not written to before
	minute   int64
	burst    int
}

func (r *sentRow) appendBinary(dst []byte) []byte {
	e := encoder{dst}
	e.byte(version)
	for _, n := range [...]int64{int64(r.day), int64(r.messages), int64(r.fresh), r.minute,
		int64(r.burst)} {
		e.uint(uint64(n))
	}
	return e.b
}

func decodeSent(b []byte) (sentRow, error) {
	d := decoder{b: b}
	d.version()
	r := sentRow{day: d.small(), messages: d.small(), fresh: d.small(), minute: int64(d.uint()),
		burst: d.small()}
	return r, d.done()
}

const day = 24 * time.Hour

// limitAccount counts a submission of an account against its limits, which stop a stolen one: what
// exceeds a day's messages or a day's new recipients is held for an operator, what exceeds a
// minute's messages until its minute comes. Only recipients outside count. A limit of 0 is none.
func (q *Queue) limitAccount(t *tx, r *record, s *Submission) error {
	r.held, r.reason, r.holdUntil = false, "", s.HoldUntil
	if s.HoldUntil.After(r.created) {
		r.reason = "until " + s.HoldUntil.UTC().Format(time.RFC3339)
	} else {
		r.holdUntil = time.Time{}
	}
	if s.HoldReason != "" {
		// Beside the sender's wish for later: a hold that ends by itself is no hold for a doubtful one.
		r.reason = clip(s.HoldReason, maxReplyText)
		if r.held = s.Account != 0 || r.holdUntil.IsZero(); r.held {
			r.holdUntil = time.Time{}
		}
	}
	if r.account == 0 || !r.leaves() {
		return nil
	}
	row, err := t.sent(r.account)
	if err != nil {
		return err
	}
	row.messages++
	fresh, err := t.freshRecipients(r)
	if err != nil {
		return err
	}
	row.fresh += fresh
	if !r.held {
		q.judge(t, r, &row)
	}
	return t.Set(t.s.sentKey(r.account), row.appendBinary(nil))
}

// judge holds an item whose account has gone too far.
func (q *Queue) judge(t *tx, r *record, row *sentRow) {
	l := &q.o.Limits
	switch {
	case l.PerDay > 0 && row.messages > l.PerDay:
		r.held = true
		r.reason = fmt.Sprintf("account limit: more than %d messages a day", l.PerDay)
	case l.NewPerDay > 0 && row.fresh > l.NewPerDay:
		r.held = true
		r.reason = fmt.Sprintf("account limit: more than %d new recipients a day", l.NewPerDay)
	case l.Burst > 0:
		if wait := row.spread(t.now, l.Burst); wait > 0 && r.holdUntil.IsZero() {
			r.holdUntil = r.created.Add(wait)
			r.reason = fmt.Sprintf("account limit: more than %d messages a minute", l.Burst)
		}
	}
}

// leaves reports whether an item has recipients outside.
func (r *record) leaves() bool {
	for i := range r.legs {
		if r.legs[i].dest != destLocal {
			return true
		}
	}
	return false
}

// sent reads what an account has sent, with a new day begun if there is one.
func (t *tx) sent(account uint64) (sentRow, error) {
	var row sentRow
	b, err := t.Get(t.s.sentKey(account))
	if err == nil {
		row, err = decodeSent(b)
	}
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return row, fmt.Errorf("counters of account %d: %w", account, err)
	}
	if today := int(t.now / qtime(day.Milliseconds())); today != row.day {
		row.day, row.messages, row.fresh = today, 0, 0
	}
	return row, nil
}

// spread counts a message in the first minute that has room for it, and returns how long that is
// from now.
func (r *sentRow) spread(now qtime, burst int) time.Duration {
	minute := int64(now) / time.Minute.Milliseconds()
	if minute > r.minute {
		r.minute, r.burst = minute, 0
	}
	if r.burst >= burst {
		r.minute++
		r.burst = 0
	}
	r.burst++
	start := qtime(r.minute * time.Minute.Milliseconds())
	return max(start.sub(now), 0)
}

// freshRecipients counts the recipients outside that the account had not written to before, and
// remembers them: the day's number, 4 octets, under each.
func (t *tx) freshRecipients(r *record) (int, error) {
	fresh := 0
	for i := range r.rcpts {
		rcpt := &r.rcpts[i]
		if r.legs[rcpt.leg].dest == destLocal {
			continue
		}
		key := t.s.knownKey(r.account, rcpt.Address.String())
		_, err := t.Get(key)
		if err == nil {
			continue
		}
		if !errors.Is(err, kv.ErrNotFound) {
			return 0, err
		}
		fresh++
		today := uint32(t.now / qtime(day.Milliseconds()))
		if err := t.Set(key, binary.BigEndian.AppendUint32(nil, today)); err != nil {
			return 0, err
		}
	}
	return fresh, nil
}
