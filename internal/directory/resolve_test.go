package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tram/internal/smtp"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	h.domain("example.test", "catch.test", "xn--bin-eqa8b9g.vn")
	alice := h.account("Alice@example.test").ID
	bob := h.account("bob@example.test").ID
	plus := h.account("a+b@example.test").ID
	tuan := h.account("tuấn@example.test").ID
	quoted := h.account("a b@example.test").ID
	percent := h.account("carl%x@example.test").ID
	caught := h.account("own@catch.test").ID
	h.alias("sales@example.test", "alice@example.test", "bob+work@example.test", "eve@else.test",
		"alice+again@example.test", "eve@else.test")
	h.alias("alice+lists@example.test", "bob@example.test")
	h.alias("outside@example.test", "eve@else.test")
	h.alias("nested@example.test", "sales@example.test", "outside@example.test")
	h.alias("@catch.test", "bob@example.test")
	h.alias("hole@example.test", "nobody@example.test", "bob@example.test")
	h.alias("void@example.test", "nobody@example.test")
	local := func(ids ...any) []LocalTarget {
		var out []LocalTarget
		for i := 0; i < len(ids); i += 2 {
			out = append(out, LocalTarget{ids[i].(AccountID), ids[i+1].(string)})
		}
		return out
	}
	eve := []smtp.Address{addr("eve@else.test")}
	for _, tt := range []struct {
		rcpt string
		want Resolution
		err  error
	}{
		{"alice@example.test", Resolution{Local: local(alice, "")}, nil},
		{"ALICE@example.test", Resolution{Local: local(alice, "")}, nil},
		{"alice+Shop+x@example.test", Resolution{Local: local(alice, "Shop+x")}, nil},
		{"alice+@example.test", Resolution{Local: local(alice, "")}, nil},
		{"a+b@example.test", Resolution{Local: local(plus, "")}, nil},
		{"a+c@example.test", Resolution{}, ErrNoUser},
		{"+x@example.test", Resolution{}, ErrNoUser},
		{"TUẤN@example.test", Resolution{Local: local(tuan, "")}, nil},
		{"tua\u0302\u0301n+ghi@example.test", Resolution{Local: local(tuan, "ghi")}, nil},
		{"tuan@example.test", Resolution{}, ErrNoUser},
		{"a b@example.test", Resolution{Local: local(quoted, "")}, nil},
		// The full match comes before the one without the detail.
		{"alice+lists@example.test",
			Resolution{Local: local(bob, ""), ViaAlias: "alice+lists@example.test"}, nil},
		// Each place once; the detail is handed on, and a target's own comes first.
		{"sales@example.test", Resolution{Local: local(alice, "", bob, "work"), Remote: eve,
			ViaAlias: "sales@example.test"}, nil},
		{"sales+q3@example.test", Resolution{Local: local(alice, "q3", bob, "work"), Remote: eve,
			ViaAlias: "sales@example.test"}, nil},
		{"nested@example.test", Resolution{Local: local(alice, "", bob, "work"), Remote: eve,
			ViaAlias: "nested@example.test"}, nil},
		{"outside@example.test", Resolution{Remote: eve, ViaAlias: "outside@example.test"}, nil},
		{"hole@example.test", Resolution{Local: local(bob, ""), ViaAlias: "hole@example.test"}, nil},
		{"void@example.test", Resolution{}, ErrNoUser},
		// account > alias > catch-all
		{"own@catch.test", Resolution{Local: local(caught, "")}, nil},
		{"own+x@catch.test", Resolution{Local: local(caught, "x")}, nil},
		{"anything@catch.test", Resolution{Local: local(bob, ""), ViaAlias: "@catch.test"}, nil},
		{"al\u200dice@catch.test", Resolution{Local: local(bob, ""), ViaAlias: "@catch.test"}, nil},
		// Nothing in the local part leads outside (P21).
		{"eve%else.test@example.test", Resolution{}, ErrNoUser},
		{"eve@else.test@example.test", Resolution{}, ErrNotLocal},
		{"carl%x@example.test", Resolution{Local: local(percent, "")}, nil},
		{"else.test!eve@example.test", Resolution{}, ErrNoUser},
		{"eve%else.test@catch.test", Resolution{Local: local(bob, ""), ViaAlias: "@catch.test"}, nil},
		{"eve@else.test", Resolution{}, ErrNotLocal},
		{"alice@", Resolution{}, ErrNotLocal},
		{"alice@[127.0.0.1]", Resolution{}, ErrNotLocal},
		{"alice@example.test.else.test", Resolution{}, ErrNotLocal},
	} {
		got, err := h.Resolve(context.Background(), addr(tt.rcpt))
		if diff := cmp.Diff(tt.want, got); !errors.Is(err, tt.err) || diff != "" {
			t.Errorf("Resolve(%q) = %v, want %v\n%s", tt.rcpt, err, tt.err, diff)
		}
	}
}

