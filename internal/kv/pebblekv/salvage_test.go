package pebblekv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tram/internal/kv"
)

// twoTables returns a closed database of n rows and n bodies in tables and files of bodies, with a
// later version of some rows in tables of their own.
func twoTables(t testing.TB, n int) *vfs.MemFS {
	t.Helper()
	mem := vfs.NewCrashableMem()
	db, err := Open("db", Options{FS: mem})
	if err != nil {
		t.Fatal(err)
	}
	for _, round := range []int{1, 3} {
		for i := 0; i < n; i += round {
			err := db.Update(context.Background(), "s", func(txn kv.Txn) error {
				return errors.Join(txn.Set(rowKey(i), rowOf(i)),
					txn.Set(fmt.Appendf(nil, "bc%06d", i), bodyOf(i)))
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := db.pebble.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return mem
}

func rowOf(i int) []byte { return fmt.Appendf(nil, "row %d, %d", i, i*i*7919) }

func bodyOf(i int) []byte {
	r := rand.New(rand.NewPCG(uint64(i), 1))
	b := make([]byte, 600+i%1700)
	for k := range b {
		b[k] = byte(r.Uint32())
	}
	return b
}

// intact returns how many rows and bodies can be read, and fails for a wrong one.
func intact(t testing.TB, db *DB, n int) (rows, bodies int) {
	t.Helper()
	err := db.View(context.Background(), "", func(r kv.Reader) error {
		for i := range n {
			for _, c := range []struct {
				key, want []byte
				count     *int
			}{{rowKey(i), rowOf(i), &rows}, {fmt.Appendf(nil, "bc%06d", i), bodyOf(i), &bodies}} {
				v, err := r.Get(c.key)
				if errors.Is(err, kv.ErrNotFound) {
					continue
				}
				if err != nil {
					return err
				}
				if !bytes.Equal(v, c.want) {
					t.Errorf("%s is not what was written", c.key)
				}
				*c.count++
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return rows, bodies
}

// TestRepairTables is D10 with a repair: a wrong byte anywhere in a table or a file of bodies is
// found by a check, and after a repair all is there but what stood at that place; the files as they
// were are kept, and a check finds nothing any more.
func TestRepairTables(t *testing.T) {
	t.Parallel()
	const n = 300
	mem := twoTables(t, n)
	names, err := mem.List("db")
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(10, 10))
	worst := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") && !strings.HasSuffix(name, ".blob") {
			continue
		}
		info, err := mem.Stat("db/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for k := range 4 {
			at := rnd.Int64N(info.Size())
			if k == 0 {
				at = info.Size() - 10 // the footer
			}
			fs := clone(mem)
			change(t, fs, "db/"+name, func(b []byte) []byte { b[at] ^= 1 << (at % 8); return b })
			what := fmt.Sprintf("%s of %d bytes, byte %d", name, info.Size(), at)
			lost := n - repaired(t, fs, what, name, n)
			worst = max(worst, lost)
		}
	}
	t.Logf("the worst place cost %d rows of %d", worst, n)
}

// repaired repairs a database with one damaged file, and returns how many rows are left.
func repaired(t *testing.T, fs *vfs.MemFS, what, name string, n int) int {
	t.Helper()
	done, err := Repair("db", Options{FS: fs, Keep: "aside"})
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return n
	}
	db, err := Open("db", Options{FS: fs})
	if err != nil {
		t.Errorf("%s: open after the repair: %v", what, err)
		return n
	}
	defer db.Close()
	rows, bodies := intact(t, db, n)
	report := func(err error) { t.Errorf("%s: after the repair: %v", what, err) }
	if err := db.Check(context.Background(), report, nil); err != nil {
		t.Error(err)
	}
	switch {
	case len(done.Damage) == 0 && (rows < n || bodies < n):
		t.Errorf("%s: %d rows and %d bodies are left, and nothing was said", what, rows, bodies)
	case len(done.Damage) > 0:
		if _, err := fs.Stat("aside/" + name + ".saved"); err != nil || len(done.Deeds) == 0 && rows+bodies < 2*n {
			t.Errorf("%s: %+v, %v", what, done, err)
		}
	}
	if rows+bodies < 2*n {
		t.Errorf("%s: one wrong bit cost %d rows and %d bodies: %+v", what, n-rows, n-bodies, done)
	}
	return rows
}

// TestRepairGaps: where more than a bit is wrong, the rows of that place are given up, and no others.
// There is one table and one file of bodies, for each takes Pebble seconds to look for a wrong bit.
func TestRepairGaps(t *testing.T) {
	t.Parallel()
	for kind, n := range map[string]int{".sst": 6000, ".blob": 460} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			fs := twoTables(t, n)
			name := largest(t, fs, kind)
			change(t, fs, "db/"+name, func(b []byte) []byte {
				copy(b[len(b)/3:], "torn by another program")
				return b
			})
			done, err := Repair("db", Options{FS: fs})
			if err != nil || len(done.Damage) == 0 || len(done.Deeds) == 0 || done.Saved == "" {
				t.Fatalf("%+v, %v", done, err)
			}
			db := open(t, "db", Options{FS: fs})
			if rows, bodies := intact(t, db, n); rows < n/2 || bodies < n/2 || rows+bodies == 2*n {
				t.Errorf("%d rows and %d bodies are left of %d; %v", rows, bodies, n, done.Deeds)
			}
			report := func(err error) { t.Errorf("after the repair: %v", err) }
			if err := db.Check(context.Background(), report, nil); err != nil {
				t.Error(err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			if again, err := Repair("db", Options{FS: fs}); err != nil || len(again.Damage) > 0 {
				t.Errorf("a second repair: %+v, %v", again, err)
			}
		})
	}
}

// TestRepairLengths: a file that was cut, has something behind its end, or is gone. The database says
// how to repair it, and the repair leaves what stands in the other files.
func TestRepairLengths(t *testing.T) {
	t.Parallel()
	const n = 200
	mem := twoTables(t, n)
	names, err := mem.List("db")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		table := strings.HasSuffix(name, ".sst")
		if !table && !strings.HasSuffix(name, ".blob") {
			continue
		}
		for what, damage := range map[string]func(fs *vfs.MemFS, path string) error{
			"cut": func(fs *vfs.MemFS, path string) error {
				change(t, fs, path, func(b []byte) []byte { return b[:len(b)/2] })
				return nil
			},
			"emptied": func(fs *vfs.MemFS, path string) error {
				change(t, fs, path, func([]byte) []byte { return nil })
				return nil
			},
			"longer": func(fs *vfs.MemFS, path string) error {
				change(t, fs, path, func(b []byte) []byte { return append(b, "something else"...) })
				return nil
			},
			"gone": func(fs *vfs.MemFS, path string) error { return fs.Remove(path) },
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				t.Parallel()
				fs := clone(mem)
				if err := damage(fs, "db/"+name); err != nil {
					t.Fatal(err)
				}
				if db, err := Open("db", Options{FS: fs}); err == nil {
					if table {
						t.Error("it opens")
					}
					_ = db.Close()
				} else if !errors.Is(err, kv.ErrCorrupt) || !strings.Contains(err.Error(), "check --repair") {
					t.Errorf("refused with: %v", err)
				}
				done, err := Repair("db", Options{FS: fs, Keep: "aside"})
				if err != nil || len(done.Damage) == 0 {
					t.Fatalf("%+v, %v", done, err)
				}
				db := open(t, "db", Options{FS: fs})
				rows, bodies := intact(t, db, n)
				// Rows are in one table, references to bodies in the other.
				if rows+bodies < n || what == "longer" && table && rows+bodies < 2*n {
					t.Errorf("%d rows and %d bodies are left of %d: %v", rows, bodies, n, done.Deeds)
				}
				report := func(err error) { t.Errorf("after the repair: %v", err) }
				if err := errors.Join(db.Check(context.Background(), report, nil), db.Close()); err != nil {
					t.Error(err)
				}
				if again, err := Repair("db", Options{FS: fs}); err != nil || len(again.Damage) > 0 {
					t.Errorf("a second repair: %+v, %v", again, err)
				}
			})
		}
	}
}

