package message

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the processor time fn takes, the least of so many runs: time that other processes took
// is not in it.
func cpuTime(t *testing.T, runs int, fn func()) time.Duration {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	least := time.Hour
	for range runs {
		start := threadTime(t)
		fn()
		least = min(least, threadTime(t)-start)
	}
	return least
}

// threadTime is the processor time that the thread has used.
func threadTime(t testing.TB) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// reportCPU makes a benchmark report the processor time of its thread, beside that of the clock.
func reportCPU(b *testing.B) (done func()) {
	runtime.LockOSThread()
	start := threadTime(b)
	return func() {
		used := threadTime(b) - start
		runtime.UnlockOSThread()
		b.ReportMetric(float64(used.Nanoseconds())/float64(b.N), "cpu-ns/op")
	}
}
