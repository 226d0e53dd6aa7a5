package main

import (
	"archive/zip"
	"bytes"
	"context"
	"os"
	"testing"

	"tram/internal/spam/unpack"
)

// TestMain is also the decoder of the servers of these tests: the program starts itself, which is this one.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "decode" {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// TestDecode opens an archive by the program's own command.
func TestDecode(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	if _, err := z.Create("a.txt"); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	p := unpack.NewPool(unpack.PoolOptions{Command: decoder()})
	defer p.Close()
	r, err := p.Unpack(t.Context(), "a.zip", bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil || len(r.Entries) != 1 || r.Trouble != "" {
		t.Errorf("%+v, %v", r, err)
	}
}
