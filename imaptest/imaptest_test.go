package imaptest_test

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tram/imaptest"
	"tram/mailtest"
)

// TestScripts runs the scripts of this folder.
func TestScripts(t *testing.T) {
	t.Parallel()
	runAll(t, "testdata", 8, nil, false)
}

// TestScriptsCompressed runs them with COMPRESS=DEFLATE (RFC 4978).
func TestScriptsCompressed(t *testing.T) {
	t.Parallel()
	runAll(t, "testdata", 8, nil, true)
}

// wrong are the places of ImapTest's scripts that ask for what no RFC does, with the reason: a
// line of one, or the whole of one. They must go on failing: what passes is taken out.
var wrong = map[string]string{
	"append-binary:35": "says that the part has 7 octets, and shows 6",
	"id:4": "sends a line of 31,807 octets before log-in: RFC 2683 §3.2.1.5 has clients stay below 1,000 " +
		"and servers take 8,000, and limits.imap.line_before_login is 8 KiB",
	"search-intdate": "wants days in the zone that APPEND named (its authors keep it among the broken " +
		"ones): RFC 9051 §6.4.4 disregards zones, and INTERNALDATE is told in UTC here",
	"search-partial:8": "asks for 4:2 and wants to be told 2:4: RFC 9394 §3.1 has the original range told",
	"sort-partial:8":   "the same as search-partial:8",
}

// without are the capabilities that this server does not have, with the reason. Scripts that need
// another must run.
var without = map[string]string{
	"URLAUTH":        "addresses that open somebody's mail to whom they are sent on; no client uses them",
	"URLAUTH=BINARY": "the same as URLAUTH",
}

// TestImapTest runs the scripts of Dovecot's ImapTest. They are not part of this project: they are
// looked for where TRAM_CORPORA says, and beside the project.
func TestImapTest(t *testing.T) {
	t.Parallel()
	corpora := os.Getenv("TRAM_CORPORA")
	if corpora == "" {
		corpora = filepath.Join("..", "..", "shared", "corpora")
	}
	dir := filepath.Join(corpora, "imap", "imaptest-tests", "tests")
	if _, err := os.Stat(dir); err != nil {
		t.Logf("ImapTest's scripts are not here and were not run (TRAM_CORPORA says where): %v", err)
		return
	}
	runAll(t, dir, 70, wrong, false)
	runAll(t, dir, 70, wrong, true)
}

// runAll runs each script below dir, as a person of its own; at least so many must find the
// capabilities they need.
func runAll(t *testing.T, dir string, least int, wrong map[string]string, compress bool) {
	t.Helper()
	h := mailtest.New(t).House("example.test", mailtest.Options{})
	var ran, steps atomic.Int64
	var people int
	name := map[bool]string{false: "plain", true: "compressed"}[compress]
	t.Run(name, func(t *testing.T) {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != "" {
				return err
			}
			people++
			n := people
			t.Run(d.Name(), func(t *testing.T) {
				t.Parallel()
				result := runOne(t, h, path, n, compress)
				if len(result.Missing) > 0 {
					t.Logf("waits for %s", strings.Join(result.Missing, " "))
					for _, c := range result.Missing {
						if without[c] == "" {
							t.Errorf("the server does not have %s", c)
						}
					}
					return
				}
				ran.Add(1)
				steps.Add(int64(result.Steps))
				judge(t, d.Name(), result, wrong)
			})
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Logf("%s: %d of %d scripts ran, %d commands", name, ran.Load(), people, steps.Load())
	if ran.Load() < int64(least) {
		t.Errorf("%d scripts ran, want at least %d", ran.Load(), least)
	}
}

func runOne(t *testing.T, h *mailtest.House, path string, n int, compress bool) imaptest.Result {
	t.Helper()
	s, err := imaptest.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	one, other := h.Person(fmt.Sprintf("one%d", n), 0), h.Person(fmt.Sprintf("other%d", n), 0)
	result, err := s.Run(imaptest.Options{
		Dial: func() (net.Conn, error) {
			return tls.Dial("tcp", h.Addr("imaps").String(), h.TLS())
		},
		Users:     [2]string{one.Address, other.Address},
		Passwords: [2]string{mailtest.Password, mailtest.Password},
		Mailbox:   "imaptest",
		Patience:  time.Minute,
		Compress:  compress,
	})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func judge(t *testing.T, name string, result imaptest.Result, wrong map[string]string) {
	t.Helper()
	failed := map[string]bool{}
	for _, f := range result.Failures {
		place := fmt.Sprintf("%s:%d", name, f.Line)
		failed[place], failed[name] = true, true
		if wrong[place] == "" && wrong[name] == "" {
			t.Errorf("%s: %v", place, f.Err)
		}
	}
	for place, reason := range wrong {
		script, _, _ := strings.Cut(place, ":")
		if script == name && !failed[place] {
			t.Errorf("%s passes, and is listed as wrong: %s", place, reason)
		}
	}
}
