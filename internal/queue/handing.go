package queue

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"tram/internal/envelope"
	"tram/internal/kv"
	"tram/internal/smtp"
)

// A row of handing stands for a recipient whom the queue has taken a message for, while the sender of
// the message may not have seen that it was taken, so that the same message handed over again (RFC
// 1047) is not taken twice:
//
//	version:1, until (zigzag queue time)
//
// It is written in the transaction that takes the message over, and outlives the item: that may be
// delivered before its sender comes again. When the sender is known to have seen the reply, an empty
// value takes its place, without a sync. Rows that are over are removed by later hand-overs, a few by
// each, which an index by their time finds.

// keySize is the size of envelope.Handing.Key.
const keySize = len(envelope.Handing{}.Key)

// forgetStep is how many rows that are over a hand-over removes.
const forgetStep = 8

// HandOver takes over envelopes that are made of one message: all of them, in one transaction, or none.
// Recipients for whom the queue has taken the message before, under the same Handing, are left out.
// ErrLoop: the message has been through too many servers (RFC 5321 §6.3).
func (q *Queue) HandOver(ctx context.Context, envs ...*envelope.Envelope) error {
	if len(envs) == 0 {
		return nil
	}
	for _, e := range envs {
		if e.Message != nil && e.Message.Received > q.o.Hops {
			return fmt.Errorf("forward %s after %d hops: %w", e.ID, e.Message.Received, ErrLoop)
		}
	}
	sh := q.shardOf(envs[0].Handing.Key, envs[0].Account)
	var recs []*record
	var taken []*envelope.Envelope
	err := q.update(ctx, sh, func(t *tx) error {
		recs, taken = nil, nil
		if err := t.forgetHandings(); err != nil {
			return err
		}
		for _, e := range envs {
			s := SubmissionOf(e)
			s.ContentHash = e.ContentHash
			var err error
			if s.Recipients, err = t.handOver(e); err != nil {
				return err
			}
			if len(s.Recipients) == 0 {
				continue
			}
			rec, err := q.newRecord(&s)
			if err == nil {
				err = q.accept(t, rec, &s)
			}
			if err != nil {
				return err
			}
			recs, taken = append(recs, rec), append(taken, e)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("hand over %s: %w", envs[0].ID, err)
	}
	for i, rec := range recs {
		taken[i].Body.Committed()
		q.submitted(sh, rec)
	}
	return nil
}

// accept writes a new item.
func (q *Queue) accept(t *tx, rec *record, s *Submission) error {
	rec.started = t.now
	for i := range rec.legs {
		rec.legs[i].due = t.now
	}
	if err := t.uniqueID(rec); err != nil {
		return err
	}
	if err := q.limitAccount(t, rec, s); err != nil {
		return err
	}
	return t.insert(q, rec, s.Body)
}

// shardOf is where a message is handed over: in the same shard whenever it comes, where the account that
// has sent it is counted.
func (q *Queue) shardOf(key [keySize]byte, account uint64) shard {
	return q.shardFor(ID(key[:]), account)
}

// handOver returns the recipients of e for whom the message was not taken yet, and remembers them.
func (t *tx) handOver(e *envelope.Envelope) ([]Recipient, error) {
	if e.Handing.For <= 0 {
		return e.Recipients, nil
	}
	var fresh []Recipient
	until := t.now.add(e.Handing.For)
	for _, rcpt := range e.Recipients {
		name := append(e.Handing.Key[:keySize:keySize], rcpt.Address.String()...)
		value, err := t.Get(t.s.handKey(name))
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return nil, err
		}
		if err == nil && stands(value, t.now) {
			// What was taken then may not be on disk yet. The reply must wait for that, and waits
			// when this transaction writes something.
			if err := t.Set(t.s.handKey(name), value); err != nil {
				return nil, err
			}
			continue
		}
		fresh = append(fresh, rcpt)
		if err := t.Set(t.s.handKey(name), appendHanding(nil, until)); err != nil {
			return nil, err
		}
		if err := t.Set(t.s.overKey(until, name), nil); err != nil {
			return nil, err
		}
	}
	return fresh, nil
}

// forgetHandings removes some rows that are over. One that was written anew meanwhile has a later entry
// in the index too.
func (t *tx) forgetHandings() error {
	prefix := t.s.prefix(overSub)
	var keys [][]byte
	err := t.Scan(kv.Range{Start: prefix, End: t.s.overKey(t.now+1, nil), KeysOnly: true, Limit: forgetStep},
		func(key, _ []byte) error {
			keys = append(keys, bytes.Clone(key))
			return nil
		})
	if err != nil {
		return err
	}
	for _, key := range keys {
		name := key[len(prefix)+8:]
		value, err := t.Get(t.s.handKey(name))
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		if err == nil && !stands(value, t.now) {
			if err := t.Delete(t.s.handKey(name)); err != nil {
				return err
			}
		}
		if err := t.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// HandedOver returns whom a message was taken for under a key, by an account or none, in the form of
// smtp.Address.String. What it returns is durable.
func (q *Queue) HandedOver(ctx context.Context, account uint64, key [keySize]byte) ([]string, error) {
	s := q.shardOf(key, account)
	prefix := s.handKey(key[:])
	var to []string
	err := q.o.DB.View(ctx, s.scope(), func(r kv.Reader) error {
		to = nil
		return r.Scan(kv.Prefix(prefix), func(k, value []byte) error {
			if stands(value, q.time.Now()) {
				to = append(to, string(k[len(prefix):]))
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("look for a message handed over before: %w", err)
	}
	return to, nil
}

// Seen says that the sender of a message has seen that it was taken for these recipients: the same
// message is a new one from now on. It does not wait for the disk.
func (q *Queue) Seen(ctx context.Context, account uint64, key [keySize]byte, to ...smtp.Address) error {
	sh := q.shardOf(key, account)
	var pairs []kv.Pair
	err := q.o.DB.View(ctx, sh.scope(), func(r kv.Reader) error {
		pairs = nil
		for _, a := range to {
			row := sh.handKey(append(key[:keySize:keySize], a.String()...))
			_, err := r.Get(row)
			if errors.Is(err, kv.ErrNotFound) {
				continue // over, and removed
			}
			if err != nil {
				return err
			}
			pairs = append(pairs, kv.Pair{Key: row})
		}
		return nil
	})
	if err == nil && len(pairs) > 0 {
		err = q.o.DB.Stage(kv.Freeing(ctx), pairs...)
	}
	if err != nil {
		return fmt.Errorf("acknowledge what was handed over: %w", err)
	}
	return nil
}

// handKey is the row of a recipient; name is the message's key and the address.
func (s shard) handKey(name []byte) []byte { return append(s.prefix(handSub), name...) }

// overKey is where it stands in the index of rows by the time when they are over.
func (s shard) overKey(until qtime, name []byte) []byte {
	return append(kv.AppendUint64(s.prefix(overSub), uint64(max(until, 0))), name...)
}

func appendHanding(dst []byte, until qtime) []byte {
	return binary.AppendVarint(append(dst, version), int64(until))
}

func decodeHanding(b []byte) (until qtime, err error) {
	d := decoder{b: b}
	d.version()
	until = qtime(d.int())
	return until, d.done()
}

// stands reports whether a row is neither acknowledged nor over. One that cannot be read is not believed:
// better twice than never.
func stands(value []byte, now qtime) bool {
	until, err := decodeHanding(value)
	return err == nil && until > now
}

// handings checks the rows of what was handed over.
func (c *shardCheck) handings() error {
	prefix := c.s.prefix(handSub)
	err := c.r.Scan(kv.Prefix(prefix), func(key, value []byte) error {
		if len(value) == 0 {
			return nil
		}
		until, err := decodeHanding(value)
		if err != nil || len(key) <= len(prefix)+keySize {
			return c.extra(key, "says of no message until when it is known")
		}
		return c.want(c.s.overKey(until, key[len(prefix):]), fmt.Sprintf("queue key %x", key),
			"would never be forgotten")
	})
	if err != nil {
		return err
	}
	return c.r.Scan(kv.Prefix(c.s.prefix(overSub)), func(key, _ []byte) error {
		if _, name, err := parseTimed(key); err != nil || len(name) <= keySize {
			return c.extra(key, "forgets no message")
		}
		return nil
	})
}
