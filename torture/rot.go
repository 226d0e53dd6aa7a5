package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tram/bench/ledger"
	"tram/bench/wire"
)

var logDamage = Fault{
	ID: "D9", Name: "damage to the log", Rounds: rounds{6, 60, 600},
	Target: "refused with file, place and a repair command, or harmless; silent loss 0",
	Run: func(ctx context.Context, t *Trial) error {
		return runDamage(ctx, t, func(name string) bool { return strings.HasSuffix(name, ".log") })
	},
}

var bitRot = Fault{
	ID: "D10", Name: "bit rot in tables, bodies and lists of files", Rounds: rounds{6, 30, 1000},
	Target: "wrong bytes served 0; check --deep finds all that matters",
	Run: func(ctx context.Context, t *Trial) error {
		return runDamage(ctx, t, func(name string) bool {
			return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob") ||
				strings.HasPrefix(name, "MANIFEST-") || name == "ACKED"
		})
	},
}

// runDamage fills a server, kills it, and damages one byte, page or end of a copy of its files again
// and again. What the server then serves, if it serves at all, is compared with what was sent.
func runDamage(ctx context.Context, t *Trial, here func(name string) bool) error {
	w, err := t.started(ctx)
	if err != nil {
		return err
	}
	l, err := w.ledger()
	if err != nil {
		return err
	}
	// Two lives, so that there are tables and bodies beside a log with mail of its own.
	for range 2 {
		stop := load(ctx, l, 4, 2, 1)
		err := acked(ctx, l, pick(t, 150, 500, 500))
		stop()
		if err != nil {
			return err
		}
		w.Kill()
		if err := w.Start(ctx); err != nil {
			return err
		}
	}
	stop := load(ctx, l, 4, 2, 0)
	err = acked(ctx, l, 100)
	stop()
	if err != nil {
		return err
	}
	w.Kill()
	good := w.data
	files, err := damageable(good, here)
	if err != nil {
		return err
	}
	tally := map[string]int{}
	for ; t.Done < t.Count && ctx.Err() == nil; t.Done++ {
		w.data = filepath.Join(t.Dir, fmt.Sprint("damaged", t.Done))
		if err := copyData(good, w.data); err != nil {
			return err
		}
		what, err := t.damage(w.data, files)
		if err != nil {
			return err
		}
		verdict := w.judge(ctx, l, what)
		tally[verdict]++
		w.Kill()
		if err := os.RemoveAll(w.data); err != nil {
			return err
		}
	}
	w.data = good
	for _, verdict := range slices.Sorted(maps.Keys(tally)) {
		t.Note("%d %s", tally[verdict], verdict)
	}
	if err := w.Start(ctx); err != nil {
		return err
	}
	t.Recovery = 0
	return w.Verify(ctx, l)
}

// damageable lists the files below dir, each as often as it has 64 KiB, so that large ones are hit
// more often and small ones at all.
func damageable(dir string, here func(name string) bool) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !here(d.Name()) {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Size() == 0 {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		for range 1 + min(info.Size()>>16, 20) {
			files = append(files, rel)
		}
		return err
	})
	if err == nil && len(files) == 0 {
		err = errors.New("found no file to damage")
	}
	return files, err
}

// copyData copies a data folder without its ballast, which the server makes again.
func copyData(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o700)
		case !d.Type().IsRegular() || strings.HasPrefix(d.Name(), "BALLAST"):
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, b, 0o600)
	})
}

// damage changes one of the files: mostly one bit, sometimes a page or the end. It says what.
func (t *Trial) damage(dir string, files []string) (string, error) {
	name := files[t.Rnd.IntN(len(files))]
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	used := len(b)
	if strings.HasSuffix(name, ".log") { // behind its last record a log is zeros, laid out in advance
		for used > 1 && b[used-1] == 0 {
			used--
		}
	}
	at := t.Rnd.IntN(used)
	what := fmt.Sprintf("%s: bit of byte %d of %d (%d used)", name, at, len(b), used)
	switch t.Rnd.IntN(10) {
	case 0:
		b = b[:at]
		what = fmt.Sprintf("%s: cut at %d of %d (%d used)", name, at, len(b), used)
	case 1:
		page := at &^ 4095
		clear(b[page:min(page+4096, len(b))])
		what = fmt.Sprintf("%s: zeros in page %d of %d (%d used)", name, page, len(b), used)
	default:
		b[at] ^= 1 << t.Rnd.IntN(8)
	}
	return what, os.WriteFile(path, b, 0o600)
}

// judge starts the server on damaged data and reads everything. Its verdict is for the tally.
func (w *World) judge(ctx context.Context, l *ledger.Ledger, what string) string {
	t := w.t
	if err := w.Start(ctx); err != nil {
		line := lastLine(w.said.String())
		if !strings.HasPrefix(line, "tram: ") {
			t.Miss("%s: ended without a sentence: %s", what, line)
			return "ended without a sentence"
		}
		if !strings.Contains(line, "check --repair") {
			t.Miss("%s: refused without a way to repair: %s", what, line)
		}
		return "refused with a sentence"
	}
	missing, wrong, err := w.readAll(l)
	if wrong > 0 {
		t.Miss("%s: %d messages were served with wrong bytes", what, wrong)
		return "served wrong bytes"
	}
	found := w.Check() != nil
	switch {
	case (missing > 0 || err != nil) && !found:
		t.Miss("%s: %d messages are missing (%v), and check finds nothing", what, missing, err)
		return "lost in silence"
	case missing > 0 || err != nil:
		return "found by check, and what is damaged is not served"
	case found:
		return "found by check, and all was served"
	}
	return "harmless"
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for _, line := range slices.Backward(lines) {
		if strings.HasPrefix(line, "tram: ") {
			return line
		}
	}
	return lines[len(lines)-1]
}

// readAll reads every message by itself, for a damaged one must not hide the others.
func (w *World) readAll(l *ledger.Ledger) (missing, wrong int, err error) {
	seen := map[string]bool{}
	for _, user := range w.where().Users {
		c, err := w.read(user)
		if err != nil {
			return 0, 0, err
		}
		defer c.Close()
		box, err := c.Select("INBOX", "")
		if err != nil {
			return 0, 0, err
		}
		var raw []byte
		take := func(r wire.Response) {
			if len(r.Literals) > 0 {
				raw = r.Literals[0]
			}
		}
		for i := range box.Exists {
			raw = nil
			err := c.Do(take, fmt.Sprintf("FETCH %d BODY.PEEK[]", i+1))
			if failure := (*wire.Failure)(nil); err != nil && !errors.As(err, &failure) {
				// A server may close instead of sending what it knows to be wrong.
				if c, err = w.read(user); err != nil {
					return 0, 0, err
				}
				defer c.Close()
				if _, err = c.Select("INBOX", ""); err != nil {
					return 0, 0, err
				}
				continue
			}
			if raw == nil {
				continue
			}
			if token, same := l.Look(raw); token == "" || !same {
				wrong++
			} else {
				seen[token] = true
			}
		}
	}
	for _, token := range l.Bound() {
		if !seen[token] {
			missing++
		}
	}
	return missing, wrong, nil
}
