package pebblekv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"

	"tram/internal/kv"
)

// The environment variable that makes this test binary the process that is killed.
const killedEnv = "TRAM_TEST_KILLED_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedEnv); dir != "" {
		writeUntilKilled(dir)
	}
	os.Exit(m.Run())
}

// writeUntilKilled commits rows and says so on standard output, one line for each.
func writeUntilKilled(dir string) {
	db, err := Open(dir, Options{MemTableBytes: 256 << 10})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	run := os.Getpid()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				key := fmt.Sprintf("s%d/%d/%d", run, w, n)
				err := db.Update(context.Background(), kv.Scope(fmt.Sprint(w)), func(txn kv.Txn) error {
					return errors.Join(txn.Set([]byte(key), []byte("row")),
						txn.Set([]byte("bc"+key), make([]byte, 3000)))
				})
				mu.Lock()
				if err != nil {
					fmt.Println("error", err)
				} else {
					fmt.Println("done", key)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// TestKill kills a process that writes, several times, and finds all that it has acknowledged. The
// end of the log that the last one leaves is then damaged, which is found out: what the mark says
// survives a kill.
func TestKill(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var acked []string
	for round := range 4 {
		c := exec.Command(exe)
		c.Env = append(os.Environ(), killedEnv+"="+dir)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			key, ok := strings.CutPrefix(lines.Text(), "done ")
			if strings.HasPrefix(lines.Text(), "error") {
				t.Errorf("round %d: %s", round, lines.Text())
			}
			if n == 150+70*round {
				if err := c.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			if ok {
				acked = append(acked, key)
			}
		}
		_ = c.Wait()
	}
	if len(acked) < 600 {
		t.Fatalf("only %d commits were acknowledged", len(acked))
	}
	acked = acked[:len(acked)-1] // the kill may have cut the last line
	broken := t.TempDir() + "/copy"
	if out, err := exec.Command("cp", "-a", dir, broken).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	db := open(t, dir, Options{})
	for _, key := range acked {
		view(t, db, key)
		view(t, db, "bc"+key)
	}
	log, offset := lastAcked(t, db.opts.FS, broken)
	if log == "" {
		return // killed just after a flush: the last record is in a table already
	}
	change(t, db.opts.FS, log, func(b []byte) []byte { b[offset+40] ^= 0xff; return b })
	if _, err := Open(broken, Options{}); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("Open with the last acknowledged record damaged: %v, want ErrCorrupt", err)
	}
}

// lastAcked returns where the record is that was acknowledged last, "" if no log has it any more.
func lastAcked(t *testing.T, fs vfs.FS, dir string) (log string, offset int64) {
	t.Helper()
	m, err := openMark(fs, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	logs, err := wal.Scan(wal.Dir{FS: fs, Dirname: dir})
	if err != nil {
		t.Fatal(err)
	}
	l, ok := logs.Get(wal.NumWAL(m.at.log))
	if !ok || l.Num != logs[len(logs)-1].Num {
		return "", 0
	}
	r := l.OpenForRead()
	defer r.Close()
	for {
		rec, off, err := r.NextRecord()
		if err != nil {
			t.Fatalf("number %d is not in log %d: %v", m.at.seq, m.at.log, err)
		}
		b, err := io.ReadAll(rec)
		if err != nil {
			t.Fatal(err)
		}
		h, _ := batchrepr.ReadHeader(b)
		if uint64(h.SeqNum)+uint64(h.Count) > m.at.seq {
			return off.PhysicalFile, off.Physical
		}
	}
}
