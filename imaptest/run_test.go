package imaptest

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// server answers each command with lines of its own, a word for the tag, and keeps what it was sent.
func server(t *testing.T, answers map[string]string) func() (net.Conn, error) {
	return func() (net.Conn, error) {
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close(); far.Close() })
		go func() {
			defer far.Close()
			fmt.Fprint(far, "* OK hello\r\n")
			sc := bufio.NewScanner(far)
			for sc.Scan() {
				tag, command, _ := strings.Cut(sc.Text(), " ")
				word, _, _ := strings.Cut(strings.ToLower(command), " ")
				answer, ok := answers[word]
				if !ok {
					answer = "TAG OK done"
				}
				for l := range strings.Lines(answer) {
					l = strings.TrimRight(l, "\n")
					fmt.Fprintf(far, "%s\r\n", strings.Replace(l, "TAG", tag, 1))
				}
				if word == "logout" {
					return
				}
			}
		}()
		return near, nil
	}
}

// TestRunFails has servers answer wrongly: the runner must see it, at the right line.
func TestRunFails(t *testing.T) {
	t.Parallel()
	const capable = "* CAPABILITY IMAP4rev1 ID\nTAG OK done"
	for _, tc := range []struct {
		name, script, noop string
		line               int // 0: passes
		want               string
	}{
		{"as expected", "ok noop\n* 1 exists", "* 1 EXISTS\nTAG OK done", 0, ""},
		{"any order", "ok noop\n* 1 exists\n* 1 expunge", "* 1 EXPUNGE\n* 1 EXISTS\nTAG OK done", 0, ""},
		{"more than expected", "ok noop\n* 1 exists", "* 1 EXISTS\n* 7 RECENT\nTAG OK done", 0, ""},
		{"any answer", `"" noop`, "TAG NO never", 0, ""},
		{"missing", "ok noop\n* 1 exists", "TAG OK done", 3, "nothing like: * 1 exists"},
		{"other", "ok noop\n* 1 exists", "* 2 EXISTS\nTAG OK done", 3, "nothing like"},
		{"forbidden", "ok noop\n! 1 exists", "* 1 EXISTS\nTAG OK done", 3, "must not"},
		{"answer", "ok noop", "TAG NO never", 3, "want ok"},
		{"code", "noop\nok [alert]", "TAG OK done", 3, "want ok [alert]"},
		{"tag", "ok noop", "other OK done\nTAG OK done", 3, "unknown tag"},
		{"broken", "ok noop", "* LIST (\nTAG OK done", 3, "broken reply"},
		{"no value", "ok noop $never", "TAG OK done", 3, "no value yet"},
		{"closed", "ok logout\n! x", "TAG OK done", 3, "EOF"},
		{"bye", "\"\" logout\n* bye", "TAG OK done", 0, ""},
		{"second", "ok check\nok noop\n* 1 exists", "TAG OK done", 4, "nothing like"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, err := parse("state: auth\n\n" + tc.script + "\n")
			if err != nil {
				t.Fatal(err)
			}
			answers := map[string]string{"capability": capable, "noop": tc.noop, "logout": "* BYE gone"}
			result, err := s.Run(Options{Dial: server(t, answers), Patience: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tc.line == 0 && len(result.Failures) > 0:
				t.Errorf("failed: %v", result.Failures)
			case tc.line > 0 && len(result.Failures) != 1:
				t.Errorf("%d failures, want one: %v", len(result.Failures), result.Failures)
			case tc.line > 0:
				f := result.Failures[0]
				if f.Line != tc.line || !strings.Contains(f.Err.Error(), tc.want) {
					t.Errorf("line %d: %v; want %d: %s", f.Line, f.Err, tc.line, tc.want)
				}
			}
		})
	}
}

// TestCapabilities runs nothing of a script that the server has not the capabilities for.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	s, err := parse("state: auth\ncapabilities: id move\n\nok noop\n")
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]string{"capability": "* CAPABILITY IMAP4rev1 ID\nTAG OK done", "noop": "TAG NO never"}
	result, err := s.Run(Options{Dial: server(t, answers), Patience: time.Minute})
	if err != nil || len(result.Missing) != 1 || result.Missing[0] != "MOVE" || result.Steps != 0 {
		t.Errorf("%+v, %v", result, err)
	}
}

// TestStrict refuses what a script does not list.
func TestStrict(t *testing.T) {
	t.Parallel()
	s, err := parse("state: auth\nignore_extra_untagged: no\n\nok noop\n? 1 exists\n")
	if err != nil {
		t.Fatal(err)
	}
	for noop, want := range map[string]int{
		"* 1 EXISTS\nTAG OK done": 0, "TAG OK done": 0, "* 2 EXISTS\nTAG OK done": 1,
	} {
		result, err := s.Run(Options{Dial: server(t, map[string]string{"noop": noop}), Patience: time.Minute})
		if err != nil || len(result.Failures) != want {
			t.Errorf("%q: %v, %v", noop, result.Failures, err)
		}
	}
}
