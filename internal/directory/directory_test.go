package directory

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
	"tram/internal/smtp"
)

var (
	noon   = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	pepper = bytes.Repeat([]byte("pepper"), 6)
	home   = netip.MustParseAddr("192.0.2.7")
)

const password = "sáu con voi đi bộ"

// cheap are the default limits with hashes that cost nothing and no waiting.
func cheap() limits.Auth {
	l := limits.Default().Auth
	l.ArgonMemoryKiB, l.ArgonTime, l.SCRAMRounds, l.Tarpit = 64, 1, 4096, 0
	return l
}

// house is a directory with its surroundings.
type house struct {
	*Directory
	t     testing.TB
	db    *memkv.DB
	clock *clock.Fake
}

func open(t testing.TB, change func(*Options)) house {
	t.Helper()
	h := house{t: t, db: memkv.New(), clock: clock.NewFake(noon)}
	h.db.SetTwice(true)
	o := Options{DB: h.db, Clock: h.clock, Pepper: pepper, Limits: cheap()}
	if change != nil {
		change(&o)
	}
	d, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	h.Directory = d
	return h
}

// again opens a second directory on the same database, as another process would.
func (h house) again(db *memkv.DB) house {
	h.t.Helper()
	return open(h.t, func(o *Options) { o.DB, o.Clock, o.Limits = db, h.clock, h.limits })
}

func addr(s string) smtp.Address {
	local, domain, _ := strings.Cut(s, "@")
	return smtp.Address{Local: local, Domain: domain}
}

