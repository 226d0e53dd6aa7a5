package directory

import (
	"context"
	"errors"
	"testing"

	"tram/internal/kv"
	"tram/internal/smtp"
)

// TestFolders gives each domain one identifier for its shared folders, which no account has or gets, and
// finds it again after the counter was lost.
func TestFolders(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a.test", "b.test"} {
		_, err := h.AddDomain(ctx, name)
		must(err)
	}
	first, err := h.MakeFolders(ctx, "A.test")
	must(err)
	again, err := h.MakeFolders(ctx, "a.test")
	must(err)
	other, err := h.MakeFolders(ctx, "b.test")
	must(err)
	account, err := h.AddAccount(ctx, AccountOptions{Address: smtp.Address{Local: "x", Domain: "a.test"}})
	must(err)
	if first == 0 || first != again || other == first || account.ID == first || account.ID == other {
		t.Errorf("identifiers are %d, %d, %d and %d", first, again, other, account.ID)
	}
	must(h.SetFoldersQuota(ctx, "a.test", Quota{Bytes: 5}))
	if d, err := h.Domain(ctx, "a.test"); err != nil || d.Folders != first || d.FoldersQuota.Bytes != 5 ||
		d.Quota != (Quota{}) {
		t.Errorf("the domain is %+v, %v", d, err)
	}
	if _, err := h.Account(ctx, first); !errors.Is(err, ErrNotFound) {
		t.Errorf("shared folders are an account: %v", err)
	}
	for _, err := range []error{
		h.SetFoldersQuota(ctx, "c.test", Quota{}), h.RestoreFolders(ctx, "c.test", 9),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("of no domain: %v", err)
		}
	}
	must(h.RestoreFolders(ctx, "a.test", 99))
	if d, err := h.Domain(ctx, "a.test"); err != nil || d.Folders != first {
		t.Errorf("an identifier was replaced: %+v, %v", d, err)
	}
	_, err = h.AddDomain(ctx, "d.test")
	must(err)
	must(h.RestoreFolders(ctx, "d.test", 500))
	must(h.db.Update(ctx, scope, func(w kv.Txn) error {
		n, err := number(w, key(kindCounter))
		if n < 500 {
			t.Errorf("the counter is %d: 500 would be given away again", n)
		}
		return err
	}))
}
