package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nobody is the user that owns nothing.
const nobody = 65534

// refused runs the server's command line, which must end by itself with the exit code and a sentence
// that matches.
func refused(t *testing.T, code int, sentence string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tramBinary, args...)
	refusedCommand(t, cmd, code, sentence)
}

func refusedCommand(t *testing.T, cmd *exec.Cmd, code int, sentence string) {
	t.Helper()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer late.Stop()
	err := cmd.Wait()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != code {
		t.Errorf("%s ended with %v, want exit code %d", strings.Join(cmd.Args[1:], " "), err, code)
	}
	if !regexp.MustCompile(`(?m)^tram: ` + sentence).MatchString(said.String()) {
		t.Errorf("%s said\n%s\nwant a line tram: %s", strings.Join(cmd.Args[1:], " "), &said, sentence)
	}
	if n := strings.Count(said.String(), "\n"); n > 4 || strings.Contains(said.String(), "goroutine ") {
		t.Errorf("%d lines instead of a sentence:\n%s", n, &said)
	}
}

// installed is a server that was set up, on its own ports of loopback, and does not run.
func installed(t *testing.T) (s *server, config string) {
	t.Helper()
	dir := t.TempDir()
	s = &server{t: t, base: freeBase(t), dir: filepath.Join(dir, "data")}
	file := filepath.Join(dir, "tram.toml")
	run(t, ownPassword+"\n", tramBinary, "setup", "--hostname", "mail.example.test", "--domain",
		"example.test", "--admin", alice, "--data", s.dir, "--config", file, "--password-stdin")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, s.loopback(string(text)))
	s.command = []string{tramBinary, "serve", "--config", file}
	return s, file
}

// TestRefusesConfig: what is wrong with a configuration is said with its file, line and column.
func TestRefusesConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, tc := range map[string]struct{ text, want string }{
		"unknown key": {"hostname = \"mail.example.test\"\n\n[listen]\n  smpt = [\":25\"]\n",
			`:4:3: unknown key "listen.smpt", did you mean "listen.smtp"\?$`},
		"unknown table": {"[lisen]\nsmtp = [\":25\"]\n", `:1:2: unknown key "lisen", did you mean "listen"\?$`},
		"no TOML":       {"hostname = \n", `:1:\d+: `},
		"wrong type":    {"hostname = 7\n", `:1:\d+: hostname: `},
		"limit past its cap": {"hostname = \"mail.example.test\"\n[limits.smtp]\nmessage_size = \"2 GiB\"\n",
			`:3:1: .*unsafe_message_size`},
	} {
		file := write(t, filepath.Join(dir, strings.ReplaceAll(name, " ", "-"), "tram.toml"), tc.text)
		refused(t, 1, regexp.QuoteMeta(file)+tc.want, "serve", "--config", file)
	}
	missing := filepath.Join(dir, "missing.toml")
	refused(t, 1, `read configuration: open .*missing\.toml: no such file`, "serve", "--config", missing)
	refused(t, 1, `read configuration: .*is a directory`, "serve", "--config", dir)
	secret := write(t, filepath.Join(dir, "secret", "tram.toml"), "hostname = \"mail.example.test\"\n")
	if err := os.Chmod(secret, 0); err != nil {
		t.Fatal(err)
	}
	cmd := asNobody(t, dir, "serve", "--config", secret)
	refusedCommand(t, cmd, 1, `read configuration: open .*tram\.toml: permission denied$`)
}

// asNobody is a command line of the binary for a user who owns nothing below dir, and may look at
// it. Whoever runs the tests without being root is such a user where the mode forbids it.
func asNobody(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tramBinary, args...)
	cmd.Dir = "/"
	if os.Getuid() != 0 {
		return cmd
	}
	for _, path := range []string{filepath.Dir(tramBinary), filepath.Dir(dir), dir} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd
}

