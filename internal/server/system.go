package server

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"tram/internal/config"
)

// Notify tells systemd a state ("READY=1", "STOPPING=1"), as sd_notify(3) does. Without systemd it
// does nothing.
func Notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	c, err := net.Dial("unixgram", path)
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, state); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}

// Where the kernel tells the process's control groups, and their limits.
const (
	ownGroups = "/proc/self/cgroup"
	groups    = "/sys/fs/cgroup"
)

// BoundMemory keeps the heap under seven tenths of the control group's memory, so that the kernel
// has no reason to end the process. What GOMEMLIMIT says goes first. It returns the bound in bytes,
// 0 for none.
func BoundMemory() int64 {
	if os.Getenv("GOMEMLIMIT") != "" {
		return 0
	}
	limit := cgroupMemory(ownGroups, groups)
	if limit == 0 {
		return 0
	}
	debug.SetMemoryLimit(limit / 10 * 7)
	return limit / 10 * 7
}

// longBodies is how many long messages may come in at the same time, by the memory there is: each
// takes about two MiB with what the collector leaves lying, and they may have an eighth of it.
func longBodies(limit int64) int {
	return int(min(max(memory(limit)/8/(2<<20), 8), 2000))
}

// memTable is how many bytes of changes the embedded database gathers in memory before it makes
// tables of them; there may be three times as many. The more, the less is written twice.
func memTable(limit int64) int64 {
	if memory(limit) < 4<<30 {
		return 16 << 20
	}
	return 32 << 20
}

// memory is the limit, or where there is none, what the machine has.
func memory(limit int64) int64 {
	if limit == 0 {
		return physicalMemory("/proc/meminfo")
	}
	return limit
}

// physicalMemory returns the machine's memory in bytes, 2 GiB when it does not say.
func physicalMemory(file string) int64 {
	text, err := os.ReadFile(file)
	if err == nil {
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) == 3 && fields[0] == "MemTotal:" {
				if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
					return n << 10
				}
			}
		}
	}
	return 2 << 30
}

// cgroupMemory returns the smallest limit from the process's group up, 0 when there is none. The
// groups are of version 2, or of version 1, where memory has a hierarchy of its own.
func cgroupMemory(self, root string) int64 {
	text, err := os.ReadFile(self)
	if err != nil {
		return 0
	}
	least := int64(math.MaxInt64)
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		top, file := root, "memory.max"
		switch {
		case slices.Contains(strings.Split(controllers, ","), "memory"): // version 1
			top, file = filepath.Join(root, "memory"), "memory.limit_in_bytes"
		case !strings.HasPrefix(line, "0::"):
			continue
		}
		for dir := filepath.Join(top, group); strings.HasPrefix(dir, top); dir = filepath.Dir(dir) {
			value, err := os.ReadFile(filepath.Join(dir, file))
			n, bad := strconv.ParseInt(strings.TrimSpace(string(value)), 10, 64)
			if err == nil && bad == nil { // "max" is no number
				least = min(least, n)
			}
		}
	}
	if least > noLimit {
		return 0
	}
	return least
}

// noLimit is about what version 1 says where nothing is limited: the largest number of whole pages.
const noLimit = math.MaxInt64 / 2

const maxLogText = 2000 // bytes of one value in a log line

// NewLogger returns the logger that the configuration asks for. Whatever a client sends, an event
// is one line without control or direction characters, of bounded length.
func NewLogger(w io.Writer, c config.Log, terminal bool) *slog.Logger {
	level := slog.LevelInfo
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo // validated with the rest of the configuration
	}
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: tame}
	if c.Format == "text" || c.Format != "json" && terminal {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// tame bounds a value and escapes what could act on a terminal or turn a line around.
func tame(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.String(a.Key, a.Value.Duration().String())
	}
	var text string
	switch v := a.Value.Any().(type) {
	case string:
		text = v
	case error:
		text = v.Error()
	case fmt.Stringer:
		if a.Value.Kind() != slog.KindAny {
			return a
		}
		text = v.String()
	default:
		return a
	}
	if len(text) > maxLogText {
		text = text[:maxLogText] + "…"
	}
	return slog.String(a.Key, escape(text))
}

// escape writes what is not printable as Go does in a quoted string.
func escape(s string) string {
	bad := func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }
	if !strings.ContainsFunc(s, bad) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if bad(r) {
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
