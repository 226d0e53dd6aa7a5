package main

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const clockTick = 100 // USER_HZ of Linux

// tree returns the server's processes: the roots and all their descendants.
func (s *Server) tree() map[int]bool {
	roots := s.PIDs
	if s.life != nil {
		roots = s.life.pids()
	} else if b, err := os.ReadFile(s.PIDFile); err == nil {
		roots = nil
		for _, w := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(w); err == nil {
				roots = append(roots, pid)
			}
		}
	}
	parents := map[int]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		if f := statFields(pid); f != nil {
			parents[pid], _ = strconv.Atoi(f[1])
		}
	}
	in := map[int]bool{}
	for _, pid := range roots {
		in[pid] = true
	}
	for grew := true; grew; {
		grew = false
		for pid, parent := range parents {
			if in[parent] && !in[pid] {
				in[pid], grew = true, true
			}
		}
	}
	return in
}

// statFields are the fields of /proc/PID/stat from the state on.
func statFields(pid int) []string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 15 {
		return nil
	}
	return f
}

// cpu is the CPU time of the server so far, in seconds, ended children included.
func (s *Server) cpu() float64 {
	ticks := 0
	for pid := range s.tree() {
		f := statFields(pid)
		for i := 11; f != nil && i <= 14; i++ { // utime stime cutime cstime
			n, _ := strconv.Atoi(f[i])
			ticks += n
		}
	}
	return float64(ticks) / clockTick
}

// pss is the server's memory in KiB, shared pages counted in proportion.
func (s *Server) pss() float64 {
	total := 0.0
	for pid := range s.tree() {
		f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
		if err != nil {
			continue
		}
		for sc := bufio.NewScanner(f); sc.Scan(); {
			w := strings.Fields(sc.Text())
			if len(w) >= 2 && w[0] == "Pss:" {
				n, _ := strconv.ParseFloat(w[1], 64)
				total += n
			}
		}
		f.Close()
	}
	return total
}

// written is how many bytes the server's processes have had written to disk so far. It counts what
// running processes caused: use it where none ends meanwhile.
func (s *Server) written() float64 {
	total := 0.0
	for pid := range s.tree() {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/io")
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, "write_bytes: "); ok {
				n, _ := strconv.ParseFloat(strings.TrimSpace(rest), 64)
				total += n
			}
		}
	}
	return total
}

// diskUse is how many bytes a folder takes on its disk.
func diskUse(dir string) float64 {
	total := 0.0
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // a file that was just removed
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				total += float64(st.Blocks) * 512
			}
		}
		return nil
	})
	return total
}
