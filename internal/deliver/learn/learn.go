// Package learn answers "what do people's acts say about their mail?": it reads the changes of their
// accounts behind their backs, sees what they move into and out of their junk mail, what they answer
// and what they throw away unread, and teaches the spam room.
//
// It promises that a message teaches once, however often its flags change; that what was taught by
// mistake is taken back when the message is moved back; and that nobody waits for it: changes are
// looked at a bounded number at a time, in a job that may be cut anywhere and goes on from there.
//
// What must never happen: a verdict of the server's own is learned as if a person had made it.
package learn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"

	"tram/internal/directory"
	"tram/internal/limits"
	"tram/internal/message"
	"tram/internal/spam"
	"tram/internal/store"
)

// Options are the rooms a Learner works on. All but Logger are required.
type Options struct {
	Judge     *spam.Judge
	Directory *directory.Directory
	Logger    *slog.Logger
	Limits    limits.Spam
	Message   limits.Message
}

// Learner teaches the spam room. It is safe for concurrent use.
type Learner struct {
	o Options

	mu      sync.Mutex
	changed map[store.AccountID]bool
	started bool
	working sync.Mutex
}

// New returns a Learner. Its Changed goes into store.Options.
func New(o Options) *Learner {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Learner{o: o, changed: map[store.AccountID]bool{}}
}

// Changed notes that an account has changed.
func (l *Learner) Changed(id store.AccountID) {
	l.mu.Lock()
	l.changed[id] = true
	l.mu.Unlock()
}

// Run looks at what has changed since it last did, in every account the first time.
func (l *Learner) Run(ctx context.Context, s *store.Store) error {
	l.working.Lock()
	defer l.working.Unlock()
	if err := l.begin(ctx, s); err != nil {
		return err
	}
	l.mu.Lock()
	changed := l.changed
	l.changed = map[store.AccountID]bool{}
	l.mu.Unlock()
	var failed error
	for id := range changed {
		more, err := l.account(ctx, s.Account(id))
		if err != nil {
			failed = fmt.Errorf("learn from account %d: %w", id, err)
		}
		if more || err != nil && !errors.Is(err, store.ErrNotFound) {
			l.Changed(id) // the rest, or another try, next time
		}
		if ctx.Err() != nil {
			for id := range changed {
				l.Changed(id)
			}
			return ctx.Err()
		}
	}
	return failed
}

func (l *Learner) begin(ctx context.Context, s *store.Store) error {
	if l.started {
		return nil
	}
	ids, err := s.Accounts(ctx)
	if err != nil {
		return fmt.Errorf("list accounts: %w", err)
	}
	for _, id := range ids {
		l.Changed(id)
	}
	l.started = true
	return nil
}

// young is how few changes an account may have had when it is first seen, for its mail to teach. What
// was there for years before was moved by who knows whom.
const young = 1000

// account looks at one batch of an account's changes.
func (l *Learner) account(ctx context.Context, a *store.Account) (more bool, err error) {
	id := uint64(a.ID())
	p, err := l.o.Judge.Progress(ctx, id, nil)
	if err != nil {
		return false, err
	}
	c, err := a.Changes(ctx, store.ModSeq(p.Cursor), l.o.Limits.LearnBatch)
	var now store.ModSeq
	if errors.Is(err, store.ErrTooOld) || err == nil && !p.Known {
		if viewErr := a.View(ctx, func(tx *store.Tx) error { now = tx.ModSeq(); return nil }); viewErr != nil {
			return false, viewErr
		}
	}
	if errors.Is(err, store.ErrTooOld) || !p.Known && now > young {
		p.Cursor = uint64(now)
		return false, l.o.Judge.SaveProgress(ctx, id, p, nil)
	}
	if err != nil {
		return false, err
	}
	if c.To == c.Since && p.Known {
		return false, nil
	}
	if err := l.look(ctx, a, &c); err != nil {
		return false, err
	}
	return c.More, nil
}

