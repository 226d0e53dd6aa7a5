package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tram/internal/kv"
)

// A dedupe row stands for a delivery whose acknowledgement the sender may not have seen, so that
// the same message sent again (RFC 1047) is not stored again:
//
//	expires(s since 1970) email thread n { mailbox uid saved(signed) }
//
// It is written in the delivery's transaction. When the sender is known to have seen the reply, an
// empty value takes its place, without a sync: should that be lost in a crash, an intended
// repetition within the lifetime is taken for the first; nothing worse.

const maxDedupeKey = 255

func dedupeKey(dst []byte, id AccountID, key []byte) []byte {
	return append(appendKey(dst, id, kindDedupe), key...)
}

// duplicate looks for an earlier delivery with the same key.
func (tx *Tx) duplicate(key []byte) (Appended, error) {
	if len(key) == 0 {
		return Appended{}, nil
	}
	if len(key) > maxDedupeKey {
		return Appended{}, fmt.Errorf("append: dedupe key of %d bytes", len(key))
	}
	tx.key = dedupeKey(tx.key[:0], tx.id, key)
	value, err := tx.r.Get(tx.key)
	if errors.Is(err, kv.ErrNotFound) || err == nil && len(value) == 0 {
		return Appended{}, nil
	}
	if err != nil {
		return Appended{}, wrap(err, "read dedupe row")
	}
	expires, done, err := decodeDedupe(tx.key, value)
	if err != nil || !expires.After(tx.clock()) {
		return Appended{}, nil // better twice than never
	}
	done.Duplicate = true
	// The first delivery may be committed and not yet on disk. Its acknowledgement must wait for
	// that, and waits when this transaction writes something.
	tx.dirty = true
	return done, nil
}

// remember writes the dedupe row of a delivery.
func (tx *Tx) remember(o AppendOptions, done Appended) error {
	if len(o.DedupeKey) == 0 {
		return nil
	}
	ttl := o.DedupeTTL
	if ttl <= 0 {
		ttl = tx.s.limits.Dedupe
	}
	tx.key = dedupeKey(tx.key[:0], tx.id, o.DedupeKey)
	return tx.set(appendDedupe(tx.value[:0], tx.clock().Add(ttl), done))
}

func appendDedupe(dst []byte, expires time.Time, a Appended) []byte {
	dst = appendUint(append(dst, version1), uint64(max(0, expires.Unix())))
	dst = appendUint(appendUint(dst, a.Email), a.Thread)
	dst = appendUint(dst, uint64(len(a.Entries)))
	for _, e := range a.Entries {
		dst = appendInt(appendUint(appendUint(dst, e.Mailbox), e.UID), e.Saved.Unix())
	}
	return dst
}

func decodeDedupe(key, value []byte) (expires time.Time, a Appended, err error) {
	d, err := unseal(key, value)
	if err != nil {
		return expires, a, err
	}
	expires = time.Unix(int64(d.uint()), 0)
	a = Appended{Email: EmailID(d.uint()), Thread: ThreadID(d.uint())}
	for range d.count(3) {
		p := place{Mailbox: MailboxID(d.uint32()), UID: UID(d.uint32()), Saved: d.int()}
		a.Entries = append(a.Entries, p.entry())
	}
	return expires, a, d.done(key)
}

// AckDedupe says that the sender of a delivery has seen that it was accepted: the same key again is
// a new delivery. It does not wait for the disk.
func (s *Store) AckDedupe(ctx context.Context, id AccountID, key []byte) error {
	if len(key) == 0 {
		return nil
	}
	err := s.db.Stage(kv.Freeing(ctx), kv.Pair{Key: dedupeKey(nil, id, key)})
	return wrap(err, "acknowledge delivery")
}
