package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"tram/bench/wire"
)

// houseKey is how a script knows its server.
const houseKey = "house"

type scriptCommand = func(ts *testscript.TestScript, neg bool, args []string)

// TestCommands runs the scripts of testdata/script: the command line as an administrator types it,
// against the real server. Beside testscript's own commands they know
//
//	exits N program arg...  runs a program that must end with exit code N
//	loopback FILE           moves a configuration to the script's ports of loopback, with a
//	                        certificate of its own making and no name server
//	serve FILE              runs `tram serve --config FILE` until the script ends or says stop
//	stop                    ends it as systemd does, and checks that it ended well
//	json [PATH PATTERN]     standard output is JSON, and what stands at PATH (0.address; len is
//	                        a length) matches
//	until PATH PATTERN program arg...  runs the program until its JSON is so
//	field NAME PATH         sets a variable to what stands there
//	mail FROM TO ID         hands in a letter on port 25
//	submit USER PASSWORD TO ID   and on port 465
//	login USER PASSWORD     logs in over IMAP; "! login" wants that refused
//	killed                  ends the server as a power cut does
//	flip FOLDER PATTERN     turns one bit in the middle of the largest file of the folder whose name matches
//	cut FOLDER PATTERN      takes the last third of that file away
//	newpassword NAME        sets a variable to the password that standard output shows
func TestCommands(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			tb := env.T().(testing.TB)
			env.Values[houseKey] = &server{t: tb, base: freeBase(tb), dir: filepath.Join(env.WorkDir, "data")}
			env.Setenv("PATH", filepath.Dir(tramBinary)+":"+os.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]scriptCommand{
			"exits":       scriptExits,
			"loopback":    words(1, scriptLoopback),
			"serve":       words(1, scriptServe),
			"stop":        words(0, func(ts *testscript.TestScript, _ []string) { house(ts).stop() }),
			"json":        scriptJSON,
			"until":       scriptUntil,
			"field":       words(2, scriptField),
			"mail":        words(3, scriptMail),
			"refused":     words(3, scriptRefused),
			"submit":      words(4, scriptSubmit),
			"login":       scriptLogin,
			"newpassword": words(1, scriptPassword),
			"killed":      words(0, func(ts *testscript.TestScript, _ []string) { house(ts).kill(syscall.SIGKILL) }),
			"flip": words(2, func(ts *testscript.TestScript, args []string) {
				spoil(ts, args, func(b []byte) []byte { b[len(b)/2] ^= 4; return b })
			}),
			"cut": words(2, func(ts *testscript.TestScript, args []string) {
				spoil(ts, args, func(b []byte) []byte { return b[:2*len(b)/3] })
			}),
		},
	})
}

// spoil changes the largest file of a folder whose name matches.
func spoil(ts *testscript.TestScript, args []string, change func([]byte) []byte) {
	paths, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), args[1]))
	ts.Check(err)
	path, most := "", int64(-1)
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil && info.Size() > most {
			path, most = p, info.Size()
		}
	}
	b, err := os.ReadFile(path)
	ts.Check(err)
	end := len(b)
	for end > 0 && b[end-1] == 0 { // a log is made longer than what is in it
		end--
	}
	ts.Check(os.WriteFile(path, append(change(b[:end:end]), b[end:]...), 0o600))
}

func house(ts *testscript.TestScript) *server { return ts.Value(houseKey).(*server) }

// words makes a command that wants n arguments and has no meaning after a "!".
func words(n int, do func(ts *testscript.TestScript, args []string)) scriptCommand {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != n {
			ts.Fatalf("want %d arguments and no !, see TestCommands", n)
		}
		do(ts, args)
	}
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N program arg...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		code = ended.ExitCode()
	} else {
		ts.Check(err)
	}
	if want := args[0]; strconv.Itoa(code) != want {
		ts.Fatalf("%s ended with exit code %d, want %s", strings.Join(args[1:], " "), code, want)
	}
}

var standardPort = regexp.MustCompile(`(?m)^(\w+ = \[)":(\d+)"\]$`)

// loopback edits a configuration written by `tram setup` as somebody who tries it out would.
func (s *server) loopback(config string) string {
	config = standardPort.ReplaceAllStringFunc(config, func(line string) string {
		m := standardPort.FindStringSubmatch(line)
		port, _ := strconv.Atoi(m[2])
		return fmt.Sprintf("%s%q]", m[1], s.addr(port))
	})
	config = strings.Replace(config, `#names = ["imap.example.com"]`, `names = ["localhost"]`, 1)
	config = strings.Replace(config, `#source = "acme"`, `source = "self-made"`, 1)
	// Nobody answers there: mail for elsewhere waits, and no test asks a stranger's name server.
	return strings.Replace(config, `#servers = ["127.0.0.1:53"]`, `servers = ["127.0.0.1:9"]`, 1)
}

