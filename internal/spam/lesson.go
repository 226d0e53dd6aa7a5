package spam

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"

	"tram/internal/kv"
	"tram/internal/message"
	"tram/internal/spam/content"
	"tram/internal/spam/words"
)

// Lesson is what can be learned from a stored message.
type Lesson struct {
	text  words.Text
	names []name
}

// Lesson reads a stored message. Whom it came from is taken from the field that this server put on top
// of it, and from nothing below: what a sender wrote there teaches nothing.
func (j *Judge) Lesson(ctx context.Context, body io.ReaderAt, m *message.Message) Lesson {
	rep := content.Examine(ctx, body, m, j.contentOptions(ctx))
	return Lesson{text: textOf(m, rep), names: j.source(headerField(m.Header, "X-Spam-Status"))}
}

// source reads what Status wrote.
func (j *Judge) source(status string) []name {
	var out []name
	var client netip.Addr
	domain, sender := "", ""
	for _, word := range strings.Fields(status) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "client":
			if a, err := netip.ParseAddr(value); err == nil {
				client = a
				out = append(out, j.addrNames(a)...)
			}
		case "signer":
			out = append(out, name{nameSigner, value})
		case "domain":
			domain = value
			out = append(out, name{nameDomain, value})
		case "sender":
			sender = value
		}
	}
	switch {
	case sender == "":
	case domain != "":
		out = append(out, name{nameSender, sender})
	case client.IsValid():
		out = append(out, name{nameSender, sender + " " + network(client).String()})
	}
	return out
}

// Learn learns that a message is junk, or that it is not. account 0 with a zero address teaches for all.
func (j *Judge) Learn(ctx context.Context, to Person, l Lesson, id string, junk bool) error {
	kind, good, bad := "ham", 1.0, 0.0
	if junk {
		kind, good, bad = "spam", 0, 1
	}
	if j.o.Words != nil {
		if err := j.o.Words.Learn(ctx, words.Owner(to.Account), l.text, junk, id); err != nil {
			return fmt.Errorf("learn words: %w", err)
		}
	}
	j.experience(l.names, to, change{good: good, bad: bad})
	learnedMessages.WithLabelValues(kind).Inc()
	return nil
}

// Unlearn takes back what was learned from a message.
func (j *Judge) Unlearn(ctx context.Context, to Person, l Lesson, id string, junk bool) error {
	if j.o.Words != nil {
		if err := j.o.Words.Forget(ctx, words.Owner(to.Account), id); err != nil {
			return fmt.Errorf("forget words: %w", err)
		}
	}
	good, bad := -1.0, 0.0
	if junk {
		good, bad = 0, -1
	}
	j.experience(l.names, to, change{good: good, bad: bad})
	learnedMessages.WithLabelValues("undone").Inc()
	return nil
}

// Disliked is a weak sign against a message's source: it was thrown away unread.
func (j *Judge) Disliked(to Person, l Lesson) { j.experience(own(l.names), to, change{bad: 0.2}) }

// Learned is what was made of one email. Its row: version:1, Filed, Taught.
type Learned struct {
	Filed  byte // FiledJunk when the server had filed it as junk
	Taught byte // TaughtJunk, TaughtGood, or 0
}

// The values of Learned.
const (
	FiledJunk   = 'f'
	TaughtJunk  = 's'
	TaughtGood  = 'h'
	ThrownAway  = 't' // unread
	learnedSize = 3
)

func learnedKey(account, email uint64) []byte {
	return kv.AppendUint64(accountKey(learnedSub, account), email)
}

func decodeLearned(b []byte) (Learned, error) {
	if len(b) != learnedSize || b[0] != version {
		return Learned{}, fmt.Errorf("row of what was learned %x: %w", b, kv.ErrCorrupt)
	}
	return Learned{b[1], b[2]}, nil
}

// Filed notes that the server has filed an email as junk: when a person takes it out of there, that
// is a lesson.
func (j *Judge) Filed(account, email uint64) {
	f := &j.filed
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending == nil {
		f.pending = map[[2]uint64]bool{}
	}
	if len(f.pending) >= j.o.Limits.Pending {
		factsLost.WithLabelValues("filed").Inc()
		return
	}
	f.pending[[2]uint64{account, email}] = true
}