// TestPostmaster proves RFC 5321 §4.5.1 and RFC 2142 §5.
func TestPostmaster(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	answers := func(want AccountID, addresses ...string) {
		t.Helper()
		for _, a := range addresses {
			r, err := h.Resolve(ctx, addr(a))
			if want == 0 {
				if !errors.Is(err, ErrNoUser) {
					t.Errorf("Resolve(%s) = %v, %v", a, r, err)
				}
				continue
			}
			if err != nil || len(r.Local) != 1 || r.Local[0].Account != want {
				t.Errorf("Resolve(%s) = %v, %v; want account %d", a, r, err, want)
			}
		}
	}
	if _, err := h.Resolve(ctx, addr("postmaster@")); !errors.Is(err, ErrNotLocal) {
		t.Errorf("postmaster of a server without domains: %v", err)
	}
	h.domain("one.test", "two.test")
	answers(0, "postmaster@one.test", "abuse@two.test")
	first := h.account("first@two.test").ID
	answers(first, "postmaster@one.test", "ABUSE@two.test", "Postmaster@")
	second := h.account("second@one.test").ID
	answers(second, "postmaster@one.test")
	if err := h.SetAdmin(ctx, second, true); err != nil {
		t.Fatal(err)
	}
	answers(second, "postmaster@one.test", "abuse@two.test", "postMASTER@")
	third := h.account("third@two.test").ID
	if err := h.SetAdmin(ctx, third, true); err != nil {
		t.Fatal(err)
	}
	answers(third, "postmaster@two.test")
	answers(second, "postmaster@one.test")
	// One who is shut out does not answer.
	if err := h.SetDisabled(ctx, third, true); err != nil {
		t.Fatal(err)
	}
	answers(second, "postmaster@two.test")
	// A catch-all, an alias and an account come first.
	h.alias("@two.test", "first@two.test")
	answers(first, "postmaster@two.test")
	h.alias("postmaster@two.test", "second@one.test")
	answers(second, "postmaster@two.test")
	answers(second, "postmaster@")
	answers(0, "webmaster@one.test", "abuse+x@one.test")
}

func TestDisabledGetsNoMail(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	alice, bob := h.account("alice@example.test"), h.account("bob@example.test")
	h.alias("both@example.test", "alice@example.test", "bob@example.test")
	h.alias("one@example.test", "alice@example.test")
	if err := h.SetDisabled(ctx, alice.ID, true); err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"alice@example.test", "alice+x@example.test", "one@example.test"} {
		if _, err := h.Resolve(ctx, addr(a)); !errors.Is(err, ErrDisabled) {
			t.Errorf("Resolve(%s) = %v", a, err)
		}
	}
	r, err := h.Resolve(ctx, addr("both@example.test"))
	if err != nil || !cmp.Equal(sortedTargets(r), []AccountID{bob.ID}) {
		t.Errorf("Resolve(both) = %v, %v", r, err)
	}
}

// TestLoops proves that aliases that go round, or on and on, end (P23).
func TestLoops(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test", "catch.test")
	bob := h.account("bob@example.test")
	h.alias("a@example.test", "b@example.test")
	h.alias("b@example.test", "c@example.test")
	h.alias("c@example.test", "a@example.test")
	h.alias("@catch.test", "other@catch.test")
	h.alias("way@example.test", "a@example.test", "bob@example.test")
	for i := range 30 {
		h.alias(fmt.Sprintf("n%d@example.test", i), fmt.Sprintf("n%d@example.test", i+1))
	}
	h.alias("n30@example.test", "bob@example.test")
	// Twelve levels of two targets each: 4096 ways, one place.
	for i := range 9 {
		h.alias(fmt.Sprintf("l%d@example.test", i), fmt.Sprintf("l%d@example.test", i+1),
			fmt.Sprintf("r%d@example.test", i+1))
		h.alias(fmt.Sprintf("r%d@example.test", i), fmt.Sprintf("l%d@example.test", i+1),
			fmt.Sprintf("r%d@example.test", i+1))
	}
	h.alias("l9@example.test", "bob@example.test")
	h.alias("r9@example.test", "bob@example.test")
	for _, a := range []string{"a@example.test", "x@catch.test", "n0@example.test"} {
		if r, err := h.Resolve(ctx, addr(a)); !errors.Is(err, ErrLoop) {
			t.Errorf("Resolve(%s) = %v, %v", a, r, err)
		}
	}
	for _, a := range []string{"way@example.test", "n25@example.test", "l0@example.test"} {
		r, err := h.Resolve(ctx, addr(a))
		if err != nil || !cmp.Equal(sortedTargets(r), []AccountID{bob.ID}) {
			t.Errorf("Resolve(%s) = %v, %v", a, r, err)
		}
	}
	// Two levels of many targets lead to more places than allowed.
	var wide []string
	for i := range 40 {
		var targets []string
		for j := range 40 {
			targets = append(targets, fmt.Sprintf("u%d@x%d.test", j, i))
		}
		h.alias(fmt.Sprintf("w%d@example.test", i), targets...)
		wide = append(wide, fmt.Sprintf("w%d@example.test", i))
	}
	h.alias("wide@example.test", wide...)
	if r, err := h.Resolve(ctx, addr("wide@example.test")); !errors.Is(err, ErrLoop) {
		t.Errorf("Resolve(wide) leads to %d places, %v", len(r.Remote), err)
	}
}

