package imapd

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"tram/internal/imap"
	"tram/internal/limits"
	"tram/internal/store"
)

// TestCatenateLongPieces copies pieces that are longer than any buffer (RFC 4469), and checks them to
// the byte.
func TestCatenateLongPieces(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	raw := make([]byte, 600<<10)
	if _, err := rand.Read(raw); err != nil {
		t.Fatal(err)
	}
	long := base64.StdEncoding.EncodeToString(raw)
	var lines strings.Builder
	for i := 0; i < len(long); i += 76 {
		lines.WriteString(long[i:min(i+76, len(long))] + "\r\n")
	}
	head := "Subject: long\r\nContent-Type: text/plain\r\n\r\n"
	message := head + lines.String()
	c := h.client()
	do(t, c, "APPEND INBOX ", []byte(message))
	do(t, c, "APPEND INBOX CATENATE (TEXT ", []byte("X-First: 1\r\n"), ` URL "/INBOX/;UID=1" `+
		`URL "/INBOX/;UID=1/;SECTION=TEXT" URL "/INBOX/;UID=1/;SECTION=TEXT/;PARTIAL=70000.300001")`)
	do(t, c, "SELECT INBOX")
	got := do(t, c, "FETCH 2 BODY.PEEK[]").Data[0].Fetch.Bodies["BODY[]"]
	want := "X-First: 1\r\n" + message + lines.String() + lines.String()[70000:370001]
	if got != want {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}

// TestCatenateLimits makes messages that are too long, of too many parts, or too many for the quota,
// without sending their bytes.
func TestCatenateLimits(t *testing.T) {
	t.Parallel()
	h := build(t, options{limits: func(l *limits.IMAP) {
		l.AppendSize, l.AppendParts, l.AppendSum, l.AppendMessages = 2000, 5, 3000, 3
	}})
	c := h.client()
	first := mail(1) + strings.Repeat("x", 900-len(mail(1)))
	do(t, c, "APPEND INBOX ", []byte(first))
	const url = ` URL "/INBOX/;UID=1"`
	refused := func(code string, parts ...any) {
		t.Helper()
		var status *imap.StatusError
		if _, err := c.Do(parts...); !errors.As(err, &status) || status.Code != code {
			t.Errorf("%v: %v, want %s", parts[0], err, code)
		}
	}
	refused("TOOBIG", "APPEND INBOX CATENATE ("+strings.Repeat(url, 3)[1:]+")")
	refused("TOOBIG", "APPEND INBOX CATENATE ("+strings.Repeat(url, 2)[1:]+" TEXT ", []byte(strings.Repeat("y", 201)), ")")
	refused("LIMIT", "APPEND INBOX CATENATE ("+strings.Repeat(` URL "/INBOX/;UID=1/;PARTIAL=0.1"`, 6)[1:]+")")
	two := " CATENATE (" + strings.Repeat(url, 2)[1:] + ")"
	refused("LIMIT", "APPEND INBOX"+two+two)
	small := ` CATENATE (URL "/INBOX/;UID=1/;PARTIAL=0.20")`
	refused("MESSAGELIMIT", "APPEND INBOX"+strings.Repeat(small, 4)) // RFC 9738: SAVELIMIT
	do(t, c, "APPEND INBOX"+strings.Repeat(small, 3))
	id := store.AccountID(h.alice.ID)
	if err := h.store.SetQuota(t.Context(), id, store.Quota{Bytes: 2500}); err != nil {
		t.Fatal(err)
	}
	refused("OVERQUOTA", "APPEND INBOX"+two)
	do(t, c, "APPEND INBOX CATENATE ("+url[1:]+")")
	if n := h.messages("INBOX"); n != 5 {
		t.Errorf("%d messages", n)
	}
	if !c.Has("SAVELIMIT=3") {
		t.Error("SAVELIMIT is not told")
	}
}

// TestCatenateElsewhere is RFC 4469 §7: a URL reaches no account but the client's own.
func TestCatenateElsewhere(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	h.person("bob@example.test")
	h.fill("INBOX", 1, 1)
	w := h.dialRaw(h.tls)
	w.say(t, "x LOGIN bob@example.test %s", testPassword)
	w.want(t, "x OK")
	for i, url := range []string{
		"/INBOX/;UID=1", "imap://alice@example.test@localhost/INBOX/;UID=1", "//alice@localhost/INBOX/;UID=1",
		"/../alice@example.test/INBOX/;UID=1",
	} {
		w.say(t, "a%d APPEND INBOX CATENATE (URL \"%s\")", i, url)
		w.want(t, fmt.Sprintf("a%d NO [BADURL ", i))
	}
}

// TestCatenateDamaged: wrong bytes do not get into a new message, which would vouch for them.
func TestCatenateDamaged(t *testing.T) {
	t.Parallel()
	h := build(t, options{errors: true})
	c := h.client()
	long, _ := bigMail(1 << 20)
	for i, message := range []string{mail(1), long} {
		do(t, c, "APPEND INBOX ", []byte(message))
		h.damage()
		for _, part := range []string{"", "/;SECTION=TEXT"} {
			url := fmt.Sprintf("/INBOX/;UID=%d%s", i+1, part)
			var status *imap.StatusError
			if _, err := c.Do(`APPEND INBOX CATENATE (URL "` + url + `")`); !errors.As(err, &status) ||
				status.Code != "CORRUPTION" {
				t.Errorf("%s: %v", url, err)
			}
		}
	}
	if n := h.messages("INBOX"); n != 2 {
		t.Errorf("%d messages", n)
	}
}

// TestCatenateBinary combines CATENATE and REPLACE with the literal8 of BINARY (RFC 3516 §4.4): NUL bytes
// are kept where a part says that it is binary, and refused elsewhere.
func TestCatenateBinary(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	h.fill("INBOX", 1, 1)
	w := h.loggedIn()
	w.say(t, "a SELECT INBOX")
	w.want(t, "a OK")
	head := "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
	w.say(t, "b UID REPLACE 1 INBOX CATENATE (TEXT {%d+}\r\n%s TEXT ~{5+}\r\na\x00b\x00c)", len(head), head)
	w.want(t, "* OK [APPENDUID ")
	w.want(t, "b OK")
	w.say(t, "c UID FETCH 2 BINARY.PEEK[1]")
	if got := w.want(t, "* 1 FETCH"); got != "* 1 FETCH (UID 2 BINARY[1] ~{5}" {
		t.Errorf("the part: %q", got)
	}
	if got := w.want(t, "a"); got != "a\x00b\x00c)" {
		t.Errorf("the part: %q", got)
	}
	w.want(t, "c OK")
	w.say(t, "d UID REPLACE 2 INBOX CATENATE (TEXT ~{9+}\r\nA: b\r\n\r\n\x00)")
	w.want(t, "d NO [UNKNOWN-CTE]")
	w.say(t, "e UID REPLACE 2 INBOX ~{9+}\r\nA: b\r\n\r\nc")
	w.want(t, "* OK [APPENDUID ")
	w.want(t, "e OK")
	if n := h.messages("INBOX"); n != 1 {
		t.Errorf("%d messages", n)
	}
}