// TestRefusesFolder: a data folder that cannot be one.
func TestRefusesFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "file"), "not a folder\n")
	base := fmt.Sprint(freeBase(t))
	refused(t, 1, `make data folder: .*file.*: name another folder$`, "demo", "--data", file, "--port-base", base)
	refused(t, 1, `make data folder: .*file.*: name another folder$`, "demo", "--data", file+"/below",
		"--port-base", base)
	locked := filepath.Join(dir, "locked")
	if err := os.Mkdir(locked, 0o555); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{locked, filepath.Join(locked, "below")} {
		cmd := asNobody(t, dir, "demo", "--data", data, "--port-base", base)
		refusedCommand(t, cmd, 1, `(make|write to) data folder: .*permission denied: run tram as the owner of `)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "not a folder\n" {
		t.Errorf("the file in the folder's place is now %q, %v", got, err)
	}
}

// TestRefusesSecond: two servers on one data folder, or on one port; the first goes on.
func TestRefusesSecond(t *testing.T) {
	t.Parallel()
	s := start(t)
	other := fmt.Sprint(freeBase(t))
	refused(t, 1, fmt.Sprintf(`another tram \(process %d\) is running on %s: stop it first`,
		s.cmd.Process.Pid, regexp.QuoteMeta(s.dir)), "demo", "--data", s.dir, "--port-base", other)
	elsewhere := filepath.Join(t.TempDir(), "data")
	refused(t, 1, `cannot listen on 127\.0\.0\.1:\d+ for \w+: another program has the port; .* --port-base N$`,
		"demo", "--data", elsewhere, "--port-base", fmt.Sprint(s.base))
	s.keep("first")
	s.waitFor(bob, "INBOX", 1)
	s.stop()

	real, file := installed(t)
	l, err := net.Listen("tcp", real.addr(993))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	refused(t, 1, "cannot listen on "+real.addr(993)+" for imaps: another program has the port; stop it",
		"serve", "--config", file)
	real.check()
}

// check has the data of a server that does not run checked.
func (s *server) check() {
	s.t.Helper()
	if out := s.tram("check", "--deep"); !strings.Contains(out, "Everything is in order.") {
		s.t.Errorf("check: %s", out)
	}
}

// TestRefusesNewerData: data that a newer version has touched is left as it is.
func TestRefusesNewerData(t *testing.T) {
	t.Parallel()
	s, file := installed(t)
	s.run()
	s.stop()
	path := filepath.Join(s.dir, "db", "ACKED")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	newer := bytes.Replace(good, []byte("tram kv 1\n"), []byte("tram kv 2\n"), 1)
	if bytes.Equal(good, newer) {
		t.Fatalf("%s begins with %q", path, good[:16])
	}
	write(t, path, string(newer))
	const sentence = `open storage: .*newer version: install (that|the) version`
	refused(t, 1, sentence, "serve", "--config", file)
	refused(t, 1, sentence, "check", "--data", s.dir)
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, newer) {
		t.Errorf("the refused data was changed: %v", err)
	}
	write(t, path, string(good))
	s.start()
	s.stop()
	s.check()
}

// TestMeasureStaysHere: what lifts limits is never reachable from outside, nor is any of the demo.
func TestMeasureStaysHere(t *testing.T) {
	t.Parallel()
	s := start(t, "--measure")
	inodes := map[string]bool{}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "socket:[") {
			inodes[strings.Trim(strings.TrimPrefix(to, "socket:"), "[]")] = true
		}
	}
	listening := 0
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", s.cmd.Process.Pid, table))
		if errors.Is(err, os.ErrNotExist) && table == "tcp6" {
			continue // a machine without IPv6
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			f := strings.Fields(line)
			const listen = "0A"
			if len(f) < 10 || f[3] != listen || !inodes[f[9]] {
				continue
			}
			listening++
			if host, _, _ := strings.Cut(f[1], ":"); host != "0100007F" && host != strings.Repeat("0", 24)+"01000000" {
				t.Errorf("it listens on %s", f[1])
			}
		}
	}
	if listening < 7 {
		t.Errorf("found %d listeners of its own, there are 7", listening)
	}
	c := s.talk(587)
	c.smtp("EHLO client.test", "250")
	c.smtp("AUTH PLAIN "+plain(alice, password), "235")            // without TLS
	refused(t, 2, `unknown flag: --measure`, "serve", "--measure") // a real server has none
}