// filed are emails that were filed as junk and are not yet written.
type filed struct {
	mu      sync.Mutex
	pending map[[2]uint64]bool
}

func (j *Judge) flushFiled(ctx context.Context) error {
	f := &j.filed
	f.mu.Lock()
	pending := f.pending
	f.pending = nil
	f.mu.Unlock()
	byAccount := map[uint64][]uint64{}
	for k := range pending {
		byAccount[k[0]] = append(byAccount[k[0]], k[1])
	}
	for account, emails := range byAccount {
		err := j.o.DB.Update(ctx, learnScope(account), func(tx kv.Txn) error {
			for _, email := range emails {
				key := learnedKey(account, email)
				if _, err := tx.Get(key); !errors.Is(err, kv.ErrNotFound) {
					continue
				}
				if err := tx.Set(key, []byte{version, FiledJunk, 0}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			factsLost.WithLabelValues("filed").Add(float64(len(emails)))
			if !errors.Is(err, kv.ErrFull) {
				return fmt.Errorf("write what was filed as junk: %w", err)
			}
		}
	}
	return nil
}

// Progress is how far an account's changes were looked at, and what is known of some of its emails.
type Progress struct {
	Cursor  uint64
	Known   bool // there is a Cursor
	Learned map[uint64]Learned
}

// Progress reads it.
func (j *Judge) Progress(ctx context.Context, account uint64, emails []uint64) (Progress, error) {
	if err := j.flushFiled(ctx); err != nil {
		return Progress{}, err
	}
	p := Progress{Learned: map[uint64]Learned{}}
	err := j.o.DB.View(ctx, learnScope(account), func(r kv.Reader) error {
		b, err := r.Get(accountKey(cursorSub, account))
		switch {
		case err == nil:
			if p.Cursor, _, err = kv.TakeUint64(b); err != nil {
				return err
			}
			p.Known = true
		case !errors.Is(err, kv.ErrNotFound):
			return err
		}
		for _, email := range emails {
			b, err := r.Get(learnedKey(account, email))
			if errors.Is(err, kv.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if p.Learned[email], err = decodeLearned(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return p, fmt.Errorf("read what was learned of account %d: %w", account, err)
	}
	return p, nil
}

// SaveProgress writes it; an email whose Learned is zero, and those that are gone, are forgotten.
func (j *Judge) SaveProgress(ctx context.Context, account uint64, p Progress, gone []uint64) error {
	err := j.o.DB.Update(ctx, learnScope(account), func(tx kv.Txn) error {
		for email, l := range p.Learned {
			key := learnedKey(account, email)
			var err error
			if l == (Learned{}) {
				err = tx.Delete(key)
			} else {
				err = tx.Set(key, []byte{version, l.Filed, l.Taught})
			}
			if err != nil {
				return err
			}
		}
		for _, email := range gone {
			if err := tx.Delete(learnedKey(account, email)); err != nil {
				return err
			}
		}
		return tx.Set(accountKey(cursorSub, account), kv.AppendUint64(nil, p.Cursor))
	})
	if err != nil {
		return fmt.Errorf("write what was learned of account %d: %w", account, err)
	}
	return nil
}

// Forget removes all that is known of an account: when it is removed.
func (j *Judge) Forget(ctx context.Context, account uint64) error {
	scope := AccountScope(account)
	j.forgetBook(scope)
	j.habits.mu.Lock()
	delete(j.habits.seen, account)
	j.habits.mu.Unlock()
	for s, keys := range map[kv.Scope][][]byte{
		scopeRules:          {scopedKey(ruleSub, scope), scopedKey(policySub, scope)},
		scopeFacts:          {scopedKey(nameSub, scope), accountKey(knownSub, account), accountKey(habitSub, account)},
		learnScope(account): {accountKey(learnedSub, account), accountKey(cursorSub, account)},
	} {
		err := j.o.DB.Update(kv.Freeing(ctx), s, func(tx kv.Txn) error {
			for _, k := range keys {
				if err := tx.DeleteRange(k, kv.PrefixEnd(k)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("forget account %d: %w", account, err)
		}
	}
	if j.o.Words != nil {
		return j.o.Words.Remove(ctx, words.Owner(account))
	}
	return nil
}
