// Package directory answers "who is this, and may they?": domains, accounts, aliases and their
// credentials, where mail for an address goes, who may log in, and who has guessed too often.
//
// It promises: an address means the same to every door; what was changed holds at once in this
// process and within a second in every other that shares the database; asking who a recipient is
// costs a map look-up; a failed log-in looks and lasts the same whether the user exists or not;
// failures count against their source over all protocols together and survive a restart; sessions
// of an account that was disabled, removed or given new credentials are told to end.
//
// What must never happen: a password or app password is stored, logged or kept in memory in the
// clear longer than the check takes; a success of one user clears the failures of another; two
// users share a name that people cannot tell apart; mail for a domain of ours is relayed outside
// because of tricks in the local part.
package directory

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/limits"
	"tram/internal/smtp"
)

// AccountID identifies an account for ever; it is never 0 and never reused.
type AccountID uint64

// DomainID identifies a domain for ever; it is never 0 and never reused.
type DomainID uint64

// Quota bounds what is stored; 0 means no bound.
type Quota struct{ Bytes, Messages int64 }

// Domain is a domain the server answers for.
type Domain struct {
	ID      DomainID
	Name    string // lower-case A-labels; DisplayDomain shows it to people
	Created time.Time
	Quota   Quota // of all its accounts together
	// Folders is what the store keeps the domain's shared folders under: an account that nobody has. 0
	// while there are none.
	Folders      AccountID
	FoldersQuota Quota
}

// Account is a person, or a role, who can log in and has mail.
type Account struct {
	ID       AccountID
	Address  smtp.Address // Local as it was given
	Name     string       // for people, may be empty
	Disabled bool         // neither logs in nor gets mail
	Admin    bool         // of what a log-in returns: if its secret opens Admin too
	Created  time.Time
	Domain   string // lower-case A-labels, equal to Address.Domain
	Quota    Quota
	// Generation grows whenever sessions of the account must end; see OnRevoke.
	Generation uint64
	Maildrop   Maildrop // what its POP3 programs see
}

// Options configure Open. DB and Pepper are needed; the rest has defaults.
type Options struct {
	DB    kv.Database
	Clock clock.Clock
	Rand  io.Reader // secrets and salts; crypto/rand when nil
	// Pepper is a secret of at least 32 bytes that is kept outside of the database: without it,
	// what the database holds of a password cannot be tried offline. A database belongs to one
	// pepper for ever.
	Pepper []byte
	Limits limits.Auth // the zero value means limits.Default().Auth
	// Signing bounds how long keys sign; the zero value means limits.Default().Signing.
	Signing limits.Signing
	Logger  *slog.Logger
	// Measure is for load generators: from loopback addresses, logging in without TLS is allowed
	// and failures are not counted per address. Nothing else changes.
	Measure bool
	// ServerCertificate tells the leaf that was shown on a connection (certs.Manager knows it).
	// With it, SCRAM-SHA-256-PLUS takes tls-server-end-point beside tls-exporter.
	ServerCertificate func(*tls.ConnectionState) *x509.Certificate
}

// Directory is the house's register. It is safe for concurrent use.
type Directory struct {
	o        Options
	log      *slog.Logger
	clock    clock.Clock
	limits   limits.Auth
	keys     keys
	cache    *cache
	hasher   *hasher
	throttle *throttle
	watches  watches

	successes successes
	nonce     func() string // SCRAM's, the server's part

	stop context.CancelFunc
	done sync.WaitGroup
}

// keys are the secrets derived from the pepper, one for each purpose.
type keys struct {
	password []byte // HMAC of a password before Argon2id
	app      []byte // HMAC of an app password
	seal     []byte // AES-256-GCM of SCRAM keys at rest
	fake     []byte // salts of users that do not exist
	who      []byte // names in the throttle's rows
	check    []byte // stored: proves that pepper and database belong together
	signing  []byte // AES-256-GCM of signing keys at rest
	ret      []byte // HMAC of return addresses
}

