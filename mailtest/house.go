package mailtest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tram/internal/admin"
	"tram/internal/config"
	"tram/internal/directory"
	"tram/internal/kv"
	"tram/internal/kv/memkv"
	"tram/internal/server"
)

// Password is everybody's.
const Password = "boat under three bridges"

// House is a running server for one domain.
type House struct {
	*server.Server
	World   *World
	Domain  string
	Address string // its public one

	t       testing.TB
	log     *journal
	firstCA []byte
	end     func()
}

// Options say what is special about a house.
type Options struct {
	DB   kv.Database // nil: in memory
	Edit func(*config.Config)
	Data string // folder of a house that is opened again; "": a new one
	// Crashed leaves out the check at the end: what this house has is not what will be opened again.
	Crashed bool
}

// House builds a server for a domain, publishes it in the DNS, and lets its doors accept. It ends
// with the test.
func (w *World) House(domain string, o Options) *House {
	w.T.Helper()
	w.mu.Lock()
	w.houses++
	address := fmt.Sprintf("203.0.113.%d", w.houses)
	w.mu.Unlock()
	w.publish(domain, address)
	return w.open(w.T, domain, address, o)
}

// Reopen opens a house again that was stopped.
func (h *House) Reopen(o Options) *House {
	h.t.Helper()
	return h.World.open(h.t, h.Domain, h.Address, o)
}

// prepare adds the domain before the doors open, as setup does.
func prepare(t testing.TB, domain string, o server.Options) {
	t.Helper()
	o.Offline = true
	s, err := server.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := addDomain(t, s, domain); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// addDomain does what Admin.AddDomain does, with keys that are made once for all houses: an RSA key takes
// a good part of a second.
func addDomain(t testing.TB, s *server.Server, domain string) error {
	_, err := s.Directory.AddDomain(t.Context(), domain)
	if errors.Is(err, directory.ErrExists) {
		return nil
	}
	for name, private := range signers() {
		if err == nil {
			err = s.Directory.ImportSigningKey(t.Context(), domain, name, private)
		}
	}
	return err
}

var signers = sync.OnceValue(func() map[string]crypto.Signer {
	_, ed, err1 := ed25519.GenerateKey(rand.Reader)
	rs, err2 := rsa.GenerateKey(rand.Reader, 2048)
	if err1 != nil || err2 != nil {
		return nil
	}
	return map[string]crypto.Signer{"ed": ed, "rsa": rs}
})

// open opens and runs a house.
func (w *World) open(t testing.TB, domain, address string, o Options) *House {
	t.Helper()
	h := &House{World: w, Domain: domain, Address: address, t: t, log: &journal{}}
	c := configuration(t, domain, o.Data)
	if o.Edit != nil {
		o.Edit(&c)
	}
	if o.DB == nil {
		o.DB = memkv.New()
	}
	so := server.Options{
		Config: c, Clock: w.Clock, DB: o.DB, Resolver: w.DNS, Dialer: w, Version: "test",
		Logger: slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	prepare(t, domain, so)
	s, err := server.Open(t.Context(), so)
	if err != nil {
		t.Fatal(err)
	}
	h.Server = s
	if h.firstCA, err = os.ReadFile(s.Certs.CAFile()); err != nil {
		t.Fatal(err)
	}
	h.run(o)
	w.connect(address, func() string { return s.Addr("smtp").String() })
	return h
}

// configuration is the default one, but for what would need time: the cost of passwords, pauses
// that the test's clock would have to grant, and limits per address, as everybody has the same.
func configuration(t testing.TB, domain, dir string) config.Config {
	t.Helper()
	if dir == "" {
		dir = Folder(t)
	}
	free := []string{"127.0.0.1:0"}
	c := config.Default()
	c.Hostname, c.Data = "mx."+domain, dir
	c.Listen = config.Listen{SMTP: free, Submission: free, Submissions: free, IMAP: free, IMAPS: free,
		POP3: free, POP3S: free}
	c.Certs = config.Certs{Source: config.CertsSelfMade, Names: []string{"localhost"}}
	auth := &c.Limits.Auth
	auth.ArgonMemoryKiB, auth.ArgonTime, auth.SCRAMRounds, auth.Tarpit = 64, 1, 4096, 0
	c.Limits.SMTP.ErrorsDelay = 0
	c.Limits.Conn.PerIP, c.Limits.Conn.NewPerMinute = 0, 0
	return c
}

// Folder makes a folder for the data of a house, whose name is short: a socket's path may have a
// hundred bytes.
func Folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// run lets the doors accept until the end of the test or of the house.
func (h *House) run(o Options) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	select {
	case <-h.Ready():
	case err := <-ended:
		h.t.Fatalf("the house ended before it was ready: %v", err)
	}
	h.end = sync.OnceFunc(func() {
		cancel()
		if err := h.drained(ended); err != nil {
			h.t.Errorf("%s ended with %v", h.Domain, err)
		}
		if !o.Crashed {
			h.check()
		}
		if err := h.Close(); err != nil {
			h.t.Errorf("close %s: %v", h.Domain, err)
		}
		if h.t.Failed() {
			h.t.Logf("%s said:\n%s", h.Domain, h.log)
		}
	})
	h.t.Cleanup(h.end)
}

// drained waits for the end of a house. Sessions that run get their time, which the test's clock
// grants.
func (h *House) drained(ended <-chan error) error {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-again.C:
			h.World.Clock.Advance(100 * time.Millisecond)
		}
	}
}

