package directory

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tram/internal/kv"
)

// TestMaildrop: settings are kept, refused when they make no sense, and what an older or a newer
// server wrote is read as the usual ones.
func TestMaildrop(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	alice := h.account("alice@example.test")
	for _, m := range []Maildrop{
		{}, {Folders: []uint32{7, 3}}, {Policy: POP3Delete, Seen: true}, {Policy: POP3Days, Days: 3650},
	} {
		if err := h.SetMaildrop(ctx, alice.ID, m); err != nil {
			t.Fatal(err)
		}
		again := h.again(h.db)
		if got, err := again.Account(ctx, alice.ID); err != nil || !cmp.Equal(got.Maildrop, m) {
			t.Errorf("%+v is kept as %+v, %v", m, got.Maildrop, err)
		}
		for _, wrong := range []Maildrop{
			{Folders: []uint32{0}}, {Folders: []uint32{1, 1}}, {Folders: make([]uint32, MaxPOP3Folders+1)},
			{Policy: 9}, {Policy: POP3Days}, {Policy: POP3Days, Days: MaxPOP3Days + 1}, {Days: 1},
		} {
			if err := h.SetMaildrop(ctx, alice.ID, wrong); !errors.Is(err, ErrInvalid) {
				t.Errorf("SetMaildrop(%+v): %v", wrong, err)
			}
		}
		if got, err := h.Account(ctx, alice.ID); err != nil || !cmp.Equal(got.Maildrop, m) {
			t.Errorf("after what was refused: %+v, %v", got.Maildrop, err)
		}
	}
	if err := h.SetMaildrop(ctx, 99, Maildrop{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("of nobody: %v", err)
	}
	for _, row := range []string{``, `,"pop3":{"v":2,"policy":"delete"}`, `,"pop3":{"v":1,"policy":"eat"}`} {
		err := h.db.Update(ctx, scope, func(w kv.Txn) error {
			return w.Set(accountRow(alice.ID),
				[]byte(`{"local":"alice","domain":"example.test","created":1,"generation":1`+row+`}`))
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := h.again(h.db).Account(ctx, alice.ID); err != nil || !cmp.Equal(got.Maildrop, Maildrop{}) {
			t.Errorf("%s is read as %+v, %v", row, got.Maildrop, err)
		}
	}
}
