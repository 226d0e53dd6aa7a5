package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"tram/internal/clock"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// selfMade is a manager with a certificate of its own making, and a pool that trusts it.
func selfMade(t *testing.T, c clock.Clock, names ...string) (*Manager, *x509.CertPool) {
	t.Helper()
	m, err := New(Options{Clock: c, SelfMade: &SelfMade{Dir: t.TempDir(), Names: names}})
	if err != nil {
		t.Fatal(err)
	}
	return m, pool(t, m.CAFile())
}

func pool(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in", file)
	}
	return roots
}

// shake does a handshake and one byte, and returns both ends' states.
func shake(t *testing.T, server, client *tls.Config) (s, c tls.ConnectionState, err error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	conn := tls.Server(a, server)
	go func() {
		err := conn.Handshake()
		if err == nil {
			_, err = conn.Write([]byte("x")) // carries the tickets
		} else {
			a.Close()
		}
		done <- err
	}()
	peer := tls.Client(b, client)
	err = peer.Handshake()
	if err == nil {
		_, err = peer.Read(make([]byte, 1))
	}
	b.Close()
	if serverErr := <-done; err == nil {
		err = serverErr
	}
	return conn.ConnectionState(), peer.ConnectionState(), err
}

func at(c clock.Clock) func() time.Time { return c.Now }

// alert is the alert that the peer sent, "" for none.
func alert(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return strings.TrimPrefix(op.Err.Error(), "tls: ")
	}
	return ""
}

// TestALPN proves that no listener talks to another protocol's client (P17, RFC 7301 §3.2).
func TestALPN(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(noon)
	m, roots := selfMade(t, now, "mail.test")
	const no = "no application protocol"
	for _, tt := range []struct {
		protocol string
		offers   []string
		chosen   string
		alert    string
	}{
		{IMAP, nil, "", ""}, {IMAP, []string{"imap"}, "imap", ""}, {IMAP, []string{"h2", "imap"}, "imap", ""},
		{IMAP, []string{"h2"}, "", no}, {IMAP, []string{"http/1.1"}, "", no}, {IMAP, []string{"pop3"}, "", no},
		{POP3, []string{"pop3"}, "pop3", ""}, {POP3, []string{"imap"}, "", no},
		{ManageSieve, []string{"managesieve"}, "managesieve", ""}, {ManageSieve, []string{"h2"}, "", no},
		{SMTP, nil, "", ""}, {SMTP, []string{"h2"}, "", no}, {SMTP, []string{"http/1.1"}, "", no},
		{SMTP, []string{"imap"}, "", no}, {SMTP, []string{"smtp"}, "", ""}, {SMTP, []string{"smtp", "H2"}, "", no},
		{"", []string{"h2"}, "", no}, {"", nil, "", ""},
		{Submission, nil, "", ""}, {Submission, []string{"h2", "http/1.1"}, "", no},
		{HTTPS, []string{"h2"}, "h2", ""}, {HTTPS, []string{"http/1.1"}, "http/1.1", ""},
		{HTTPS, []string{"imap"}, "", no}, {HTTPS, []string{"acme-tls/1"}, "", no},
	} {
		_, c, err := shake(t, m.TLSConfig(tt.protocol), &tls.Config{
			RootCAs: roots, ServerName: "mail.test", Time: at(now), NextProtos: tt.offers,
		})
		if alert(err) != tt.alert || (err == nil) != (tt.alert == "") || c.NegotiatedProtocol != tt.chosen {
			t.Errorf("%q offered %q: chose %q, %v", tt.protocol, tt.offers, c.NegotiatedProtocol, err)
		}
	}
}

func TestVersionsSuitesAndGroups(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(noon)
	m, roots := selfMade(t, now, "mail.test")
	for _, protocol := range []string{SMTP, Submission, IMAP, HTTPS} {
		client := func() *tls.Config {
			return &tls.Config{RootCAs: roots, ServerName: "mail.test", Time: at(now)}
		}
		_, c, err := shake(t, m.TLSConfig(protocol), client())
		if err != nil || c.Version != tls.VersionTLS13 || c.CurveID != tls.X25519MLKEM768 {
			t.Errorf("%s: TLS %x with group %v, %v", protocol, c.Version, c.CurveID, err)
		}
		for _, group := range []tls.CurveID{tls.X25519, tls.CurveP256} {
			cfg := client()
			cfg.CurvePreferences = []tls.CurveID{group}
			if _, c, err := shake(t, m.TLSConfig(protocol), cfg); err != nil || c.CurveID != group {
				t.Errorf("%s: group %v: %v", protocol, group, err)
			}
		}
		cfg := client()
		cfg.CurvePreferences = []tls.CurveID{tls.CurveP521}
		if _, _, err := shake(t, m.TLSConfig(protocol), cfg); err == nil {
			t.Errorf("%s: takes P-521", protocol)
		}
		cfg = client()
		cfg.MaxVersion = tls.VersionTLS12
		if _, c, err := shake(t, m.TLSConfig(protocol), cfg); err != nil || c.Version != tls.VersionTLS12 {
			t.Errorf("%s: TLS 1.2: %v", protocol, err)
		}
		for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			if suite.SupportedVersions[0] == tls.VersionTLS13 || !strings.Contains(suite.Name, "ECDSA") {
				continue
			}
			cfg := client()
			cfg.MaxVersion, cfg.CipherSuites = tls.VersionTLS12, []uint16{suite.ID}
			_, _, err := shake(t, m.TLSConfig(protocol), cfg)
			good := strings.Contains(suite.Name, "GCM") || strings.Contains(suite.Name, "CHACHA20")
			if (err == nil) != good {
				t.Errorf("%s: %s: %v", protocol, suite.Name, err)
			}
		}
		cfg = client()
		cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		if _, _, err := shake(t, m.TLSConfig(protocol), cfg); alert(err) != "protocol version not supported" {
			t.Errorf("%s: TLS 1.1: %v", protocol, err)
		}
	}
}

