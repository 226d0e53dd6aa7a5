package e2e

import (
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

// onSmallDisk makes s run with its data on a tmpfs of 256 MiB, or with what else options say. The
// file system is the process's own and goes with it; from outside it is reached through /proc.
func onSmallDisk(t *testing.T, s *server, file, options string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(filepath.Dir(file), "admin.sock")
	config := strings.Replace(string(text), `#socket = "admin.sock"`, fmt.Sprintf("socket = %q", socket), 1)
	for key, value := range map[string]string{
		"reserve": `"96 MiB"`, "ballast": `"32 MiB"`, // of [limits.storage]
		"new_per_minute": "100000", "per_ip": "100", // of [limits.connections], against the test's load
		"transactions": "100000",
	} {
		config = setLimit(config, key, value)
	}
	write(t, file, config)
	const script = letGo + `mount -t tmpfs -o "$5,mode=0700" tram "$1" && cp -a "$2/." "$1" && exec "$3" serve --config "$4"`
	// Made by setup on the ordinary disk, taken over to the small one.
	made := s.dir + "-made"
	if err := os.Rename(s.dir, made); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.command = []string{need(t, "unshare", "util-linux"), "--mount"}
	if os.Getuid() != 0 {
		s.command = append(s.command, "--user", "--map-root-user")
	}
	s.command = append(s.command, "sh", "-c", script, os.TempDir(), s.dir, made, tramBinary, file, options)
}

// setLimit sets the first limit of that name; without one there is nothing to set.
func setLimit(config, key, value string) string {
	before, after, ok := strings.Cut(config, "\n#"+key+" = ")
	if !ok {
		return config
	}
	_, rest, _ := strings.Cut(after, "\n")
	return before + "\n" + key + " = " + value + "\n" + rest
}

// filler is a file on the server's disk that grows until the disk has no more than left free.
type filler struct{ f *os.File }

func newFiller(t *testing.T, s *server) *filler {
	t.Helper()
	f, err := os.Create(filepath.Join(s.dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &filler{f}
}

func (f *filler) free(t *testing.T) int64 {
	t.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Fstatfs(int(f.f.Fd()), &fs); err != nil {
		t.Fatal(err)
	}
	return int64(fs.Bavail) * int64(fs.Bsize)
}

// leave takes all but left bytes.
func (f *filler) leave(t *testing.T, left int64) {
	t.Helper()
	info, err := f.f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if n := f.free(t) - left; n > 0 {
		err := syscall.Fallocate(int(f.f.Fd()), 0, info.Size(), n)
		if err != nil && left > 0 {
			t.Fatal(err)
		}
	}
	if left > 0 {
		return
	}
	block := make([]byte, 4096) // the last bytes one by one: the server may write meanwhile
	for {
		if _, err := f.f.Seek(0, 2); err != nil {
			t.Fatal(err)
		}
		if _, err := f.f.Write(block); err != nil {
			return
		}
	}
}

// release gives everything back.
func (f *filler) release(t *testing.T) {
	t.Helper()
	if err := f.f.Truncate(0); err != nil {
		t.Fatal(err)
	}
}

// TestDiskFull is D7's short form: mail fills the disk to the reserve and is refused from there on
// with 452 4.3.1, the reserve's rest is taken by somebody else to the last byte, and people still
// read and delete. When there is space again mail is accepted, by the same process, and nothing that
// was acknowledged is missing.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s, file := installed(t)
	onSmallDisk(t, s, file, "size=256m")
	s.run()
	s.dir = fmt.Sprintf("/proc/%d/root%s", s.cmd.Process.Pid, s.dir)
	run(t, ownPassword+"\n", tramBinary, "account", "add", bob, "--password-stdin", "--config", file)
	c := s.imapAs(alice, ownPassword)
	c.cmd("CREATE Old")
	const rounds = 3
	for i := range 4 * rounds {
		old := letter(alice, alice, fmt.Sprint("old", i))
		c.cmd("APPEND Old {%d+}\r\n%s", len(old), old)
	}
	l := ledger.New(ledger.Server{
		SMTP: wire.Target{Addr: s.addr(25)}, IMAP: wire.Target{Addr: s.addr(993), Security: wire.TLS},
		Users: []string{alice, bob}, Password: ownPassword,
	}, rand.Uint64())
	f := newFiller(t, s)
	c.cmd("SELECT Old")
	for round := range rounds {
		s.fillUp(t, l, f, c, round)
	}
	r, err := l.Compare()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	t.Logf("%d rounds, %d acknowledged, %d refused, %d unknown: lost %d", rounds, r.Acked, r.Refused,
		r.Unknown, len(r.Lost))
	out, err := try(t, "", tramBinary, "check", "--deep", "--config", file)
	if err != nil || !strings.Contains(out, "Everything is in order.") {
		t.Errorf("check: %v\n%s", err, out)
	}
	s.stop()
}

// fillUp is one round; c has a mailbox of old mail selected.
func (s *server) fillUp(t *testing.T, l *ledger.Ledger, f *filler, c *imapConn, round int) {
	t.Helper()
	f.leave(t, 100<<20) // mail does the rest, down to the reserve of 96
	stop := load(l, 2, 1)
	refusal := ""
	eventually(t, "mail is refused", func() bool {
		refusal = s.mayMail(t)
		return !strings.HasPrefix(refusal, "250")
	})
	stop()
	if !strings.HasPrefix(refusal, "452 4.3.1") {
		t.Errorf("round %d: refused with %q", round, refusal)
	}
	f.leave(t, 0)
	s.noAppend(t)
	if body := c.body(1); !strings.Contains(body, "Hello.") {
		t.Errorf("round %d: a message reads as %q", round, body)
	}
	for range 3 {
		c.cmd(`STORE 1 +FLAGS.SILENT (\Deleted)`)
		if got := c.cmd("EXPUNGE"); !strings.Contains(got, "* 1 EXPUNGE") {
			t.Errorf("round %d: EXPUNGE with %d bytes free: %s", round, f.free(t), got)
		}
	}
	f.release(t)
	since := time.Now()
	eventually(t, "mail is accepted again", func() bool {
		return strings.HasPrefix(s.mayMail(t), "250")
	})
	if took := time.Since(since); took > 10*time.Second {
		t.Errorf("round %d: accepted again only after %v", round, took)
	}
}

// noAppend: what would add to a full disk is refused, with a sentence and not with the connection.
func (s *server) noAppend(t *testing.T) {
	t.Helper()
	target := wire.Target{Addr: s.addr(993), Security: wire.TLS}
	c, err := wire.DialIMAP(target, alice, ownPassword)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ack, _, err := c.Append("INBOX", "()", []byte(letter(alice, alice, "full")))
	if ack != wire.Refused || !strings.Contains(fmt.Sprint(err), "NO [UNAVAILABLE]") {
		t.Errorf("APPEND on a full disk: %v, %v", ack, err)
	}
}

// mayMail is the answer to MAIL.
func (s *server) mayMail(t *testing.T) string {
	t.Helper()
	c := s.talkFor(t, 25)
	defer c.conn.Close()
	c.smtp("EHLO client.test", "250")
	c.send("MAIL FROM:<" + stranger + ">\r\n")
	return c.reply()
}
