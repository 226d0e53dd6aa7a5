package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// record is what one call measured, as it is kept.
type record struct {
	Kind    string // own, peers, checks, growth or spam
	When    time.Time
	Minutes float64 // that it took
	Machine string
	Load    float64 `json:",omitempty"` // load average of the machine's other work before the start
	Note    string  `json:",omitempty"` // what whoever measured wants to be read beside it
	Rounds  int
	Servers []described
	Tests   []outcome   `json:",omitempty"`
	Curves  []curve     `json:",omitempty"`
	Spam    *spamRecord `json:",omitempty"`
	Checks  *checkTimes `json:",omitempty"`
}

// described is a server as the report tells of it.
type described struct {
	Name, Version string
	Settings      []string
	Durable       string
}

// outcome is a test on each server.
type outcome struct {
	Test, What string
	Runs       [][]Result // by server, then by round; a run that failed is null
	Errors     []string   `json:",omitempty"`
}

func newRecord(kind string, rounds int, servers ...*Server) *record {
	rec := &record{Kind: kind, When: time.Now(), Machine: machine(), Rounds: rounds}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		fmt.Sscan(string(b), &rec.Load) // the first word is that of the last minute
	}
	for _, s := range servers {
		rec.Servers = append(rec.Servers, described{s.Name, s.Version, s.Settings, s.Durable})
	}
	return rec
}

// measureAll runs the tests. One that fails is noted and the others run: the error at the end names
// them all.
func (rec *record) measureAll(list []test, servers []*Server) error {
	var failed []error
	for _, t := range list {
		out := outcome{Test: t.name, What: t.what, Runs: make([][]Result, len(servers))}
		rounds := rec.Rounds
		if t.once {
			rounds = 1
		}
		for range rounds {
			for i, s := range servers {
				r, err := measure(s, t)
				if err != nil {
					err = fmt.Errorf("%s on %s: %w", t.name, s.Name, err)
					fmt.Fprintln(os.Stderr, "bench:", err)
					failed = append(failed, err)
					out.Errors = append(out.Errors, err.Error())
					r = nil
				}
				out.Runs[i] = append(out.Runs[i], r)
				line, err := json.Marshal(r)
				if err != nil {
					return err
				}
				fmt.Printf("%-12s %-18s %s\n", t.name, s.Name, line)
			}
		}
		rec.Tests = append(rec.Tests, out)
	}
	rec.Minutes = time.Since(rec.When).Minutes()
	return errors.Join(failed...)
}

// measure runs a test on a fresh process of the server.
func measure(s *Server, t test) (r Result, err error) {
	defer func() { err = errors.Join(err, s.down()) }()
	if !t.starts {
		if err := s.up(); err != nil {
			return nil, err
		}
	}
	r, err = t.run(s)
	if err != nil || t.calm || t.starts {
		return r, err
	}
	return r, s.settled() // or the next test would pay for this one
}

// stat returns the median and the extremes of a figure of one server.
func (o outcome) stat(server int, key string) (least, median, most float64, ok bool) {
	var v []float64
	for _, r := range o.Runs[server] {
		if x, ok := r[key]; ok {
			v = append(v, x)
		}
	}
	if len(v) == 0 {
		return 0, 0, 0, false
	}
	slices.Sort(v)
	return v[0], middle(v), v[len(v)-1], true
}

// middle is the median of sorted values.
func middle(v []float64) float64 {
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// ratio compares the first server with the second: above 1 the first is better. least and most are
// of the pairs that ran one after the other.
func (o outcome) ratio(key string, less bool) (least, ratio, most float64, ok bool) {
	if len(o.Runs) < 2 {
		return 0, 0, 0, false
	}
	advantage := func(a, b float64) float64 {
		if less {
			return b / a
		}
		return a / b
	}
	least = math.Inf(1)
	for i, a := range o.Runs[0] {
		if i >= len(o.Runs[1]) || a == nil || o.Runs[1][i] == nil {
			continue
		}
		x, xok := a[key]
		y, yok := o.Runs[1][i][key]
		if xok && yok && x > 0 && y > 0 {
			least, most, ok = min(least, advantage(x, y)), max(most, advantage(x, y)), true
		}
	}
	if !ok {
		return 0, 0, 0, false
	}
	_, a, _, _ := o.stat(0, key)
	_, b, _, _ := o.stat(1, key)
	return least, advantage(a, b), most, a > 0 && b > 0 // memory may shrink meanwhile: that is no ratio
}

func (rec *record) save(folder string) error {
	dir := filepath.Join(folder, "records")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(rec, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, rec.Kind+".json"), append(b, '\n'), 0o644)
}

// readRecord returns what is kept of a kind, nil when there is nothing.
func readRecord(folder, kind string) (*record, error) {
	b, err := os.ReadFile(filepath.Join(folder, "records", kind+".json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rec := &record{}
	if err := json.Unmarshal(b, rec); err != nil {
		return nil, fmt.Errorf("read results of %s: %w", kind, err)
	}
	return rec, nil
}

// machine describes where the measurement runs.
func machine() string {
	said := func(name string, args ...string) string {
		b, err := exec.Command(name, args...).Output()
		if err != nil {
			return "?"
		}
		return strings.TrimSpace(string(b))
	}
	cpu := "?"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(b), "model name"); ok {
			line, _, _ := strings.Cut(rest, "\n")
			cpu = strings.TrimLeft(line, "\t :")
		}
	}
	var info syscall.Sysinfo_t
	memory := "?"
	if syscall.Sysinfo(&info) == nil {
		memory = fmt.Sprintf("%.0f GiB", float64(info.Totalram)*float64(info.Unit)/(1<<30))
	}
	system := "?"
	if b, err := os.ReadFile("/etc/os-release"); err == nil {
		if _, rest, ok := strings.Cut(string(b), `PRETTY_NAME="`); ok {
			system, _, _ = strings.Cut(rest, `"`)
		}
	}
	kind := strings.Fields(said("df", "--output=fstype", os.TempDir()))
	return fmt.Sprintf("%d cores (%s), %s of memory, %s, %s, %s", runtime.NumCPU(), cpu, memory, kind[len(kind)-1],
		said("uname", "-sr"), system)
}
