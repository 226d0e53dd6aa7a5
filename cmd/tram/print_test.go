package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tram/internal/admin"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTable(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	tab := table{{"NAME", "SIZE", "X"}}
	tab.add("Đức", "5 KiB", "a")
	tab.add("b", "100 MiB", "\x1b[2J\n")
	if err := tab.print(&b, "SIZE"); err != nil {
		t.Fatal(err)
	}
	want := "NAME     SIZE  X\nĐức     5 KiB  a\nb     100 MiB   [2J\n"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 10189: "10 KiB", 1 << 20: "1.0 MiB",
		1023 * 1024: "1.0 MiB", 5 << 30: "5.0 GiB", 123 << 40: "123 TiB", 1<<63 - 1: "8.0 EiB",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestQuotaText(t *testing.T) {
	t.Parallel()
	for want, q := range map[string]admin.Quota{
		"none": {}, "1.0 GiB": {Bytes: 1 << 30}, "5 messages": {Messages: 5},
		"1.0 KiB, 5 messages": {Bytes: 1024, Messages: 5},
	} {
		if got := quotaText(q); got != want {
			t.Errorf("%+v is %q, want %q", q, got, want)
		}
	}
}

func TestWhen(t *testing.T) {
	t.Parallel()
	if got := when(time.Time{}); got != "-" {
		t.Errorf("no time is %q", got)
	}
	if got := when(time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)); got != "2026-01-02 03:04:05" {
		t.Errorf("%q", got)
	}
}

// TestProgressLines: where there is no terminal, a line each tenth, not one each step.
func TestProgressLines(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	p := newProgress(&b)
	for i := range int64(1001) {
		p.show(admin.Progress{Done: i, Total: 1000, What: "messages"})
	}
	p.show(admin.Progress{Done: 1, What: "accounts"})
	p.end()
	lines := bytes.Count(b.Bytes(), []byte("\n"))
	if lines != 12 || bytes.ContainsAny(b.Bytes(), "\r") {
		t.Errorf("%d lines:\n%s", lines, &b)
	}
}

func TestProgressBar(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	p := &progress{w: &b, bar: true}
	p.show(admin.Progress{Done: 50, Total: 100, What: "messages"})
	p.show(admin.Progress{Done: 200, Total: 100, What: "m"}) // more than was thought
	p.end()
	want := "\r[###############               ] messages: 50 of 100" +
		"\r[                              ] m: 200             " +
		"\r" + strings.Repeat(" ", 39) + "\r"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]int64{
		"5G": 5 << 30, "5g": 5 << 30, "5GiB": 5 << 30, "5 gib": 5 << 30, "5GB": 5e9, "5gb": 5e9,
		"1.5T": 3 << 39, "500M": 500 << 20, "64k": 64 << 10, "64KB": 64e3, "4096": 4096, "4096B": 4096,
		"0": 0, "-5G": -5 << 30,
	} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "G", "lots", "5GG", "5iB", "5X", "0.3", "1e30G", "NaN", "5GiBB", "5 G G"} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("parseSize(%q) = %d", s, got)
		}
	}
}

func TestUsedText(t *testing.T) {
	t.Parallel()
	used := admin.Quota{Bytes: 1 << 29, Messages: 30}
	for want, q := range map[string]admin.Quota{
		"512 MiB, 30 messages":              {},
		"512 MiB, 30 messages (50 % full)":  {Bytes: 1 << 30},
		"512 MiB, 30 messages (75 % full)":  {Bytes: 1 << 30, Messages: 40},
		"512 MiB, 30 messages (200 % full)": {Bytes: 1 << 28, Messages: 40},
	} {
		if got := usedText(used, q); got != want {
			t.Errorf("of %+v: %q, want %q", q, got, want)
		}
		warned := quotaOf{quota: q, used: used}.warning() != ""
		if warned != (q.Bytes == 1<<28) {
			t.Errorf("of %+v: warned %v", q, warned)
		}
	}
}
