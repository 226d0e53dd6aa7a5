// Package store answers "what mail has this account, in what state, and what changed?": mailboxes,
// emails, flags, threads, quota, changes, search. It is the one way to mail for every door.
//
// Promises: an [Account.Update] happens whole or not at all and is on disk when it returns;
// watchers hear of it after that and never before. A [Tx] sees one state of the account. A UID,
// once given out, never means another message of the mailbox; [ModSeq] rises by one with each
// transaction that changes anything. Reads cost what is read, not what is stored: a mailbox of a
// million messages opens from its packed list. A damaged row costs what it describes and nothing
// beside it.
//
// What must never happen: an acknowledged change is lost; a UID or ModSeq is given out twice; a
// message's bytes go while somebody could still ask for them; a change goes unannounced; an account
// grows past its quota.
//
// The rows are documented to the byte in layout.go and docs/store.md.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"tram/internal/blob"
	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/limits"
)

// Identifiers. Zero is never a valid one.
type (
	// AccountID names an account; the directory hands it out and never twice.
	AccountID uint64
	// MailboxID names a mailbox of an account for its life, through renames (RFC 8474 §4).
	MailboxID uint32
	// EmailID names an email of an account (RFC 8474 §5.1, RFC 8621 §4.1.1); never reused.
	EmailID uint64
	// ThreadID names a thread of an account (RFC 8474 §5.2, RFC 8621 §3); never reused.
	ThreadID uint64
	// UID names an entry of a mailbox, RFC 9051 §2.3.1.1.
	UID uint32
	// ModSeq counts an account's transactions, RFC 7162 §3.1.
	ModSeq uint64
)

var (
	// ErrNotFound: no such account, mailbox, email, thread or entry.
	ErrNotFound = errors.New("not found")
	// ErrExists: the mailbox name or role is taken.
	ErrExists = errors.New("already exists")
	// ErrOverQuota: the account or its domain has no room (RFC 9208 §4.3, 452 4.2.2 or 552 5.2.2).
	ErrOverQuota = errors.New("over quota")
	// ErrInvalidName: not a mailbox name that can be stored; the message says why.
	ErrInvalidName = errors.New("invalid name")
	// ErrHasChildren: the mailbox has mailboxes below it (RFC 9051 §7.1 HASCHILDREN).
	ErrHasChildren = errors.New("mailbox has children")
	// ErrProtected: not allowed with this mailbox: INBOX and mailboxes with a role stay.
	ErrProtected = errors.New("mailbox is protected")
	// ErrTooMany: a limit of limits.Storage is reached (mailboxes, keywords).
	ErrTooMany = errors.New("too many")
	// ErrTooOld: the history that was asked for has been pruned; read everything.
	ErrTooOld = errors.New("history was pruned")
	// ErrDamaged: a stored row is not what was written. The wrapping error names the key.
	ErrDamaged = errors.New("stored mail is damaged")
	// ErrNoPermission: the person of Account.As has not the rights for it (RFC 4314 §4).
	ErrNoPermission = errors.New("permission denied")
	// ErrInvalidRights: not letters of RFC 4314 §2.1.
	ErrInvalidRights = errors.New("no such right")
	// ErrReadOnly: a write in a View.
	ErrReadOnly = errors.New("transaction is read-only")
	// Stop ends EachEmail and EachMailbox early, without an error, when their callback returns it.
	Stop = kv.Stop
	// ErrFull: the free-space reserve is touched; freeing operations still work.
	ErrFull = kv.ErrFull
	// ErrBusy: as many long messages are coming in as there is memory for.
	ErrBusy = blob.ErrBusy
)

