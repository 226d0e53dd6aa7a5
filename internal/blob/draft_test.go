package blob

import (
	"testing"

	"tram/internal/kv"
)

// TestDraft: a draft is read like any other body, and is as good as any other when it is stored.
func TestDraft(t *testing.T) {
	t.Parallel()
	for _, n := range sizes {
		f := newFixture(t)
		body := text(n)
		w := f.Create(ctx)
		w.Draft()
		for p := body; len(p) > 0; p = p[min(1000, len(p)):] {
			if _, err := w.Write(p[:min(1000, len(p))]); err != nil {
				t.Fatal(err)
			}
		}
		p, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		ref := p.Ref()
		f.read(p.Open(ctx), body, "pending")
		f.update(func(txn kv.Txn) error { return p.Link(txn, []byte("o")) })
		p.Committed()
		f.read(f.Open(ctx, ref), body, "stored")
		if err := f.Verify(ctx, ref); err != nil {
			t.Error(err)
		}
	}
}
