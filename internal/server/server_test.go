package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"tram/internal/admin"
	"tram/internal/config"
	"tram/internal/kv"
	"tram/internal/kv/memkv"
)

func loopback(t *testing.T) config.Config {
	t.Helper()
	free := []string{"127.0.0.1:0"}
	c := config.Default()
	c.Hostname, c.Data = "mail.example.test", t.TempDir()
	c.Listen = config.Listen{SMTP: free, Submission: free, Submissions: free, IMAP: free,
		IMAPS: free, HTTP: free, HTTPS: free, Metrics: free}
	c.Certs = config.Certs{Source: config.CertsSelfMade, Names: []string{"localhost", "127.0.0.1"}}
	c.Limits.Auth.ArgonMemoryKiB, c.Limits.Auth.ArgonTime = 64, 1
	return c
}

// running is a house whose doors accept.
type running struct {
	*Server
	stop  context.CancelFunc
	ended chan error
}

func start(t *testing.T, o Options) *running {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{s, cancel, make(chan error, 1)}
	go func() { r.ended <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-r.ended:
		t.Fatalf("the house ended before it was ready: %v", err)
	}
	return r
}

// end drains and closes.
func (r *running) end(t *testing.T) {
	t.Helper()
	r.stop()
	if err := errors.Join(<-r.ended, r.Close()); err != nil {
		t.Error(err)
	}
}

func addAlice(t *testing.T, s *Server) {
	t.Helper()
	if _, err := s.Admin.AddDomain(t.Context(), "example.test"); err != nil {
		t.Fatal(err)
	}
	_, err := s.Admin.AddAccount(t.Context(), admin.NewAccount{
		Address: "alice@example.test", Password: "a good long passphrase",
	})
	if err != nil {
		t.Fatal(err)
	}
}