// Open opens the directory of a database and starts its background work. The pepper of another
// database is refused.
func Open(ctx context.Context, o Options) (*Directory, error) {
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Limits == (limits.Auth{}) {
		o.Limits = limits.Default().Auth
	}
	if o.Signing == (limits.Signing{}) {
		o.Signing = limits.Default().Signing
	}
	k, err := deriveKeys(o.Pepper)
	if err != nil {
		return nil, err
	}
	d := &Directory{
		o: o, log: o.Logger, clock: o.Clock, limits: o.Limits, keys: k,
		cache:    newCache(o.DB, o.Clock),
		hasher:   newHasher(o.Limits, k.password),
		throttle: newThrottle(o.DB, o.Clock, o.Limits),
		nonce:    newNonce(o.Rand),
	}
	if err := d.successes.open(o.Limits.Sources); err != nil {
		return nil, err
	}
	if err := d.checkPepper(ctx); err != nil {
		return nil, err
	}
	if err := d.cache.fresh(ctx); err != nil {
		return nil, err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	d.done.Go(func() { d.tend(background) })
	return d, nil
}

// Hashes returns how many password hashes were computed so far. Each takes limits.Auth.ArgonMemoryKiB,
// which the collector may hold on to for minutes: a caller that sees no more of them can give it back.
func (d *Directory) Hashes() int64 { return d.hasher.hashes.Load() }

// Close ends the background work and saves the throttle's state. The database stays open.
func (d *Directory) Close() error {
	d.stop()
	d.done.Wait()
	return d.throttle.flush(context.Background())
}

func deriveKeys(pepper []byte) (keys, error) {
	if len(pepper) < 32 {
		return keys{}, fmt.Errorf("open directory: pepper has %d bytes, at least 32 are needed",
			len(pepper))
	}
	var k keys
	for _, f := range []struct {
		to   *[]byte
		info string
		n    int
	}{
		{&k.password, "tram password", 32}, {&k.app, "tram app password", 32},
		{&k.seal, "tram scram", 32}, {&k.fake, "tram scram salt", 32},
		{&k.who, "tram throttle", 32}, {&k.check, "tram check", 8},
		{&k.signing, "tram signing keys", 32}, {&k.ret, "tram return addresses", 32},
	} {
		derived, err := hkdf.Key(sha256.New, pepper, nil, f.info, f.n)
		if err != nil {
			return keys{}, fmt.Errorf("derive key %q: %w", f.info, err)
		}
		*f.to = derived
	}
	return k, nil
}

// checkPepper compares the pepper with the one the database was made with, so that a key file that
// was swapped or restored wrongly is not taken for everybody's wrong password. Only a new database
// is written to: the server starts on a full disk too, so that people can delete.
func (d *Directory) checkPepper(ctx context.Context) error {
	compare := func(r kv.Reader) error {
		b, err := r.Get(key(kindPepper))
		switch {
		case err != nil:
			return fmt.Errorf("open directory: %w", err)
		case !bytes.Equal(b, d.keys.check):
			return errors.New("open directory: the pepper (secret key file) is not the one this " +
				"database was made with; restore the key file that belongs to it")
		}
		return nil
	}
	err := d.o.DB.View(ctx, scope, compare)
	if !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	return d.o.DB.Update(ctx, scope, func(t kv.Txn) error {
		// Another process may have been quicker.
		if err := compare(t); !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		return t.Set(key(kindPepper), d.keys.check)
	})
}

// tend does what must happen without being asked: it notices changes other processes made, saves
// the throttle's state every second, and removes what has expired every hour.
func (d *Directory) tend(ctx context.Context) {
	lastSweep, seen := d.clock.Now(), d.cache.seen()
	for clock.Sleep(ctx, d.clock, pollEvery) == nil {
		if err := d.cache.fresh(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("directory: read version", "error", err)
		}
		// Any look-up may have noticed the change before this one.
		if now := d.cache.seen(); now != seen {
			seen = now
			d.checkWatches(ctx)
		}
		if err := d.throttle.flush(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("directory: save throttle", "error", err)
		}
		if now := d.clock.Now(); now.Sub(lastSweep) >= time.Hour {
			lastSweep = now
			if err := d.throttle.sweep(ctx); err != nil && ctx.Err() == nil {
				d.log.Warn("directory: sweep throttle", "error", err)
			}
		}
	}
}

// update runs a writing transaction, raises the version that other readers look at, and forgets
// what this process remembers.
func (d *Directory) update(ctx context.Context, domains bool, fn func(kv.Txn) error) error {
	err := d.o.DB.Update(ctx, scope, func(t kv.Txn) error {
		if err := fn(t); err != nil {
			return err
		}
		return bumpVersions(t, domains)
	})
	// Also after an error: a commit whose outcome is unknown may have happened.
	d.cache.expire()
	return err
}
