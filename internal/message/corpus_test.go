package message

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// corpus is where the messages of other projects' tests are, from this package.
const corpus = "../../../shared/corpora"

// TestCorpus parses every message that other projects test their parsers with.
func TestCorpus(t *testing.T) {
	t.Parallel()
	root := filepath.Join(corpus, "mime")
	if _, err := os.Stat(root); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("the corpus is missing: %v", err)
		}
		t.Logf("nothing to do: %v", err)
		return
	}
	count := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".json") {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		count++
		name, _ := filepath.Rel(root, path)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, raw := range [][]byte{raw, withCRLF(raw)} {
				m := checkMessage(t, raw, testLimits)
				checkSplit(t, raw, testLimits, uint64(len(raw)))
				checkContent(t, raw, m)
			}
		})
		return nil
	})
	if err != nil || count < 240 {
		t.Fatalf("%d files: %v", count, err)
	}
}

func withCRLF(raw []byte) []byte {
	raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
}

// checkContent asserts that every body can be decoded and every text read.
func checkContent(t *testing.T, raw []byte, m *Message) {
	t.Helper()
	r := bytes.NewReader(raw)
	m.Root.Walk(func(p *Part) {
		if p.Parts != nil || p.Embedded != nil {
			return
		}
		if _, err := io.Copy(io.Discard, Body(r, p)); err != nil {
			t.Errorf("Body: %v", err)
		}
		text, err := io.ReadAll(Text(r, p))
		if err != nil || !utf8.Valid(text) {
			t.Errorf("Text: %v %q", err, text)
		}
	})
	var n int64
	err := SearchText(r, m, 10000, func(chunk []byte) error {
		if n += int64(len(chunk)); !utf8.Valid(chunk) || len(chunk) == 0 {
			t.Errorf("search text: %q", chunk)
		}
		return nil
	})
	if err != nil || n > 10000 {
		t.Errorf("SearchText: %d bytes, %v", n, err)
	}
}