// Options are what a Store is made with. DB and Blobs are required.
type Options struct {
	DB     kv.Database
	Blobs  *blob.Store
	Clock  clock.Clock    // nil: clock.System
	Logger *slog.Logger   // nil: nothing is logged
	Limits limits.Storage // zero: limits.Default().Storage
	// Message bounds the text of one message that a search without index reads; zero:
	// limits.Default().Message.
	Message limits.Message
	// NoIndex makes text searches read the mail; else they use the text index, which IndexText
	// feeds.
	NoIndex bool
	// ListCache is how many bytes of mailbox lists are kept for all sessions together; 0: 256 MiB.
	ListCache int64
	// Changed hears of every account that has changed, after the commit. It must return at once, and
	// must not use the store; nil: nobody does.
	Changed func(AccountID)
}

// Quota bounds an account or a domain. 0 is no bound.
type Quota struct {
	Bytes    int64 // sum of the sizes of all emails that are in a mailbox
	Messages int64 // number of those emails
}

// Usage is what stands against a Quota, and beside it what waits to be purged.
type Usage struct {
	Bytes, Messages                       int64
	RecoverableBytes, RecoverableMessages int64
}

// Store is the mail of all accounts in a kv.Database. It is safe for concurrent use.
type Store struct {
	db        kv.Database
	blobs     *blob.Store
	clock     clock.Clock
	log       *slog.Logger
	limits    limits.Storage
	message   limits.Message
	indexed   bool // there is a text index
	unindexed unindexed
	lists     *listCache
	rows      *kv.Cache[rowID, *Email]
	owns      *kv.Cache[ownID, *ownSeen]
	sent      *kv.Cache[sentPageID, *sentDates]
	hubs      hubs
	changed   func(AccountID) // nil: nobody wants to know
	resting   resting
	scratch   sync.Pool // of *scratch
}

// scratch is the memory that a transaction builds its rows in.
type scratch struct{ key, value, nested []byte }

// maxScratch is the largest that is kept for the next transaction.
const maxScratch = 256 << 10

// Open returns the Store of what is in o.DB. It reads nothing yet.
func Open(_ context.Context, o Options) (*Store, error) {
	if o.DB == nil || o.Blobs == nil {
		return nil, errors.New("open store: a database and a blob store are needed")
	}
	s := &Store{
		db: o.DB, blobs: o.Blobs, clock: o.Clock, log: o.Logger, limits: o.Limits,
		message: o.Message, indexed: !o.NoIndex, changed: o.Changed,
	}
	if s.clock == nil {
		s.clock = clock.System
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.limits == (limits.Storage{}) {
		s.limits = limits.Default().Storage
	}
	if s.message == (limits.Message{}) {
		s.message = limits.Default().Message
	}
	if o.ListCache <= 0 {
		o.ListCache = 256 * limits.MiB
	}
	s.lists = newListCache(o.ListCache)
	s.rows = kv.NewCache[rowID, *Email](keptBytes)
	s.owns = kv.NewCache[ownID, *ownSeen](ownKept)
	s.sent = kv.NewCache[sentPageID, *sentDates](sentBytes)
	s.hubs.byAccount = map[AccountID]*hub{}
	return s, nil
}

// Rest gives the memory of rows and dates back that nobody has read for a while. It is to be called every
// few minutes.
func (s *Store) Rest() {
	s.rows.Age()
	s.owns.Age()
	s.sent.Age()
}

// Close ends all watches. The database stays open: it is the caller's.
func (s *Store) Close() error {
	s.hubs.close()
	return nil
}

// Freeing returns a context whose Updates may use the free-space reserve: for what ends with less
// stored than before (expunge, move, removing flags), so that people can clear up on a full disk.
func Freeing(ctx context.Context) context.Context { return kv.Freeing(ctx) }

// lost reports whether err says that a row is missing or damaged, and not that reading failed.
func lost(err error) bool { return errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound) }

// wrap names what failed. What the kv engine calls not found, we do too.
func wrap(err error, doing string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kv.ErrNotFound):
		err = ErrNotFound
	case errors.Is(err, kv.ErrCorrupt):
		err = fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
