// Package spam answers "is this message wanted?": evidence comes in, one score with named reasons
// goes out, and what people do with their mail comes back as experience.
//
// The evidence of a message is gathered once ([Judge.Examine]); what it means to one person is then
// decided for each ([Judge.Decide]), with the person's lists, correspondents and habits. The inner
// rooms look at one kind of evidence each: content, words, sign.
//
// It promises that a message is accepted, accepted as junk, held where an administrator sees it, or
// refused while the sender's server listens; that every point of a score has a name that can be
// explained in a sentence; and that whatever cannot be found out in time speaks neither for nor
// against a message. Experience is kept in memory and written behind, many facts at a time: a crash
// loses some seconds of it, and no message waits for it.
//
// What must never happen: a message is dropped in silence; somebody's mail is refused because a list
// in the DNS went away; a forged name uses the good name of its owner, or ruins it.
package spam

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"tram/internal/clock"
	"tram/internal/dns"
	"tram/internal/kv"
	"tram/internal/limits"
	"tram/internal/metrics"
	"tram/internal/spam/content"
	"tram/internal/spam/unpack"
	"tram/internal/spam/words"
)

var (
	verdicts = metrics.CounterVec("spam_verdicts_total",
		"What was decided about messages, for one person each.", "verdict")
	learnedMessages = metrics.CounterVec("spam_learned_total",
		"Messages that were learned from, by what they were.", "kind")
	factsLost = metrics.CounterVec("spam_facts_lost_total",
		"Facts that were not learned because too many waited to be written, or storage refused them.", "kind")
)

// Options configure a Judge. DB is required.
type Options struct {
	DB       kv.Database
	Resolver dns.Resolver // of lists in the DNS; nil: none is asked
	Clock    clock.Clock
	Logger   *slog.Logger
	Limits   limits.Spam // the zero value means limits.Default().Spam
	Content  limits.Content
	Config   Config
	// Words learns what a person's junk looks like; nil: words are not looked at.
	Words *words.Classifier
	// Unpack opens attachments that hold others: see content.Options. Own are the domains of this server
	// and the names of its people. Both may be nil.
	Unpack func(ctx context.Context, name string, r io.Reader, size int64) (unpack.Result, error)
	Own    func(ctx context.Context) (domains *content.Domains, names map[string]bool)
	// Networks tells whose network an address is; nil: nobody knows.
	Networks *Networks
}

// Config is what an operator sets. The zero value is not usable: see DefaultConfig.
type Config struct {
	Policy Policy
	// Greylist asks unknown senders of doubtful mail to come again.
	Greylist bool
	Lists    []NameList
	// Outgoing is the score from which what our own people send is held; 0: never.
	Outgoing float64
}

// DefaultConfig is what holds when the operator has changed nothing.
func DefaultConfig() Config {
	return Config{Policy: Policy{Junk: 5, Reject: 15}, Greylist: true, Outgoing: 8}
}

// Judge decides about messages. It is safe for concurrent use.
type Judge struct {
	o Options

	lists   nameLists
	rules   ruleBooks
	names   names
	grey    greylist
	replays replays
	bombs   bombs
	known   correspondents
	habits  habits
	refused refusedLog
	told    told
	filed   filed

	tarpit struct {
		mu sync.Mutex
		n  int
	}
}

// New returns a Judge.
func New(o Options) *Judge {
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Limits == (limits.Spam{}) {
		o.Limits = limits.Default().Spam
	}
	if o.Content == (limits.Content{}) {
		o.Content = limits.Default().Content
	}
	j := &Judge{o: o}
	j.lists.init(o)
	return j
}

// chunk is how many rows one transaction of the writing job has: readers of the same rows wait for
// none, and a write that fails costs little.
const chunk = 500

// Flush writes what was learned since the last call. What storage refuses is lost and counted: a full
// disk must not fill the memory too.
func (j *Judge) Flush(ctx context.Context) error {
	return errors.Join(j.flushNames(ctx), j.flushGrey(ctx), j.flushKnown(ctx), j.flushHabits(ctx),
		j.flushRefused(ctx), j.flushFiled(ctx))
}

// Maintain forgets what is old and tests the lists. It is safe to cut at any point and to run on
// several machines.
func (j *Judge) Maintain(ctx context.Context) error {
	j.bombs.rest(j.o.Clock.Now(), max(j.o.Limits.BombQuiet, j.o.Limits.BombWindow))
	j.replays.rest(j.o.Clock.Now())
	return errors.Join(j.Flush(ctx), j.sweepNames(ctx), j.sweepGrey(ctx), j.sweepKnown(ctx),
		j.sweepRefused(ctx), j.sweepSuppressed(ctx), j.sweepTold(ctx))
}

// row is one write of the writing job.
type row struct{ key, value []byte }

// write writes rows in several transactions; a nil value removes.
func (j *Judge) write(ctx context.Context, kind string, rows []row) error {
	if err := j.o.DB.Full(); err != nil && len(rows) > 0 {
		factsLost.WithLabelValues(kind).Add(float64(len(rows)))
		return nil // the house says so itself
	}
	for len(rows) > 0 {
		part := rows[:min(len(rows), chunk)]
		err := j.o.DB.Update(ctx, scopeFacts, func(tx kv.Txn) error {
			for _, r := range part {
				var err error
				if r.value == nil {
					err = tx.Delete(r.key)
				} else {
					err = tx.Set(r.key, r.value)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			factsLost.WithLabelValues(kind).Add(float64(len(rows)))
			return err
		}
		rows = rows[len(part):]
	}
	return nil
}

// sweep removes the rows below a prefix that old names, a chunk at a time, and returns how many are
// left. Of those that are left beyond most, the first ones of the order go too when trim is set.
func (j *Judge) sweep(ctx context.Context, sub byte, old func(key, value []byte) bool) (left int, err error) {
	var dead []row
	from := kv.Prefix(prefix(sub))
	for {
		n, last := 0, []byte(nil)
		page := from
		page.Limit = 5000
		err := j.o.DB.View(ctx, scopeFacts, func(r kv.Reader) error {
			return r.Scan(page, func(key, value []byte) error {
				n++
				last = append(last[:0], key...)
				if old(key, value) {
					dead = append(dead, row{key: append([]byte(nil), key...)})
				} else {
					left++
				}
				return nil
			})
		})
		if err != nil {
			return left, err
		}
		if len(dead) >= chunk || n < page.Limit {
			if err := j.remove(ctx, dead); err != nil {
				return left, err
			}
			dead = dead[:0]
		}
		if n < page.Limit {
			return left, nil
		}
		from.Start = append(last, 0)
	}
}

// remove is write for rows that go: it works on a full disk too.
func (j *Judge) remove(ctx context.Context, rows []row) error {
	for len(rows) > 0 {
		part := rows[:min(len(rows), chunk)]
		err := j.o.DB.Update(kv.Freeing(ctx), scopeFacts, func(tx kv.Txn) error {
			for _, r := range part {
				if err := tx.Delete(r.key); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		rows = rows[len(part):]
	}
	return nil
}

// within reports whether then lies less than d before now; a clock that was set back does not make
// everything young for ever.
func within(now, then time.Time, d time.Duration) bool {
	age := now.Sub(then)
	return age < d && age > -d
}
