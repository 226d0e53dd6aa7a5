package unpack

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tram/internal/limits"
)

// children says that decoders run in processes of their own here.
const children = true

// exitTime is the exit code of a child whose processor time is used up.
const exitTime = 3

// confine takes from this process what a decoder does not need. Without room for another descriptor it can
// open no file and no connection; the pipes to the parent stay. Memory is what it has now (the Go runtime
// reserves much address space that it does not use) and as much more as the limit says. renew gives it
// processor time for one file.
func confine(l limits.Content) (renew func() error, err error) {
	over := make(chan os.Signal, 1)
	signal.Notify(over, unix.SIGXCPU)
	go func() {
		<-over
		os.Exit(exitTime)
	}()
	debug.SetMemoryLimit(l.DecodeMemory * 3 / 4)
	for _, r := range []struct {
		what int
		to   uint64
	}{
		{unix.RLIMIT_AS, addressSpace() + uint64(l.DecodeMemory)}, {unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_FSIZE, 0}, {unix.RLIMIT_NOFILE, 0},
	} {
		if err := lower(r.what, r.to); err != nil {
			return nil, fmt.Errorf("confine: %w", err)
		}
	}
	// Nobody of the same user looks into it or changes it; what fails here is no reason not to work.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	return func() error { return renewCPU(l.DecodeCPU) }, nil
}

// lower brings a limit down to to. Where whoever started the server has set a lower one, that stays: it
// cannot be raised, and is no reason to open no attachments.
func lower(what int, to uint64) error {
	var r unix.Rlimit
	if err := unix.Getrlimit(what, &r); err != nil {
		return err
	}
	to = min(to, r.Cur, r.Max)
	return unix.Setrlimit(what, &unix.Rlimit{Cur: to, Max: to})
}

// withoutProc is more address space than a Go program that does nothing reserves.
const withoutProc = 4 << 30

// addressSpace is how much of it this process has. Where there is no /proc, as in a bare chroot, it is a guess:
// the Go runtime's own limit of memory holds besides.
func addressSpace() uint64 {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return withoutProc
	}
	return spaceOf(string(statm))
}

// spaceOf reads /proc/self/statm, which begins with the size in pages.
func spaceOf(statm string) uint64 {
	pages, _, _ := strings.Cut(statm, " ")
	n, err := strconv.ParseUint(pages, 10, 40)
	if err != nil {
		return withoutProc
	}
	return n * uint64(os.Getpagesize())
}

// renewCPU sets the processor time at which the process ends to what it has used and d more.
func renewCPU(d time.Duration) error {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return fmt.Errorf("confine: %w", err)
	}
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CPU, &r); err != nil {
		return fmt.Errorf("confine: %w", err)
	}
	used := uint64(u.Utime.Sec+u.Stime.Sec) + 1
	r.Cur = min(used+uint64((d+time.Second-1)/time.Second), r.Max)
	if err := unix.Setrlimit(unix.RLIMIT_CPU, &r); err != nil {
		return fmt.Errorf("confine: %w", err)
	}
	return nil
}

// apart puts the child into a process group of its own: Ctrl-C on a terminal is for the server, which lets
// attachments that are in work be finished.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
