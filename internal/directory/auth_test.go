package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tram/internal/limits"
)

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	alice := h.account("Alice@example.test")
	h.alias("sales@example.test", "alice@example.test")
	for user, ok := range map[string]bool{
		"alice@example.test": true, "ALICE@Example.TEST": true, "ａlice@example.test": true,
		"alice":                true, // the only domain
		"sales@example.test":   false,
		"alice+x@example.test": false,
		"bob@example.test":     false,
		"alice@else.test":      false,
		"@example.test":        false,
		"":                     false,
		"alice@":               false,
		"\xff@example.test":    false,
	} {
		got, err := h.Authenticate(ctx, attempt(user, password))
		if ok && (err != nil || got.ID != alice.ID) || !ok && (err != ErrBadCredentials || got.ID != 0) {
			t.Errorf("%q: %+v, %v", user, got, err)
		}
		if err := h.Unban(ctx, home); err != nil {
			t.Fatal(err)
		}
	}
	for _, wrong := range []string{"", "x", password + " ", strings.ToUpper(password), "\xff",
		strings.Repeat("x", 100_000)} {
		if _, err := h.Authenticate(ctx, attempt("alice@example.test", wrong)); err != ErrBadCredentials {
			t.Errorf("%.20q: %v", wrong, err)
		}
	}
	h.domain("second.test")
	if _, err := h.Authenticate(ctx, attempt("alice", password)); err != ErrBadCredentials {
		t.Errorf("a bare name on a server with two domains: %v", err)
	}
}

// hooked counts the hashes.
func (h house) hooked() *atomic.Int32 {
	var ran atomic.Int32
	h.hasher.ran = func() { ran.Add(1) }
	return &ran
}