func mailAlice(t *testing.T, s *Server) {
	t.Helper()
	c, err := smtp.Dial(s.Addr("smtp").String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(c.Mail("x@example.net"), c.Rcpt("alice@example.test")); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(w, "From: x@example.net\r\nTo: alice@example.test\r\n"+
		"Message-ID: <m1@example.net>\r\nSubject: x\r\n\r\nx\r\n")
	if err := errors.Join(err, w.Close(), c.Quit()); err != nil {
		t.Fatal(err)
	}
}

func used(t *testing.T, s *Server) int64 {
	t.Helper()
	a, err := s.Admin.Account(t.Context(), "alice@example.test")
	if err != nil {
		t.Fatal(err)
	}
	return a.Used.Messages
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// TestHouse opens a house on the real engine, sends it a message, ends it, and finds everything
// again the next time.
func TestHouse(t *testing.T) {
	t.Parallel()
	c := loopback(t)
	r := start(t, Options{Config: c, OutsideWaits: true, Version: "9.9"})
	addAlice(t, r.Server)
	mailAlice(t, r.Server)
	if n := used(t, r.Server); n != 1 {
		t.Errorf("%d messages after a 250", n)
	}
	web := "http://" + r.Addr("http").String()
	if code, text := get(t, web+"/readyz"); code != 200 {
		t.Errorf("readyz: %d %s", code, text)
	}
	if code, text := get(t, "http://"+r.Addr("metrics").String()+"/metrics"); code != 200 ||
		!strings.Contains(text, "tram_trace_events_total") {
		t.Errorf("metrics: %d", code)
	}
	client := admin.NewClient(c.AdminSocket())
	defer client.Close()
	events, err := client.Trace(t.Context(), "<m1@example.net>", 0)
	if err != nil || len(events) == 0 {
		t.Errorf("trace of the message: %v, %v", events, err)
	}
	status, err := client.Status(t.Context())
	if err != nil || !status.Ready || len(status.Listeners) != 8 || len(status.Certificates) == 0 {
		t.Errorf("status %+v, %v", status, err)
	}
	if _, err := Open(t.Context(), Options{Config: c}); err == nil || !strings.Contains(err.Error(), "another tram") {
		t.Errorf("a second server on the data: %v", err)
	}
	r.end(t)
	if _, err := os.Stat(c.AdminSocket()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}

	again := start(t, Options{Config: c, OutsideWaits: true})
	if n := used(t, again.Server); n != 1 {
		t.Errorf("%d messages after a restart", n)
	}
	findings := 0
	err = again.Admin.Check(t.Context(), true, func(admin.Progress) {}, func(f admin.Finding) {
		findings++
		t.Errorf("finding %+v", f)
	})
	if err != nil || findings > 0 {
		t.Errorf("check: %v", err)
	}
	again.end(t)
}

// TestDoorsSpeakTheirProtocol over TLS where the port means TLS.
func TestDoorsSpeakTheirProtocol(t *testing.T) {
	t.Parallel()
	r := start(t, Options{Config: loopback(t), DB: memkv.New(), OutsideWaits: true})
	defer r.end(t)
	pem, err := os.ReadFile(r.Certs.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for door, want := range map[string]string{"smtp": "220 mail.example.test", "submission": "220 ",
		"submissions": "220 ", "imap": "* OK", "imaps": "* OK"} {
		c, err := net.Dial("tcp", r.Addr(door).String())
		if err != nil {
			t.Fatal(err)
		}
		if door == "submissions" || door == "imaps" {
			c = tls.Client(c, &tls.Config{RootCAs: roots, ServerName: "localhost"})
		}
		b := make([]byte, 512)
		n, err := c.Read(b)
		if err != nil || !strings.HasPrefix(string(b[:n]), want) {
			t.Errorf("%s greets with %q, %v", door, b[:n], err)
		}
		c.Close()
	}
}

// TestPostmasterIsOfTheHostsDomain wherever that stands in the list.
func TestPostmasterIsOfTheHostsDomain(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Options{Config: loopback(t), DB: memkv.New(), Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, step := range []struct{ add, want string }{
		{"", ""}, {"zoo.example", "zoo.example"}, {"example.test", "example.test"}, {"ample.test", "example.test"},
	} {
		if step.add != "" {
			if _, err := s.Admin.AddDomain(t.Context(), step.add); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := s.Directory.OwnDomain(t.Context(), s.o.Config.Hostname); got != step.want || err != nil {
			t.Errorf("after adding %q: %q, %v", step.add, got, err)
		}
	}
}

// fillable is a database whose free-space reserve a test can touch.
type fillable struct {
	kv.Database
	full atomic.Bool
}

func (f *fillable) Full() error {
	if f.full.Load() {
		return kv.ErrFull
	}
	return nil
}

func TestProblemTellsWhyNoMailIsTaken(t *testing.T) {
	t.Parallel()
	db := &fillable{Database: memkv.New()}
	r := start(t, Options{Config: loopback(t), DB: db, OutsideWaits: true})
	if err := r.Problem(); err != nil {
		t.Errorf("a house that is ready: %v", err)
	}
	db.full.Store(true)
	code, text := get(t, "http://"+r.Addr("http").String()+"/readyz")
	if code != 503 || !strings.Contains(text, "full") {
		t.Errorf("readyz of a full disk: %d %s", code, text)
	}
	db.full.Store(false)
	r.end(t)
	if err := r.Problem(); err == nil || !strings.Contains(err.Error(), "shutting down") {
		t.Errorf("after the end: %v", err)
	}
}

// TestStorageFailureEndsTheHouse: reliability.md D6, a disk that refused a sync promises nothing.
func TestStorageFailureEndsTheHouse(t *testing.T) {
	t.Parallel()
	r := start(t, Options{Config: loopback(t), DB: memkv.New(), OutsideWaits: true})
	r.giveUp(fmt.Errorf("sync failed"))
	if err := <-r.ended; err == nil || !strings.Contains(err.Error(), "sync failed") {
		t.Errorf("Run = %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestMeasureLiftsLimitsPerAddressAlone: the rest of the limits hold.
func TestMeasureLiftsLimitsPerAddressAlone(t *testing.T) {
	t.Parallel()
	c := loopback(t)
	s := &Server{o: Options{Config: c, Measure: true}}
	want := c.Limits.Conn
	want.PerIP, want.PerUser, want.PerUserIP, want.NewPerMinute = 0, 0, 0, 0
	if got := s.connLimits(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	sending := c.Limits.Queue
	sending.PerDay, sending.NewPerDay, sending.Burst = 0, 0, 0
	if got := s.queueLimits(); got != sending {
		t.Errorf("%+v, want %+v", got, sending)
	}
	s.o.Measure = false
	if got := s.connLimits(); got != c.Limits.Conn {
		t.Errorf("without --measure %+v", got)
	}
	if got := s.queueLimits(); got != c.Limits.Queue {
		t.Errorf("without --measure %+v", got)
	}
}

// TestHashMemoryIsFreed: the memory of log-ins goes back when no more of them come, once.
func TestHashMemoryIsFreed(t *testing.T) {
	t.Parallel()
	c := loopback(t)
	c.Limits.Auth.ArgonMemoryKiB = 8 << 10
	s, err := Open(t.Context(), Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	addAlice(t, s)
	n := s.Directory.Hashes()
	if n == 0 {
		t.Fatal("no hash was counted")
	}
	s.freeHashes()
	if s.hashesFreed != 0 {
		t.Error("freed while hashes were still coming")
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s.freeHashes()
	runtime.ReadMemStats(&after)
	if s.hashesFreed != n || after.NumForcedGC == before.NumForcedGC {
		t.Errorf("freed after %d hashes of %d, %d collections", s.hashesFreed, n,
			after.NumForcedGC-before.NumForcedGC)
	}
	runtime.ReadMemStats(&before)
	s.freeHashes()
	if s.hashesSeen != n || s.hashesFreed != n {
		t.Errorf("seen %d, freed %d of %d", s.hashesSeen, s.hashesFreed, n)
	}
}
