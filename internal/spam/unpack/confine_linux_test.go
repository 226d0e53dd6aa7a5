package unpack

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tram/internal/limits"
)

// TestConfineKeepsLowerLimits: where whoever started the server allows less memory than the limits say, a
// decoder works within that, and does not try to raise it.
func TestConfineKeepsLowerLimits(t *testing.T) {
	t.Parallel()
	const mark = "TRAM_TEST_CONFINE"
	if os.Getenv(mark) == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self, "-test.run", "^TestConfineKeepsLowerLimits$")
		cmd.Env = append(os.Environ(), mark+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "kept the lower limit") {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	low := addressSpace() + 64<<20
	if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: low, Max: low}); err != nil {
		t.Fatal(err)
	}
	l := limits.Default().Content
	l.DecodeMemory = 1 << 40
	if _, err := confine(l); err != nil {
		t.Fatal(err)
	}
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_AS, &r); err != nil || r.Max != low || r.Cur != low {
		t.Fatalf("%+v, %v", r, err)
	}
	fmt.Println("kept the lower limit")
}

// TestSpaceWithoutProc: what /proc says counts, and something sensible without it.
func TestSpaceWithoutProc(t *testing.T) {
	t.Parallel()
	page := uint64(os.Getpagesize())
	for statm, want := range map[string]uint64{
		"100 20 3 4 0 5 0\n": 100 * page, "": withoutProc, "x 1": withoutProc, "99999999999999 1": withoutProc,
	} {
		if got := spaceOf(statm); got != want {
			t.Errorf("%q: %d", statm, got)
		}
	}
}

// TestChildIsApart: what a terminal sends to the server's process group does not reach a child.
func TestChildIsApart(t *testing.T) {
	t.Parallel()
	p := pool(t, "decode", limits.Default().Content)
	c, err := p.start()
	if err != nil {
		t.Fatal(err)
	}
	defer c.end()
	group, err := unix.Getpgid(c.cmd.Process.Pid)
	if err != nil || group != c.cmd.Process.Pid {
		t.Errorf("the child %d is in group %d, %v", c.cmd.Process.Pid, group, err)
	}
}