// largest returns the name of the largest file of a kind: one of many blocks.
func largest(t *testing.T, fs *vfs.MemFS, kind string) (name string) {
	t.Helper()
	names, err := fs.List("db")
	if err != nil {
		t.Fatal(err)
	}
	most := int64(0)
	for _, n := range names {
		info, err := fs.Stat("db/" + n)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(n, kind) && info.Size() > most {
			name, most = n, info.Size()
		}
	}
	return name
}

// manifestOf returns the path of the only manifest of a database.
func manifestOf(t *testing.T, fs *vfs.MemFS) (path string, size int64) {
	t.Helper()
	names, err := fs.List("db")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, ok := manifestNum(name); ok {
			info, err := fs.Stat("db/" + name)
			if err != nil {
				t.Fatal(err)
			}
			return "db/" + name, info.Size()
		}
	}
	t.Fatal("there is no manifest")
	return "", 0
}

// TestManifestBit is D10 for the list of files: Pebble takes a wrong bit in it for its end, and removes
// the tables that are named behind. The database is refused instead, a check of one that runs finds
// it, and a repair turns the bit back.
func TestManifestBit(t *testing.T) {
	t.Parallel()
	const n = 50
	mem := twoTables(t, n)
	path, size := manifestOf(t, mem)
	for at := range size {
		fs := clone(mem)
		change(t, fs, path, func(b []byte) []byte { b[at] ^= 1 << (at % 8); return b })
		db, err := Open("db", Options{FS: fs})
		if err == nil {
			_ = db.Close()
		}
		if !errors.Is(err, kv.ErrCorrupt) || !strings.Contains(err.Error(), "check --repair") {
			t.Errorf("byte %d of %d: %v", at, size, err)
		}
		if at%16 > 0 && at < size-chunkHeader-8 {
			continue // the repair takes longer
		}
		if rows := repaired(t, fs, fmt.Sprintf("byte %d of %d", at, size), path[len("db/"):], n); rows != n {
			t.Errorf("byte %d of %d: %d rows are left", at, size, rows)
		}
	}

	db := open(t, "db", Options{FS: mem})
	defer db.Close()
	for i := range 2 { // the second change is written behind the first, and noted
		if err := db.Update(context.Background(), "s", func(txn kv.Txn) error {
			return txn.Set(rowKey(n+i), rowOf(n+i))
		}); err != nil {
			t.Fatal(err)
		}
		if err := db.pebble.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	path = "db/" + fmt.Sprintf("%s%06d", manifestPrefix, db.mark.listing().num)
	change(t, mem, path, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	found := 0
	err := db.Check(context.Background(), func(err error) {
		if strings.Contains(err.Error(), manifestPrefix) {
			found++
		}
	}, nil)
	if err != nil || found == 0 {
		t.Errorf("a check of the running database: found %d, %v", found, err)
	}
}

// TestManifestEnd: what a crash leaves at the end of the manifest is no damage, and a manifest that
// is shorter than it was durable is.
func TestManifestEnd(t *testing.T) {
	t.Parallel()
	const n = 50
	mem := twoTables(t, n)
	path, size := manifestOf(t, mem)
	var whole string
	change(t, mem, path, func(b []byte) []byte { whole = string(b); return b })
	for what, tail := range map[string]string{
		"a torn record": whole[:20], "a lost page": string(make([]byte, 9000)),
		"a header alone": whole[:7], "half of a header": whole[:3],
	} {
		fs := clone(mem)
		change(t, fs, path, func(b []byte) []byte { return append(b, tail...) })
		db := open(t, "db", Options{FS: fs})
		if rows, bodies := intact(t, db, n); rows+bodies < 2*n {
			t.Errorf("%s: %d rows and %d bodies", what, rows, bodies)
		}
		if err := db.Close(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, left := range []int64{0, size / 3, size / 2, size - 1} {
		fs := clone(mem)
		change(t, fs, path, func(b []byte) []byte { return b[:left] })
		if _, err := Open("db", Options{FS: fs}); !errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("cut at %d of %d: %v", left, size, err)
		}
		if _, err := Repair("db", Options{FS: fs}); err == nil || !strings.Contains(err.Error(), "backup") {
			t.Errorf("repair when cut at %d of %d: %v", left, size, err)
		}
	}
	// Two wrong bits in one record are too many.
	fs := clone(mem)
	change(t, fs, path, func(b []byte) []byte { b[size/2] ^= 1; b[size/2+1] ^= 2; return b })
	if _, err := Repair("db", Options{FS: fs}); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("two wrong bits: %v", err)
	}
}
