package directory

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"tram/internal/kv"
)

// successes remembers passwords that were right a moment ago, so that a mail program with ten
// connections costs one Argon2id run. What is kept is an HMAC under a key that lives as long as
// the process; an entry is for one account and one generation of its credentials, so that it ends
// with any change, and can never open another account (A10).
type successes struct {
	key [32]byte

	mu      sync.Mutex
	of      *lru[AccountID, success]
	running map[flightKey]*flight
}

type success struct {
	mac        [32]byte
	generation uint64
	until      time.Time
}

// flightKey is a comparison that is going on; others that ask the same wait for its answer.
type flightKey struct {
	who    who
	mac    [32]byte
	stored string
}

type flight struct {
	done chan struct{}
	ok   bool
	err  error
}

// open makes the key; most bounds the accounts that are remembered.
func (s *successes) open(most int) error {
	s.of, s.running = newLRU[AccountID, success](most), map[flightKey]*flight{}
	if _, err := rand.Read(s.key[:]); err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	return nil
}

func (s *successes) mac(secret string) [32]byte {
	m := hmac.New(sha256.New, s.key[:])
	m.Write([]byte(secret))
	return [32]byte(m.Sum(nil))
}

// holds reports whether the secret was right for this generation of the account a moment ago.
func (s *successes) holds(a Account, mac [32]byte, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.of.get(a.ID)
	if !ok {
		return false
	}
	if e.generation != a.Generation || !now.Before(e.until) {
		s.of.remove(a.ID)
		return false
	}
	return subtle.ConstantTimeCompare(e.mac[:], mac[:]) == 1
}

func (s *successes) add(a Account, mac [32]byte, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of.put(a.ID, success{mac, a.Generation, until})
}

// compare tells whether a secret opens the account of a login: an app password by its HMAC, the
// account's own by Argon2id. A wrong secret costs one Argon2id run, whoever it is for (A3).
func (d *Directory) compare(ctx context.Context, l *login, secret string) (bool, error) {
	rec, err := d.cache.secret(ctx, l.account.ID)
	if err != nil {
		return false, err
	}
	mayLogIn := l.account.ID != 0 && !l.account.Disabled
	if d.isApp(rec, secret, l.protocol) && mayLogIn {
		// Who got hold of an administrator's phone reads mail with it, and administers nothing.
		l.account.Admin = l.account.Admin && d.isApp(rec, secret, Admin)
		return true, nil
	}
	prepared, valid := preparePassword(secret)
	if !valid {
		prepared, rec.Password = "", "" // the work is done all the same, and fails
	}
	mac := d.successes.mac(prepared)
	if mayLogIn && d.successes.holds(l.account, mac, d.clock.Now()) {
		return true, nil
	}
	ok, err := d.compareOnce(ctx, l, rec, prepared, mac)
	if err != nil || !ok || !mayLogIn {
		return false, err
	}
	d.successes.add(l.account, mac, d.clock.Now().Add(d.limits.CacheTTL))
	return true, nil
}

// compareOnce runs Argon2id, once for all who ask the same at the same time.
func (d *Directory) compareOnce(
	ctx context.Context, l *login, rec credentialRecord, prepared string, mac [32]byte,
) (bool, error) {
	k := flightKey{l.who, mac, rec.Password}
	s := &d.successes
	for {
		s.mu.Lock()
		f, running := s.running[k]
		if !running {
			f = &flight{done: make(chan struct{})}
			s.running[k] = f
		}
		s.mu.Unlock()
		if !running {
			f.ok, f.err = d.compareHash(ctx, l, rec, prepared)
			s.mu.Lock()
			delete(s.running, k)
			s.mu.Unlock()
			close(f.done)
			return f.ok, f.err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		// The one who did the work may have left, which says nothing about the password.
		if !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, context.DeadlineExceeded) {
			return f.ok, f.err
		}
	}
}

func (d *Directory) compareHash(
	ctx context.Context, l *login, rec credentialRecord, prepared string,
) (bool, error) {
	ok, stale, err := d.hasher.verify(ctx, prepared, rec.Password)
	if ok && (stale || d.staleSCRAM(rec.SCRAM) || d.staleSCRAM(rec.SCRAM1)) {
		d.upgrade(ctx, l.account, rec.Password, prepared)
	}
	return ok, err
}

// staleSCRAM reports whether keys are missing or were made with other parameters.
func (d *Directory) staleSCRAM(k *scramKeys) bool {
	return k == nil || k.Iterations != d.limits.SCRAMRounds
}

// upgrade stores a password that was just right in the way new ones are stored. The log-in does
// not depend on it.
func (d *Directory) upgrade(ctx context.Context, a Account, old, prepared string) {
	fresh, err := d.makeSecret(ctx, prepared)
	if err == nil {
		err = d.update(ctx, false, func(t kv.Txn) error {
			var rec credentialRecord
			if err := read(t, secretRow(a.ID), &rec); err != nil {
				return err
			}
			if rec.Password != old { // changed in between
				return nil
			}
			rec.Password, rec.SCRAM, rec.SCRAM1 = fresh.Password, fresh.SCRAM, fresh.SCRAM1
			return write(t, secretRow(a.ID), rec)
		})
	}
	if err != nil && ctx.Err() == nil {
		d.log.Warn("directory: store password anew", "account", a.Address.String(), "error", err)
	}
}

// makeSecret makes what is stored of a prepared password.
func (d *Directory) makeSecret(ctx context.Context, prepared string) (credentialRecord, error) {
	hash, err := d.hasher.hash(ctx, d.o.Rand, prepared)
	if err != nil {
		return credentialRecord{}, err
	}
	keys, err := d.newSCRAM(scramSHA256, prepared)
	if err != nil {
		return credentialRecord{}, fmt.Errorf("make SCRAM keys: %w", err)
	}
	keys1, err := d.newSCRAM(scramSHA1, prepared)
	if err != nil {
		return credentialRecord{}, fmt.Errorf("make SCRAM-SHA-1 keys: %w", err)
	}
	return credentialRecord{Password: hash, SCRAM: keys, SCRAM1: keys1}, nil
}

// isApp reports whether a secret is one of the account's app passwords, is still good, and may be
// used for the protocol. All of them are looked at.
func (d *Directory) isApp(rec credentialRecord, secret string, p Protocol) bool {
	mac := d.appMAC(secret)
	now := d.clock.Now().Unix()
	found := false
	for _, a := range rec.Apps {
		same := subtle.ConstantTimeCompare(a.Hash, mac) == 1
		if same && (a.Expires == 0 || now < a.Expires) && mayUseFor(a.Scopes, p) {
			found = true
		}
	}
	return found
}

// mayUseFor reports whether an app password with these scopes opens a protocol. Without scopes it
// opens every protocol of mail programs, but never the web or the administration, which must be
// named.
func mayUseFor(scopes []Protocol, p Protocol) bool {
	if len(scopes) == 0 {
		return p != Web && p != Admin
	}
	return slices.Contains(scopes, p)
}
