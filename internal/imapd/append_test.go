package imapd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"tram/internal/imap"
	"tram/internal/store"
)

func (h *house) messages(mailbox string) int {
	h.t.Helper()
	n := 0
	err := h.account().View(h.t.Context(), func(tx *store.Tx) error {
		m, err := tx.MailboxByName(mailbox)
		if err == nil {
			n = int(m.Messages)
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// TestAppendCutAtEveryByte is reliability.md P4's "also inside an IMAP literal": a connection that
// ends before the command's last byte stores nothing.
func TestAppendCutAtEveryByte(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	first, second := mail(1), mail(2)
	command := fmt.Sprintf("a APPEND INBOX (\\Seen) {%d+}\r\n%s {%d+}\r\n%s\r\n",
		len(first), first, len(second), second)
	for cut := 1; cut < len(command); cut += 3 {
		w := h.dialRaw(h.clear)
		w.say(t, "x LOGIN %s %s", testUser, testPassword)
		w.want(t, "x OK")
		if _, err := io.WriteString(w, command[:cut]); err != nil {
			t.Fatal(err)
		}
		if err := w.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got := w.wantEnd(t); strings.Contains(got, "a OK") {
			t.Fatalf("cut at %d: %q", cut, got)
		}
	}
	if n := h.messages("INBOX"); n != 0 {
		t.Errorf("%d messages are stored", n)
	}
}

func TestAppendOverQuota(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	h.fill("INBOX", 1, 2)
	id := store.AccountID(h.alice.ID)
	if err := h.store.SetQuota(t.Context(), id, store.Quota{Bytes: 2048, Messages: 3}); err != nil {
		t.Fatal(err)
	}
	w := h.loggedIn()
	w.say(t, "a APPEND INBOX {4000}") // refused before it is asked for
	w.want(t, "a NO [OVERQUOTA]")
	c := h.client()
	r := do(t, c, "GETQUOTAROOT INBOX").Data
	if got := fmt.Sprint(r[1].Values[1].List); got != fmt.Sprint([]imap.Value{
		{Text: "STORAGE"}, {Text: "1"}, {Text: "2"}, {Text: "MESSAGE"}, {Text: "2"}, {Text: "3"}}) {
		t.Errorf("quota: %v", got)
	}
	_, err := c.Do("APPEND INBOX ", []byte(mail(3)), " ", []byte(mail(4)))
	status, ok := err.(*imap.StatusError)
	if !ok || status.Code != "OVERQUOTA" {
		t.Errorf("two into room for one: %v", err)
	}
	do(t, c, "APPEND INBOX ", []byte(mail(3)))
	do(t, c, "SELECT INBOX")
	if _, err := c.Do("COPY 1 INBOX"); !errors.As(err, &status) || status.Code != "OVERQUOTA" {
		t.Errorf("copy over quota: %v", err)
	}
	do(t, c, "MOVE 1 Trash")
	if n := h.messages("INBOX"); n != 2 {
		t.Errorf("%d messages", n)
	}
}

// TestAppendBinary is RFC 3516 §4.4: NUL bytes come in a literal8 and leave in BINARY; BODY has
// them in base64, as BODYSTRUCTURE says.
func TestAppendBinary(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	data := bytes.Repeat([]byte("a\x00b\xff\r\n\n\r"), 5000)
	message := "Subject: binary\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n" +
		"Content-Transfer-Encoding: binary\r\n\r\n--x\r\n\r\ntext\r\n--x\r\n" +
		"Content-Type: application/octet-stream\r\ncontent-transfer-encoding: binary\r\nX-After: y\r\n\r\n" +
		string(data) + "\r\n--x--\r\n"
	w := h.loggedIn()
	w.say(t, "a APPEND INBOX ~{%d+}\r\n%s", len(message), message)
	w.want(t, "a OK")
	w.say(t, "b APPEND INBOX ~{%d+}\r\n%s", 17, "Subject: a\r\n\r\nx\x00y")
	w.want(t, "b NO [UNKNOWN-CTE]")
	c := h.client()
	do(t, c, "SELECT INBOX")
	f := do(t, c, "FETCH 1 (BODY.PEEK[] BODY.PEEK[2] BINARY.PEEK[2] BINARY.SIZE[2] BODYSTRUCTURE)").Data[0].Fetch
	if got := f.Bodies["BINARY[2]"]; got != string(data) {
		t.Errorf("BINARY[2]: %d bytes, want %d", len(got), len(data))
	}
	if f.Bodies["BINARY.SIZE[2]"] != fmt.Sprint(len(data)) {
		t.Errorf("BINARY.SIZE[2]: %s", f.Bodies["BINARY.SIZE[2]"])
	}
	whole := f.Bodies["BODY[]"]
	if strings.ContainsRune(whole, 0) || !strings.Contains(whole, "X-After: y\r\n") ||
		!strings.Contains(whole, "Content-Transfer-Encoding: base64\r\n") {
		t.Errorf("BODY[]: %.400q", whole)
	}
	for _, line := range strings.Split(f.Bodies["BODY[2]"], "\r\n") {
		if len(line) > 76 {
			t.Errorf("a line of %d characters", len(line))
		}
	}
	if got := f.Values["BODYSTRUCTURE"].At(1).At(5).Str(); !strings.EqualFold(got, "base64") {
		t.Errorf("encoding %q", got)
	}
}
