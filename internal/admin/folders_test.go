package admin_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tram/internal/admin"
	"tram/internal/directory"
	"tram/internal/store"
)

// TestFolders makes a domain's shared folders, shares them and one of a person's, and tells what is wrong.
func TestFolders(t *testing.T) {
	t.Parallel()
	_, c := open(t)
	ctx := t.Context()
	for _, name := range []string{"example.com", "other.test"} {
		must[admin.Domain](t)(c.AddDomain(ctx, name))
	}
	for _, address := range []string{"ann@example.com", "bob@example.com", "eve@other.test"} {
		must[admin.Account](t)(c.AddAccount(ctx, admin.NewAccount{Address: address}))
	}
	if all := must[[]admin.Folder](t)(c.SharedFolders(ctx, "example.com")); all == nil || len(all) > 0 {
		t.Errorf("at first there are %v", all)
	}
	must[admin.Folder](t)(c.AddFolder(ctx, "example.com", admin.Folder{Name: "Team/Plans"}))
	share := func(owner, name, who, rights string) (admin.Folder, error) {
		change := admin.FolderChange{Name: name, Access: &admin.Access{Who: who, Rights: rights}}
		return c.ChangeFolder(ctx, owner, change)
	}
	must[admin.Folder](t)(share("example.com", "Team", "anyone", "read"))
	got := must[admin.Folder](t)(share("EXAMPLE.com", "Team", "Ann@example.com", "lrd"))
	want := admin.Folder{Name: "Team", Access: []admin.Access{{"anyone", "lrs"}, {"ann@example.com", "lrxte"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = must[admin.Folder](t)(share("bob@example.com", "inbox", "ann@example.com", "write"))
	if got.Name != "INBOX" || len(got.Access) != 1 || got.Access[0].Text() != "write" {
		t.Errorf("of a person: %+v", got)
	}
	name := "Group"
	must[admin.Folder](t)(c.ChangeFolder(ctx, "example.com", admin.FolderChange{Name: "Team", NewName: &name}))

	for _, f := range []struct {
		owner, name, who, rights, kind, words string
	}{
		{"example.com", "Team", "anyone", "read", admin.KindNotFound, "no folder"},
		{"example.com", "Group", "eve@other.test", "read", admin.KindInvalid, "another domain"},
		{"example.com", "Group", "nobody@example.com", "read", admin.KindNotFound, "no account"},
		{"example.com", "Group", "everybody", "read", admin.KindInvalid, "not an address"},
		{"example.com", "Group", "anyone", "xyz", admin.KindInvalid, "no access"},
		{"other.test", "Group", "anyone", "read", admin.KindNotFound, "no folder"},
		{"none.test", "Group", "anyone", "read", admin.KindNotFound, "no domain"},
		{"ann@example.com", "INBOX", "ann@example.com", "none", admin.KindInvalid, "owner"},
	} {
		_, err := share(f.owner, f.name, f.who, f.rights)
		wants(t, err, f.kind, f.words)
	}
	_, err := c.AddFolder(ctx, "ann@example.com", admin.Folder{Name: "X"})
	wants(t, err, admin.KindInvalid, "its own")
	wants(t, c.RemoveFolder(ctx, "ann@example.com", "Archive"), admin.KindInvalid, "its own")
	wants(t, c.RemoveFolder(ctx, "example.com", "Group"), admin.KindConflict, "below")
	_, err = c.AddFolder(ctx, "example.com", admin.Folder{Name: "a\x00b"})
	wants(t, err, admin.KindInvalid, "not possible")
	_, err = c.AddFolder(ctx, "example.com", admin.Folder{Name: "Group"})
	wants(t, err, admin.KindExists, "already")

	// An account that goes takes its rights along.
	if err := c.RemoveAccount(ctx, "ann@example.com"); err != nil {
		t.Fatal(err)
	}
	for _, f := range must[[]admin.Folder](t)(c.SharedFolders(ctx, "example.com")) {
		if strings.Contains(f.Name, "ann") || len(f.Access) > 1 {
			t.Errorf("after she has gone: %+v", f)
		}
	}
}

// TestFoldersQuota bounds shared folders before and after there are any.
func TestFoldersQuota(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	ctx := t.Context()
	must[admin.Domain](t)(c.AddDomain(ctx, "example.com"))
	for _, q := range []admin.Quota{{Bytes: 5}, {Bytes: 7, Messages: 3}, {}} {
		d := must[admin.Domain](t)(c.ChangeDomain(ctx, "example.com", admin.DomainChange{FoldersQuota: &q}))
		if d.Folders == nil || d.Folders.Quota != q {
			t.Errorf("quota is %+v, want %+v", d.Folders, q)
		}
		if q.Messages == 0 {
			must[admin.Folder](t)(c.AddFolder(ctx, "example.com", admin.Folder{Name: "for " + string(rune('a'+q.Bytes))}))
		}
		kept := must[map[string]store.AccountID](t)(s.Store.Folders(ctx))
		if _, has, err := s.Store.Account(kept["example.com"]).Usage(ctx); err != nil || has != store.Quota(q) {
			t.Errorf("the store has %+v, %v", has, err)
		}
	}
	_, err := c.ChangeDomain(ctx, "example.com", admin.DomainChange{FoldersQuota: &admin.Quota{Bytes: -1}})
	wants(t, err, admin.KindInvalid, "below 0")
}

// TestFoldersRepaired finds a domain's shared folders again when the directory has forgotten them.
func TestFoldersRepaired(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	ctx := t.Context()
	must[admin.Domain](t)(c.AddDomain(ctx, "example.com"))
	must[admin.Folder](t)(c.AddFolder(ctx, "example.com", admin.Folder{Name: "Team"}))
	id := must[directory.Domain](t)(s.Directory.Domain(ctx, "example.com")).Folders
	if err := errors.Join(s.Directory.RemoveDomain(ctx, "example.com")); err != nil {
		t.Fatal(err)
	}
	must[directory.Domain](t)(s.Directory.AddDomain(ctx, "example.com"))
	var did []string
	none := func(admin.Finding) {}
	err := s.Admin.Repair(context.Background(), &admin.Mend{
		Found: none, Left: func(f admin.Finding) { t.Errorf("left: %+v", f) },
		Did:  func(f admin.Finding) { did = append(did, f.What) },
		Keep: func(_, _ []byte) error { return nil }, Progress: func(admin.Progress) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	if now := must[directory.Domain](t)(s.Directory.Domain(ctx, "example.com")).Folders; now != id {
		t.Errorf("they are under %d, were under %d; it did %q", now, id, did)
	}
	if all := must[[]admin.Folder](t)(c.SharedFolders(ctx, "example.com")); len(all) != 1 {
		t.Errorf("there are %+v", all)
	}
}
