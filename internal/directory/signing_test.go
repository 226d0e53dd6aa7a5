package directory

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tram/internal/dns"
	"tram/internal/kv"
	"tram/internal/mailauth/dkim"
)

const signed = "example.test"

// publish puts a record into a zone, in strings as short as the DNS wants them.
func publish(f *dns.Fake, k SigningKey) {
	half := len(k.Record) / 2
	f.Add(fmt.Sprintf("%s. TXT %q %q\n", k.Name(), k.Record[:half], k.Record[half:]))
}

// states shows the keys of a domain as "selector state".
func (h house) states(domain string) string {
	h.t.Helper()
	all, err := h.SigningKeys(context.Background(), domain)
	if err != nil {
		h.t.Fatal(err)
	}
	var words []string
	for _, k := range all {
		words = append(words, k.Selector+" "+string(k.State))
	}
	return strings.Join(words, ", ")
}

func (h house) rotateAll(r dkim.TXTResolver) {
	h.t.Helper()
	if err := h.RotateSigningKeys(context.Background(), r); err != nil {
		h.t.Fatal(err)
	}
}

// TestSigningKeys takes a domain's keys through their whole life: made, shown by the DNS, active, replaced
// with overlap, gone.
func TestSigningKeys(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain(signed)
	r := dns.NewFake("")
	want := func(what, states string) {
		t.Helper()
		if got := h.states(signed); got != states {
			t.Fatalf("%s: %s, want %s", what, got, states)
		}
	}
	signers := func(n int) {
		t.Helper()
		keys, err := h.Signers(ctx, signed)
		if err != nil || len(keys) != n {
			t.Fatalf("%d signers, %v; want %d", len(keys), err, n)
		}
	}
	want("at first", "")
	h.rotateAll(nil)
	want("made", "ed202611 made, rsa202611 made")
	h.rotateAll(r)
	want("nothing in the DNS", "ed202611 made, rsa202611 made")
	signers(0)
	keys, err := h.SigningKeys(ctx, signed)
	if err != nil || keys[0].Algorithm != dkim.Ed25519SHA256 || keys[1].Algorithm != dkim.RSASHA256 ||
		!strings.Contains(keys[0].Problem, "no TXT record") || keys[0].Published {
		t.Fatalf("%+v %v", keys, err)
	}
	// A wrong record, two records and a server that fails make nothing active.
	r.Add(keys[0].Name() + `. TXT "v=DKIM1; k=ed25519; p=AAAA"`)
	h.rotateAll(r)
	r.Add(keys[0].Name() + `. TXT "` + keys[0].Record + `"`)
	h.rotateAll(r)
	r.Remove(keys[0].Name())
	publish(r, keys[0])
	r.Fail(keys[0].Name(), errors.New("broken"))
	h.rotateAll(r)
	want("wrong records", "ed202611 made, rsa202611 made")
	r.Fail(keys[0].Name(), nil)
	h.rotateAll(r)
	want("one of two", "ed202611 active, rsa202611 made")
	publish(r, keys[1])
	h.rotateAll(r)
	want("both", "ed202611 active, rsa202611 active")
	signers(2)
	both, _ := h.Signers(ctx, signed)
	if _, ok := both[0].Signer.(ed25519.PrivateKey); !ok {
		t.Error("Ed25519 is not first")
	}
	if text, _ := dkim.Record(both[1].Signer.Public()); text != keys[1].Record {
		t.Error("the sealed key is not the one of the record")
	}

	// 166 days on the next ones are shown; those of now go on until the DNS has them.
	h.clock.Advance(166*24*time.Hour - time.Minute)
	h.rotateAll(r)
	want("a minute early", "ed202611 active, rsa202611 active")
	h.clock.Advance(2 * time.Minute)
	h.rotateAll(r)
	want("next", "ed202611 active, rsa202611 active, ed202705 made, rsa202705 made")
	h.clock.Advance(60 * 24 * time.Hour)
	h.rotateAll(r)
	want("nobody has published", "ed202611 active, rsa202611 active, ed202705 made, rsa202705 made")
	next, _ := h.SigningKeys(ctx, signed)
	publish(r, next[2])
	publish(r, next[3])
	h.rotateAll(r)
	want("replaced", "ed202705 active, rsa202705 active, ed202611 retiring, rsa202611 retiring")
	signers(2)
	h.clock.Advance(13 * 24 * time.Hour)
	h.rotateAll(r)
	want("overlap", "ed202705 active, rsa202705 active, ed202611 retiring, rsa202611 retiring")
	h.clock.Advance(2 * 24 * time.Hour)
	h.rotateAll(r)
	want("gone", "ed202705 active, rsa202705 active")

	// A record that vanishes is told of; a key goes on signing.
	r.Remove(next[2].Name())
	h.clock.Advance(25 * time.Hour)
	h.rotateAll(r)
	if now, _ := h.SigningKeys(ctx, signed); now[0].Published || now[0].Problem == "" || now[0].State != KeyActive {
		t.Errorf("%+v", now[0])
	}
	if found := h.found(); len(found) > 0 {
		t.Errorf("%+v", found)
	}
	again := h.again(h.db)
	if keys, err := again.Signers(ctx, signed); err != nil || len(keys) != 2 {
		t.Errorf("after a restart: %d %v", len(keys), err)
	}
	if err := h.RemoveDomain(ctx, signed); err != nil {
		t.Fatal(err)
	}
	if keys, err := h.Signers(ctx, signed); err != nil || len(keys) != 0 {
		t.Errorf("of a domain that was removed: %d %v", len(keys), err)
	}
	if _, err := h.SigningKeys(ctx, signed); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// TestSigningByHand is what an administrator does himself.
func TestSigningByHand(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain(signed)
	for range 2 { // what waits is not made again
		if keys, err := h.MakeSigningKeys(ctx, signed); err != nil || len(keys) != 2 {
			t.Fatal(keys, err)
		}
	}
	if err := h.ActivateSigningKey(ctx, signed, "ed202611"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.MakeSigningKeys(ctx, signed); err != nil {
		t.Fatal(err)
	}
	if got := h.states(signed); got != "ed202611 active, ed202611b made, rsa202611 made" {
		t.Fatal(got)
	}
	if err := h.ActivateSigningKey(ctx, signed, "ed202611b"); err != nil {
		t.Fatal(err)
	}
	if err := h.ActivateSigningKey(ctx, signed, "ed202611"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a key that was replaced: %v", err)
	}
	if err := h.ActivateSigningKey(ctx, signed, "x"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for selector, want := range map[string]error{"mine": nil, "ed202611": ErrExists} {
		if err := h.ImportSigningKey(ctx, signed, selector, private); !errors.Is(err, want) {
			t.Errorf("%s: %v", selector, err)
		}
	}
	if got := h.states(signed); got != "ed202611b active, mine made, rsa202611 made, ed202611 retiring" {
		t.Error(got)
	}
	for n := range 40 {
		if err = h.ImportSigningKey(ctx, signed, fmt.Sprint("k", n), private); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrInvalid) {
		t.Errorf("any number of keys: %v", err)
	}
	if err := h.ImportSigningKey(ctx, "other.test", "x", private); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// TestShortKey: an RSA key that receivers need not believe (RFC 8301 §3.2) is not taken over, the sentence
// says why, and the domain gets keys of its own all the same.
func TestShortKey(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain(signed)
	private, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	err = h.ImportSigningKey(ctx, signed, "old", private)
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "must have 2048 bits to sign mail, this one has 1024") {
		t.Error(err)
	}
	h.rotateAll(nil)
	if got := h.states(signed); got != "ed202611 made, rsa202611 made" {
		t.Error(got)
	}
}

// TestSealed makes sure that nothing in the database gives a private key away, or can be moved to
// another domain's row.
func TestSealed(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain(signed, "other.test")
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.ImportSigningKey(ctx, signed, "s", private); err != nil {
		t.Fatal(err)
	}
	if err := h.ActivateSigningKey(ctx, signed, "s"); err != nil {
		t.Fatal(err)
	}
	var row []byte
	err = h.db.View(ctx, scope, func(r kv.Reader) (err error) {
		row, err = r.Get(signingRow(signed, "s"))
		return err
	})
	if err != nil || strings.Contains(string(row), string(private.D.Bytes())) {
		t.Fatal(err)
	}
	err = h.update(ctx, true, func(t kv.Txn) error { return t.Set(signingRow("other.test", "s"), row) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Signers(ctx, "other.test"); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("a row that was moved: %v", err)
	}
}
