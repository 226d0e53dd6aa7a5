package server

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"tram/internal/config"
	"tram/internal/kv"
	"tram/internal/kv/pebblekv"
	"tram/internal/kv/pgkv"
)

// The data folder:
//
//	lock          held by the running server (flock), with its process id
//	secret.key    what passwords are peppered with: 32 bytes in hexadecimal, mode 0600
//	db/           the embedded database, when mail is not in PostgreSQL
//	ca/           the self-made certification authority, when it is used
//	dkim/         keys that sign outgoing mail, from before they were kept in the database
//	admin.sock    the administration socket
//	damaged-…/    what `tram check --repair` dropped or replaced, as it was
const (
	lockName   = "lock"
	pepperName = "secret.key"
	caName     = "ca"
	// DBName is the folder of the embedded database within the data folder.
	DBName = "db"
	// DKIMName is the folder of DKIM keys within the data folder.
	DKIMName = "dkim"
)

// folder is a data folder that this process holds.
type folder struct {
	path string
	lock *os.File
}

// openFolder makes the folder if need be and takes it for this process.
func openFolder(path string) (*folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w%s", err, remedy(err, path))
	}
	f, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write to data folder: %w%s", err, remedy(err, path))
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock data folder %s: %w", path, err)
		}
		owner := make([]byte, 32)
		n, _ := f.Read(owner)
		return nil, fmt.Errorf("another tram (process %s) is running on %s: stop it first, "+
			"or use another data folder", strings.TrimSpace(string(owner[:n])), path)
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, fmt.Errorf("write to data folder: %w%s", err, remedy(err, path))
	}
	fmt.Fprintln(f, os.Getpid()) // for the sentence above; a full disk must not stop the server
	return &folder{path, f}, nil
}

// remedy tells what to do about an error of the file system.
func remedy(err error, path string) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf(": run tram as the owner of %s, or chown it", path)
	case errors.Is(err, syscall.EROFS):
		return ": mount it writable, or name another folder"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		return ": name another folder"
	}
	return ""
}

func (f *folder) join(name string) string { return filepath.Join(f.path, name) }

// Close gives the folder up. The lock file stays: removing it would let two servers in. It is unlocked
// by name: a child that is just being started has a copy of the descriptor, which closing ours leaves.
func (f *folder) Close() error {
	return errors.Join(syscall.Flock(int(f.lock.Fd()), syscall.LOCK_UN), f.lock.Close())
}

// pepper reads the key that passwords are peppered with, and makes it the first time.
func (f *folder) pepper() ([]byte, error) {
	path := f.join(pepperName)
	text, err := config.Secret(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newPepper(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	key, err := hex.DecodeString(text)
	if err != nil || len(key) < 32 {
		return nil, fmt.Errorf("%s is damaged: restore it from a backup, "+
			"passwords cannot be checked without it", path)
	}
	return key, nil
}

func newPepper(path string) ([]byte, error) {
	key := make([]byte, 32)
	rand.Read(key) // never fails: crypto/rand ends the process itself
	if err := WriteSecret(path, []byte(hex.EncodeToString(key)+"\n")); err != nil {
		return nil, err
	}
	return key, nil
}

// WriteSecret writes a new file of mode 0600 and has it on disk when it returns nil. A file that is
// there already is left alone and is the error fs.ErrExist.
func WriteSecret(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write key file: %w", err)
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		os.Remove(path)
		return fmt.Errorf("write key file %s: %w", path, err)
	}
	return nil
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openDB opens the database the configuration names.
func (f *folder) openDB(ctx context.Context, c config.Config, logger *slog.Logger,
	fatal func(error)) (kv.Database, error) {
	if c.Storage.Postgres != "" {
		u, err := postgresURL(c.Storage)
		if err != nil {
			return nil, err
		}
		db, err := pgkv.Open(ctx, u, pgkv.Options{Logger: logger})
		if err != nil {
			return nil, fmt.Errorf("open storage: %w", err)
		}
		return db, nil
	}
	db, err := pebblekv.Open(f.join(DBName), pebblekv.Options{
		Logger: logger, Limits: c.Limits.Storage, OnFatal: fatal,
		MemTableBytes: memTable(cgroupMemory(ownGroups, groups)),
	})
	switch {
	case errors.Is(err, kv.ErrNewer):
		return nil, fmt.Errorf("open storage: %w: "+
			"install that version of tram or a newer one to run on %s", err, f.path)
	case err != nil:
		return nil, fmt.Errorf("open storage: %w", err)
	}
	return db, nil
}

// postgresURL adds the password from its file.
func postgresURL(s config.Storage) (string, error) {
	secret, err := config.Secret(s.PasswordFile)
	if err != nil || secret == "" {
		return s.Postgres, err
	}
	u, err := url.Parse(s.Postgres)
	if err != nil {
		return "", fmt.Errorf("parse storage.postgres: %w", err)
	}
	u.User = url.UserPassword(u.User.Username(), secret)
	return u.String(), nil
}

const metaScope kv.Scope = "meta"

// pepperMark is where the database remembers which pepper its passwords were made with.
var pepperMark = []byte("m\x00pepper")

// checkPepper refuses a key file that is not the one this database was made with: every password
// would be wrong, and one set now would be right only until the true file comes back.
func checkPepper(ctx context.Context, db kv.Database, pepper []byte) error {
	mac := hmac.New(sha256.New, pepper)
	mac.Write([]byte("tram pepper"))
	mark := mac.Sum(nil)[:16]
	known := false
	err := db.View(ctx, metaScope, func(r kv.Reader) error {
		have, err := r.Get(pepperMark)
		if errors.Is(err, kv.ErrNotFound) {
			return nil
		}
		known = err == nil
		if err == nil && !hmac.Equal(have, mark) {
			return fmt.Errorf("%s is not the one these accounts were made with: "+
				"restore it from a backup", pepperName)
		}
		return err
	})
	if err != nil || known {
		return err
	}
	err = db.Update(ctx, metaScope, func(txn kv.Txn) error { return txn.Set(pepperMark, mark) })
	if err != nil {
		return fmt.Errorf("remember pepper: %w", err)
	}
	return nil
}
