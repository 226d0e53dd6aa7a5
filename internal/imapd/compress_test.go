package imapd

import (
	"bufio"
	"compress/flate"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"tram/internal/limits"
)

// squeezed is a connection whose writes are compressed, each with a flush behind it.
type squeezed struct {
	net.Conn
	w *flate.Writer
}

func (s *squeezed) Write(p []byte) (int, error) {
	if n, err := s.w.Write(p); err != nil {
		return n, err
	}
	return len(p), s.w.Flush()
}

// compress turns compression on. The reader takes bytes one by one, so that what comes behind the end
// of the stream stays where it is.
func (w *wire) compress(t testing.TB) *wire {
	t.Helper()
	w.say(t, "z COMPRESS DEFLATE")
	w.want(t, "z OK DEFLATE active")
	fw, err := flate.NewWriter(w.Conn, 6)
	if err != nil {
		t.Fatal(err)
	}
	return &wire{Conn: &squeezed{w.Conn, fw}, r: bufio.NewReader(flate.NewReader(w.r))}
}

// TestCompress is RFC 4978 §3: offered after the log-in, once, and for one algorithm. That everything
// else works under it is for the transcripts to show, which run so too.
func TestCompress(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	w := h.dialRaw(h.tls)
	w.say(t, "a CAPABILITY")
	if caps := w.want(t, "* CAPABILITY"); strings.Contains(caps, "COMPRESS") {
		t.Errorf("offered before the log-in: %s", caps)
	}
	w.want(t, "a OK")
	w.say(t, "b COMPRESS DEFLATE")
	w.want(t, "b BAD Log in first")
	w.say(t, "c LOGIN %s %s", testUser, testPassword)
	if caps := w.want(t, "c OK"); !strings.Contains(caps, " COMPRESS=DEFLATE") {
		t.Errorf("not offered: %s", caps)
	}
	w.say(t, "d COMPRESS")
	w.want(t, "d BAD")
	w.say(t, "e COMPRESS ZSTD")
	w.want(t, "e BAD Unknown compression algorithm")
	z := w.compress(t)
	z.say(t, "f COMPRESS DEFLATE")
	z.want(t, "f NO [COMPRESSIONACTIVE] DEFLATE is active already")
	z.say(t, "g STARTTLS")
	z.want(t, "g BAD Already logged in")
	z.say(t, "h IDLE")
	z.want(t, "+ ")
	h.fill("INBOX", 1, 1) // nothing is selected
	z.say(t, "DONE")
	z.want(t, "h OK")
	z.say(t, "i LOGOUT")
	z.want(t, "* BYE")
	z.want(t, "i OK")
}

// TestCompressAfterStartTLS compresses what is encrypted, and tells of new mail in IDLE at once.
func TestCompressAfterStartTLS(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	z := h.loggedIn().compress(t)
	z.say(t, "a SELECT INBOX")
	for !strings.HasPrefix(z.want(t, ""), "a OK") {
	}
	z.say(t, "b IDLE")
	z.want(t, "+ ")
	h.fill("INBOX", 1, 1)
	z.want(t, "* 1 EXISTS")
	z.want(t, "* 1 RECENT")
	z.say(t, "DONE")
	z.want(t, "b OK")
	z.say(t, "c APPEND INBOX {%d+}\r\n%s", len(mail(2)), mail(2))
	z.want(t, "* 2 EXISTS")
	z.want(t, "* 2 RECENT")
	z.want(t, "c OK [APPENDUID")
	z.say(t, "d UID FETCH 2 BODY.PEEK[]")
	z.want(t, "* 2 FETCH")
	got := make([]byte, len(mail(2)))
	if _, err := io.ReadFull(z.r, got); err != nil || string(got) != mail(2) {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestCompressPartialFlush is a client that flushes as zlib's Z_PARTIAL_FLUSH does, which does not end
// on a byte: each command is answered before the next one is sent. The bytes are from zlib 1.2.13.
func TestCompressPartialFlush(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	w := h.loggedIn()
	z := w.compress(t)
	for _, step := range []struct{ send, want string }{
		{"4a54f0f3f70fe0e50208", "a OK NOOP completed"},
		{"a024280d10", "b OK NOOP completed"},
		{"40c90a3efeeefea121bc5c0001", "* BYE Logging out"},
	} {
		b, err := hex.DecodeString(step.send)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		z.want(t, step.want)
	}
}

// TestCompressBomb is reliability.md P9: what is short on the wire counts as long as it is inside.
func TestCompressBomb(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	z := h.loggedIn().compress(t)
	for range 64 { // the server hangs up before it has heard all of it
		if _, err := fmt.Fprint(z, strings.Repeat("a", 1<<20)); err != nil {
			break
		}
	}
	z.want(t, "* BYE [LIMIT] Command line too long")
	z = h.loggedIn().compress(t)
	if _, err := fmt.Fprintf(z, "a LIST \"\" {300000+}\r\n%s\r\n", strings.Repeat("a", 300_000)); err != nil {
		t.Fatal(err)
	}
	z.want(t, "a BAD [TOOBIG]")
	// Neither is a stream that is none kept up with.
	w := h.loggedIn()
	z = w.compress(t)
	w.say(t, "a NOOP")
	z.want(t, "* BYE [CLIENTBUG] Compressed data is malformed")
}

// TestUnauthenticateEndsCompression is RFC 8437 §4.1: the log-in that follows is on its way in the
// clear already, and is answered so.
func TestUnauthenticateEndsCompression(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	w := h.loggedIn()
	for range 3 {
		z := w.compress(t)
		z.say(t, "a NOOP")
		z.want(t, "a OK")
		z.say(t, "b UNAUTHENTICATE")
		w.say(t, "c LOGIN %s %s", testUser, testPassword)
		z.want(t, "b OK [CAPABILITY IMAP4rev2 IMAP4rev1 LITERAL- ")
		if rest, err := io.ReadAll(z.r); err != nil || len(rest) > 0 {
			t.Fatalf("in the stream behind its end: %q, %v", rest, err)
		}
		w.want(t, "c OK")
	}
	// What is compressed behind UNAUTHENTICATE belongs to nobody.
	z := w.compress(t)
	z.say(t, "d UNAUTHENTICATE\r\ne NOOP")
	z.want(t, "d OK")
	z.want(t, "* BYE [CLIENTBUG]")
	z.wantEnd(t)
}

// TestUnauthenticateLeaves proves that the account's sessions are counted without those that logged
// out, and that a revocation of theirs says nothing to who is somebody else now.
func TestUnauthenticateLeaves(t *testing.T) {
	t.Parallel()
	h := build(t, options{conn: limits.Conn{PerUser: 1}})
	h.person("bob@example.test")
	w := h.loggedIn()
	w.say(t, "a UNAUTHENTICATE")
	w.want(t, "a OK")
	other := h.loggedIn() // the one place is free
	w.say(t, "b LOGIN %s %s", testUser, testPassword)
	w.want(t, "b NO [LIMIT]")
	w.say(t, "c LOGIN bob@example.test %s", testPassword)
	w.want(t, "c OK")
	if err := h.dir.SetDisabled(t.Context(), h.alice.ID, true); err != nil {
		t.Fatal(err)
	}
	other.want(t, "* BYE [AUTHORIZATIONFAILED]")
	w.say(t, "d NOOP")
	w.want(t, "d OK")
}
