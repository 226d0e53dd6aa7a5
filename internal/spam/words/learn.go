package words

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"tram/internal/kv"
)

const (
	// firstLent is how many lessons of each kind any account may lend to the others; beyond them, no
	// account may lend more than a third of all.
	firstLent = 20
	// batch is how many lessons are learnt in one transaction.
	batch = 50
	// idKind begins the hash of a message's id.
	idKind = 255
)

// Lesson is a message to learn from.
type Lesson struct {
	Text Text
	Junk bool // else it is good
	// ID is the message's, unique among the owner's. What was learnt from it before is taken back when it
	// is learnt the other way, and learning it again changes nothing.
	ID string
}

// Learn learns that a message is junk, or that it is good. What an account teaches helps the others as
// well: a word that two accounts at least have taught counts for all, and no account teaches more than
// its share. What is learnt for Shared directly is the operator's, and counts at once.
func (c *Classifier) Learn(ctx context.Context, owner Owner, text Text, junk bool, id string) error {
	return c.LearnAll(ctx, owner, []Lesson{{text, junk, id}})
}

// LearnAll learns from many messages, in few transactions: all up to a lesson are learnt, or none of
// them. On an error it is safe to call it again with all of them.
func (c *Classifier) LearnAll(ctx context.Context, owner Owner, lessons []Lesson) error {
	if len(lessons) == 0 {
		return nil
	}
	key, err := c.makeHashing(ctx)
	if err != nil {
		return err
	}
	for len(lessons) > 0 {
		some := lessons[:min(len(lessons), batch)]
		lessons = lessons[len(some):]
		read := make([]lesson, len(some))
		for i := range some {
			read[i] = c.lesson(key, &some[i])
		}
		err := c.update(ctx, owner, func(s *student) error {
			for i := range read {
				if err := s.learn(read[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("learn words: %w", err)
		}
	}
	return nil
}

// lesson reads the words of a message.
func (c *Classifier) lesson(key sipKey, from *Lesson) lesson {
	r := newReader(key, c.limits.Tokens)
	defer r.free()
	r.read(&from.Text, &c.limits)
	l := lesson{junk: from.Junk, day: c.day(), id: idHash(key, from.ID), words: make([]uint64, len(r.list))}
	for i, t := range r.list {
		l.words[i] = t.hash
	}
	l.who = make([]byte, (len(l.words)+7)/8)
	return l
}

func idHash(key sipKey, id string) uint64 { return max(key.sum(idKind, []byte(id)), 1) }

func (c *Classifier) day() uint16 {
	return uint16(c.clock.Now().Unix() / int64(24*time.Hour/time.Second))
}

// Forget takes back what was learnt from a message. One that is not remembered, because it never was
// learnt or too many others have been since, changes nothing.
func (c *Classifier) Forget(ctx context.Context, owner Owner, id string) error {
	key, err := c.hashing(ctx)
	if err != nil || key == nil {
		return err
	}
	hash := idHash(*key, id)
	err = c.update(ctx, owner, func(s *student) error {
		_, err := s.forget(hash)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget words: %w", err)
	}
	return nil
}

// update changes what an owner has learnt, in one transaction, and tidies up behind it when that is due.
func (c *Classifier) update(ctx context.Context, owner Owner, change func(*student) error) error {
	var s *student
	err := c.db.Update(ctx, scope, func(txn kv.Txn) error {
		s = &student{c: c, txn: txn, owner: owner, who: map[uint64]int32{}}
		var err error
		if s.table, s.own, err = c.current(txn, owner); err != nil {
			return err
		}
		if s.table != nil {
			defer s.table.mu.RUnlock()
		}
		if owner != Shared {
			if s.shared, err = readMeta(txn, Shared); err != nil {
				return err
			}
		}
		if err := change(s); err != nil {
			return err
		}
		return s.finish()
	})
	if err != nil {
		return err
	}
	for _, o := range []struct {
		owner Owner
		m     *meta
	}{{owner, &s.own}, {Shared, &s.shared}} {
		if c.due(o.m) {
			if err := c.compact(ctx, o.owner); err != nil { // what was learnt is safe; the next lesson tries again
				c.log.Warn("tidying of learnt words failed", "owner", uint64(o.owner), "error", err)
			}
		}
	}
	return nil
}

// student changes what an owner has learnt, within a transaction.
type student struct {
	c       *Classifier
	txn     kv.Txn
	owner   Owner
	own     meta
	shared  meta // not used if the owner is Shared
	table   *table
	who     map[uint64]int32 // changes of count.who by the lessons of this transaction
	lessons int
}

// learn learns a lesson, after what was learnt from the same message before is taken back.
func (s *student) learn(l lesson) error {
	known, err := s.txn.Get(idKey(s.owner, l.id))
	switch {
	case errors.Is(err, kv.ErrNotFound):
	case err != nil:
		return err
	default:
		before, err := s.remembered(known)
		if err != nil {
			return err
		}
		if before != nil && before.junk == l.junk {
			return nil
		}
		if _, err := s.forget(l.id); err != nil {
			return err
		}
	}
	l.faded = s.own.faded
	switch {
	case s.owner == Shared:
		l.trusted = true
	case s.mayLend(l.junk):
		if err := s.lend(&l); err != nil {
			return err
		}
	}
	seq, err := s.write(s.owner, &s.own, &l)
	if err != nil {
		return err
	}
	s.lessons++
	return s.txn.Set(idKey(s.owner, l.id), binary.BigEndian.AppendUint64([]byte{version}, seq))
}

// remembered returns the lesson that the row of an id names, or nil.
func (s *student) remembered(row []byte) (*lesson, error) {
	if len(row) != 9 || row[0] != version {
		return nil, fmt.Errorf("read the number of a lesson: %w", kv.ErrCorrupt)
	}
	value, err := s.txn.Get(lessonKey(s.owner, binary.BigEndian.Uint64(row[1:])))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l, err := readLesson(value)
	return &l, err
}

// mayLend reports whether another lesson of the account may count for all.
func (s *student) mayLend(junk bool) bool {
	today := uint64(s.c.day())
	if today >= s.own.lentSince+uint64(s.c.limits.Fade/(24*time.Hour)) {
		s.own.lentSince, s.own.lentJunk, s.own.lentGood = today, 0, 0
	}
	lent, all := s.own.lentGood, s.shared.good
	if junk {
		lent, all = s.own.lentJunk, s.shared.junk
	}
	return lent < int64(s.c.limits.Lend) && (lent < firstLent || lent < all/3)
}

// lend makes the lesson of an account count for all: the account is a new witness of those words that no
// other of its lessons has.
func (s *student) lend(l *lesson) error {
	if s.shared.era == 0 {
		s.shared.era = newEra()
	}
	l.lent, l.shared, l.era = true, s.shared.faded, s.shared.era
	out := lesson{junk: l.junk, faded: s.shared.faded, day: l.day, words: l.words, who: make([]byte, len(l.who))}
	for i, w := range l.words {
		l.who[i/8] |= 1 << (i % 8)
		if s.whoOf(w) == 0 {
			out.who[i/8] |= 1 << (i % 8)
		}
		s.who[w]++
	}
	s.lentBy(l.junk, 1)
	_, err := s.write(Shared, &s.shared, &out)
	return err
}

func (s *student) lentBy(junk bool, n int64) {
	if junk {
		s.own.lentJunk = max(s.own.lentJunk+n, 0)
	} else {
		s.own.lentGood = max(s.own.lentGood+n, 0)
	}
}

// whoOf is how many of the account's lessons with a word count for all.
func (s *student) whoOf(w uint64) int64 {
	n := int64(s.who[w])
	if s.table != nil {
		n += int64(s.table.count(w).who)
	}
	return max(n, 0)
}

// forget takes the lesson of a message back, and reports whether there was one.
func (s *student) forget(id uint64) (bool, error) {
	row, err := s.txn.Get(idKey(s.owner, id))
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	l, err := s.remembered(row)
	if err != nil {
		return false, err
	}
	if err := s.txn.Delete(idKey(s.owner, id)); err != nil || l == nil {
		return false, err
	}
	seq := binary.BigEndian.Uint64(row[1:])
	if seq <= s.own.merged { // else others still have to read it
		if err := s.txn.Delete(lessonKey(s.owner, seq)); err != nil {
			return false, err
		}
	}
	back := *l
	back.back, back.of, back.id, back.day = true, seq, 0, s.c.day()
	// Counts that were halved since cannot be told apart any more; they fade by themselves.
	back.only = l.faded != s.own.faded
	if l.lent {
		if err := s.withdraw(&back); err != nil {
			return false, err
		}
	}
	_, err = s.write(s.owner, &s.own, &back)
	s.lessons++
	return true, err
}

// withdraw takes back what a lesson has given to all.
func (s *student) withdraw(back *lesson) error {
	out := lesson{junk: back.junk, back: true, only: back.shared != s.shared.faded, faded: s.shared.faded,
		day: back.day, words: back.words, who: make([]byte, len(back.who))}
	for i, w := range back.words {
		if s.whoOf(w) == 1 {
			out.who[i/8] |= 1 << (i % 8)
		}
		s.who[w]--
	}
	s.lentBy(back.junk, -1)
	if back.era != s.shared.era {
		return nil // all that was shared then has been removed
	}
	_, err := s.write(Shared, &s.shared, &out)
	return err
}

// write adds a lesson to an owner's.
func (s *student) write(owner Owner, m *meta, l *lesson) (seq uint64, err error) {
	if m.era == 0 {
		m.era = newEra()
	}
	m.seq++
	m.fresh += int64(len(l.words))
	if l.junk {
		m.junk += l.sign()
	} else {
		m.good += l.sign()
	}
	return m.seq, s.txn.Set(lessonKey(owner, m.seq), l.append(nil))
}

func (s *student) finish() error {
	if s.lessons == 0 {
		return nil
	}
	if err := s.own.write(s.txn, s.owner); err != nil || s.owner == Shared || s.shared.seq == 0 {
		return err
	}
	return s.shared.write(s.txn, Shared)
}

// newEra draws a number that is not 0.
func newEra() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return max(binary.LittleEndian.Uint64(b[:]), 1)
}

// hashing returns the key by which words are hashed; nil as long as nothing was ever learnt.
func (c *Classifier) hashing(ctx context.Context) (*sipKey, error) {
	c.keyLock.Lock()
	defer c.keyLock.Unlock()
	if c.key != nil {
		return c.key, nil
	}
	var salt []byte
	err := c.db.View(ctx, scope, func(r kv.Reader) error {
		row, err := r.Get([]byte{space, room, keyRow})
		salt = append([]byte(nil), row...)
		return err
	})
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return c.setKey(salt)
}

// setKey makes the key of what is stored and of the secret. keyLock is held.
func (c *Classifier) setKey(salt []byte) (*sipKey, error) {
	if len(salt) != 17 || salt[0] != version {
		return nil, fmt.Errorf("read the key of the classifier: %w", kv.ErrCorrupt)
	}
	h := hmac.New(sha256.New, c.secret)
	h.Write([]byte("words of the classifier\x00")) // the secret may have other uses
	h.Write(salt)
	key := newKey([16]byte(h.Sum(nil)))
	c.key = &key
	return c.key, nil
}

// makeHashing is hashing that makes the key when there is none.
func (c *Classifier) makeHashing(ctx context.Context) (sipKey, error) {
	key, err := c.hashing(ctx)
	if err != nil {
		return sipKey{}, err
	}
	if key != nil {
		return *key, nil
	}
	fresh := make([]byte, 17)
	fresh[0] = version
	rand.Read(fresh[1:])
	var salt []byte
	err = c.db.Update(ctx, scope, func(txn kv.Txn) error {
		row := []byte{space, room, keyRow}
		known, err := txn.Get(row)
		if errors.Is(err, kv.ErrNotFound) {
			salt = fresh
			return txn.Set(row, fresh)
		}
		salt = append([]byte(nil), known...)
		return err
	})
	if err != nil {
		return sipKey{}, fmt.Errorf("make the key of the classifier: %w", err)
	}
	c.keyLock.Lock()
	defer c.keyLock.Unlock()
	key, err = c.setKey(salt)
	if err != nil {
		return sipKey{}, err
	}
	return *key, nil
}
