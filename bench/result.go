package main

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// Result is what one run measured: figures by name.
type Result map[string]float64

// latency gathers durations.
type latency struct {
	mu  sync.Mutex
	all []time.Duration
}

func (l *latency) add(d time.Duration) {
	l.mu.Lock()
	l.all = append(l.all, d)
	l.mu.Unlock()
}

func (l *latency) into(r Result, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 {
		return
	}
	slices.Sort(l.all)
	at := func(p float64) float64 {
		return float64(l.all[int(p*float64(len(l.all)-1))].Microseconds()) / 1000
	}
	r[name+"_p50_ms"], r[name+"_p99_ms"] = at(0.5), at(0.99)
}

// figure prints three significant digits.
func figure(v float64) string {
	switch a := math.Abs(v); {
	case a == math.Trunc(a) || a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
