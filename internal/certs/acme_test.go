package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"tram/internal/clock"
	"tram/internal/dns"
	"tram/internal/kv"
	"tram/internal/kv/memkv"
)

// pebbleCA is the version of the test authority that is built when none is given.
const pebbleCA = "github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1"

// buildCA returns the path of the test authority: that of TRAM_PEBBLE_CA, or one built for the
// occasion outside of this module.
func buildCA(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("TRAM_PEBBLE_CA"); path != "" {
		return path
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	dir := t.TempDir()
	cmd := exec.CommandContext(ctx, "go", "install", pebbleCA)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go install %s: %v\n%s", pebbleCA, err, out)
	}
	return filepath.Join(dir, "pebble")
}

// ca is a running test authority that validates over loopback.
type ca struct {
	directory string
	roots     Options // the self-made authority that its own certificate is from
	manager   *Manager
	http, tls int // the ports it validates at
}

// runCA starts the authority with its own resolver, in which every name is 127.0.0.1.
func runCA(t *testing.T, httpPort, tlsPort int) ca {
	t.Helper()
	names := dns.NewFake("*.acme.test. 60 IN A 127.0.0.1\nmail.acme.test. IN A 127.0.0.1\n" +
		"imap.acme.test. IN A 127.0.0.1\nmta-sts.acme.test. IN A 127.0.0.1")
	resolver, stop, err := names.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	dir := t.TempDir()
	own, err := New(Options{SelfMade: &SelfMade{Dir: dir, Names: []string{"localhost", "127.0.0.1"}}})
	if err != nil {
		t.Fatal(err)
	}
	listen := freePort(t)
	config := map[string]any{"pebble": map[string]any{
		"listenAddress":           fmt.Sprintf("127.0.0.1:%d", listen),
		"managementListenAddress": fmt.Sprintf("127.0.0.1:%d", freePort(t)),
		"certificate":             filepath.Join(dir, certFile), "privateKey": filepath.Join(dir, keyFile),
		"httpPort": httpPort, "tlsPort": tlsPort, "ocspResponderURL": "",
		"externalAccountBindingRequired": false,
		"retryAfter":                     map[string]any{"authz": 1, "order": 1},
		"profiles": map[string]any{"default": map[string]any{
			"description": "90 days", "validityPeriod": 7776000,
		}},
	}}
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pebble.json")
	write(t, file, b)
	cmd := exec.Command(buildCA(t), "-config", file, "-dnsserver", resolver.String(), "-strict")
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	var out lines
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has no other way to end
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(out.text())
		}
	})
	c := ca{directory: fmt.Sprintf("https://127.0.0.1:%d/dir", listen), manager: own}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool(t, own.CAFile())}}}
	eventually(t, "the test authority answers", func() bool {
		r, err := client.Get(c.directory)
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	return c
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// eventually waits for another process, which has no clock of ours.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(90 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

// TestACME gets certificates from a real authority by either challenge, proves that a second node
// takes them from the storage, and that a restart asks for nothing. RFC 8555.
func TestACME(t *testing.T) {
	t.Parallel()
	httpLn, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tlsLn, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	httpPort, tlsPort := httpLn.Addr().(*net.TCPAddr).Port, tlsLn.Addr().(*net.TCPAddr).Port
	authority := runCA(t, httpPort, tlsPort)
	db := memkv.New()
	now := clock.NewFake(time.Now())
	var log lines
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(log.text())
		}
	})
	open := func(noHTTP, noTLSALPN bool, names ...string) *Manager {
		t.Helper()
		m, err := New(Options{
			Logger: slog.New(slog.NewTextHandler(&log, nil)), Default: names[0], Clock: now,
			SelfMade: &SelfMade{Dir: t.TempDir(), Names: []string{"fallback.test"}},
			ACME: &ACME{DB: db, Names: names, Directory: authority.directory, Email: "postmaster@acme.test",
				Roots: pool(t, authority.manager.CAFile()), HTTPPort: httpPort, TLSPort: tlsPort,
				ListenHost: "127.0.0.1", NoHTTP: noHTTP, NoTLSALPN: noTLSALPN},
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	run := func(m *Manager) (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		stop = sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run = %v", err)
			}
		})
		t.Cleanup(stop)
		return stop
	}
	issued := func(m *Manager, name string) bool {
		c := m.find(name)
		return c != nil && strings.HasPrefix(c.Leaf.Issuer.CommonName, "Pebble")
	}

	byHTTP := open(false, true, "Mail.acme.test")
	web := &http.Server{Handler: byHTTP.HTTPHandler(http.NotFoundHandler()), ReadHeaderTimeout: time.Minute}
	go web.Serve(httpLn)
	t.Cleanup(func() { web.Close() })
	if got := firstName(byHTTP); got != "fallback.test" {
		t.Errorf("before anything was issued: %q", got)
	}
	if s := byHTTP.Status(); len(s) != 2 || s[0].Source != "acme" || s[0].Error != "not issued yet" {
		t.Errorf("status %+v", s)
	}
	stopHTTP := run(byHTTP)
	eventually(t, "a certificate by HTTP-01", func() bool { return issued(byHTTP, "mail.acme.test") })
	if got := firstName(byHTTP); got != "mail.acme.test" {
		t.Errorf("shown to who names no host: %q", got)
	}
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/else", httpPort))
	if err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("what is no challenge: %v, %v", resp, err)
	}
	resp.Body.Close()

	byALPN := open(true, false, "imap.acme.test")
	secure := &http.Server{Handler: http.NotFoundHandler(), TLSConfig: byALPN.TLSConfig(HTTPS),
		ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go secure.ServeTLS(tlsLn, "", "")
	t.Cleanup(func() { secure.Close() })
	run(byALPN)
	eventually(t, "a certificate by TLS-ALPN-01", func() bool { return issued(byALPN, "imap.acme.test") })
	for _, protocol := range []string{IMAP, SMTP, HTTPS} {
		_, c, err := shake(t, byALPN.TLSConfig(protocol),
			&tls.Config{ServerName: "imap.acme.test", InsecureSkipVerify: true})
		if err != nil || c.PeerCertificates[0].DNSNames[0] != "imap.acme.test" {
			t.Errorf("%s: %v", protocol, err)
		}
	}
	for _, s := range byALPN.Status() {
		if s.Source == "acme" && (s.Error != "" || s.DaysLeft < 80 || s.NotAfter.IsZero()) {
			t.Errorf("status %+v", s)
		}
	}

	// A restart, without the authority: the certificate is in the storage.
	serial := byHTTP.find("mail.acme.test").Leaf.SerialNumber
	stopHTTP()
	web.Close()
	again := open(false, true, "mail.acme.test")
	run(again)
	eventually(t, "the certificate of before", func() bool { return issued(again, "mail.acme.test") })
	if again.find("mail.acme.test").Leaf.SerialNumber.Cmp(serial) != 0 {
		t.Error("a restart asked for another certificate")
	}
	// A name that comes later, and goes again.
	if err := byALPN.Also(t.Context(), []string{"mta-sts.acme.test"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a certificate for a name that came later", func() bool { return issued(byALPN, "mta-sts.acme.test") })
	if err := byALPN.Also(t.Context(), nil); err != nil || issued(byALPN, "mta-sts.acme.test") {
		t.Errorf("a name that has gone is still shown (%v)", err)
	}
	// It comes back, as names do after each restart: the certificate is in the storage.
	if err := byALPN.Also(t.Context(), []string{"mta-sts.acme.test"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the certificate of a name that came back", func() bool { return issued(byALPN, "mta-sts.acme.test") })
	keysKept(t, byALPN, now, "imap.acme.test")
}

// TestACMEFailureIsTold proves that what keeps a certificate from being issued reaches the
// operator.
func TestACMEFailureIsTold(t *testing.T) {
	t.Parallel()
	m, err := New(Options{ACME: &ACME{DB: memkv.New(), Names: []string{"mail.acme.test"},
		Directory: fmt.Sprintf("https://127.0.0.1:%d/dir", freePort(t)), ListenHost: "127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	eventually(t, "the failure is in the status", func() bool {
		return strings.Contains(m.Status()[0].Error, "connection refused")
	})
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	_, _, err = shake(t, m.TLSConfig(IMAP), &tls.Config{ServerName: "mail.acme.test"})
	if alert(err) != "unrecognized name" {
		t.Errorf("without any certificate: %v", err)
	}
}

// TestShutdownDuringACME stops the server while an authority takes its time: that is no failure, so
// it is not told as one.
func TestShutdownDuringACME(t *testing.T) {
	t.Parallel()
	authority, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer authority.Close()
	asked := make(chan net.Conn, 8)
	go func() {
		for {
			c, err := authority.Accept()
			if err != nil {
				return
			}
			asked <- c // and hears nothing
		}
	}()
	var log lines
	m, err := New(Options{
		ACME: &ACME{DB: memkv.New(), Names: []string{"mail.acme.test"},
			Directory: "https://" + authority.Addr().String() + "/dir", ListenHost: "127.0.0.1"},
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	conn := <-asked
	defer conn.Close()
	before := strings.Count(log.text(), "level=ERROR")
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	eventually(t, "the try is broken off", func() bool {
		return strings.Contains(log.text(), "context canceled")
	})
	for line := range strings.Lines(log.text()) {
		if strings.Contains(line, "context canceled") && !strings.Contains(line, "level=DEBUG") {
			t.Errorf("told as a failure: %s", line)
		}
	}
	if after := strings.Count(log.text(), "level=ERROR"); after != before {
		t.Errorf("%d errors more after the shutdown:\n%s", after-before, log.text())
	}
	if text := m.Status()[0].Error; text != "not issued yet" {
		t.Errorf("status: %s", text)
	}
}

// TestACMEEvents proves how certmagic's events become a status.
func TestACMEEvents(t *testing.T) {
	t.Parallel()
	s := &acmeSource{failed: map[string]error{}}
	for _, tt := range []struct {
		event string
		data  map[string]any
		want  string
	}{
		{"cert_failed", map[string]any{"identifier": "a.test", "error": io.ErrUnexpectedEOF}, "unexpected EOF"},
		{"cert_failed", map[string]any{"identifier": "a.test"}, "the authority refused"},
		{"cert_obtaining", map[string]any{"identifier": "a.test"}, "the authority refused"},
		{"cert_obtained", map[string]any{"identifier": "b.test"}, "the authority refused"},
		{"cert_obtained", map[string]any{"identifier": "a.test"}, ""},
		{"cert_failed", map[string]any{"identifier": "a.test",
			"error": fmt.Errorf("order: %w", context.Canceled)}, ""},
	} {
		if err := s.event(context.Background(), tt.event, tt.data); err != nil {
			t.Error(err)
		}
		if got := errorText(s.failed["a.test"]); got != tt.want {
			t.Errorf("after %s: %q, want %q", tt.event, got, tt.want)
		}
	}
}

// TestStorageServesCertmagic runs certmagic's own use of a storage: an account key written, listed
// and locked.
func TestStorageServesCertmagic(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := memkv.New()
	s := newStorage(db, clock.System)
	config := certmagic.New(certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return nil, io.EOF },
		Logger:           zap.NewNop(),
	}), certmagic.Config{Storage: s, Logger: zap.NewNop()})
	key := certmagic.StorageKeys.SitePrivateKey("issuer", "mail.test")
	if err := config.Storage.Store(ctx, key, []byte("key")); err != nil {
		t.Fatal(err)
	}
	sites, err := s.List(ctx, certmagic.StorageKeys.CertsPrefix("issuer"), false)
	if err != nil || len(sites) != 1 || sites[0] != certmagic.StorageKeys.CertsSitePrefix("issuer", "mail.test") {
		t.Errorf("sites %q, %v", sites, err)
	}
	if err := certmagic.CleanStorage(ctx, s, certmagic.CleanStorageOptions{Logger: zap.NewNop(),
		OCSPStaples: true, ExpiredCerts: true}); err != nil {
		t.Error(err)
	}
	err = db.View(ctx, scope, func(r kv.Reader) error {
		return r.Scan(kv.Range{}, func(k, _ []byte) error {
			if k[0] != space {
				t.Errorf("key %q is outside of the room's space", k)
			}
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
}

func TestLogBridge(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	z := zapLogger(slog.New(slog.NewTextHandler(&buf, nil))).Named("part")
	z.Debug("not for operators")
	z.With(zap.String("a", "b")).Warn("hello", zap.Int("n", 7), zap.Error(io.EOF), zap.Duration("d", time.Second))
	got := buf.String()
	for _, want := range []string{"level=WARN", `msg="acme: hello"`, "a=b", "n=7", "error=EOF", "part=part", "d=1s"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not say %s", got, want)
		}
	}
	if strings.Contains(got, "operators") {
		t.Error("debug lines are logged")
	}
	buf.Reset()
	z.Error("job failed", zap.Error(fmt.Errorf("mail.test: %w", context.Canceled)))
	if buf.Len() != 0 {
		t.Errorf("what was broken off is told: %s", buf.String())
	}
	z.Error("job failed", zap.Error(context.DeadlineExceeded))
	if !strings.Contains(buf.String(), "level=ERROR") {
		t.Errorf("what took too long is told as %q", buf.String())
	}
}
