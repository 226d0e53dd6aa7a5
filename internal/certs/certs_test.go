package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tram/internal/clock"
)

// writePair writes a certificate for 100 days.
func writePair(t *testing.T, now clock.Clock, dir, file string, names ...string) Pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.Now().UnixNano()), DNSNames: names,
		NotBefore: now.Now().Add(-time.Hour), NotAfter: now.Now().Add(100 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := Pair{filepath.Join(dir, file+".pem"), filepath.Join(dir, file+".key")}
	write(t, p.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	write(t, p.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return p
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func firstName(m *Manager) string {
	c := m.find("")
	if c == nil {
		return ""
	}
	return c.Leaf.DNSNames[0]
}

func TestFilesAreReloaded(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(noon)
	dir := t.TempDir()
	pair := writePair(t, now, dir, "a", "one.test")
	m, err := New(Options{Clock: now, Files: []Pair{pair}})
	if err != nil {
		t.Fatal(err)
	}
	config := m.TLSConfig(SMTP) // as a listener keeps it
	shown := func() string {
		t.Helper()
		_, c, err := shake(t, config, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		return c.PeerCertificates[0].DNSNames[0]
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	_, armed := now.Armed()
	go func() { ended <- m.Run(ctx) }()
	pass := func() { // lets Run look once
		t.Helper()
		<-armed
		_, armed = now.Armed()
		now.Advance(pollEvery)
		<-armed
	}
	if got := shown(); got != "one.test" {
		t.Fatalf("shown %q", got)
	}
	writePair(t, now, dir, "a", "second.test")
	pass()
	if got := shown(); got != "second.test" {
		t.Errorf("after a change: %q", got)
	}
	// A broken file leaves the old in place, and the operator hears of it.
	write(t, pair.Cert, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	pass()
	if got := shown(); got != "second.test" {
		t.Errorf("after a broken file: %q", got)
	}
	if s := m.Status(); len(s) != 1 || !strings.Contains(s[0].Error, pair.Cert) || s[0].File != pair.Cert {
		t.Errorf("status %+v", s)
	}
	if err := m.Reload(ctx); err == nil || !strings.Contains(err.Error(), pair.Cert) {
		t.Errorf("Reload = %v", err)
	}
	writePair(t, now, dir, "a", "third.test")
	if err := m.Reload(ctx); err != nil {
		t.Error(err)
	}
	if got := shown(); got != "third.test" {
		t.Errorf("after Reload: %q", got)
	}
	if s := m.Status(); s[0].Error != "" || s[0].DaysLeft != 99 && s[0].DaysLeft != 100 {
		t.Errorf("status %+v", s)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
	if err := m.Reload(ctx); err == nil {
		t.Error("Reload after its context")
	}
}

func TestBrokenAtTheStart(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(noon)
	dir := t.TempDir()
	good, other := writePair(t, now, dir, "a", "one.test"), writePair(t, now, dir, "b", "two.test")
	nameless := writePair(t, now, dir, "c")
	for _, tt := range []struct {
		o    Options
		says string
	}{
		{Options{}, "no certificate"},
		{Options{Files: []Pair{{filepath.Join(dir, "none.pem"), good.Key}}}, "none.pem"},
		{Options{Files: []Pair{{good.Cert, other.Key}}}, "does not match"},
		{Options{Files: []Pair{{good.Key, good.Cert}}}, "a.key"},
		{Options{Files: []Pair{nameless}}, "no host names"},
		{Options{SelfMade: &SelfMade{Dir: dir}}, "no host names"},
		{Options{ACME: &ACME{}}, "no host names"},
		{Options{SelfMade: &SelfMade{Dir: filepath.Join(good.Cert, "x"), Names: []string{"a.test"}}}, "a.pem"},
	} {
		tt.o.Clock = now
		if _, err := New(tt.o); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("New = %v, want an error that says %q", err, tt.says)
		}
	}
}

func TestSelfMade(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(noon)
	dir := filepath.Join(t.TempDir(), "new", "certs")
	open := func(names ...string) *Manager {
		t.Helper()
		m, err := New(Options{Clock: now, SelfMade: &SelfMade{Dir: dir, Names: names}})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := open("Mail.test", "localhost", "127.0.0.1", "::1")
	roots := pool(t, m.CAFile())
	trust := func(m *Manager, names ...string) {
		t.Helper()
		for _, name := range names {
			_, err := m.find("").Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now.Now()})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	trust(m, "mail.test", "localhost", "127.0.0.1", "::1")
	for file, want := range map[string]fs.FileMode{
		"ca.key": 0o600, "key.pem": 0o600, "ca.pem": 0o644, "cert.pem": 0o644, "": fs.ModeDir | 0o700,
	} {
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil || info.Mode() != want { // S11
			t.Errorf("%q: %v, %v", file, info.Mode(), err)
		}
	}
	first := m.find("").Leaf
	if again := open("mail.test", "::1", "127.0.0.1", "LOCALHOST").find("").Leaf; !again.Equal(first) {
		t.Error("a start made another certificate without need")
	}
	if more := open("mail.test", "more.test"); more.find("").Leaf.Equal(first) {
		t.Error("other names did not make another certificate")
	} else {
		trust(more, "mail.test", "more.test")
	}
	// It is made anew a month before it ends, by the same authority.
	m = open("mail.test")
	before := m.find("").Leaf
	now.Advance(leafLife - renewBefore - time.Hour)
	if err := m.reload(false); err != nil || !m.find("").Leaf.Equal(before) {
		t.Errorf("made anew too early: %v", err)
	}
	now.Advance(time.Hour)
	if err := m.reload(false); err != nil || m.find("").Leaf.Equal(before) {
		t.Errorf("not made anew in time: %v", err)
	}
	trust(m, "mail.test")
	// The authority itself lasts for years, and is replaced before what it issues outlives it.
	now.Advance(caLife - leafLife)
	m = open("mail.test")
	roots = pool(t, m.CAFile())
	trust(m, "mail.test")
	if left := m.find("").Leaf.NotAfter.Sub(now.Now()); left != leafLife {
		t.Errorf("%v left", left)
	}
	// A broken authority is not replaced behind the backs of those who trust it.
	write(t, m.CAFile(), []byte("broken"))
	if _, err := New(Options{Clock: now, SelfMade: &SelfMade{Dir: dir, Names: []string{"mail.test"}}}); err == nil {
		t.Error("a broken authority was replaced")
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.new-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// lines is a log to look at.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), s)
}

// TestExpiryAlarm proves that nobody is surprised by the end of a certificate (S11).
func TestExpiryAlarm(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(noon)
	dir := t.TempDir()
	var log lines
	m, err := New(Options{Clock: now, Logger: slog.New(slog.NewTextHandler(&log, nil)), Files: []Pair{
		writePair(t, now, dir, "a", "one.test"),
	}, SelfMade: &SelfMade{Dir: dir, Names: []string{"self.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	status := func() Status { t.Helper(); return m.Status()[0] }
	if s := m.Status(); len(s) != 2 || s[0].Source != "self-made" || s[0].Issuer != caName || s[1].Source != "file" ||
		s[1].DaysLeft != 100 || !slices.Equal(s[1].Names, []string{"one.test"}) {
		t.Errorf("status %+v", s)
	}
	now.Advance(78*24*time.Hour + time.Hour)
	if err := m.Reload(context.Background()); err != nil { // the self-made one is new again
		t.Fatal(err)
	}
	if m.warn(); status().DaysLeft != 21 || log.count("level=ERROR") != 0 {
		t.Errorf("with %d days left: %s", status().DaysLeft, log.text())
	}
	now.Advance(24 * time.Hour)
	if m.warn(); status().DaysLeft != 20 || log.count("level=ERROR") != 1 {
		t.Errorf("with %d days left: %s", status().DaysLeft, log.text())
	}
	now.Advance(21 * 24 * time.Hour)
	if s := status(); s.DaysLeft >= 0 || !strings.Contains(s.Error, "expired") {
		t.Errorf("expired: %+v", s)
	}
	if log.count("PRIVATE") != 0 {
		t.Error("a key was logged")
	}
}

func TestKeyModeIsTold(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(noon)
	pair := writePair(t, now, t.TempDir(), "a", "one.test")
	var log lines
	o := Options{Clock: now, Logger: slog.New(slog.NewTextHandler(&log, nil)), Files: []Pair{pair}}
	if _, err := New(o); err != nil || log.count("chmod") != 0 {
		t.Errorf("%v, %s", err, log.text())
	}
	if err := os.Chmod(pair.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := New(o); err != nil || log.count("chmod") != 1 {
		t.Errorf("%v, %s", err, log.text())
	}
}

func TestSourcesInTheirOrder(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(noon)
	m, _ := selfMade(t, now, "self.test")
	if got := firstName(m); got != "self.test" {
		t.Errorf("only self-made: %q", got)
	}
	if m.HTTPHandler(nil) != nil {
		t.Error("without ACME the handler is not the next one")
	}
	dir := t.TempDir()
	m, err := New(Options{Clock: now, Files: []Pair{writePair(t, now, dir, "a", "file.test")},
		SelfMade: &SelfMade{Dir: dir, Names: []string{"self.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := firstName(m); got != "file.test" {
		t.Errorf("files and self-made: %q", got)
	}
}