func (h house) domain(names ...string) {
	h.t.Helper()
	for _, name := range names {
		if _, err := h.AddDomain(context.Background(), name); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h house) account(address string) Account {
	h.t.Helper()
	a, err := h.AddAccount(context.Background(), AccountOptions{
		Address: addr(address), Password: password,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

func (h house) alias(address string, targets ...string) {
	h.t.Helper()
	a := Alias{Address: address}
	for _, s := range targets {
		a.Targets = append(a.Targets, addr(s))
	}
	if err := h.AddAlias(context.Background(), a); err != nil {
		h.t.Fatal(err)
	}
}

func TestDomains(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	first, err := h.AddDomain(ctx, "Example.TEST.")
	if err != nil || first.Name != "example.test" || first.ID == 0 || !first.Created.Equal(noon) {
		t.Fatalf("AddDomain = %+v, %v", first, err)
	}
	uni, err := h.AddDomain(ctx, "bưuđiện.vn")
	if err != nil || !strings.HasPrefix(uni.Name, "xn--") || uni.ID == first.ID {
		t.Fatalf("AddDomain = %+v, %v", uni, err)
	}
	if got := DisplayDomain(uni.Name); got != "bưuđiện.vn" {
		t.Errorf("DisplayDomain = %q", got)
	}
	for _, name := range []string{"EXAMPLE.test", "BƯUĐIỆN.vn", uni.Name} {
		if _, err := h.AddDomain(ctx, name); !errors.Is(err, ErrExists) {
			t.Errorf("AddDomain(%q) again = %v", name, err)
		}
	}
	for _, name := range []string{"", "[192.0.2.1]", "a b.test", "-x.test", "a..test"} {
		if _, err := h.AddDomain(ctx, name); !errors.Is(err, ErrInvalid) {
			t.Errorf("AddDomain(%q) = %v", name, err)
		}
	}
	if err := h.SetDomainQuota(ctx, "example.test", Quota{Bytes: 7, Messages: 8}); err != nil {
		t.Fatal(err)
	}
	if got, err := h.Domain(ctx, "EXAMPLE.test"); err != nil || got.Quota != (Quota{7, 8}) {
		t.Errorf("Domain = %+v, %v", got, err)
	}
	all, err := h.Domains(ctx)
	if err != nil || len(all) != 2 || all[0].Name != "example.test" {
		t.Errorf("Domains = %v, %v", all, err)
	}
	h.account("alice@example.test")
	if err := h.RemoveDomain(ctx, "example.test"); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("RemoveDomain with an account = %v", err)
	}
	h.alias("@"+uni.Name, "alice@example.test")
	if err := h.RemoveDomain(ctx, uni.Name); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("RemoveDomain with an alias = %v", err)
	}
	if err := h.RemoveAlias(ctx, "@bưuđiện.vn"); err != nil {
		t.Fatal(err)
	}
	if err := h.RemoveDomain(ctx, "bưuđiện.vn"); err != nil || h.IsLocal(uni.Name) {
		t.Errorf("RemoveDomain = %v; still local: %v", err, h.IsLocal(uni.Name))
	}
	if err := h.RemoveDomain(ctx, uni.Name); !errors.Is(err, ErrNotFound) {
		t.Errorf("RemoveDomain again = %v", err)
	}
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test", "other.test")
	made, err := h.AddAccount(ctx, AccountOptions{
		Address: addr("Alice.B@example.test"), Password: password, Name: "Alice", Admin: true,
		Quota: Quota{100, 200},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Account{
		ID: made.ID, Address: addr("Alice.B@example.test"), Name: "Alice", Admin: true, Created: noon,
		Domain: "example.test", Quota: Quota{100, 200}, Generation: 1,
	}
	if made.ID == 0 || !cmp.Equal(made, want) {
		t.Errorf("AddAccount = %+v", made)
	}
	bob := h.account("bob@other.test")
	for _, a := range []string{"ALICE.b@example.test", "alice.b@EXAMPLE.test"} {
		if got, err := h.AccountByAddress(ctx, addr(a)); err != nil || !cmp.Equal(got, want) {
			t.Errorf("AccountByAddress(%s) = %+v, %v", a, got, err)
		}
	}
	for _, a := range []string{"alice.b+x@example.test", "bob@example.test", "@example.test", "x@y"} {
		if got, err := h.AccountByAddress(ctx, addr(a)); !errors.Is(err, ErrNotFound) {
			t.Errorf("AccountByAddress(%s) = %+v, %v", a, got, err)
		}
	}
	all, err := h.Accounts(ctx, "")
	if err != nil || len(all) != 2 || all[0].ID != made.ID || all[1].ID != bob.ID {
		t.Errorf("Accounts = %v, %v", all, err)
	}
	if of, err := h.Accounts(ctx, "OTHER.test"); err != nil || len(of) != 1 || of[0].ID != bob.ID {
		t.Errorf("Accounts of a domain = %v, %v", of, err)
	}
	if _, err := h.Accounts(ctx, "none.test"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Accounts of a strange domain = %v", err)
	}
	for _, step := range []error{
		h.SetName(ctx, made.ID, "A. B."), h.SetQuota(ctx, made.ID, Quota{1, 2}),
		h.SetAdmin(ctx, made.ID, false), h.SetDisabled(ctx, made.ID, true),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	want.Name, want.Quota, want.Admin, want.Disabled = "A. B.", Quota{1, 2}, false, true
	want.Generation = 3
	if got, err := h.Account(ctx, made.ID); err != nil || !cmp.Equal(got, want) {
		t.Errorf("after changes: %+v, %v; want %+v", got, err, want)
	}
	if err := h.RemoveAccount(ctx, made.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Account(ctx, made.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("a removed account: %v", err)
	}
	if err := h.RemoveAccount(ctx, made.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed again: %v", err)
	}
	if err := h.SetName(ctx, made.ID, "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("change of a removed account: %v", err)
	}
	if again := h.account("alice.b@example.test"); again.ID <= bob.ID {
		t.Errorf("identifier %d was used again", again.ID)
	}
}

func TestNamesAreTakenOnce(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test", "other.test")
	h.account("alice@example.test")
	h.alias("sales@example.test", "alice@example.test")
	h.account("tuấn@example.test")
	for _, taken := range []string{
		"alice@example.test", "ALICE@example.test", "ａｌｉｃｅ@example.test", // full width
		"аlice@example.test",            // Cyrillic а
		"alıce@example.test",            // dotless ı
		"sales@example.test",            // an alias
		"ѕаlеѕ@example.test",            // Cyrillic again
		"tua\u0302\u0301n@example.test", // decomposed
		"TUẤN@example.test",
	} {
		_, err := h.AddAccount(ctx, AccountOptions{Address: addr(taken), Password: password})
		if !errors.Is(err, ErrExists) {
			t.Errorf("AddAccount(%s) = %v", taken, err)
		}
		err = h.AddAlias(ctx, Alias{Address: taken, Targets: []smtp.Address{addr("x@y.test")}})
		if !errors.Is(err, ErrExists) {
			t.Errorf("AddAlias(%s) = %v", taken, err)
		}
	}
	for _, bad := range []string{
		"@example.test", "aliſe@example.test", "al\u200dice@example.test", "a\x00b@example.test",
		strings.Repeat("a", 65) + "@example.test", "\xffx@example.test",
	} {
		_, err := h.AddAccount(ctx, AccountOptions{Address: addr(bad), Password: password})
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("AddAccount(%q) = %v", bad, err)
		}
	}
	if _, err := h.AddAccount(ctx, AccountOptions{Address: addr("a@nowhere.test")}); !errors.Is(err, ErrNotFound) {
		t.Errorf("AddAccount in a strange domain = %v", err)
	}
	// Names that people can tell apart, and the same name elsewhere, are free.
	h.account("tuan@example.test")
	h.account("alice@other.test")
	// What was removed is free again, looks included.
	if err := h.RemoveAlias(ctx, "SALES@example.test"); err != nil {
		t.Fatal(err)
	}
	h.account("ѕales@example.test")
}

func TestAliases(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test", "b.test")
	h.alias("Sales@example.test", "alice@example.test", "bob@else.test", "bob@else.test")
	h.alias("@example.test", "alice@example.test")
	h.alias("x@b.test", "y@b.test")
	got, err := h.Aliases(ctx, "example.test")
	want := []Alias{
		{"@example.test", []smtp.Address{addr("alice@example.test")}, noon},
		{"Sales@example.test", []smtp.Address{addr("alice@example.test"), addr("bob@else.test")}, noon},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Aliases: %v\n%s", err, diff)
	}
	if all, err := h.Aliases(ctx, ""); err != nil || len(all) != 3 {
		t.Errorf("all aliases = %v, %v", all, err)
	}
	for _, tt := range []struct {
		alias Alias
		err   error
	}{
		{Alias{Address: "none@example.test"}, ErrInvalid},
		{Alias{Address: "self@example.test", Targets: []smtp.Address{addr("SELF@example.test")}}, ErrInvalid},
		{Alias{Address: "null@example.test", Targets: []smtp.Address{{}}}, ErrInvalid},
		{Alias{Address: "bad@example.test", Targets: []smtp.Address{{Local: "a\r\nb", Domain: "x.test"}}}, ErrInvalid},
		{Alias{Address: "upper@example.test", Targets: []smtp.Address{addr("a@X.test")}}, ErrInvalid},
		{Alias{Address: "many@example.test", Targets: make([]smtp.Address, 1001)}, ErrInvalid},
		{Alias{Address: "noat", Targets: want[0].Targets}, ErrInvalid},
		{Alias{Address: "a@strange.test", Targets: want[0].Targets}, ErrNotFound},
		{Alias{Address: "@example.test", Targets: want[0].Targets}, ErrExists},
	} {
		if err := h.AddAlias(ctx, tt.alias); !errors.Is(err, tt.err) {
			t.Errorf("AddAlias(%s) = %v, want %v", tt.alias.Address, err, tt.err)
		}
	}
	if err := h.RemoveAlias(ctx, "none@example.test"); !errors.Is(err, ErrNotFound) {
		t.Errorf("RemoveAlias = %v", err)
	}
}

func TestPepperBelongsToTheDatabase(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	_, err := Open(context.Background(), Options{DB: h.db, Pepper: bytes.Repeat([]byte("x"), 32)})
	if err == nil || !strings.Contains(err.Error(), "key file") {
		t.Errorf("opened with a strange pepper: %v", err)
	}
	if _, err := Open(context.Background(), Options{DB: memkv.New(), Pepper: pepper[:31]}); err == nil {
		t.Error("opened with a short pepper")
	}
}

// TestTwoProcesses proves that what one process writes holds for another within a second, and at
// once for the one that wrote.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	a := open(t, nil)
	b := a.again(a.db)
	a.domain("example.test")
	alice := a.account("alice@example.test")
	resolve := func(h house) error {
		_, err := h.Resolve(ctx, addr("alice@example.test"))
		return err
	}
	if err := resolve(a); err != nil {
		t.Errorf("the writer does not see its own: %v", err)
	}
	a.clock.Advance(pollEvery)
	if err := resolve(b); err != nil {
		t.Errorf("the other does not see it after %v: %v", pollEvery, err)
	}
	if err := b.SetDisabled(ctx, alice.ID, true); err != nil {
		t.Fatal(err)
	}
	if err := resolve(b); !errors.Is(err, ErrDisabled) {
		t.Errorf("the writer of a change: %v", err)
	}
	a.clock.Advance(pollEvery)
	if err := resolve(a); !errors.Is(err, ErrDisabled) {
		t.Errorf("the other after a change: %v", err)
	}
	if err := errors.Join(b.RemoveAccount(ctx, alice.ID), b.RemoveDomain(ctx, "example.test")); err != nil {
		t.Fatal(err)
	}
	a.clock.Advance(pollEvery)
	if err := resolve(a); !errors.Is(err, ErrNotLocal) || a.IsLocal("example.test") {
		t.Errorf("the other after the domain went: %v", err)
	}
}

// counting counts what reaches the database.
type counting struct {
	kv.Database
	mu    sync.Mutex
	views int
}

func (c *counting) View(ctx context.Context, s kv.Scope, fn func(kv.Reader) error) error {
	c.mu.Lock()
	c.views++
	c.mu.Unlock()
	return c.Database.View(ctx, s, fn)
}

// TestRecipientsCostAMapLookup proves that asking again does not reach the database.
func TestRecipientsCostAMapLookup(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	var db *counting
	h := open(t, func(o *Options) { db = &counting{Database: o.DB}; o.DB = db })
	h.domain("example.test")
	h.account("alice@example.test")
	h.alias("all@example.test", "alice@example.test")
	ask := func() {
		for _, a := range []string{"alice@example.test", "all@example.test", "none@example.test",
			"alice+x@example.test", "postmaster@example.test"} {
			if _, err := h.Resolve(ctx, addr(a)); err != nil && !errors.Is(err, ErrNoUser) {
				t.Fatal(err)
			}
		}
		if _, err := h.Authenticate(ctx, attempt("alice@example.test", password)); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	db.mu.Lock()
	before := db.views
	db.mu.Unlock()
	for range 100 {
		ask()
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.views != before {
		t.Errorf("asking again reached the database %d times", db.views-before)
	}
}

// TestCacheIsNeverOlderThanTheAnswer races changes against look-ups: after a change has returned,
// no look-up may give the old answer.
func TestCacheIsNeverOlderThanTheAnswer(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	alice := h.account("alice@example.test")
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, _ = h.Resolve(ctx, alice.Address)
			}
		})
	}
	for i := range 300 {
		disabled := i%2 == 0
		if err := h.SetDisabled(ctx, alice.ID, disabled); err != nil {
			t.Fatal(err)
		}
		_, err := h.Resolve(ctx, alice.Address)
		if errors.Is(err, ErrDisabled) != disabled {
			t.Fatalf("after change %d: %v", i, err)
		}
	}
	close(stop)
	readers.Wait()
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	m := map[int]int{}
	for i := range 1000 {
		m[i] = i
	}
	shrink(m)
	if len(m) >= 1000 || len(m) < 900 {
		t.Errorf("%d of 1000 left", len(m))
	}
}

func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	other := h.again(h.db)
	h.domain("example.test")
	alice, bob := h.account("alice@example.test"), h.account("bob@example.test")
	app, _, err := h.AddAppPassword(ctx, alice.ID, AppPassword{})
	if err != nil {
		t.Fatal(err)
	}
	bobEnds := make(chan struct{}, 10)
	defer h.OnRevoke(bob, func() { bobEnds <- struct{}{} })()
	for _, step := range []struct {
		what   string
		change func() error
	}{
		{"password", func() error { return h.SetPassword(ctx, alice.ID, password+"!") }},
		{"admin", func() error { return h.SetAdmin(ctx, alice.ID, true) }},
		{"no longer admin", func() error { return h.SetAdmin(ctx, alice.ID, false) }},
		{"app password", func() error { return h.RemoveAppPassword(ctx, alice.ID, app.ID) }},
		{"disabled", func() error { return h.SetDisabled(ctx, alice.ID, true) }},
		{"removed", func() error { return h.RemoveAccount(ctx, alice.ID) }},
	} {
		before, err := h.Account(ctx, alice.ID)
		if err != nil {
			t.Fatal(err)
		}
		ended, late, never := make(chan struct{}), make(chan struct{}), make(chan struct{})
		h.OnRevoke(before, func() { close(ended) })
		h.OnRevoke(before, func() { close(never) })()
		if err := step.change(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		<-ended
		// A session that was being opened meanwhile ends too.
		h.OnRevoke(before, func() { close(late) })
		<-late
		select {
		case <-never:
			t.Errorf("%s: a session that had gone was ended", step.what)
		default:
		}
	}
	select {
	case <-bobEnds:
		t.Error("changes of alice ended bob's session")
	default:
	}
	// Another process hears of it.
	now, err := other.Account(ctx, bob.ID)
	for err != nil {
		h.clock.Advance(pollEvery)
		now, err = other.Account(ctx, bob.ID)
	}
	heard := make(chan struct{})
	other.OnRevoke(now, func() { close(heard) })
	if err := h.RemoveAccount(ctx, bob.ID); err != nil {
		t.Fatal(err)
	}
	<-bobEnds
	for done := false; !done; {
		_, armed := h.clock.Armed()
		h.clock.Advance(pollEvery)
		select {
		case <-heard:
			done = true
		case <-armed:
		}
	}
	if n := len(other.watches.of) + len(h.watches.of[alice.ID]); n != 0 {
		t.Errorf("%d watches are left", n)
	}
}

func TestWriteOnAFullDisk(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	alice := h.account("alice@example.test")
	h.db.SetFull(true)
	if _, err := h.AddDomain(ctx, "more.test"); !errors.Is(err, kv.ErrFull) {
		t.Errorf("AddDomain on a full disk = %v", err)
	}
	if err := h.SetDisabled(ctx, alice.ID, true); err != nil {
		t.Errorf("shutting somebody out on a full disk: %v", err)
	}
	if err := h.RemoveAccount(ctx, alice.ID); err != nil {
		t.Errorf("RemoveAccount on a full disk = %v", err)
	}
}

func TestDamagedRows(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	alice := h.account("alice@example.test")
	for _, row := range [][]byte{accountRow(alice.ID), secretRow(alice.ID)} {
		err := h.db.Update(ctx, scope, func(t kv.Txn) error { return t.Set(row, []byte("{")) })
		if err != nil {
			t.Fatal(err)
		}
	}
	h.cache.expire()
	if err := h.update(ctx, false, func(kv.Txn) error { return nil }); err != nil {
		t.Fatal(err)
	}
	_, err := h.Account(ctx, alice.ID)
	if !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("a damaged account: %v", err)
	}
	if _, err := h.Resolve(ctx, alice.Address); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("mail for a damaged account: %v", err)
	}
	if _, err := h.Authenticate(ctx, attempt("alice@example.test", password)); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("log-in with damaged credentials: %v", err)
	}
	if _, err := h.Accounts(ctx, ""); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("list with a damaged account: %v", err)
	}
}

