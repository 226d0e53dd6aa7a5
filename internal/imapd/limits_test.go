package imapd

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"tram/internal/limits"
)

// TestEndlessLine is reliability.md P6.
func TestEndlessLine(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	for name, w := range map[string]*wire{
		"before log-in": h.dialRaw(h.clear), "after log-in": h.loggedIn(),
	} {
		go func() {
			chunk := strings.Repeat("x", 64<<10)
			for range 1024 {
				if _, err := io.WriteString(w, chunk); err != nil {
					return
				}
			}
		}()
		if got := w.wantEnd(t); !strings.Contains(got, "BYE [LIMIT]") && got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestLiterals is reliability.md P7: sums of literals before and after log-in, and floods.
func TestLiterals(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	w := h.dialRaw(h.tls)
	w.say(t, "a LOGIN {4294967295}")
	w.want(t, "a BAD [TOOBIG]")
	w.say(t, "b LOGIN {5000+}\r\n%s {1+}\r\nx", strings.Repeat("x", 5000))
	w.want(t, "b BAD [TOOBIG] Non-synchronizing literals are limited to 4096 bytes here")
	w.say(t, "c LOGIN {4000+}\r\n%s {4096+}\r\n%s {1+}\r\nx", strings.Repeat("x", 4000),
		strings.Repeat("x", 4096))
	w.want(t, "c BAD")
	w = h.loggedIn()
	w.say(t, "a SELECT INBOX")
	w.want(t, "a OK")
	w.say(t, "b SEARCH TEXT {262145}")
	w.want(t, "b BAD [TOOBIG]")
	w.say(t, "c SEARCH TEXT {200000+}\r\n%s TEXT {100000+}\r\n%s", strings.Repeat("x", 200000),
		strings.Repeat("c NOOP\r\n", 12500))
	w.want(t, "c BAD [TOOBIG]")
	w.say(t, "d NOOP")
	if got := w.want(t, "d "); got != "d OK NOOP completed" {
		t.Errorf("after a refused literal: %q", got)
	}
	w.say(t, "e SEARCH TEXT {99999999999+}")
	if got := w.wantEnd(t); !strings.Contains(got, "e BAD [TOOBIG]") || !strings.Contains(got, "* BYE") {
		t.Errorf("literal too long to drop: %q", got)
	}
}

// TestNesting is reliability.md P8: depth costs neither stack nor time.
func TestNesting(t *testing.T) {
	h := build(t, options{})
	w := h.loggedIn()
	w.say(t, "a SELECT INBOX")
	w.want(t, "a OK")
	for i, flood := range []string{
		"SEARCH " + strings.Repeat("(", 60000), "SEARCH " + strings.Repeat(")", 60000),
		"SEARCH " + strings.Repeat("NOT ", 15000) + "ALL", "FETCH 1 " + strings.Repeat("(", 60000),
		"SEARCH TEXT " + strings.Repeat("{", 60000), "LIST \"\" " + strings.Repeat("(", 60000),
		"SEARCH " + strings.Repeat("OR ALL ", 8000) + "ALL",
	} {
		var m0, m1 runtime.MemStats
		runtime.ReadMemStats(&m0)
		began := time.Now()
		w.say(t, "n%d %s", i, flood)
		w.want(t, fmt.Sprintf("n%d BAD", i))
		took := time.Since(began)
		runtime.ReadMemStats(&m1)
		if grown := m1.TotalAlloc - m0.TotalAlloc; grown > 2<<20 || took > 2*time.Second {
			t.Errorf("flood %d: %v, %d bytes allocated", i, took, grown)
		}
		w.say(t, "ok NOOP") // a good command ends the row of bad ones
		w.want(t, "ok OK")
	}
	// The bound itself, in what is well-formed and would else be answered.
	depth := limits.Default().IMAP.Depth
	for _, nested := range []func(n int) string{
		func(n int) string { return "SEARCH " + strings.Repeat("(", n) + "ALL" + strings.Repeat(")", n) },
		func(n int) string { return "SEARCH " + strings.Repeat("NOT ", n) + "ALL" },
		func(n int) string { return "SEARCH " + strings.Repeat("OR ALL ", n) + "ALL" },
	} {
		w.say(t, "d %s", nested(depth/2))
		w.want(t, "d OK")
		w.say(t, "d %s", nested(depth+1))
		w.want(t, "d BAD")
	}
}

func TestBadCommandsEndTheSession(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	w := h.loggedIn()
	for i := range 10 {
		w.say(t, "a%d FOO", i)
	}
	got := w.wantEnd(t)
	if strings.Count(got, " BAD ") != 10 || !strings.Contains(got, "* BYE [CLIENTBUG]") {
		t.Errorf("got %q", got)
	}
}

func TestCommandsWithoutLogin(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	w := h.dialRaw(h.tls)
	for i := range 6 {
		w.say(t, "a%d NOOP", i)
	}
	if got := w.wantEnd(t); !strings.Contains(got, "* BYE [LIMIT] Too many commands without log-in") {
		t.Errorf("got %q", got)
	}
}

// TestStrangeBytes is reliability.md P18.
func TestStrangeBytes(t *testing.T) {
	t.Parallel()
	h := build(t, options{limits: func(l *limits.IMAP) { l.BadCommands = 1000 }})
	w := h.loggedIn()
	for i, s := range []string{
		"a\x00 NOOP\r\n", "a NOOP\x00\r\n", "a NO\x80OP\r\n", "a NOOP\rb NOOP\r\n", "a NOOP\n",
		"a LIST \"\x00\" *\r\n", "a CREATE \"\xff\xfe\"\r\n", "\xc2\x85 NOOP\r\n",
		"a CREATE {3+}\r\na\x00b\r\n", "a CREATE \"x\ny\"\r\n",
	} {
		if _, err := io.WriteString(w, s); err != nil {
			t.Fatal(err)
		}
		w.say(t, "s%d NOOP", i)
		// Some of the above are two broken lines: read on to the answer of the NOOP.
		for {
			line, err := w.r.ReadString('\n')
			if err != nil {
				t.Fatalf("%q: %v", s, err)
			}
			if strings.HasPrefix(line, fmt.Sprintf("s%d OK", i)) {
				break
			}
			if !strings.Contains(line, " BAD ") {
				t.Errorf("%q: %q", s, line)
			}
			for _, c := range []byte(strings.TrimRight(line, "\r\n")) {
				if c < 0x20 || c >= 0x7f {
					t.Errorf("%q: raw byte %#x in %q", s, c, line)
				}
			}
		}
	}
}

// TestSearchEndsWithItsClient is reliability.md O12: a search whose client has left does not go on,
// here one that waits for its turn for as long as the test likes.
func TestSearchEndsWithItsClient(t *testing.T) {
	t.Parallel()
	for _, command := range []string{
		"SEARCH ALL", "SORT (DATE) UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL",
	} {
		name, _, _ := strings.Cut(command, " ")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			searchLeft(t, name, command)
		})
	}
}

func searchLeft(t *testing.T, name, command string) {
	h := build(t, options{limits: func(l *limits.IMAP) { l.SearchTime = time.Hour }})
	h.fill("INBOX", 1, 3)
	w := h.loggedIn()
	w.say(t, "a SELECT INBOX")
	w.want(t, "a OK")
	stays := h.loggedIn()
	stays.say(t, "a SELECT INBOX")
	stays.want(t, "a OK")
	h.srv.mu.Lock()
	a := h.srv.accounts[accountKey{of: h.account().ID(), by: h.account().ID()}]
	h.srv.mu.Unlock()
	for range searchesAtOnce {
		a.searches <- struct{}{}
	}
	stays.say(t, "b %s", command)
	w.say(t, "b %s", command)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for sessions := 2; sessions > 1; {
		h.srv.mu.Lock()
		sessions = a.sessions
		h.srv.mu.Unlock()
		runtime.Gosched()
	}
	<-a.searches
	if got := stays.want(t, "b "); got != "b OK "+name+" completed" {
		t.Errorf("the search of a client that stayed: %q", got)
	}
}
