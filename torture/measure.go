package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// latency gathers durations.
type latency struct {
	mu  sync.Mutex
	all []time.Duration
}

func (l *latency) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, d)
}

func (l *latency) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// p is a quantile; 0 when there is nothing.
func (l *latency) p(q float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 {
		return 0
	}
	slices.Sort(l.all)
	return l.all[int(q*float64(len(l.all)-1))]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// parallel runs fn n times at once; the returned function waits for all.
func parallel(ctx context.Context, n int, fn func(context.Context)) (wait func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { fn(ctx) })
	}
	return wg.Wait
}

// budget is what the server's process holds.
type budget struct {
	rss, fds, goroutines int // bytes, and counts; goroutines only where metrics are served
}

func (w *World) budget() (budget, error) {
	pid := w.pid()
	b := budget{}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return b, err
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.Atoi(strings.Fields(rest)[0])
			b.rss = kib << 10
		}
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return b, err
	}
	b.fds = len(fds)
	if w.file != "" {
		n, err := w.metric("go_goroutines")
		if err != nil {
			return b, err
		}
		b.goroutines = int(n)
	}
	return b, nil
}

// metric is the sum of a metric over its labels, of a server that was set up.
func (w *World) metric(name string) (float64, error) {
	client := http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + w.addr(601) + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	sum, found := 0.0, false
	sc := bufio.NewScanner(io.LimitReader(resp.Body, 16<<20))
	for sc.Scan() {
		rest, ok := strings.CutPrefix(sc.Text(), name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		sum, found = sum+v, true
	}
	if !found && sc.Err() == nil {
		return 0, fmt.Errorf("there is no metric %s", name)
	}
	return sum, sc.Err()
}

// peak measures memory until the returned function is called, which returns the highest.
func (w *World) peak(ctx context.Context) (end func() int) {
	ctx, cancel := context.WithCancel(ctx)
	most := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		for pause(ctx, 50*time.Millisecond) {
			if b, err := w.budget(); err == nil {
				most = max(most, b.rss)
			}
		}
	}()
	return func() int { cancel(); <-done; return most }
}

func mib(bytes int) int { return bytes >> 20 }