// check verifies everything that is stored.
func (h *House) check() {
	err := h.Admin.Check(context.Background(), true, func(admin.Progress) {}, func(f admin.Finding) {
		h.t.Errorf("check of %s: %+v", h.Domain, f)
	})
	if err != nil {
		h.t.Errorf("check %s: %v", h.Domain, err)
	}
}

// Stop ends the house before the test does.
func (h *House) Stop() { h.end() }

// Queued is what waits for delivery.
func (h *House) Queued() []admin.QueueItem {
	h.t.Helper()
	l, err := h.Admin.QueueList(h.t.Context(), admin.QueueFilter{Limit: 1000})
	if err != nil {
		h.t.Fatal(err)
	}
	return l.Items
}

// Emptied waits until nothing waits for delivery.
func (h *House) Emptied() {
	h.t.Helper()
	h.World.Until("the queue of "+h.Domain+" is empty", func() bool { return len(h.Queued()) == 0 })
}

// Settle waits until nothing in the queue is due. Little time passes meanwhile.
func (h *House) Settle() {
	h.t.Helper()
	h.World.until("the queue of "+h.Domain+" is at rest", 10*time.Millisecond, func() bool {
		for _, item := range h.Queued() {
			if item.State != "waiting" || !item.Next.After(h.World.Clock.Now()) {
				return false
			}
		}
		return true
	})
}

// Alias makes an address lead elsewhere; "@domain" catches what is left.
func (h *House) Alias(address string, targets ...string) {
	h.t.Helper()
	if err := h.Admin.AddAlias(h.t.Context(), admin.Alias{Address: address, Targets: targets}); err != nil {
		h.t.Fatal(err)
	}
}

// tlsConfig is what a client of this house trusts. The client has a clock of its own, which does not
// jump with the world's: a certificate is looked at as of an hour after it was made.
//
// The authority may be renewed at any moment: whichever was there when the house began, or is there
// when a certificate is shown, is trusted.
func (h *House) tlsConfig() *tls.Config {
	return &tls.Config{
		ServerName: "localhost", InsecureSkipVerify: true, // VerifyConnection does
		VerifyConnection: func(s tls.ConnectionState) error {
			pem, err := os.ReadFile(h.Certs.CAFile())
			if err != nil {
				return err
			}
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(h.firstCA)
			roots.AppendCertsFromPEM(pem)
			leaf := s.PeerCertificates[0]
			_, err = leaf.Verify(x509.VerifyOptions{
				Roots: roots, DNSName: s.ServerName, CurrentTime: leaf.NotBefore.Add(time.Hour),
			})
			return err
		},
	}
}

// TLS is the same for a client that a test brings along.
func (h *House) TLS() *tls.Config { return h.tlsConfig() }

// Said reports how many lines of the house's log contain text.
func (h *House) Said(text string) int { return strings.Count(h.log.String(), text) }

// journal keeps a log.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// journalMost bounds what is kept: a failed test shows it.
const journalMost = 1 << 20

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.b.Len() < journalMost {
		j.b.Write(p)
	}
	return len(p), nil
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}
