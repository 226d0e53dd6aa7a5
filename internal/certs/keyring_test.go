package certs

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"tram/internal/clock"
	"tram/internal/dns"
	"tram/internal/kv"
	"tram/internal/kv/memkv"
)

// TestSelfMadeKeyIsKept: RFC 7671 §8.1: what was published stays right when the certificate is renewed.
func TestSelfMadeKeyIsKept(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	m, err := New(Options{Clock: now, SelfMade: &SelfMade{Dir: t.TempDir(), Names: []string{"mail.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	before, err := m.TLSA(t.Context(), "Mail.test.")
	if err != nil || len(before) != 1 || !strings.HasPrefix(before[0], "3 1 1 ") || len(before[0]) != 6+64 {
		t.Fatalf("%q, %v", before, err)
	}
	serial := m.find("mail.test").Leaf.SerialNumber
	now.Advance(80 * 24 * time.Hour)
	if err := m.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := m.TLSA(t.Context(), "mail.test")
	if err != nil || !slices.Equal(before, after) || m.find("mail.test").Leaf.SerialNumber.Cmp(serial) == 0 {
		t.Errorf("%q, then %q, %v", before, after, err)
	}
	if none, err := m.TLSA(t.Context(), "other.test"); err != nil || len(none) != 0 {
		t.Errorf("of a host without a certificate: %q, %v", none, err)
	}
}

// keysKept proves with a real authority that a certificate is renewed with the key it had, that both
// the present and the next key are published, and that the next one comes into use only when the DNS
// has had its record for two days. It is a part of TestACME.
func keysKept(t *testing.T, m *Manager, now *clock.Fake, name string) {
	t.Helper()
	shown := func() string { return ofKey(m.find(name).Leaf.RawSubjectPublicKeyInfo) }
	tlsa := func() []string {
		t.Helper()
		all, err := m.TLSA(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := tlsa()
	if len(before) != 2 || before[0] != shown() {
		t.Fatalf("published %q, shown %q", before, shown())
	}
	renewed := func(what string, since *tls.Certificate) {
		t.Helper()
		eventually(t, what, func() bool { return m.find(name).Leaf.SerialNumber.Cmp(since.Leaf.SerialNumber) != 0 })
	}
	was := m.find(name)
	if err := m.acme.configOf(name).RenewCertSync(t.Context(), name, true); err != nil {
		t.Fatal(err)
	}
	if err := m.acme.reload(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	renewed("the certificate is renewed", was)
	if shown() != before[0] || !slices.Equal(tlsa(), before) {
		t.Errorf("a renewal changed the key: %q, %q, before %q", shown(), tlsa(), before)
	}
	// An old key stays as long as the DNS does not know the next one, and for two days after.
	zone := dns.NewFake("_25._tcp." + name + ". IN TLSA " + before[0])
	const after = 30 * 24 * time.Hour
	roll := func(wait time.Duration) bool {
		t.Helper()
		now.Advance(wait)
		if err := m.RollKeys(t.Context(), after, zone); err != nil {
			t.Fatal(err)
		}
		r, err := m.acme.keyring(t.Context(), name, func(*ring) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		return r.Roll
	}
	if roll(time.Hour) || roll(40*24*time.Hour) || roll(3*24*time.Hour) {
		t.Error("a key that is not published comes into use")
	}
	zone.Add("_25._tcp." + name + ". IN TLSA " + before[1])
	if roll(time.Hour) || roll(47*time.Hour) {
		t.Error("a key that was published lately comes into use")
	}
	zone.Fail("_25._tcp."+name, dns.ErrTemporary)
	if err := m.RollKeys(t.Context(), after, zone); err == nil {
		t.Error("a DNS that fails is passed over")
	}
	zone.Fail("_25._tcp."+name, nil)
	was = m.find(name)
	now.Advance(time.Hour)
	if err := m.RollKeys(t.Context(), after, zone); err != nil {
		t.Fatal(err)
	}
	renewed("the certificate has its next key", was)
	all := tlsa()
	if shown() != before[1] || all[0] != before[1] || len(all) != 3 || !slices.Contains(all, before[0]) {
		t.Errorf("shown %q, published %q, before %q", shown(), all, before)
	}
	if now.Advance(8 * 24 * time.Hour); len(tlsa()) != 2 {
		t.Errorf("the key before is published for ever: %q", tlsa())
	}
	if roll(time.Hour) {
		t.Error("the next key is in a hurry")
	}
}

// TestKeysFromBefore: a certificate that is older than the keyring keeps its key too, and a ring that
// cannot be read is not replaced by another.
func TestKeysFromBefore(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	m, err := New(Options{ACME: &ACME{DB: db, Names: []string{"mail.test"}, Directory: "https://127.0.0.1:1/dir"}})
	if err != nil {
		t.Fatal(err)
	}
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	want, err := association(key)
	if err != nil {
		t.Fatal(err)
	}
	path := certmagic.StorageKeys.SitePrivateKey(m.acme.issuer.IssuerKey(), "mail.test")
	if err := m.acme.storage.Store(t.Context(), path, key); err != nil {
		t.Fatal(err)
	}
	all, err := m.TLSA(t.Context(), "mail.test")
	if err != nil || len(all) != 2 || all[0] != want {
		t.Errorf("%q, %v, want %q first", all, err, want)
	}
	if again, err := m.TLSA(t.Context(), "mail.test"); err != nil || !slices.Equal(all, again) {
		t.Errorf("%q, %v", again, err)
	}
	for _, bad := range []string{"", "\x01{", "\x02"} {
		err := db.Update(t.Context(), scope, func(t kv.Txn) error { return t.Set(ringRow("mail.test"), []byte(bad)) })
		if err != nil {
			t.Fatal(err)
		}
		if all, err := m.TLSA(t.Context(), "mail.test"); err == nil {
			t.Errorf("row %q: %q", bad, all)
		}
	}
}