// look learns from a batch.
func (l *Learner) look(ctx context.Context, a *store.Account, c *store.Changes) error {
	emails := slices.Concat(c.Emails.Created, c.Emails.Updated)
	ids := make([]uint64, len(emails))
	for i, e := range emails {
		ids[i] = uint64(e)
	}
	id := uint64(a.ID())
	p, err := l.o.Judge.Progress(ctx, id, ids)
	if err != nil {
		return err
	}
	to := spam.Person{Account: id}
	if account, err := l.o.Directory.Account(ctx, directory.AccountID(id)); err == nil {
		to.Address = account.Address
	}
	learned := p.Learned
	p.Learned = map[uint64]spam.Learned{}
	err = a.View(ctx, func(tx *store.Tx) error {
		for i, email := range emails {
			was := learned[uint64(email)]
			is, err := l.email(ctx, tx, change{email, i < len(c.Emails.Created)}, was, to)
			if err != nil {
				return err
			}
			if is != was {
				p.Learned[uint64(email)] = is
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var gone []uint64
	for _, e := range c.Emails.Destroyed {
		gone = append(gone, uint64(e))
	}
	p.Cursor = uint64(c.To)
	return l.o.Judge.SaveProgress(ctx, id, p, gone)
}

// change is an email that is new, or other than before.
type change struct {
	email   store.EmailID
	created bool
}

// email teaches what the present place and marks of an email say, if that is other than what was
// taught before.
func (l *Learner) email(
	ctx context.Context, tx *store.Tx, c change, was spam.Learned, to spam.Person,
) (spam.Learned, error) {
	id := c.email
	state, err := tx.State(id)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrDamaged) {
		return was, nil
	}
	if err != nil {
		return was, err
	}
	is := judge(tx, state, was, c.created)
	if is.Taught == was.Taught {
		return is, nil
	}
	email, err := tx.Email(id)
	if err != nil {
		return was, nil //nolint // a message that cannot be read teaches nothing
	}
	lesson, err := l.lesson(ctx, tx, email)
	if err != nil {
		l.o.Logger.Warn("message cannot be learned from", "account", to.Account, "email", uint64(id), "err", err)
		return was, nil
	}
	name := strconv.FormatUint(uint64(id), 10)
	if was.Taught == spam.TaughtJunk || was.Taught == spam.TaughtGood {
		if err := l.o.Judge.Unlearn(ctx, to, lesson, name, was.Taught == spam.TaughtJunk); err != nil {
			return was, err
		}
	}
	switch is.Taught {
	case spam.TaughtJunk, spam.TaughtGood:
		err = l.o.Judge.Learn(ctx, to, lesson, name, is.Taught == spam.TaughtJunk)
	case spam.ThrownAway:
		l.o.Judge.Disliked(to, lesson)
	}
	if err != nil {
		return was, err
	}
	return is, nil
}

// lesson reads a message.
func (l *Learner) lesson(ctx context.Context, tx *store.Tx, email *store.Email) (spam.Lesson, error) {
	body := tx.Open(email)
	defer body.Close()
	parser := message.NewParser(l.o.Message)
	if _, err := io.Copy(parser, io.NewSectionReader(body, 0, email.Size())); err != nil {
		return spam.Lesson{}, fmt.Errorf("read message: %w", err)
	}
	return l.o.Judge.Lesson(ctx, body, parser.Finish()), nil
}

// judge is what an email's place and marks teach. A message that the server filed as junk teaches
// nothing while it lies there, and that it is good when it is taken out; another one teaches that it
// is junk when it is put there, and nothing when it is taken out again. Trash says nothing of what a
// message was, unless nobody has even read it.
func judge(tx *store.Tx, s *store.State, was spam.Learned, created bool) spam.Learned {
	is := was
	junk, trash, elsewhere := false, false, false
	for _, m := range s.Mailboxes {
		switch m.Mailbox {
		case tx.RoleMailbox(store.RoleJunk):
			junk = true
		case tx.RoleMailbox(store.RoleTrash):
			trash = true
		default:
			elsewhere = true
		}
	}
	marked := slices.ContainsFunc(s.Keywords, func(k string) bool { return k == "$Junk" || k == "Junk" })
	cleared := slices.ContainsFunc(s.Keywords, func(k string) bool { return k == "$NotJunk" || k == "NonJunk" })
	grouped := slices.Contains(s.Keywords, spam.KeywordBomb)
	if was == (spam.Learned{}) && junk && (grouped || created && slices.Contains(s.Keywords, "$Junk")) {
		// It came like that: the server filed it, and the note of that was lost in a crash.
		is.Filed = spam.FiledJunk
		return is
	}
	switch {
	case junk && cleared && !marked:
		is.Taught = spam.TaughtGood
	case junk:
		is.Taught = ifNot(is.Filed == spam.FiledJunk, spam.TaughtJunk)
	case elsewhere && marked && is.Filed != spam.FiledJunk:
		is.Taught = spam.TaughtJunk
	case elsewhere && (cleared || is.Filed == spam.FiledJunk && !grouped):
		is.Taught = spam.TaughtGood
	case elsewhere && s.Flags&store.Answered != 0:
		is.Taught = spam.TaughtGood
	case elsewhere:
		is.Taught = 0
	case trash && s.Flags&store.Seen == 0 && was == (spam.Learned{}):
		is.Taught = spam.ThrownAway
	}
	return is
}

func ifNot(not bool, v byte) byte {
	if not {
		return 0
	}
	return v
}

// Read teaches the spam room from a file that somebody has collected: one message, or a mailbox in the
// format of old Unix. account 0 teaches for all. It returns how many messages it learned.
func (l *Learner) Read(ctx context.Context, in io.Reader, to spam.Person, junk bool) (int, error) {
	n := 0
	err := Messages(in, func(raw []byte) error {
		m := message.Parse(raw, l.o.Message)
		if m.HeaderSize == 0 {
			return nil
		}
		n++
		return l.o.Judge.Learn(ctx, to, l.o.Judge.Lesson(ctx, readerAt(raw), m), hashID(raw), junk)
	})
	return n, err
}
