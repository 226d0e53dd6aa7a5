package pebblekv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"tram/internal/kv"
)

// killed returns a directory as a process leaves it that is killed: everything it wrote, nothing
// closed, n transactions acknowledged, all of them in the live log. It returns the log's path and
// the size of what was written to it.
func killed(t testing.TB, fs vfs.FS, n int) (db *DB, log string, size int64) {
	t.Helper()
	db = open(t, "db", Options{FS: fs})
	for i := range n {
		commit(t, db, i)
	}
	log = fs.PathJoin("db", fmt.Sprintf("%06d.log", db.logNum.Load()))
	info, err := fs.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	return db, log, info.Size()
}

func rowKey(i int) []byte { return fmt.Appendf(nil, "s%06d", i) }

func commit(t testing.TB, db *DB, i int) {
	t.Helper()
	err := db.Update(context.Background(), kv.Scope(fmt.Sprint("s", i%3)), func(txn kv.Txn) error {
		return errors.Join(txn.Set(rowKey(i), []byte("row")),
			txn.Set(fmt.Appendf(nil, "bc%06d", i), make([]byte, 700+i%1500)))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// missing returns which of the first n transactions are not in db.
func missing(t testing.TB, db *DB, n int) (gone []int) {
	t.Helper()
	err := db.View(context.Background(), "", func(r kv.Reader) error {
		for i := range n {
			if _, err := r.Get(rowKey(i)); errors.Is(err, kv.ErrNotFound) {
				gone = append(gone, i)
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return gone
}

// clone copies a memory file system as a kill leaves it.
func clone(fs *vfs.MemFS) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100,
		RNG: rand.New(rand.NewPCG(0, 0))})
}

// change rewrites a file in place.
func change(t testing.TB, fs vfs.FS, path string, fn func(b []byte) []byte) {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, info.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	w, err := fs.Create(path, "test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(fn(b)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Sync(), w.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedLog makes every kind of damage that reliability row D9 asks for: one wrong byte at 200
// places, a log cut at 60, a page of zeros at 40. Each is either refused, with the file, the offset
// and the command to run, or harmless.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	const n = 150
	mem := vfs.NewCrashableMem()
	_, log, size := killed(t, mem, n)
	rnd := rand.New(rand.NewPCG(9, 9))
	type fault struct {
		what string
		do   func(b []byte) []byte
	}
	var faults []fault
	for i := range 200 {
		at := rnd.Int64N(size)
		if i < 20 {
			at = size - 1 - int64(i) // the last record
		}
		faults = append(faults, fault{fmt.Sprint("byte ", at), func(b []byte) []byte {
			b[at] ^= 1 << (at % 8)
			return b
		}})
	}
	for i := range 60 {
		at := rnd.Int64N(size)
		if i < 20 {
			at = size - 1 - int64(i)
		}
		faults = append(faults, fault{fmt.Sprint("cut at ", at), func(b []byte) []byte {
			return b[:at]
		}})
	}
	for range 40 {
		at := rnd.Int64N(size) &^ 4095
		faults = append(faults, fault{fmt.Sprint("zeros at ", at), func(b []byte) []byte {
			clear(b[at:min(at+4096, int64(len(b)))])
			return b
		}})
	}
	refused := 0
	for _, f := range faults {
		fs := clone(mem)
		change(t, fs, log, f.do)
		db, err := Open("db", Options{FS: fs, RepairCommand: "mend it"})
		if err == nil {
			if gone := missing(t, db, n); len(gone) > 0 {
				t.Errorf("%s: opened, and %d transactions are gone without a word", f.what, len(gone))
			}
			_ = db.Close()
			continue
		}
		refused++
		msg := err.Error()
		if !errors.Is(err, kv.ErrCorrupt) || !strings.Contains(msg, log) ||
			!strings.Contains(msg, "offset ") || !strings.Contains(msg, "mend it") {
			t.Errorf("%s: the error does not name file, offset and repair: %v", f.what, err)
		}
	}
	t.Logf("%d of %d faults refused, the others were harmless", refused, len(faults))
	if refused < len(faults)*9/10 {
		t.Errorf("only %d of %d faults were refused", refused, len(faults))
	}
	// The control: without a fault it opens and everything is there.
	db := open(t, "db", Options{FS: clone(mem)})
	if gone := missing(t, db, n); len(gone) > 0 {
		t.Errorf("%d transactions are gone after a kill without damage", len(gone))
	}
}

// TestDamageIsSilentInPebble shows why this package does what it does: in the oldest format, which
// the first log of a new database has, Pebble alone loses what is behind a wrong byte and says
// nothing; and in any format it loses the end of the log.
func TestDamageIsSilentInPebble(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		flush bool    // after creation, as this package does
		at    float64 // where the wrong byte is, of the whole log
		want  bool    // Pebble notices
	}{
		{"middle of the first log", false, 0.5, false},
		{"middle of the second log", true, 0.5, true},
		{"end of the second log", true, 1, false},
	} {
		mem := vfs.NewCrashableMem()
		p, err := pebble.Open("db", &pebble.Options{FS: mem, FormatMajorVersion: pebble.FormatNewest,
			Logger: engineLog{&DB{log: Options{}.withDefaults("").Logger}}})
		if err != nil {
			t.Fatal(err)
		}
		if c.flush {
			if err := p.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 200 {
			if err := p.Set(rowKey(i), make([]byte, 500), pebble.Sync); err != nil {
				t.Fatal(err)
			}
		}
		fs := clone(mem)
		_ = p.Close()
		logs, err := filepathGlobLogs(fs)
		if err != nil || len(logs) == 0 {
			t.Fatal(logs, err)
		}
		change(t, fs, logs[len(logs)-1], func(b []byte) []byte {
			b[min(int(float64(len(b))*c.at), len(b)-1)] ^= 4
			return b
		})
		p, err = pebble.Open("db", &pebble.Options{FS: fs,
			FormatMajorVersion: pebble.FormatNewest,
			Logger:             engineLog{&DB{log: Options{}.withDefaults("").Logger}}})
		if c.want {
			if err == nil {
				t.Errorf("%s: Pebble did not notice", c.name)
				_ = p.Close()
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: Pebble noticed: %v; the check for it here may go", c.name, err)
			continue
		}
		_, closer, err := p.Get(rowKey(199))
		if err == nil {
			_ = closer.Close()
			t.Errorf("%s: nothing was lost, the test does not test", c.name)
		}
		_ = p.Close()
	}
}

// filepathGlobLogs lists the logs of directory db in order.
func filepathGlobLogs(fs vfs.FS) ([]string, error) {
	names, err := fs.List("db")
	var out []string
	for _, n := range names {
		if filepath.Ext(n) == ".log" {
			out = append(out, fs.PathJoin("db", n))
		}
	}
	sortStrings(out)
	return out, err
}

func sortStrings(s []string) {
	for i := range s {
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
}

// TestFirstLogIsNewFormat: the Flush after creation is what makes the first commits safe.
func TestFirstLogIsNewFormat(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	_, log, _ := killed(t, mem, 50)
	const syncChunk = 9 // the lowest chunk type of the newest format
	change(t, clone(mem), log, func(b []byte) []byte {
		if b[6] < syncChunk {
			t.Errorf("the first record of the live log has type %d of an older format", b[6])
		}
		return b
	})
}

// TestLogsOfSeveralFlushes damages logs that are not the last one, and takes files away.
func TestLogsOfSeveralFlushes(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	db, log, _ := killed(t, mem, 80)
	for _, c := range []struct {
		name string
		do   func(fs *vfs.MemFS) error
		want string
	}{
		{"live log taken away", func(fs *vfs.MemFS) error { return fs.Remove(log) }, "missing"},
		{"mark taken away", func(fs *vfs.MemFS) error { return fs.Remove("db/ACKED") }, "ACKED"},
		{"mark damaged", func(fs *vfs.MemFS) error {
			change(t, fs, "db/ACKED", func(b []byte) []byte { clear(b[markSector:]); return b })
			return nil
		}, "both records"},
		{"not a mark", func(fs *vfs.MemFS) error {
			change(t, fs, "db/ACKED", func(b []byte) []byte { b[0] = 'T'; return b })
			return nil
		}, "begin with"},
		{"manifest taken away", func(fs *vfs.MemFS) error {
			names, err := fs.List("db")
			for _, n := range names {
				if strings.HasPrefix(n, "MANIFEST") || strings.HasPrefix(n, "marker.manifest") {
					err = errors.Join(err, fs.Remove("db/"+n))
				}
			}
			return err
		}, "MANIFEST"},
	} {
		fs := clone(mem)
		if err := c.do(fs); err != nil {
			t.Fatal(err)
		}
		_, err := Open("db", Options{FS: fs})
		if !errors.Is(err, kv.ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want ErrCorrupt with %q", c.name, err, c.want)
		}
	}
	_ = db
	// One slot of the mark damaged: the other one holds, at worst one acknowledgement older.
	for slot := range 2 {
		fs := clone(mem)
		change(t, fs, "db/ACKED", func(b []byte) []byte { b[markSector*(slot+1)] ^= 1; return b })
		open(t, "db", Options{FS: fs})
	}
}

// TestNewerData: data of a version to come is refused, in words.
func TestNewerData(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	killed(t, mem, 3)
	fs := clone(mem)
	change(t, fs, "db/ACKED", func(b []byte) []byte { copy(b, "tram kv 7\n"); return b })
	_, err := Open("db", Options{FS: fs})
	if !errors.Is(err, kv.ErrNewer) || !strings.Contains(err.Error(), "version 7") {
		t.Errorf("data of version 7: %v", err)
	}
}

// TestInUse: a second Open of the same directory is refused in words, and works after Close.
func TestInUse(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{}, {FS: vfs.NewMem()}} {
		dir := "db"
		if o.FS == nil {
			dir = t.TempDir()
		}
		db := open(t, dir, o)
		_, err := Open(dir, o)
		if !errors.Is(err, kv.ErrInUse) || !strings.Contains(err.Error(), "another process") {
			t.Errorf("second Open: %v, want ErrInUse", err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		open(t, dir, o)
	}
	if _, err := Open("/proc/nowhere", Options{}); err == nil || errors.Is(err, kv.ErrInUse) ||
		!errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open where no directory can be made: %v", err)
	}
}
