package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tram/bench/ledger"
	"tram/bench/wire"
)

// resize gives the disk of s, which was mounted at dir, another number of inodes.
func (s *server) resize(t *testing.T, dir string, inodes int) {
	t.Helper()
	args := []string{"--mount", "--target", fmt.Sprint(s.cmd.Process.Pid)}
	if os.Getuid() != 0 {
		args = append(args, "--user", "--preserve-credentials")
	}
	args = append(args, "mount", "-o", fmt.Sprintf("remount,nr_inodes=%d", inodes), dir)
	run(t, "", need(t, "nsenter", "util-linux"), args...)
}

// takeInodes makes files in a folder of its own on the server's disk until no inode is left.
func takeInodes(t *testing.T, s *server) (release func()) {
	t.Helper()
	dir := filepath.Join(s.dir, "taken")
	for n := 0; ; n++ {
		err := os.MkdirAll(dir, 0o700)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), nil, 0o600)
		}
		if errors.Is(err, syscall.ENOSPC) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// TestInodesGone is D8's short form: the data is on a file system that has room for 200 files. That
// is too few for a log, tables and blob files to come and go, so no mail is taken, with 452 4.3.1;
// then even the last of them are gone. The process lives, people read and delete; and mail is taken
// again as soon as there are inodes.
func TestInodesGone(t *testing.T) {
	t.Parallel()
	s, file := installed(t)
	disk := s.dir
	const few, many = 200, 4000
	onSmallDisk(t, s, file, fmt.Sprintf("size=256m,nr_inodes=%d", few))
	s.run()
	s.dir = fmt.Sprintf("/proc/%d/root%s", s.cmd.Process.Pid, s.dir)
	if got := s.mayMail(t); !strings.HasPrefix(got, "452 4.3.1") {
		t.Errorf("on a disk of %d inodes MAIL was answered %q", few, got)
	}
	s.resize(t, disk, many)
	eventually(t, "mail is accepted", func() bool { return strings.HasPrefix(s.mayMail(t), "250") })
	run(t, ownPassword+"\n", tramBinary, "account", "add", bob, "--password-stdin", "--config", file)
	c := s.imapAs(alice, ownPassword)
	c.cmd("CREATE Old")
	const rounds = 3
	for i := range 4 * rounds {
		old := letter(alice, alice, fmt.Sprint("old", i))
		c.cmd("APPEND Old {%d+}\r\n%s", len(old), old)
	}
	c.cmd("SELECT Old")
	l := ledger.New(ledger.Server{
		SMTP: wire.Target{Addr: s.addr(25)}, IMAP: wire.Target{Addr: s.addr(993), Security: wire.TLS},
		Users: []string{alice, bob}, Password: ownPassword,
	}, rand.Uint64())
	stop := load(l, 2, 1)
	s.waitAcked(l, 30)
	for round := range rounds {
		s.resize(t, disk, few)
		eventually(t, "mail is refused", func() bool {
			return strings.HasPrefix(s.mayMail(t), "452 4.3.1")
		})
		release := takeInodes(t, s)
		s.withoutInodes(t, c, round)
		release()
		s.resize(t, disk, many)
		since := time.Now()
		eventually(t, "mail is accepted again", func() bool {
			return strings.HasPrefix(s.mayMail(t), "250")
		})
		if took := time.Since(since); took > 10*time.Second {
			t.Errorf("round %d: accepted again only after %v", round, took)
		}
		s.waitAcked(l, 30)
	}
	stop()
	r, err := l.Compare()
	if err != nil || r.Err() != nil {
		t.Error(err, r.Err())
	}
	t.Logf("%d acknowledged, %d refused, %d unknown: lost %d", r.Acked, r.Refused, r.Unknown, len(r.Lost))
	out, err := try(t, "", tramBinary, "check", "--deep", "--config", file)
	if err != nil || !strings.Contains(out, "Everything is in order.") {
		t.Errorf("check: %v\n%s", err, out)
	}
	s.stop()
}

// withoutInodes: what a person with the mailbox of old mail selected can do when there is no inode.
func (s *server) withoutInodes(t *testing.T, c *imapConn, round int) {
	t.Helper()
	s.noAppend(t)
	if body := c.body(1); !strings.Contains(body, "Hello.") {
		t.Errorf("round %d: a message reads as %q", round, body)
	}
	for range 3 {
		c.cmd(`STORE 1 +FLAGS.SILENT (\Deleted)`)
		if got := c.cmd("EXPUNGE"); !strings.Contains(got, "* 1 EXPUNGE") {
			t.Errorf("round %d: EXPUNGE without an inode: %s", round, got)
		}
	}
}
