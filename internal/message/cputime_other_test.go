//go:build !linux

package message

import (
	"testing"
	"time"
)

// cpuTime is the time fn takes, the least of so many runs.
func cpuTime(t *testing.T, runs int, fn func()) time.Duration {
	t.Helper()
	least := time.Hour
	for range runs {
		start := time.Now()
		fn()
		least = min(least, time.Since(start))
	}
	return least
}

// reportCPU does nothing where the processor time of a thread is not to be had.
func reportCPU(*testing.B) (done func()) { return func() {} }
