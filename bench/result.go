package main

import (
	"fmt"
	"maps"
	"math"
	"os/exec"
	"runtime"
	"slices"
	"strings"
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

type measured struct {
	name string
	runs []Result
}

// stat returns the median and the extremes of a figure.
func (m measured) stat(key string) (least, median, most float64) {
	var v []float64
	for _, r := range m.runs {
		if x, ok := r[key]; ok {
			v = append(v, x)
		}
	}
	slices.Sort(v)
	if len(v) == 0 {
		return 0, 0, 0
	}
	return v[0], v[len(v)/2], v[len(v)-1]
}

func (m measured) keys() []string {
	all := map[string]bool{}
	for _, r := range m.runs {
		for k := range r {
			all[k] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func table(done []measured) string {
	var b strings.Builder
	b.WriteString("| test | figure | median | least | most |\n| --- | --- | ---: | ---: | ---: |\n")
	for _, m := range done {
		for i, k := range m.keys() {
			name := m.name
			if i > 0 {
				name = ""
			}
			least, median, most := m.stat(k)
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", name, k, figure(median), figure(least), figure(most))
		}
	}
	return b.String()
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

func report(s *Server, done []measured, o options) string {
	kernel, _ := exec.Command("uname", "-sr").Output()
	var b strings.Builder
	fmt.Fprintf(&b, "# Results of `make bench`\n\n%s, %s: %d cores, %s, %s. %d runs of each test; generator and "+
		"server share the cores.\n\n", s.Name, time.Now().Format("2006-01-02"), runtime.NumCPU(),
		strings.TrimSpace(string(kernel)), runtime.Version(), o.runs)
	b.WriteString(notes)
	b.WriteString(table(done))
	return b.String()
}

const notes = "`cpu_s_per_1k` is the server's user and system time in seconds for 1,000 messages or operations. A message " +
	"counts as delivered when it is in its\nmailbox, on disk, with its `250` sent; every one is then read back over IMAP and " +
	"compared (`lost`, `doubled`, `altered`).\nMachines are shared and noisy: compare ratios within one run.\n\n"
