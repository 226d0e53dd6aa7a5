package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tram/internal/config"
)

// TestLogInjection is reliability.md B9: whatever a client sends, one event is one line of JSON
// without anything that acts on a terminal, and of bounded length.
func TestLogInjection(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"json", "text"} {
		var b bytes.Buffer
		log := NewLogger(&b, config.Log{Level: "info", Format: format}, false)
		hostile := "a\r\nfake=1 \x1b[2J \u202egpj.exe \u0085 \u2028 \xff \x00" + strings.Repeat("x", 1<<20)
		log.Info("session ended", "helo", hostile, "err", errors.New(hostile),
			"remote", netip.MustParseAddr("192.0.2.1"), "n", 5, "took", time.Second)
		line := b.String()
		if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
			t.Errorf("%s: %d lines", format, strings.Count(line, "\n"))
		}
		if strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\r\x1b\u202e\u0085\u2028\ufffd\x00") {
			t.Errorf("%s: a control character came through: %q", format, line[:200])
		}
		if len(line) > 3*maxLogText {
			t.Errorf("%s: %d bytes", format, len(line))
		}
		if format != "json" {
			continue
		}
		var event map[string]any
		if err := json.Unmarshal(b.Bytes(), &event); err != nil {
			t.Fatal(err)
		}
		if event["msg"] != "session ended" || event["remote"] != "192.0.2.1" || event["n"] != 5.0 ||
			event["took"] != "1s" {
			t.Errorf("event %v", event)
		}
	}
}

func TestLogKeepsVietnamese(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	NewLogger(&b, config.Log{Level: "info", Format: "auto"}, false).Info("x", "name", "Nguyễn Đức")
	if !strings.Contains(b.String(), "Nguyễn Đức") {
		t.Error(b.String())
	}
}

func TestLogLevelAndFormat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		log      config.Log
		terminal bool
		says     string
	}{
		{config.Log{Level: "warn", Format: "auto"}, false, `"level":"WARN"`},
		{config.Log{Level: "warn", Format: "auto"}, true, "level=WARN"},
		{config.Log{Level: "warn", Format: "json"}, true, `"level":"WARN"`},
		{config.Log{Level: "warn", Format: "text"}, false, "level=WARN"},
	} {
		var b bytes.Buffer
		log := NewLogger(&b, c.log, c.terminal)
		log.Info("quiet")
		log.Warn("loud")
		if got := b.String(); !strings.Contains(got, c.says) || strings.Contains(got, "quiet") {
			t.Errorf("%+v: %q", c, got)
		}
		if log.Enabled(t.Context(), slog.LevelInfo) {
			t.Errorf("%+v: info is on", c)
		}
	}
}

func TestCgroupMemory(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	self := write("self", "1:name=x:/old\n0::/a/b\n")
	sys := filepath.Join(root, "sys")
	if got := cgroupMemory(self, sys); got != 0 {
		t.Errorf("no limit anywhere gives %d", got)
	}
	write("sys/a/b/memory.max", "max\n")
	write("sys/a/memory.max", "1000000\n")
	write("sys/memory.max", "5000000\n")
	if got := cgroupMemory(self, sys); got != 1000000 {
		t.Errorf("limit %d, want the parent's", got)
	}
	write("memory.max", "1\n") // outside of the hierarchy
	if got := cgroupMemory(self, sys); got != 1000000 {
		t.Errorf("limit %d was read outside of the hierarchy", got)
	}
	old := write("old", "9:name=systemd:/\n7:cpu,memory:/c\n")
	write("sys/memory/memory.limit_in_bytes", "9223372036854771712\n")
	if got := cgroupMemory(old, sys); got != 0 {
		t.Errorf("version 1 without a limit gives %d", got)
	}
	write("sys/memory/c/memory.limit_in_bytes", "3000000\n")
	if got := cgroupMemory(old, sys); got != 3000000 {
		t.Errorf("version 1: limit %d", got)
	}
	if got := physicalMemory(write("meminfo", "MemTotal:   4096 kB\nMemFree: 1 kB\n")); got != 4<<20 {
		t.Errorf("physical memory %d", got)
	}
	if got := cgroupMemory(filepath.Join(root, "none"), sys); got != 0 {
		t.Errorf("no file gives %d", got)
	}
}

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	if err := Notify("READY=1"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := l.Read(b)
	if got := string(b[:n]); err != nil || got != "READY=1" {
		t.Errorf("systemd hears %q, %v", got, err)
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Notify("READY=1"); err != nil {
		t.Errorf("without systemd: %v", err)
	}
	t.Setenv("NOTIFY_SOCKET", path+".none")
	if err := Notify("READY=1"); err == nil {
		t.Error("a socket that is not there is no error")
	}
}

// TestMemTable: a small machine does not give its memory to tables that wait for the disk.
func TestMemTable(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int64]int64{
		512 << 20: 16 << 20, 2 << 30: 16 << 20, 4 << 30: 32 << 20, 64 << 30: 32 << 20,
	} {
		if got := memTable(limit); got != want {
			t.Errorf("%d MiB: %d MiB, want %d", limit>>20, got>>20, want>>20)
		}
	}
}
