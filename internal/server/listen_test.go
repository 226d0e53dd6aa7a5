package server

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestActivated starts this test's binary as systemd starts a server (sd_listen_fds(3)): sockets
// from descriptor 3 on, and the child's own process id in the environment.
func TestActivated(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, env, want string }{
		{"two doors", "LISTEN_FDS=2 LISTEN_FDNAMES=smtp:imaps", "smtp 1 imaps 1"},
		{"two sockets of a door", "LISTEN_FDS=2 LISTEN_FDNAMES=smtp:smtp", "smtp 2 imaps 0"},
		{"unknown name", "LISTEN_FDS=2 LISTEN_FDNAMES=smtp:odd.socket", `named "odd.socket"`},
		{"no names", "LISTEN_FDS=1 LISTEN_FDNAMES=", `named ""`},
		{"another process's", "LISTEN_FDS=2 LISTEN_FDNAMES=smtp:imaps LISTEN_PID=1", "smtp 0 imaps 0"},
		{"none", "", "smtp 0 imaps 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("/bin/sh", "-c",
				"export LISTEN_PID=$$ "+c.env+`; exec "$0" -test.run '^TestActivatedChild$' -test.v`, os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"=1")
			for range 2 {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				f, err := l.(*net.TCPListener).File()
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				cmd.ExtraFiles = append(cmd.ExtraFiles, f)
			}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), c.want) {
				t.Errorf("%v, want %q in:\n%s", err, c.want, out)
			}
		})
	}
}

const childEnv = "TRAM_TEST_ACTIVATED"

// TestActivatedChild is the server's side of TestActivated; in an ordinary run it has nothing to do.
func TestActivatedChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		return
	}
	given, err := Activated()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("smtp", len(given["smtp"]), "imaps", len(given["imaps"]))
	if os.Getenv("LISTEN_FDS") != "" {
		t.Error("the environment still names the sockets: children would take them")
	}
}
