package directory

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"tram/internal/kv"
)

// TestCheckAndRepair plants damage into the directory's rows (reliability B10): a check says what it
// is, a repair puts it right, and nobody else's mail or log-in suffers.
func TestCheckAndRepair(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	set := func(row []byte, value string) func(kv.Txn) error {
		return func(w kv.Txn) error { return w.Set(row, []byte(value)) }
	}
	remove := func(row []byte) func(kv.Txn) error {
		return func(w kv.Txn) error { return w.Delete(row) }
	}
	const of = "example.test"
	id := func(n uint64) string { return string(kv.AppendUint64(nil, n)) }
	for what, c := range map[string]struct {
		kind  string
		plant func(kv.Txn) error
		gone  string // who cannot be reached any more
	}{
		"version":            {"directory", set(key(kindVersion), "x"), ""},
		"domain row":         {"directory", set(domainRow(of), "{"), ""},
		"no domain row":      {"directory", remove(domainRow(of)), ""},
		"account row":        {"directory", set(accountRow(2), "{"), ""},
		"no account row":     {"directory", remove(accountRow(2)), ""},
		"address row":        {"directory", set(nameRow(kindAddress, of, "alice"), "x"), ""},
		"no address row":     {"directory", remove(nameRow(kindAddress, of, "alice")), ""},
		"address to another": {"directory", set(nameRow(kindAddress, of, "alice"), id(3)), ""},
		"address to nobody":  {"directory", set(nameRow(kindAddress, of, "carol"), id(99)), ""},
		"alias row":          {"directory", set(nameRow(kindAlias, of, "sales"), "{"), "sales@" + of},
		"alias to nowhere": {"alias", set(nameRow(kindAlias, of, "sales"),
			`{"local":"sales","targets":["nobody@example.test","bob@example.test"]}`), ""},
		"alias to nowhere at all": {"alias", set(nameRow(kindAlias, of, "sales"),
			`{"local":"sales","targets":["nobody@example.test"]}`), "sales@" + of},
		"no looks":             {"directory", remove(nameRow(kindSkeleton, of, "alice")), ""},
		"looks of nobody":      {"directory", set(nameRow(kindSkeleton, of, "zoe"), "zoe"), ""},
		"wrong looks":          {"directory", set(nameRow(kindSkeleton, of, "alice"), "zoe"), ""},
		"administrator":        {"directory", set(adminRow(3), of), ""},
		"no administrator row": {"directory", remove(adminRow(2)), ""},
		"credentials":          {"directory", set(secretRow(2), "{"), ""},
		"no credentials":       {"directory", remove(secretRow(2)), ""},
		"credentials of none":  {"directory", set(secretRow(98), "{}"), ""},
		"POP3 of tomorrow": {"directory", set(accountRow(2),
			`{"local":"alice","domain":"example.test","admin":true,"generation":2,"pop3":{"v":2}}`), ""},
		"POP3 policy": {"directory", set(accountRow(2),
			`{"local":"alice","domain":"example.test","admin":true,"generation":2,"pop3":{"v":1,"policy":"eat"}}`), ""},
		"POP3 days": {"directory", set(accountRow(2),
			`{"local":"alice","domain":"example.test","admin":true,"generation":2,"pop3":{"v":1,"policy":"days"}}`), ""},
		"signing key":              {"directory", set(signingRow(of, "ed202611"), "{"), ""},
		"signing key of tomorrow":  {"directory", set(signingRow(of, "ed202611"), `{"v":2,"state":"made"}`), ""},
		"signing key of no domain": {"directory", set(signingRow("gone.test", "ed202611"), `{"v":1,"state":"active","record":"x","sealed":"AA=="}`), ""},
		"counter":                  {"directory", set(key(kindCounter), id(1)), ""},
		"damaged counter":          {"directory", set(key(kindCounter), "1"), ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			h := open(t, nil)
			h.domain(of)
			alice, bob := h.account("alice@"+of), h.account("bob@"+of)
			h.alias("sales@"+of, "alice@"+of, "friend@elsewhere.test")
			if err := h.SetAdmin(ctx, alice.ID, true); err != nil || alice.ID != 2 || bob.ID != 3 {
				t.Fatal(err, alice.ID, bob.ID)
			}
			if found := h.found(); len(found) > 0 {
				t.Fatalf("before the damage: %+v", found)
			}
			if err := h.db.Update(ctx, scope, c.plant); err != nil {
				t.Fatal(err)
			}
			found := h.found()
			if !slices.ContainsFunc(found, func(f Finding) bool { return f.Kind == c.kind }) {
				t.Errorf("no finding of kind %s among %+v", c.kind, found)
			}
			var kept [][]byte
			err := Repair(ctx, h.db, RepairOptions{Keep: func(k, _ []byte) error {
				kept = append(kept, bytes.Clone(k))
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			if found := h.found(); len(found) > 0 {
				t.Errorf("after the repair: %+v", found)
			}
			again := h.again(h.db)
			for _, a := range []string{"alice@" + of, "bob@" + of, "sales@" + of} {
				if _, err := again.Resolve(ctx, addr(a)); (err != nil) != (a == c.gone) {
					t.Errorf("mail for %s: %v", a, err)
				}
			}
			if _, err := again.Authenticate(ctx, attempt("bob@"+of, password)); err != nil {
				t.Errorf("log-in of somebody else: %v", err)
			}
			next := again.account("dora@" + of)
			if next.ID <= bob.ID {
				t.Errorf("identifier %d is given out again", next.ID)
			}
			if c.gone != "" && len(kept) == 0 {
				t.Error("what was dropped was not kept")
			}
		})
	}
}

func (h house) found() (found []Finding) {
	h.t.Helper()
	if err := Check(context.Background(), h.db, func(f Finding) { found = append(found, f) }); err != nil {
		h.t.Fatal(err)
	}
	return found
}
