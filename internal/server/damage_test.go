package server

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tram/internal/admin"
	"tram/internal/kv"
)

// TestDamagedRows flips a bit in each part of the tables in turn. The house then opens, or says what
// happened and what to do in one line; what it tells to do helps.
func TestDamagedRows(t *testing.T) {
	t.Parallel()
	c := loopback(t)
	r := start(t, Options{Config: c, OutsideWaits: true})
	addAlice(t, r.Server)
	mailAlice(t, r.Server)
	r.end(t)
	for range 2 { // what was in the log comes into tables
		s, err := Open(t.Context(), Options{Config: c, Offline: true})
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	tables, err := filepath.Glob(filepath.Join(c.Data, DBName, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	refused := 0
	for _, table := range tables {
		good, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 24 {
			d := c
			d.Data = t.TempDir()
			if err := os.CopyFS(d.Data, regular(c.Data)); err != nil {
				t.Fatal(err)
			}
			at := len(good) * i / 24
			bad := bytes.Clone(good)
			bad[at] ^= 4
			path := filepath.Join(d.Data, DBName, filepath.Base(table))
			if err := errors.Join(secretsOnly(d.Data), os.WriteFile(path, bad, 0o600)); err != nil {
				t.Fatal(err)
			}
			if !opens(t, Options{Config: d, Offline: true}, filepath.Base(table), at) {
				refused++
			}
		}
	}
	if refused == 0 {
		t.Error("no damage kept the house from opening: the test does not see rows that are read at the start")
	}
}

// opens reports whether the house opens at once, and sees to it that it does after a repair.
func opens(t *testing.T, o Options, table string, at int) bool {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err == nil {
		if err := s.Close(); err != nil {
			t.Errorf("%s, byte %d: closing: %v", table, at, err)
		}
		return true
	}
	if text := err.Error(); !errors.Is(err, kv.ErrCorrupt) || strings.Contains(text, "\n") ||
		strings.Count(text, "check --repair") != 1 {
		t.Errorf("%s, byte %d: %q", table, at, text)
	}
	_, err = Repair(t.Context(), o, admin.Mend{
		Progress: func(admin.Progress) {}, Found: func(admin.Finding) {}, Did: func(admin.Finding) {},
	})
	if err != nil {
		t.Errorf("%s, byte %d: repair: %v", table, at, err)
		return false
	}
	if s, err = Open(t.Context(), o); err != nil {
		t.Errorf("%s, byte %d: after the repair: %v", table, at, err)
		return false
	}
	if err := s.Close(); err != nil {
		t.Errorf("%s, byte %d: closing after the repair: %v", table, at, err)
	}
	return false
}

// regular is a folder without what cannot or need not be copied.
func regular(dir string) fs.FS { return onlyRegular{os.DirFS(dir)} }

type onlyRegular struct{ fs.FS }

func (f onlyRegular) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(f.FS, name)
	var kept []fs.DirEntry
	for _, e := range entries {
		if (e.IsDir() || e.Type().IsRegular()) && !strings.HasPrefix(e.Name(), "BALLAST") {
			kept = append(kept, e)
		}
	}
	return kept, err
}

// secretsOnly gives copied files back the mode that the house wants of its secrets.
func secretsOnly(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chmod(path, 0o600)
	})
}
