package store

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tram/internal/blob"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
	"tram/internal/message"
)

// TestInsert: fields put into a message that was taken in give the bytes and the parse of the message
// with them, whatever its size, and leave the first one as it was.
func TestInsert(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := memkv.New()
	s, err := Open(ctx, Options{DB: db, Blobs: blob.New(db, blob.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const first, fields = "Return-Path: <a@b.test>\r\n", "Authentication-Results: mx.test; none\r\n"
	for _, size := range []int{0, 100, 32<<10 - len(first) - 2, 40 << 10, 700 << 10} {
		rest := "Subject: tiếng Việt\r\n\r\n" + strings.Repeat("z", size)
		b := s.NewDraft(ctx)
		for _, piece := range []string{first, rest} {
			if _, err := io.WriteString(b, piece); err != nil {
				t.Fatal(err)
			}
		}
		draft, parsed, err := b.Finish()
		if err != nil {
			t.Fatal(err)
		}
		whole, got, err := s.Insert(ctx, draft, parsed, len(first), []byte(fields))
		if err != nil {
			t.Fatal(err)
		}
		for want, p := range map[string]*blob.Pending{first + rest: draft, first + fields + rest: whole} {
			r := p.Open(ctx)
			text, err := io.ReadAll(r)
			if err != nil || string(text) != want {
				t.Errorf("%d: %d bytes, want %d: %v", size, len(text), len(want), err)
			}
			r.Close()
			p.Discard()
		}
		want := message.Parse([]byte(first+fields+rest), limits.Default().Message)
		want.SurrogateGrowth = parsed.SurrogateGrowth
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d: %s", size, diff)
		}
	}
}
