package imapd

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"tram/internal/conn/conntest"
	"tram/internal/limits"
)

// dialRaw connects to an address, under TLS if it is the TLS listener's, and reads the greeting.
func (h *house) dialRaw(addr string) *wire {
	h.t.Helper()
	var nc net.Conn
	var err error
	if addr == h.tls {
		_, cfg := conntest.TLS()
		nc, err = tls.Dial("tcp", addr, cfg)
	} else {
		nc, err = net.Dial("tcp", addr)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	w := h.wire(nc)
	w.want(h.t, "* OK [CAPABILITY ")
	return w
}

func (h *house) wire(nc net.Conn) *wire {
	h.t.Helper()
	h.t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		h.t.Fatal(err)
	}
	return &wire{Conn: nc, r: bufio.NewReader(nc)}
}

// loggedIn is dialRaw over TLS with log-in.
func (h *house) loggedIn() *wire {
	h.t.Helper()
	w := h.dialRaw(h.tls)
	w.say(h.t, "x LOGIN %s %s", testUser, testPassword)
	w.want(h.t, "x OK")
	return w
}

func (w *wire) say(t testing.TB, format string, args ...any) {
	t.Helper()
	if _, err := fmt.Fprintf(w, format+"\r\n", args...); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// want reads lines until one begins with prefix, and returns it.
func (w *wire) want(t testing.TB, prefix string) string {
	t.Helper()
	var seen []string
	for {
		line, err := w.r.ReadString('\n')
		if err != nil {
			t.Fatalf("want %q, got %q and %v", prefix, seen, err)
		}
		if strings.HasPrefix(line, prefix) {
			return strings.TrimRight(line, "\r\n")
		}
		seen = append(seen, line)
	}
}

// wantEnd reads up to the end of the connection and returns what came.
func (w *wire) wantEnd(t testing.TB) string {
	t.Helper()
	b, err := io.ReadAll(w.r)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		t.Fatalf("after %q: %v", b, err)
	}
	return string(b)
}

// TestNoLoginInTheClear is reliability.md A15.
func TestNoLoginInTheClear(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	w := h.dialRaw(h.clear)
	w.say(t, "a CAPABILITY")
	caps := w.want(t, "* CAPABILITY")
	if !strings.Contains(caps, " LOGINDISABLED") || !strings.Contains(caps, " STARTTLS") ||
		strings.Contains(caps, "AUTH=") {
		t.Errorf("capabilities in the clear: %s", caps)
	}
	// The secret is refused before it is asked for.
	w.say(t, "b LOGIN %s {%d}", testUser, len(testPassword))
	w.want(t, "b NO [PRIVACYREQUIRED]")
	w.say(t, "c AUTHENTICATE PLAIN")
	w.want(t, "c NO [PRIVACYREQUIRED]")
	w.say(t, "d AUTHENTICATE CRAM-MD5")
	w.want(t, "d NO ")
}

func TestStartTLS(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	w := h.dialRaw(h.clear)
	w.say(t, "a STARTTLS")
	w.want(t, "a OK")
	_, cfg := conntest.TLS()
	secure := tls.Client(w.Conn, cfg)
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	w = h.wire(secure)
	w.say(t, "b CAPABILITY")
	caps := w.want(t, "* CAPABILITY")
	if strings.Contains(caps, "LOGINDISABLED") || strings.Contains(caps, "STARTTLS") ||
		!strings.Contains(caps, " AUTH=PLAIN") || !strings.Contains(caps, "SCRAM-SHA-256-PLUS") {
		t.Errorf("capabilities under TLS: %s", caps)
	}
	w.say(t, "c STARTTLS")
	w.want(t, "c BAD")
	w.say(t, "d LOGIN %s %s", testUser, testPassword)
	w.want(t, "d OK")
}

// TestStartTLSInjection is reliability.md P2: what comes in the segment of STARTTLS is not executed.
func TestStartTLSInjection(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	w := h.dialRaw(h.clear)
	w.say(t, "a STARTTLS\r\nb LOGIN %s %s\r\nc NOOP", testUser, testPassword)
	if got := w.wantEnd(t); strings.Contains(got, "a OK") || strings.Contains(got, "b ") {
		t.Errorf("after injection: %q", got)
	}
}

