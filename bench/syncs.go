package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// countSyncs runs a load under strace and counts the calls that force data to disk, for each message
// that was delivered. It starts the server itself, since a tracer that is there from the start can
// leave all other calls alone. The tracer slows the server a little; rates are measured without it.
func countSyncs(s *Server, l smtpLoad) (r Result, err error) {
	if s.life == nil {
		return nil, errors.New("the syncs of a server that runs already are not counted")
	}
	if _, err := exec.LookPath("strace"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench-strace-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	calls := filepath.Join(dir, "calls")
	// -D keeps the server our child; one file for each process, or a program that writes much would
	// wait for the others.
	err = s.up("strace", "-D", "-f", "-ff", "-qq", "--seccomp-bpf", "-e", "signal=none", "-e",
		"trace=fsync,fdatasync,sync_file_range,syncfs,msync,sync", "-o", calls)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.down()) }()
	before, err := traced(calls)
	if err != nil {
		return nil, err
	}
	var after map[string]int
	l.done = func() {
		time.Sleep(300 * time.Millisecond) // the tracer writes its lines
		after, err = traced(calls)
	}
	load, failed := smtpIn(s, l)
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	n := load["messages"]
	r = Result{"messages": n, "delivered_per_s": load["delivered_per_s"]}
	total := 0
	for _, name := range []string{"fsync", "fdatasync", "sync_file_range", "syncfs", "msync", "sync"} {
		calls := after[name] - before[name]
		if calls > 0 {
			r[name+"_per_message"] = float64(calls) / n
		}
		if name != "sync_file_range" { // which starts writing and promises nothing
			total += calls
		}
	}
	r["syncs_per_message"] = float64(total) / n
	return r, nil
}

// traced counts the calls that strace has written down, by name.
func traced(prefix string) (map[string]int, error) {
	files, err := filepath.Glob(prefix + "*")
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("strace wrote nothing: %w", err)
	}
	all := map[string]int{}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		for sc := bufio.NewScanner(f); sc.Scan(); {
			if call, _, ok := strings.Cut(sc.Text(), "("); ok && !strings.HasPrefix(call, "<...") {
				all[call]++
			}
		}
		f.Close()
	}
	return all, nil
}