func attempt(user, password string) Attempt {
	return Attempt{Protocol: IMAP, Remote: home, User: user, Password: password}
}

func sortedTargets(r Resolution) []AccountID {
	var ids []AccountID
	for _, t := range r.Local {
		ids = append(ids, t.Account)
	}
	slices.Sort(ids)
	return ids
}

// dump is all keys and values of the database.
func (h house) dump() string {
	h.t.Helper()
	var b strings.Builder
	err := h.db.View(context.Background(), scope, func(r kv.Reader) error {
		return r.Scan(kv.Range{}, func(k, v []byte) error {
			b.Write(k)
			b.Write(v)
			return nil
		})
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return b.String()
}

// TestRemovedAccountLeavesAliases: nothing leads to an account that is gone, and what led nowhere else
// is gone with it.
func TestRemovedAccountLeavesAliases(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	bob := h.account("bob@example.test")
	h.account("carol@example.test")
	h.alias("both@example.test", "Bob@example.test", "carol@example.test", "x@elsewhere.test")
	h.alias("just@example.test", "bob@example.test")
	h.alias("@example.test", "BOB@example.test")
	if err := h.RemoveAccount(ctx, bob.ID); err != nil {
		t.Fatal(err)
	}
	left, err := h.Aliases(ctx, "")
	if err != nil || len(left) != 1 || left[0].Address != "both@example.test" || len(left[0].Targets) != 2 {
		t.Fatalf("aliases %+v, %v", left, err)
	}
	if found := h.found(); len(found) > 0 {
		t.Errorf("check finds %+v", found)
	}
	h.alias("just@example.test", "carol@example.test") // the name is free again
	h.alias("@example.test", "carol@example.test")
}
