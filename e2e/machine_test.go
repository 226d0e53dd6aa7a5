package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// letGo is how a script in a mount namespace of its own begins, with the folder for temporary files as $0:
// it lets go of what others have mounted there. The copy of a mount keeps the file system alive that they
// have unmounted, and that they mount anew to see what a power cut has left of it.
const letGo = `awk -v dir="$0/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts |
	while read -r m; do umount -l "$m" 2>/dev/null || :; done
`

// machine is a network namespace, and a mount namespace for its own resolv.conf.
type machine struct {
	t   *testing.T
	pid string
}

// newMachine makes a machine whose name server is itself.
func newMachine(t *testing.T) *machine {
	t.Helper()
	resolv := write(t, filepath.Join(t.TempDir(), "resolv.conf"), "nameserver 127.0.0.1\noptions edns0 trust-ad\n")
	// resolv.conf may be a link to a file that something else keeps.
	const script = letGo + `mount --bind "$1" "$(readlink -f /etc/resolv.conf)" && ip link set lo up && echo up && exec cat`
	cmd := exec.Command(need(t, "unshare", "util-linux"), "--net", "--mount", "--propagation", "private",
		"sh", "-c", script, os.TempDir(), resolv)
	in, err := cmd.StdinPipe() // its end ends the machine
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "up\n" {
		t.Fatalf("the machine did not come up: %q, %v (run make test as root)", line, err)
	}
	return &machine{t, strconv.Itoa(cmd.Process.Pid)}
}

// inside is the command that runs another one on the machine.
func (m *machine) inside() []string {
	return []string{"nsenter", "--target", m.pid, "--net", "--mount", "--"}
}

// words is a command line that runs on the machine.
func (m *machine) words(args ...string) []string { return append(m.inside(), args...) }

func (m *machine) run(args ...string) string {
	m.t.Helper()
	all := m.words(args...)
	return run(m.t, "", all[0], all[1:]...)
}

func (m *machine) try(args ...string) (string, error) {
	m.t.Helper()
	all := m.words(args...)
	return try(m.t, "", all[0], all[1:]...)
}

// service is a program that runs on a machine.
type service struct {
	*transcript
	stop func() // ends it; a second time does nothing
}

// daemon runs a program on the machine, to the end of the test if it is not stopped before.
func (m *machine) daemon(args ...string) *service {
	m.t.Helper()
	all := m.words(args...)
	cmd := exec.Command(all[0], all[1:]...)
	d := &service{transcript: &transcript{}}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for sc := bufio.NewScanner(pipe); sc.Scan(); {
			d.add(sc.Text())
		}
	}()
	d.stop = sync.OnceFunc(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-read
		cmd.Wait()
	})
	m.t.Cleanup(func() {
		d.stop()
		if m.t.Failed() {
			m.t.Logf("%s wrote:\n%s", args[0], d)
		}
	})
	return d
}
