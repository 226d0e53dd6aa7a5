package imapd

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"tram/internal/imap"
	"tram/internal/kv"
)

// damage flips a byte in the last body that was stored.
func (h *house) damage() {
	h.t.Helper()
	err := h.db.Update(context.Background(), "test", func(txn kv.Txn) error {
		var key, value []byte
		r := kv.Prefix([]byte("bc")) // see blob/layout.go
		r.Reverse, r.Limit = true, 1
		err := txn.Scan(r, func(k, v []byte) error {
			key, value = bytes.Clone(k), bytes.Clone(v)
			return nil
		})
		if err != nil {
			return err
		}
		value[len(value)/2] ^= 1
		return txn.Set(key, value)
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// TestDamagedBody: a body that is not what was stored costs its message and no other, and wrong
// bytes are never sent.
func TestDamagedBody(t *testing.T) {
	t.Parallel()
	h := build(t, options{errors: true})
	c := h.client()
	for i := range 3 {
		do(t, c, "APPEND INBOX ", []byte(mail(i)))
	}
	h.damage()
	do(t, c, "SELECT INBOX")
	r, err := c.Do("FETCH 1:3 (UID BODY.PEEK[])")
	var status *imap.StatusError
	if !errors.As(err, &status) || status.Code != "CORRUPTION" {
		t.Fatalf("%v", err)
	}
	if len(r.Data) != 2 {
		t.Errorf("%d messages, want the two that are whole", len(r.Data))
	}
	for _, d := range r.Data {
		if d.Fetch.Bodies["BODY[]"] != mail(int(d.Fetch.UID)-1) {
			t.Errorf("message %d is altered", d.Fetch.UID)
		}
	}
	do(t, c, "FETCH 1:3 (FLAGS ENVELOPE)")
	do(t, c, "STORE 1:3 +FLAGS (\\Deleted)")
	do(t, c, "EXPUNGE")
}

// TestDamagedLongBody: a literal that was announced and cannot be completed ends the connection.
func TestDamagedLongBody(t *testing.T) {
	t.Parallel()
	h := build(t, options{errors: true})
	whole, _ := bigMail(1 << 20)
	c := h.client()
	do(t, c, "APPEND INBOX ", []byte(whole))
	h.damage()
	w := h.loggedIn()
	w.say(t, "a SELECT INBOX\r\nb FETCH 1 BODY.PEEK[]")
	if got := w.wantEnd(t); strings.Contains(got, "b OK") || len(got) > len(whole) {
		t.Errorf("%d bytes of %d, ending in %q", len(got), len(whole), got[max(0, len(got)-40):])
	}
}

// TestFullDisk is reliability.md D7 for IMAP: nothing comes in, everything can be read, flagged as
// deleted and removed.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	h := build(t, options{errors: true})
	h.fill("INBOX", 1, 3)
	c := h.client()
	do(t, c, "SELECT INBOX")
	h.db.SetFull(true)
	var status *imap.StatusError
	if _, err := c.Do("APPEND INBOX ", []byte(mail(9))); !errors.As(err, &status) ||
		status.Code != "UNAVAILABLE" {
		t.Errorf("APPEND on a full disk: %v", err)
	}
	if _, err := c.Do("CREATE x"); !errors.As(err, &status) || status.Code != "UNAVAILABLE" {
		t.Errorf("CREATE on a full disk: %v", err)
	}
	do(t, c, "FETCH 1:* BODY[]")
	do(t, c, "STORE 1 +FLAGS (\\Deleted)")
	do(t, c, "EXPUNGE")
	do(t, c, "MOVE 1 Trash")
	h.db.SetFull(false)
	do(t, c, "APPEND INBOX ", []byte(mail(9)))
}