// TestServerName proves who is shown which certificate, RFC 6066 §3.
func TestServerName(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(noon)
	dir := t.TempDir()
	files := []Pair{
		writePair(t, now, dir, "one", "one.test", "www.one.test"),
		writePair(t, now, dir, "two", "two.test", "*.two.test"),
	}
	m, err := New(Options{Clock: now, Files: files, Default: "two.test",
		SelfMade: &SelfMade{Dir: dir, Names: []string{"self.test", "one.test", "127.0.0.1"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		protocol, host, shown string // shown is the first name of the certificate
	}{
		{IMAP, "one.test", "one.test"}, {IMAP, "WWW.one.test", "one.test"}, {IMAP, "two.test", "two.test"},
		{IMAP, "a.two.test", "two.test"}, {IMAP, "a.b.two.test", ""}, {IMAP, "self.test", "self.test"},
		{IMAP, "", "two.test"}, {IMAP, "three.test", ""}, {Submission, "three.test", ""},
		{HTTPS, "three.test", ""}, {POP3, "com", ""},
		{SMTP, "three.test", "two.test"}, {"", "three.test", "two.test"}, {SMTP, "one.test", "one.test"},
		{SMTP, "", "two.test"},
	} {
		s, c, err := shake(t, m.TLSConfig(tt.protocol), &tls.Config{
			ServerName: tt.host, InsecureSkipVerify: true, Time: at(now),
		})
		if tt.shown == "" {
			if alert(err) != "unrecognized name" {
				t.Errorf("%s for %q: %v", tt.protocol, tt.host, err)
			}
			continue
		}
		if err != nil || c.PeerCertificates[0].DNSNames[0] != tt.shown {
			t.Errorf("%s for %q: %v", tt.protocol, tt.host, err)
			continue
		}
		if leaf := m.ServerCertificate(&s); leaf == nil || !leaf.Equal(c.PeerCertificates[0]) {
			t.Errorf("%s for %q: another certificate is said to have been shown", tt.protocol, tt.host)
		}
	}
}

// TestTickets proves that port 25 gives none (golang/go#70232), that the others' keys live half a
// day and are taken for another, and that a cloned configuration has the same keys.
func TestTickets(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		now := clock.NewFake(noon)
		m, roots := selfMade(t, now, "mail.test")
		for protocol, resumes := range map[string]bool{
			SMTP: false, "": false, Submission: true, IMAP: true, HTTPS: true,
		} {
			server := m.TLSConfig(protocol)
			client := &tls.Config{RootCAs: roots, ServerName: "mail.test", Time: at(now),
				MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
			server.Time = at(now)
			again := func() bool {
				t.Helper()
				_, c, err := shake(t, server.Clone(), client)
				if err != nil {
					t.Fatal(err)
				}
				return c.DidResume
			}
			if again() {
				t.Errorf("%s: resumed from nothing", protocol)
			}
			if got := again(); got != resumes {
				t.Errorf("%s: resumed %v", protocol, got)
			}
			now.Advance(ticketLife)
			if got := again(); got != resumes {
				t.Errorf("%s: after the first key's time: resumed %v", protocol, got)
			}
			now.Advance(2 * ticketLife)
			if again() {
				t.Errorf("%s: a ticket of a day ago was taken", protocol)
			}
		}
	}
}

func TestTicketKeys(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(noon)
	k := &tickets{clock: now}
	first := k.keys()
	if now.Advance(ticketLife - 1); k.keys() != first || len(k.all) != 1 {
		t.Error("a key was changed before its time")
	}
	now.Advance(1)
	old := k.all[0]
	if k.keys() == first || len(k.all) != 2 || k.all[1] != old {
		t.Error("the key was not changed at its time, or the one before was lost")
	}
	now.Advance(ticketLife)
	if k.keys(); len(k.all) != 2 || k.all[0] == old || k.all[1] == old {
		t.Error("a key is taken for longer than a day")
	}
	now.Advance(100 * time.Hour)
	if k.keys(); len(k.all) != 1 {
		t.Error("old keys were kept through a quiet time")
	}
	now.Set(noon)
	if k.keys(); len(k.all) != 1 {
		t.Error("a clock that jumped back kept keys")
	}
}
