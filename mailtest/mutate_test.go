package mailtest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"tram/internal/config"
)

// What is mutated. No command of these waits for more input, ends the session or changes what later
// ones mean; a brace is never put in, as the server would rightly wait for a literal.
var mutated = map[string][]string{
	"imaps": {
		`t SELECT INBOX`, `t EXAMINE "INBOX" (CONDSTORE)`, `t LIST "" "*" RETURN (SUBSCRIBED STATUS (MESSAGES))`,
		`t STATUS INBOX (MESSAGES UIDNEXT HIGHESTMODSEQ)`, `t FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (DATE)]<0.9>)`,
		`t UID FETCH 1,3:* (ENVELOPE BODYSTRUCTURE) (CHANGEDSINCE 1)`, `t SEARCH RETURN (MIN COUNT) OR SEEN (NOT FROM "a")`,
		`t UID SEARCH CHARSET UTF-8 TEXT "x" SINCE 1-Jan-2020`, `t STORE 1 (UNCHANGEDSINCE 5) +FLAGS.SILENT (\Seen $a)`,
		`t GETQUOTAROOT INBOX`, `t NAMESPACE`, `t ID ("name" "x" "version" NIL)`, `t ENABLE CONDSTORE`, `t NOOP`,
	},
	"pop3s": {
		"STAT", "LIST", "LIST 1", "UIDL", "UIDL 2", "RETR 1", "TOP 2 0", "NOOP", "RSET", "CAPA", "LANG *",
	},
}

// odd are bytes that have no place in a command: NUL, other controls, a CR alone, DEL, C1 as bytes and
// as UTF-8, broken and overlong UTF-8, what means something elsewhere.
var odd = []string{
	"\x00", "\x01", "\x1b[31m", "\r", "\x7f", "\x80", "\x9b", "\xc2\x85", "\xff\xfe", "\xc0\x80", "\xe2\x80\xae",
	"ă", "\"", "\\", "(", ")", " ", "\t", "*", "%", "]", "4294967296", "-1", "~", "&",
}

func mutate(rnd *rand.Rand, s string) string {
	for range 1 + rnd.IntN(3) {
		at := rnd.IntN(len(s) + 1)
		switch n := rnd.IntN(8); {
		case n < 5:
			s = s[:at] + odd[rnd.IntN(len(odd))] + s[at:]
		case n == 5 && len(s) > 2:
			s = s[:at/2] + s[(at+1)/2+1:]
		case n == 6:
			s += s[at:]
		default:
			s = s[:at]
		}
	}
	return s
}

// TestMutations is P18 at the doors of IMAP and POP3: whatever the bytes of a command, it is answered,
// the answer has no odd bytes, the session goes on, and nothing odd comes into the log.
func TestMutations(t *testing.T) {
	t.Parallel()
	w := New(t)
	h := w.House("a.test", Options{Edit: func(c *config.Config) {
		withPOP3(c)
		c.Limits.IMAP.PreAuthCommands, c.Limits.IMAP.BadCommands = 1<<20, 1<<20
		c.Limits.POP3.PreAuthCommands, c.Limits.POP3.BadCommands = 1<<20, 1<<20
	}})
	p := h.Person("alice", 0)
	p.Submit(Letter(p.Address, p.Address, "one"), p.Address)
	p.Submit(Letter(p.Address, p.Address, "two"), p.Address)
	p.WaitInbox(2)
	for door, commands := range mutated {
		for _, loggedIn := range []bool{false, true} {
			rnd := rand.New(rand.NewPCG(18, uint64(len(door))))
			s := h.session(t, door)
			if loggedIn && !s.login(p.Address, Password) {
				t.Fatalf("%s: no log-in", door)
			}
			// A mechanism that is not there is refused with words that none of the others meets.
			probe, answer := "AUTH NOSUCH", ""
			if door == "pop3s" {
				answer = s.say(probe, "-ERR")
			}
			for i := range 2500 {
				if door == "imaps" {
					probe, answer = fmt.Sprintf("probe%d NOOP", i), fmt.Sprintf("probe%d OK", i)
				}
				s.survives(mutate(rnd, commands[rnd.IntN(len(commands))]), probe, answer)
			}
		}
	}
	for line := range strings.Lines(h.log.String()) {
		if plain(strings.TrimSuffix(line, "\n")) {
			continue
		}
		t.Errorf("logged: %q", line)
	}
	if got := len(p.Inbox()); got != 2 {
		t.Errorf("%d messages are left of 2", got)
	}
}

// plain reports whether a line has nothing in it that a screen would take for a command. A folded
// header field has tabs.
func plain(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 && r != '\t' || r >= 0x7f && r < 0xa0 })
}

// survives sends a broken command, and then one whose answer is known.
func (s *session) survives(command, probe, answer string) {
	s.t.Helper()
	if _, err := io.WriteString(s, command+"\r\n"+probe+"\r\n"); err != nil {
		s.t.Fatal(err)
	}
	for {
		line := s.line()
		if strings.HasPrefix(line, answer) {
			return
		}
		if !plain(line) {
			s.t.Errorf("%s: %q was answered %q", s.door, command, line)
		}
	}
}
