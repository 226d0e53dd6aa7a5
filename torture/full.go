package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tram/bench/ledger"
	"tram/bench/wire"
)

var diskFull = Fault{
	ID: "D7", Name: "disk full", Needs: []need{root}, Rounds: rounds{1, 10, 10},
	Target: "452 4.3.1 before the reserve is touched; reading and EXPUNGE at 0 bytes; accepts within 10 s",
	Run: func(ctx context.Context, t *Trial) error {
		return runFull(ctx, t, "size=1g", func(w *World) *filler { return &filler{dir: w.data} })
	},
}

var inodesFull = Fault{
	ID: "D8", Name: "no inodes left", Needs: []need{root}, Rounds: rounds{1, 10, 10}, Target: diskFull.Target,
	Run: func(ctx context.Context, t *Trial) error {
		return runFull(ctx, t, "size=6g,nr_inodes=900", func(w *World) *filler {
			return &filler{dir: w.data, inodes: true}
		})
	},
}

// runFull fills the server's disk with mail, then to the last byte or file, and gives it back.
func runFull(ctx context.Context, t *Trial, disk string, filling func(*World) *filler) error {
	w, err := t.installed("storage.reserve = \"96 MiB\"", "storage.ballast = \"32 MiB\"",
		"connections.new_per_minute = 100000", "connections.per_ip = 100", "smtp.transactions = 100000")
	if err != nil {
		return err
	}
	if err := w.onTmpfs(disk); err != nil {
		return err
	}
	if err := w.Start(ctx); err != nil {
		return err
	}
	t.Recovery = 0
	l, err := w.ledger()
	if err != nil {
		return err
	}
	reader, err := w.read(alice)
	if err != nil {
		return err
	}
	defer reader.Close()
	if err := reader.Do(nil, "CREATE Old"); err != nil {
		return err
	}
	for range 4 * t.Count {
		if _, _, err := reader.Append("Old", "()", []byte("Subject: old\r\n\r\nHello.\r\n")); err != nil {
			return err
		}
	}
	if _, err := reader.Select("Old", ""); err != nil {
		return err
	}
	f := filling(w)
	defer f.release()
	for ; t.Done < t.Count; t.Done++ {
		if err := w.fillUp(ctx, l, f, reader); err != nil {
			return fmt.Errorf("round %d: %w", t.Done, err)
		}
		if !w.alive() {
			return fmt.Errorf("round %d: the server ended: %s", t.Done, w.said)
		}
	}
	return w.Verify(ctx, l)
}

// onTmpfs moves the world's data to a small file system in memory.
func (w *World) onTmpfs(options string) error {
	made := w.data + "-made"
	if err := os.Rename(w.data, made); err != nil {
		return err
	}
	if err := os.Mkdir(w.data, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("torture", w.data, "tmpfs", 0, options+",mode=0700"); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	w.t.OnEnd(func() {
		w.Kill()
		if syscall.Unmount(w.data, 0) != nil {
			syscall.Unmount(w.data, syscall.MNT_DETACH)
		}
	})
	return copyData(made, w.data)
}

func (w *World) fillUp(ctx context.Context, l *ledger.Ledger, f *filler, reader *wire.IMAP) error {
	t := w.t
	if err := f.leave(100<<20, 259); err != nil {
		return err
	}
	stop := load(ctx, l, 3, 1, 0)
	refusal := ""
	err := until(ctx, time.Minute, "mail is refused", func() bool {
		refusal = w.mayMail()
		return refusal != "" && !strings.HasPrefix(refusal, "250")
	})
	stop()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(refusal, "452 4.3.1") {
		t.Miss("round %d: refused with %q", t.Done, refusal)
	}
	if err := f.leave(0, 0); err != nil {
		return err
	}
	if ack, _, err := l.Append(reader, alice); ack != wire.Refused || !strings.Contains(fmt.Sprint(err), "NO [") {
		t.Miss("round %d: APPEND on a full disk: %v, %v", t.Done, ack, err)
	}
	if err := reader.Do(nil, "FETCH 1 BODY.PEEK[]"); err != nil {
		t.Miss("round %d: reading on a full disk: %v", t.Done, err)
	}
	for range 3 {
		for _, command := range []string{`STORE 1 +FLAGS.SILENT (\Deleted)`, "EXPUNGE"} {
			if err := reader.Do(nil, command); err != nil {
				t.Miss("round %d: %s on a full disk: %v", t.Done, command, err)
			}
		}
	}
	if err := f.release(); err != nil {
		return err
	}
	since := time.Now()
	err = until(ctx, time.Minute, "mail is accepted again", func() bool {
		return strings.HasPrefix(w.mayMail(), "250")
	})
	took := time.Since(since)
	t.recovered(took)
	if took > 10*time.Second {
		var fs syscall.Statfs_t
		syscall.Statfs(w.data, &fs)
		t.Late("round %d: accepted again only after %v, with %d MiB and %d inodes free", t.Done, took,
			int64(fs.Bavail)*fs.Bsize>>20, fs.Ffree)
	}
	return err
}

// mayMail is the answer to MAIL.
func (w *World) mayMail() string {
	s, err := wire.DialSMTP(w.smtp(), "", "")
	if err != nil {
		return ""
	}
	defer s.Close()
	text, err := s.Command('2', "MAIL FROM:<someone@load.test>")
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(text)
}

// filler takes the room on a disk that the server does not: bytes in one file, or files.
type filler struct {
	dir    string
	inodes bool
	file   *os.File
	files  int
}

func (f *filler) leave(bytes, inodes int64) error {
	if f.inodes {
		return f.leaveFiles(inodes)
	}
	if f.file == nil {
		var err error
		if f.file, err = os.Create(filepath.Join(f.dir, "filler")); err != nil {
			return err
		}
	}
	var fs syscall.Statfs_t
	if err := syscall.Fstatfs(int(f.file.Fd()), &fs); err != nil {
		return err
	}
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if n := int64(fs.Bavail)*fs.Bsize - bytes; n > 0 {
		err := syscall.Fallocate(int(f.file.Fd()), 0, info.Size(), n)
		if err != nil && bytes > 0 {
			return err
		}
	}
	if bytes > 0 {
		return nil
	}
	for block := make([]byte, 4096); ; { // the server may write meanwhile: take what is left
		if _, err := f.file.Seek(0, 2); err != nil {
			return err
		}
		if _, err := f.file.Write(block); err != nil {
			return nil
		}
	}
}

func (f *filler) leaveFiles(left int64) error {
	for {
		var fs syscall.Statfs_t
		if err := syscall.Statfs(f.dir, &fs); err != nil {
			return err
		}
		if int64(fs.Ffree) <= left {
			return nil
		}
		file, err := os.Create(f.name(f.files))
		if err != nil {
			return nil // none left: the server took the last
		}
		f.files++
		file.Close()
	}
}

func (f *filler) name(i int) string { return filepath.Join(f.dir, fmt.Sprint("filler", i)) }

func (f *filler) release() error {
	for ; f.files > 0; f.files-- {
		if err := os.Remove(f.name(f.files - 1)); err != nil {
			return err
		}
	}
	if f.file == nil {
		return nil
	}
	return f.file.Truncate(0)
}
