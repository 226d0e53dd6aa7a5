package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMpop fetches with mpop, first with a copy left on the server, then without one.
func TestMpop(t *testing.T) {
	t.Parallel()
	mpop := need(t, "mpop", "mpop")
	s := start(t)
	c := s.imap(alice)
	for i := range 5 {
		c.append("INBOX", "()", fmt.Sprintf("Subject: letter %d\r\n\r\n.\r\nbody %d\r\n", i, i))
	}
	home := t.TempDir()
	box := filepath.Join(home, "mail")
	for _, d := range []string{"new", "cur", "tmp"} {
		if err := os.MkdirAll(filepath.Join(box, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// fetch runs mpop on one of the two doors; it notes in a file of its own what it has.
	fetch := func(keep, door string) {
		rc := write(t, filepath.Join(home, "mpoprc"), fmt.Sprintf("account tram\nhost localhost\nport %s\n"+
			"user %s\npassword %s\ntls on\ntls_starttls %s\ntls_trust_file %s\nuidls_file %s/uidls\n"+
			"keep %s\ndelivery maildir %s\nreceived_header off\n", port(s, map[string]int{"off": 995, "on": 110}[door]),
			alice, password, door, s.ca(), home, keep, box))
		if err := os.Chmod(rc, 0o600); err != nil { // it holds a password, and mpop insists
			t.Fatal(err)
		}
		run(t, "", mpop, "-C", rc, "tram")
	}
	has := func(near, far int) {
		t.Helper()
		if got := len(maildir(t, filepath.Join(box, "new"))); got != near {
			t.Errorf("mpop has %d messages, want %d", got, near)
		}
		if got := c.count("INBOX"); got != far {
			t.Errorf("the server has %d messages, want %d", got, far)
		}
	}
	fetch("on", "off")
	has(5, 5)
	fetch("on", "on") // by STLS: the same UIDLs, so nothing is fetched again
	has(5, 5)
	c.append("INBOX", "()", "Subject: letter 5\r\n\r\nlate\r\n")
	fetch("off", "on") // takes the new one, and deletes what it has
	has(6, 0)
	var all strings.Builder
	for _, name := range maildir(t, filepath.Join(box, "new")) {
		b, err := os.ReadFile(filepath.Join(box, "new", name))
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	for i := range 6 {
		if n := strings.Count(all.String(), fmt.Sprintf("Subject: letter %d\n", i)); n != 1 {
			t.Errorf("letter %d is there %d times", i, n)
		}
	}
	if n := strings.Count(all.String(), "\n.\nbody"); n != 5 {
		t.Errorf("%d of 5 lines with a single dot arrived", n)
	}
}