func scriptLoopback(ts *testscript.TestScript, args []string) {
	text := house(ts).loopback(ts.ReadFile(args[0]))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o644))
}

func scriptServe(ts *testscript.TestScript, args []string) {
	s := house(ts)
	s.command = []string{tramBinary, "serve", "--config", ts.MkAbs(args[0])}
	s.start()
	ts.Defer(func() {
		if s.cmd != nil {
			s.stop()
		}
	})
}

func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 && len(args) != 2 {
		ts.Fatalf("usage: json [PATH PATTERN]")
	}
	if len(args) == 0 {
		at(ts, ".")
		return
	}
	if got := at(ts, args[0]); !matches(args[1], got) {
		ts.Fatalf("%s is %q, want %s", args[0], got, args[1])
	}
}

func matches(pattern, s string) bool {
	return regexp.MustCompile("^(" + pattern + ")$").MatchString(s)
}

func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: until PATH PATTERN program arg...")
	}
	eventually(house(ts).t, strings.Join(args, " "), func() bool {
		ts.Check(ts.Exec(args[2], args[3:]...))
		return matches(args[1], at(ts, args[0]))
	})
}

func scriptField(ts *testscript.TestScript, args []string) { ts.Setenv(args[0], at(ts, args[1])) }

// at reads standard output as one JSON value and returns what stands at path: text as it is,
// anything else as JSON.
func at(ts *testscript.TestScript, path string) string {
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &v); err != nil {
		ts.Fatalf("standard output is not JSON: %v", err)
	}
	for _, name := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' }) {
		switch holder := v.(type) {
		case map[string]any:
			v = holder[name]
		case []any:
			i, err := strconv.Atoi(name)
			switch {
			case name == "len":
				v = len(holder)
			case err != nil || i >= len(holder):
				ts.Fatalf("no %q in a list of %d", name, len(holder))
			default:
				v = holder[i]
			}
		default:
			ts.Fatalf("no %q in %v", name, v)
		}
	}
	if text, ok := v.(string); ok {
		return text
	}
	b, err := json.Marshal(v)
	ts.Check(err)
	return string(b)
}

func scriptMail(ts *testscript.TestScript, args []string) {
	send(ts, wire.Target{Addr: house(ts).addr(25)}, "", "", args[0], args[1], args[2])
}

// scriptRefused sends mail that is not to be taken.
func scriptRefused(ts *testscript.TestScript, args []string) {
	c, err := wire.DialSMTP(wire.Target{Addr: house(ts).addr(25)}, "", "")
	ts.Check(err)
	defer c.Close()
	if _, _, err = c.Send(args[0], args[1], wire.Stuff([]byte(letter(args[0], args[1], args[2])))); err == nil {
		ts.Fatalf("mail from %s was taken", args[0])
	}
}

func scriptSubmit(ts *testscript.TestScript, args []string) {
	target := wire.Target{Addr: house(ts).addr(465), Security: wire.TLS}
	send(ts, target, args[0], args[1], args[0], args[2], args[3])
}

func send(ts *testscript.TestScript, to wire.Target, user, secret, from, rcpt, id string) {
	c, err := wire.DialSMTP(to, user, secret)
	ts.Check(err)
	defer c.Close()
	_, _, err = c.Send(from, rcpt, wire.Stuff([]byte(letter(from, rcpt, id))))
	ts.Check(err)
}

func scriptLogin(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: login USER PASSWORD")
	}
	target := wire.Target{Addr: house(ts).addr(993), Security: wire.TLS}
	c, err := wire.DialIMAP(target, args[0], args[1])
	var refused *wire.Failure
	switch {
	case err == nil:
		c.Close()
		if neg {
			ts.Fatalf("%s was let in", args[0])
		}
	case !neg || !errors.As(err, &refused):
		ts.Fatalf("log in as %s: %v", args[0], err)
	}
}

var shownPassword = regexp.MustCompile(`(?m)^ *[Pp]assword:? +((?:[a-z2-9]{5}-){3}[a-z2-9]{5})\b`)

func scriptPassword(ts *testscript.TestScript, args []string) {
	m := shownPassword.FindStringSubmatch(ts.ReadFile("stdout"))
	if m == nil {
		ts.Fatalf("standard output shows no password")
	}
	ts.Setenv(args[0], m[1])
}
