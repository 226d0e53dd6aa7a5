package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"tram/internal/kv"
	"tram/internal/message"
	"tram/internal/textindex"
)

// The text index is fed behind the mail: an account that has new emails is noted, and IndexText
// reads them and adds their words. Until then a search looks into those emails themselves, so what
// it finds never depends on how far the index has come.

const (
	feedEmails = 256     // emails that go into the index in one transaction, at most
	feedBytes  = 4 << 20 // text of one such transaction, at most, unless one email has more
	feedWait   = 64      // fewer new emails than this wait while more are coming
)

// unindexed notes the accounts that may have emails which the index does not cover. It is a hint
// of this process; at the start every account is noted.
type unindexed struct {
	mu       sync.Mutex
	accounts map[AccountID]bool // true: something came since the last round
	started  bool
}

func (u *unindexed) note(id AccountID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.accounts == nil {
		u.accounts = map[AccountID]bool{}
	}
	u.accounts[id] = true
}

// take returns the noted accounts, true for those that are still growing, and forgets them.
func (u *unindexed) take() map[AccountID]bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := u.accounts
	u.accounts = nil
	return all
}

// IndexText brings the text index up to date. It is meant to run every few seconds: an account
// into which mail is streaming is indexed in batches, a quiet one at the next round. A damaged email
// is left out of the index, and found by no text; an index that is damaged or of an earlier version is
// built anew, and until then a search looks into the mail.
func (s *Store) IndexText(ctx context.Context) error {
	if !s.indexed {
		return nil
	}
	if err := s.noteAll(ctx); err != nil {
		return err
	}
	var failed error
	batch := textindex.NewBatch()
	for id, growing := range s.unindexed.take() {
		if err := ctx.Err(); err != nil {
			s.unindexed.note(id)
			return err
		}
		err := s.indexAccount(ctx, id, growing, batch)
		switch {
		case errors.Is(err, textindex.ErrOutdated):
			s.log.Info("text index of an earlier version is built anew", "account", uint64(id))
			err = s.dropIndex(ctx, id)
			s.unindexed.note(id)
		case errors.Is(err, textindex.ErrDamaged):
			s.log.Error("text index is damaged and built anew", "account", uint64(id), "err", err)
			err = s.dropIndex(ctx, id)
			s.unindexed.note(id)
		}
		if err != nil {
			s.unindexed.note(id)
			failed = fmt.Errorf("index text of account %d: %w", id, err)
		}
	}
	return failed
}

// noteAll notes every account, once.
func (s *Store) noteAll(ctx context.Context) error {
	s.unindexed.mu.Lock()
	started := s.unindexed.started
	s.unindexed.started = true
	s.unindexed.mu.Unlock()
	if started {
		return nil
	}
	ids, err := s.Accounts(ctx)
	for _, id := range ids {
		s.unindexed.note(id)
	}
	return wrap(err, "list accounts for the text index")
}

func (s *Store) dropIndex(ctx context.Context, id AccountID) error {
	return s.db.Update(ctx, textindex.Scope(uint64(id)), func(txn kv.Txn) error {
		return textindex.Drop(txn, uint64(id))
	})
}

// indexAccount adds the emails of one account that are not in the index, oldest first.
func (s *Store) indexAccount(
	ctx context.Context, id AccountID, growing bool, batch *textindex.Batch,
) error {
	for {
		batch.Reset()
		upTo, more, err := s.gather(ctx, id, batch)
		if err != nil || upTo == 0 {
			return err
		}
		if growing && !more && batch.Emails() < feedWait {
			s.unindexed.mu.Lock()
			if s.unindexed.accounts == nil {
				s.unindexed.accounts = map[AccountID]bool{}
			}
			if _, again := s.unindexed.accounts[id]; !again {
				s.unindexed.accounts[id] = false // the next round takes them if it has become quiet
			}
			s.unindexed.mu.Unlock()
			return nil
		}
		err = s.db.Update(ctx, textindex.Scope(uint64(id)), func(txn kv.Txn) error {
			return batch.Commit(txn, uint64(id), uint64(upTo), s.living(txn, id))
		})
		if errors.Is(err, textindex.ErrOrder) {
			return nil // another node was faster
		}
		if err != nil || !more {
			return err
		}
	}
}