// TestFailuresLookTheSame proves that a failure is the same text and the same work whether the user
// exists, is disabled, has no password or a good one (A3). Work is counted, not timed: machines
// that run tests are busy.
func TestFailuresLookTheSame(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	h.account("alice@example.test")
	gone := h.account("gone@example.test")
	off := h.account("off@example.test")
	if err := errors.Join(h.SetDisabled(ctx, off.ID, true), h.RemoveAccount(ctx, gone.ID)); err != nil {
		t.Fatal(err)
	}
	bare, err := h.AddAccount(ctx, AccountOptions{Address: addr("bare@example.test")})
	if err != nil {
		t.Fatal(err)
	}
	_, app, err := h.AddAppPassword(ctx, bare.ID, AppPassword{Scopes: []Protocol{SMTP}})
	if err != nil {
		t.Fatal(err)
	}
	ran := h.hooked()
	for _, tt := range []struct{ what, user, password string }{
		{"wrong password", "alice@example.test", "wrong"},
		{"unknown user", "nobody@example.test", password},
		{"unknown domain", "alice@else.test", password},
		{"no address", "no address at all", password},
		{"removed", "gone@example.test", password},
		{"disabled, right password", "off@example.test", password},
		{"disabled, wrong password", "off@example.test", "wrong"},
		{"no password set", "bare@example.test", password},
		{"app password for another protocol", "bare@example.test", app},
		{"empty password", "alice@example.test", ""},
		{"impossible password", "alice@example.test", "\xff"},
		{"endless password", "alice@example.test", strings.Repeat("x", 5000)},
	} {
		for range 2 { // the second time from memory
			ran.Store(0)
			_, err := h.Authenticate(ctx, attempt(tt.user, tt.password))
			if err != ErrBadCredentials || ran.Load() != 1 {
				t.Errorf("%s: %v after %d hashes, want one", tt.what, err, ran.Load())
			}
			if err := h.Unban(ctx, home); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// sleeping waits until so many sleep by the clock, of whom the directory's own care is one.
func (h house) sleeping(n int) {
	for {
		asleep, armed := h.clock.Armed()
		if asleep >= n {
			return
		}
		<-armed
	}
}

func TestTarpit(t *testing.T) {
	t.Parallel()
	l := cheap()
	l.Tarpit = time.Second
	h := open(t, func(o *Options) { o.Limits = l })
	h.domain("example.test")
	h.account("alice@example.test")
	for _, user := range []string{"alice@example.test", "nobody@example.test"} {
		done := make(chan error, 1)
		go func() {
			_, err := h.Authenticate(context.Background(), attempt(user, "wrong"))
			done <- err
		}()
		h.sleeping(2) // the failure is known and waits
		h.clock.Advance(l.Tarpit - time.Millisecond)
		select {
		case err := <-done:
			t.Errorf("%s: %v before its time", user, err)
		default:
		}
		h.clock.Advance(time.Millisecond)
		if err := <-done; err != ErrBadCredentials {
			t.Errorf("%s: %v", user, err)
		}
	}
	// A success does not wait: the clock stands still.
	if _, err := h.Authenticate(context.Background(), attempt("alice@example.test", password)); err != nil {
		t.Error(err)
	}
	// A client that leaves is not held.
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := h.Authenticate(ctx, attempt("alice@example.test", "wrong"))
		done <- err
	}()
	h.sleeping(2)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("a client that left: %v", err)
	}
}

func TestSuccessIsRemembered(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	alice := h.account("alice@example.test")
	ran := h.hooked()
	logIn := func(password string, wantErr error, hashes int32) {
		t.Helper()
		ran.Store(0)
		_, err := h.Authenticate(ctx, attempt("alice@example.test", password))
		if err != wantErr || ran.Load() != hashes {
			t.Errorf("%v after %d hashes, want %v after %d", err, ran.Load(), wantErr, hashes)
		}
	}
	logIn(password, nil, 1)
	logIn(password, nil, 0)
	logIn("wrong", ErrBadCredentials, 1)
	logIn(password, nil, 0)
	h.clock.Advance(h.limits.CacheTTL - time.Second)
	logIn(password, nil, 0)
	h.clock.Advance(time.Second)
	logIn(password, nil, 1)
	if err := h.SetPassword(ctx, alice.ID, "another long one"); err != nil {
		t.Fatal(err)
	}
	logIn(password, ErrBadCredentials, 1)
	logIn("another long one", nil, 1)
	logIn("another long one", nil, 0)
	if err := h.SetDisabled(ctx, alice.ID, true); err != nil {
		t.Fatal(err)
	}
	logIn("another long one", ErrBadCredentials, 1)
	if err := h.SetDisabled(ctx, alice.ID, false); err != nil {
		t.Fatal(err)
	}
	logIn("another long one", nil, 1)
}

// TestOneHashForManyConnections proves that a mail program's connections cost one hash together.
func TestOneHashForManyConnections(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	h.domain("example.test")
	h.account("alice@example.test")
	ran := h.hooked()
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			_, err := h.Authenticate(context.Background(), attempt("alice@example.test", password))
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	// One more may begin between the end of the first and its being remembered.
	if n := ran.Load(); n < 1 || n > 3 {
		t.Errorf("%d hashes for 100 connections", n)
	}
}

// TestNoCrossLogins proves that the memory of successes never opens another account (A10).
func TestNoCrossLogins(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	l := cheap()
	l.PerMinute, l.PerDay, l.AccountPerHour, l.HashQueue = 1<<20, 1<<20, 1<<20, 1<<20
	h := open(t, func(o *Options) { o.Limits = l })
	h.domain("example.test")
	const users = 200
	for i := range users {
		_, err := h.AddAccount(ctx, AccountOptions{
			Address: addr(fmt.Sprintf("u%d@example.test", i)), Password: fmt.Sprintf("%s %d", password, i),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range users {
				me := (i*7 + w*25) % users
				for _, as := range []int{me, (me + 1 + i%3) % users} {
					got, err := h.Authenticate(ctx, attempt(fmt.Sprintf("u%d", me),
						fmt.Sprintf("%s %d", password, as)))
					ok := err == nil && got.Address.Local == fmt.Sprintf("u%d", me)
					if as == me && !ok || as != me && err != ErrBadCredentials {
						t.Errorf("u%d with the password of u%d: %v, %v", me, as, got.Address, err)
					}
				}
			}
		})
	}
	all.Wait()
}

func TestRehashOnLogin(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	alice := h.account("alice@example.test")
	stronger := h.limits
	stronger.ArgonMemoryKiB, stronger.SCRAMRounds = 128, 5000
	h.limits = stronger
	again := h.again(h.db)
	ran := again.hooked()
	for i, want := range []int32{1, 2, 1} { // wrong; right and stored anew; right
		if i == 2 {
			h.clock.Advance(time.Hour)
		}
		p := password
		if i == 0 {
			p = "wrong"
		}
		ran.Store(0)
		_, err := again.Authenticate(ctx, attempt("alice@example.test", p))
		if (err == nil) != (i > 0) || ran.Load() != want {
			t.Errorf("log-in %d: %v after %d hashes, want %d", i, err, ran.Load(), want)
		}
	}
	rec, err := again.cache.secret(ctx, alice.ID)
	if err != nil || !strings.Contains(rec.Password, "m=128,") || rec.SCRAM.Iterations != 5000 {
		t.Errorf("stored: %+v, %v", rec, err)
	}
	if a, err := again.Account(ctx, alice.ID); err != nil || a.Generation != 1 {
		t.Errorf("storing anew ended sessions: generation %d, %v", a.Generation, err)
	}
}

// TestRehashDoesNotUndoAChange proves that a password that was changed while the old one was being
// stored anew stays changed.
func TestRehashDoesNotUndoAChange(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	alice := h.account("alice@example.test")
	rec, err := h.cache.secret(ctx, alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SetPassword(ctx, alice.ID, "another long one"); err != nil {
		t.Fatal(err)
	}
	h.upgrade(ctx, alice, rec.Password, password)
	for p, want := range map[string]error{password: ErrBadCredentials, "another long one": nil} {
		if _, err := h.Authenticate(ctx, attempt("alice@example.test", p)); err != want {
			t.Errorf("%q: %v, want %v", p, err, want)
		}
	}
}

func TestAppPasswords(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	alice, bob := h.account("alice@example.test"), h.account("bob@example.test")
	any, anySecret, err := h.AddAppPassword(ctx, alice.ID, AppPassword{Label: "phone"})
	if err != nil || any.Label != "phone" || !any.Created.Equal(noon) || len(anySecret) < 26 {
		t.Fatalf("AddAppPassword = %+v, %q, %v", any, anySecret, err)
	}
	_, imap, err := h.AddAppPassword(ctx, alice.ID,
		AppPassword{Scopes: []Protocol{IMAP, POP3}, Expires: noon.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	ran := h.hooked()
	try := func(user, secret string, p Protocol, ok bool) {
		t.Helper()
		ran.Store(0)
		got, err := h.Authenticate(ctx, Attempt{Protocol: p, Remote: home, User: user, Password: secret})
		if ok && (err != nil || got.ID != alice.ID || ran.Load() != 0) || !ok && err != ErrBadCredentials {
			t.Errorf("%s for %s: %v after %d hashes", user, p, err, ran.Load())
		}
		if err := h.Unban(ctx, home); err != nil {
			t.Fatal(err)
		}
	}
	// No secret opens what it was not made for (A8).
	for _, p := range []Protocol{SMTP, IMAP, POP3, Sieve, JMAP, DAV, Web, Admin, "new"} {
		try("alice@example.test", anySecret, p, p != Web && p != Admin)
		try("alice@example.test", imap, p, p == IMAP || p == POP3)
		try("bob@example.test", anySecret, p, false)
	}
	try("alice@example.test", strings.ToUpper(strings.ReplaceAll(anySecret, "-", " ")), IMAP, true)
	try("alice@example.test", anySecret[1:], IMAP, false)
	h.clock.Advance(time.Hour)
	try("alice@example.test", imap, IMAP, false)
	apps, err := h.AppPasswords(ctx, alice.ID)
	if err != nil || len(apps) != 2 || apps[0].ID != any.ID || !apps[1].Expires.Equal(noon.Add(time.Hour)) {
		t.Errorf("AppPasswords = %+v, %v", apps, err)
	}
	if err := h.RemoveAppPassword(ctx, bob.ID, any.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed from another account: %v", err)
	}
	if err := h.RemoveAppPassword(ctx, alice.ID, any.ID); err != nil {
		t.Fatal(err)
	}
	try("alice@example.test", anySecret, IMAP, false)
	// A new password does not take the devices' away; shutting out does.
	_, secret, err := h.AddAppPassword(ctx, alice.ID, AppPassword{})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SetPassword(ctx, alice.ID, "another long one"); err != nil {
		t.Fatal(err)
	}
	try("alice@example.test", secret, IMAP, true)
	if err := h.SetDisabled(ctx, alice.ID, true); err != nil {
		t.Fatal(err)
	}
	try("alice@example.test", secret, IMAP, false)
	for range h.limits.AppPasswords {
		if _, _, err = h.AddAppPassword(ctx, bob.ID, AppPassword{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err = h.AddAppPassword(ctx, bob.ID, AppPassword{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("one too many: %v", err)
	}
}

func TestBusy(t *testing.T) {
	t.Parallel()
	l := cheap()
	l.HashQueue = 0
	h := open(t, func(o *Options) { o.Limits = l })
	h.domain("example.test")
	h.account("alice@example.test")
	for range cap(h.hasher.slots) {
		h.hasher.slots <- struct{}{}
	}
	for range 30 { // being turned away is no failure of the client
		_, err := h.Authenticate(context.Background(), attempt("alice@example.test", password))
		if err != ErrBusy {
			t.Fatalf("while all processors are taken: %v", err)
		}
	}
	<-h.hasher.slots
	if _, err := h.Authenticate(context.Background(), attempt("alice@example.test", password)); err != nil {
		t.Error(err)
	}
}

// TestNothingSecretIsKept looks for secrets in the log and in the database.
func TestNothingSecretIsKept(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	var log bytes.Buffer
	h := open(t, func(o *Options) {
		o.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	h.domain("example.test")
	alice := h.account("alice@example.test")
	_, app, err := h.AddAppPassword(ctx, alice.ID, AppPassword{})
	if err != nil {
		t.Fatal(err)
	}
	raw := strings.ReplaceAll(app, "-", "")
	for _, a := range []Attempt{attempt("alice@example.test", password), attempt("alice@example.test", app),
		attempt("alice@example.test", "Tr0ub4dor&3-wrong"), attempt("my secret as a name", "x")} {
		_, _ = h.Authenticate(ctx, a)
	}
	kept := log.String() + h.dump()
	for _, secret := range []string{password, app, raw, "Tr0ub4dor&3-wrong", "my secret as a name"} {
		if strings.Contains(kept, secret) {
			t.Errorf("%q was kept", secret)
		}
	}
	for _, want := range []string{`"result":"ok"`, `"result":"bad"`, `"account":"alice@example.test"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s:\n%s", want, log.String())
		}
	}
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, func(o *Options) { o.Measure = true })
	h.domain("example.test")
	h.account("alice@example.test")
	loop := netip.MustParseAddr("127.0.0.1")
	for i := range 40 {
		_, err := h.Authenticate(ctx, Attempt{Remote: loop, User: fmt.Sprintf("u%d", i), Password: "x"})
		if err != ErrBadCredentials {
			t.Fatalf("try %d from loopback: %v", i, err)
		}
	}
	for i := range 11 {
		_, err := h.Authenticate(ctx, Attempt{Remote: home, User: fmt.Sprintf("u%d", i), Password: "x"})
		if throttled := errors.As(err, new(ErrThrottled)); throttled != (i == 10) {
			t.Errorf("try %d from elsewhere: %v", i, err)
		}
	}
}

// TestLogOfLogIns proves that each outcome is one line, that a ban is one and what it turns away
// none, and that a fault of ours is told as one with its cause (O16).
func TestLogOfLogIns(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	var log bytes.Buffer
	var db *meddler
	h := open(t, func(o *Options) {
		o.Logger = slog.New(slog.NewJSONHandler(&log, nil))
		db = &meddler{Database: o.DB}
		o.DB = db
	})
	h.domain("example.test")
	alice := h.account("alice@example.test")
	lines := func(what string) int { return strings.Count(log.String(), what) }
	for range 2 {
		for i := range 100 {
			_, _ = h.Authenticate(ctx, attempt(fmt.Sprintf("u%d", i), "x"))
		}
		h.clock.Advance(time.Minute)
	}
	if bad, bans := lines(`"result":"bad"`), lines("log-ins banned"); bad != 20 || bans != 1 {
		t.Errorf("%d lines of failures, %d of bans", bad, bans)
	}
	if n := lines("\n"); n != 21 {
		t.Errorf("%d lines after 200 tries, want 21:\n%s", n, log.String())
	}
	if !strings.Contains(log.String(), `"network":"192.0.2.7/32"`) {
		t.Error("the ban does not say whom")
	}
	if err := h.Unban(ctx, home); err != nil {
		t.Fatal(err)
	}
	// A database that fails is not a wrong password, and counts against nobody.
	broken := errors.New("disk on fire")
	db.row, db.fail = secretRow(alice.ID), broken
	for range 30 {
		if _, err := h.Authenticate(ctx, attempt("alice@example.test", password)); !errors.Is(err, broken) {
			t.Fatalf("with a broken database: %v", err)
		}
	}
	if err := scramOnce(t, h, secured, "SCRAM-SHA-256", "alice", password, nil); !errors.Is(err, broken) {
		t.Errorf("SCRAM with a broken database: %v", err)
	}
	if n := lines(`"level":"ERROR"`); n != 31 || lines(`disk on fire"`) != 31 {
		t.Errorf("%d lines of errors, want 31", n)
	}
	db.fail = nil
	if _, err := h.Authenticate(ctx, attempt("alice@example.test", password)); err != nil {
		t.Errorf("after the database came back: %v", err)
	}
	own, _ := sources(home)
	if s := h.throttle.source(own); s.inflight != 0 || len(s.failures) != 0 {
		t.Errorf("%d being checked, %d failures", s.inflight, len(s.failures))
	}
}

// TestRemovedInTheMiddleOfALogIn proves that an account that goes between two look-ups is nobody's.
func TestRemovedInTheMiddleOfALogIn(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	var db *meddler
	h := open(t, func(o *Options) { db = &meddler{Database: o.DB}; o.DB = db })
	h.domain("example.test")
	alice := h.account("alice@example.test")
	h.account("bob@example.test") // forgets what is remembered
	db.row = nameRow(kindAddress, "example.test", "alice")
	db.meddle = func() {
		if err := h.RemoveAccount(ctx, alice.ID); err != nil {
			t.Error(err)
		}
	}
	got, err := h.Authenticate(ctx, attempt("alice@example.test", password))
	if err != ErrBadCredentials || got.ID != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if db.meddle != nil {
		t.Error("nothing was read")
	}
}

// TestNamesInTheThrottle proves that two names are two names wherever their parts are cut.
func TestNamesInTheThrottle(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	seen := map[who]string{}
	for _, n := range [][2]string{{"ab", "c"}, {"a", "bc"}, {"", "abc"}, {"abc", ""}, {"c", "ab"}} {
		w := h.whoIs(n[0], n[1])
		if other, ok := seen[w]; ok {
			t.Errorf("%q and %q are one", n, other)
		}
		seen[w] = n[0] + "@" + n[1]
	}
	if other := open(t, func(o *Options) { o.Pepper = bytes.Repeat([]byte("x"), 32) }); other.whoIs("a", "b") ==
		h.whoIs("a", "b") {
		t.Error("a name can be tried out against the rows without the pepper")
	}
	for p, want := range map[Protocol]string{SMTP: "smtp", Admin: "admin", "made up": "other"} {
		if got := p.label(); got != want {
			t.Errorf("%s is counted as %s", p, got)
		}
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	h := open(t, func(o *Options) { o.Limits = limits.Auth{} })
	if h.limits != limits.Default().Auth {
		t.Errorf("limits %+v", h.limits)
	}
}
