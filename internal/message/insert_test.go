package message

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestInsert: fields put on top of a message that was parsed give what parsing it with them gives.
func TestInsert(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d golden messages: %v", len(files), err)
	}
	const first = "Return-Path: <a@b.test>\r\n"
	text := []byte("Authentication-Results: mx.example.test;\r\n\tspf=pass smtp.mailfrom=b.test\r\nX-Seen: yes\r\n")
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) > 0 && (raw[0] == ' ' || raw[0] == '\t') {
			continue // it would continue the field before
		}
		raw = withCRLF(raw)
		before := Parse(append([]byte(first), raw...), testLimits)
		saved := *before
		got := before.Insert(len(first), text)
		want := Parse(append(append([]byte(first), text...), raw...), testLimits)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
		if diff := cmp.Diff(&saved, before); diff != "" {
			t.Errorf("%s has changed: %s", file, diff)
		}
	}
}