// living tells which emails still have a row, for a merge to leave the others out: by one scan of
// their keys, and not by a look for each.
func (s *Store) living(r kv.Reader, id AccountID) textindex.Living {
	return func(first, last uint64) (func(uint64) bool, error) {
		known := make([]uint64, (last-first)/64+1) // a bit for each email
		rng := kv.Range{Start: key64(nil, id, kindEmail, first),
			End: key64(nil, id, kindEmail, last+1), KeysOnly: true}
		err := r.Scan(rng, func(key, _ []byte) error {
			at := uint64(emailOfKey(key)) - first
			known[at/64] |= 1 << (at % 64)
			return nil
		})
		return func(email uint64) bool {
			at := email - first
			return email >= first && email <= last && known[at/64]&(1<<(at%64)) != 0
		}, err
	}
}

// gather reads the next emails and their text into batch. upTo is the last one looked at, 0 when
// there is none.
func (s *Store) gather(ctx context.Context, id AccountID, batch *textindex.Batch) (
	upTo EmailID, more bool, err error,
) {
	var newest uint64
	err = s.db.View(ctx, textindex.Scope(uint64(id)), func(r kv.Reader) error {
		newest, err = textindex.Newest(r, uint64(id))
		return err
	})
	if err != nil {
		return 0, false, err
	}
	a := s.Account(id)
	err = s.db.View(ctx, a.scope(), func(r kv.Reader) error {
		tx := a.newTx(ctx, r, nil)
		defer tx.end()
		rng := kv.Range{
			Start: key64(nil, id, kindEmail, newest+1),
			End:   appendKey(nil, id, kindEmail+1), Limit: feedEmails + 1,
		}
		n := 0
		return r.Scan(rng, func(key, value []byte) error {
			if n == feedEmails || batch.Bytes() > feedBytes {
				more = true
				return kv.Stop
			}
			n++
			runtime.Gosched() // nobody waits for the index
			upTo = emailOfKey(key)
			e := new(Email)
			if err := e.decode(key, value); err != nil {
				s.log.Warn("email is left out of the text index", "account", uint64(id),
					"email", uint64(upTo), "err", err)
				return nil
			}
			return tx.addText(batch, e)
		})
	})
	return upTo, more, err
}

// addText adds an email's words. Only the end of ctx is an error: what cannot be read is left out.
func (tx *Tx) addText(batch *textindex.Batch, e *Email) error {
	batch.Begin(uint64(e.ID))
	defer batch.End()
	batch.Write(textindex.Header, e.appendRowText(nil))
	m, err := e.Structure()
	if err == nil {
		err = tx.eachText(e, m, func(f textindex.Field, chunk []byte) { batch.Write(f, chunk) })
	}
	if err != nil && tx.ctx.Err() == nil {
		tx.s.log.Warn("email is left out of the text index", "account", uint64(tx.id),
			"email", uint64(e.ID), "err", err)
		return nil
	}
	return err
}

// appendRowText appends what searches of the subject and of addresses compare: it goes into the index
// as it stands in the row, whatever becomes of the same fields when the header is read.
func (e *Email) appendRowText(dst []byte) []byte {
	dst = append(append(dst, e.subject...), '\n')
	for f := From; f <= ReplyTo; f++ {
		dst = append(appendAddressText(dst, e, f), '\n')
	}
	return dst
}

// eachText gives the text by which an email is found, the header's values apart from the rest.
func (tx *Tx) eachText(
	e *Email, m *message.Message, fn func(textindex.Field, []byte),
) error {
	r := tx.Open(e)
	defer r.Close()
	header, body := headerAlone(m), bodyAlone(m)
	err := message.SearchText(r, header, tx.s.message.SearchText, func(chunk []byte) error {
		fn(textindex.Header, chunk)
		return tx.ctx.Err()
	})
	if err != nil {
		return err
	}
	return message.SearchText(r, body, tx.s.message.SearchText, func(chunk []byte) error {
		fn(textindex.Body, chunk)
		return tx.ctx.Err()
	})
}

// headerAlone is m without anything below its header, for SearchText.
func headerAlone(m *message.Message) *message.Message {
	alone := *m
	alone.Root = &message.Part{Header: m.Root.Header, Type: "application", Subtype: "octet-stream"}
	return &alone
}

// bodyAlone is m without its header, for SearchText.
func bodyAlone(m *message.Message) *message.Message {
	root := *m.Root
	root.Header = message.Span{}
	alone := *m
	alone.Root = &root
	return &alone
}