func TestAuthenticatePlain(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	secret := base64.StdEncoding.EncodeToString([]byte("\x00" + testUser + "\x00" + testPassword))
	w := h.dialRaw(h.tls)
	w.say(t, "a AUTHENTICATE PLAIN")
	w.want(t, "+ ")
	w.say(t, "*")
	w.want(t, "a BAD Authentication was cancelled")
	w.say(t, "b AUTHENTICATE PLAIN")
	w.want(t, "+ ")
	w.say(t, "!!")
	w.want(t, "b BAD Invalid base64")
	w.say(t, "c AUTHENTICATE PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00x\x00y")))
	w.want(t, "c NO [AUTHENTICATIONFAILED] Invalid user name or password")
	// RFC 4959: the initial response
	w.say(t, "d authenticate plain %s", secret)
	w.want(t, "d OK [CAPABILITY ")
	w.say(t, "e AUTHENTICATE PLAIN %s", secret)
	w.want(t, "e BAD Already logged in")

	w = h.dialRaw(h.tls)
	w.say(t, "a AUTHENTICATE PLAIN")
	w.want(t, "+ ")
	w.say(t, "%s", secret)
	w.want(t, "a OK")
}

func TestAuthenticateSCRAM(t *testing.T) {
	t.Parallel()
	for mechanism, hash := range map[string]scram.HashGeneratorFcn{
		"SCRAM-SHA-256": scram.SHA256, "SCRAM-SHA-1": scram.SHA1,
	} {
		t.Run(mechanism, func(t *testing.T) { authenticateSCRAM(t, mechanism, hash) })
	}
}

func authenticateSCRAM(t *testing.T, mechanism string, hash scram.HashGeneratorFcn) {
	t.Parallel()
	h := build(t, options{})
	client, err := hash.NewClient(testUser, testPassword, "")
	if err != nil {
		t.Fatal(err)
	}
	conversation := client.NewConversation()
	first, err := conversation.Step("")
	if err != nil {
		t.Fatal(err)
	}
	w := h.dialRaw(h.tls)
	w.say(t, "a AUTHENTICATE %s %s", mechanism, base64.StdEncoding.EncodeToString([]byte(first)))
	for !conversation.Done() {
		line := w.want(t, "+ ")
		challenge, err := base64.StdEncoding.DecodeString(line[2:])
		if err != nil {
			t.Fatal(err)
		}
		answer, err := conversation.Step(string(challenge))
		if err != nil {
			t.Fatal(err)
		}
		w.say(t, "%s", base64.StdEncoding.EncodeToString([]byte(answer)))
	}
	w.want(t, "a OK")
	if !conversation.Valid() {
		t.Error("the server did not prove itself")
	}
}

func TestSessionsOfOneAccountAreBounded(t *testing.T) {
	t.Parallel()
	h := build(t, options{conn: limits.Conn{PerUser: 2}})
	a, b := h.loggedIn(), h.loggedIn()
	w := h.dialRaw(h.tls)
	w.say(t, "x LOGIN %s %s", testUser, testPassword)
	w.want(t, "x NO [LIMIT]")
	b.say(t, "y LOGOUT")
	b.wantEnd(t)
	w.say(t, "z LOGIN %s %s", testUser, testPassword)
	w.want(t, "z OK")
	a.say(t, "a NOOP")
	a.want(t, "a OK")
}

// TestRevoked is reliability.md A7: sessions of an account that was disabled end, idle or not.
func TestRevoked(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	waiting, idle := h.loggedIn(), h.loggedIn()
	idle.say(t, "a IDLE")
	idle.want(t, "+ ")
	if err := h.dir.SetDisabled(t.Context(), h.alice.ID, true); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*wire{waiting, idle} {
		w.want(t, "* BYE [AUTHORIZATIONFAILED] Log-in was revoked")
		if rest := w.wantEnd(t); rest != "" {
			t.Errorf("after BYE: %q", rest)
		}
	}
	w := h.dialRaw(h.tls)
	w.say(t, "a LOGIN %s %s", testUser, testPassword)
	w.want(t, "a NO [AUTHENTICATIONFAILED] Invalid user name or password")
}

func TestShutdownSaysBye(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	waiting, idle := h.loggedIn(), h.loggedIn()
	idle.say(t, "a IDLE")
	idle.want(t, "+ ")
	if err := h.conns.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*wire{waiting, idle} {
		w.want(t, "* BYE [UNAVAILABLE] Server is shutting down")
		w.wantEnd(t)
	}
}

func TestAutologout(t *testing.T) {
	t.Parallel()
	h := build(t, options{limits: func(l *limits.IMAP) {
		l.Idle, l.PreAuthIdle = 50*time.Millisecond, 10*time.Second
	}})
	w := h.loggedIn()
	w.want(t, "* BYE Autologout")
	w.wantEnd(t)
	h = build(t, options{limits: func(l *limits.IMAP) { l.PreAuthIdle = 50 * time.Millisecond }})
	w = h.dialRaw(h.clear)
	w.want(t, "* BYE Autologout")
	w.wantEnd(t)
}
