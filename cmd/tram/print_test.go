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