// TestMayUse proves whose sender addresses are whose (A16).
func TestMayUse(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test", "catch.test")
	alice, bob := h.account("alice@example.test"), h.account("bob@example.test")
	h.account("own@catch.test")
	h.alias("team@example.test", "alice@example.test", "bob@example.test")
	h.alias("mine@example.test", "alice@example.test")
	h.alias("away@example.test", "alice@else.test")
	h.alias("@catch.test", "alice@example.test")
	for _, tt := range []struct {
		from       string
		alice, bob bool
	}{
		{"alice@example.test", true, false},
		{"ALICE+news@example.test", true, false},
		{"bob@example.test", false, true},
		{"team@example.test", true, true},
		{"mine@example.test", true, false},
		{"away@example.test", false, false},
		{"anything@catch.test", true, false},
		{"own@catch.test", false, false},
		{"nobody@example.test", false, false},
		{"alice@else.test", false, false},
		{"аlice@example.test", false, false}, // Cyrillic а
		{"@", false, false},
	} {
		a, b := h.MayUse(ctx, alice.ID, addr(tt.from)), h.MayUse(ctx, bob.ID, addr(tt.from))
		if a != tt.alice || b != tt.bob {
			t.Errorf("%s: alice %v, bob %v; want %v, %v", tt.from, a, b, tt.alice, tt.bob)
		}
		if h.MayUse(ctx, 0, addr(tt.from)) {
			t.Errorf("%s: nobody may", tt.from)
		}
	}
}

// TestReturnAddress: a bounce finds its way to whom a message came from; nobody else can use the address,
// not even a catch-all gets what is wrong with it.
func TestReturnAddress(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	alice := h.account("alice@example.test")
	h.alias("@example.test", "alice@example.test")
	made := h.ReturnAddress(addr("lan@elsewhere.test"), "example.test")
	r, err := h.Resolve(ctx, made)
	if err != nil || !r.Return || len(r.Local) != 0 || len(r.Remote) != 1 || r.Remote[0].String() != "lan@elsewhere.test" {
		t.Errorf("%s: %+v %v", made, r, err)
	}
	if got := h.ReturnSender(made); got.String() != "lan@elsewhere.test" {
		t.Error(got)
	}
	own := h.ReturnAddress(addr("alice@example.test"), "example.test")
	if r, err := h.Resolve(ctx, own); err != nil || !r.Return || len(r.Local) != 1 || r.Local[0].Account != alice.ID {
		t.Errorf("%s: %+v %v", own, r, err)
	}
	if h.MayUse(ctx, alice.ID, own) {
		t.Error("an account may write in the name of a return address")
	}
	for _, bad := range []string{"SRS0=aaaaaaaa=aa=elsewhere.test=lan@example.test", "srs1=x@example.test"} {
		if _, err := h.Resolve(ctx, addr(bad)); !errors.Is(err, ErrNoUser) {
			t.Errorf("%s: %v", bad, err)
		}
		if got := h.ReturnSender(addr(bad)); got != addr(bad) {
			t.Errorf("%s: %s", bad, got)
		}
	}
	h.clock.Advance(23 * 24 * time.Hour)
	if _, err := h.Resolve(ctx, made); !errors.Is(err, ErrNoUser) {
		t.Errorf("after three weeks: %v", err)
	}
	long := h.ReturnAddress(addr(strings.Repeat("x", 60)+"@"+strings.Repeat("y", 60)+"."+strings.Repeat("z", 60)+"."+
		strings.Repeat("y", 60)+".test"), "example.test")
	if !long.IsNull() {
		t.Errorf("longer than a path may be: %s", long)
	}
	// Another house's secret is another.
	other := open(t, func(o *Options) { o.Pepper = bytes.Repeat([]byte("q"), 32) })
	other.domain("example.test")
	if _, err := other.Resolve(ctx, h.ReturnAddress(addr("lan@elsewhere.test"), "example.test")); !errors.Is(err, ErrNoUser) {
		t.Errorf("of another house: %v", err)
	}
}
