package popd

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"tram/internal/conn/conntest"
	"tram/internal/limits"
	"tram/internal/smtp"
	"tram/internal/store"
)

const (
	first  = "Subject: one\r\n\r\nHello.\r\n"
	second = "Subject: two\r\n\r\n.\r\n..dots\r\n.\r\nend\r\n"
	third  = "Subject: three\r\n\r\nline 1\r\nline 2\r\nline 3\r\n"
)

// TestSession is the dialogue of RFC 1939 §10 with what the RFC leaves open.
func TestSession(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	h.put(first, second, third)
	c := h.login()
	total := len(first) + len(second) + len(third)
	c.do("STAT", fmt.Sprintf("+OK 3 %d", total))
	if got := c.multi("LIST"); !slices.Equal(got, []string{
		fmt.Sprintf("1 %d", len(first)), fmt.Sprintf("2 %d", len(second)), fmt.Sprintf("3 %d", len(third)),
	}) {
		t.Errorf("LIST: %q", got)
	}
	c.do("LIST 2", fmt.Sprintf("+OK 2 %d", len(second)))
	for i, want := range []string{first, second, third} {
		got := strings.Join(c.multi(fmt.Sprintf("RETR %d", i+1)), "\r\n") + "\r\n"
		if got != want {
			t.Errorf("RETR %d: %q, want %q", i+1, got, want)
		}
	}
	c.do("DELE 1", "+OK")
	c.do("DELE 1", "-ERR No such message")
	c.do("RETR 1", "-ERR No such message")
	c.do("STAT", fmt.Sprintf("+OK 2 %d", total-len(first)))
	c.do("RSET", "+OK")
	c.do("STAT", fmt.Sprintf("+OK 3 %d", total))
	c.do("DELE 2", "+OK")
	if got := c.multi("UIDL"); len(got) != 2 {
		t.Errorf("UIDL after DELE: %q", got)
	}
	c.do("NOOP", "+OK")
	c.do("QUIT", "+OK Goodbye")
	c.closed()

	c = h.login()
	c.do("STAT", fmt.Sprintf("+OK 2 %d", len(first)+len(third)))
}

// TestTop cuts messages at every line.
func TestTop(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	h.put(third, "Subject: no body\r\n", second)
	c := h.login()
	for lines, want := range map[int]string{
		0: "Subject: three\r\n\r\n", 2: "Subject: three\r\n\r\nline 1\r\nline 2\r\n", 9: third,
	} {
		got := strings.Join(c.multi(fmt.Sprintf("TOP 1 %d", lines)), "\r\n") + "\r\n"
		if got != want {
			t.Errorf("TOP 1 %d: %q, want %q", lines, got, want)
		}
	}
	if got := c.multi("TOP 2 5"); !slices.Equal(got, []string{"Subject: no body"}) {
		t.Errorf("TOP of a header alone: %q", got)
	}
	if got := c.multi("TOP 3 2"); !slices.Equal(got, []string{"Subject: two", "", ".", "..dots"}) {
		t.Errorf("TOP with dots: %q", got)
	}
	c.do("TOP 1", "-ERR")
	c.do("TOP 1 -1", "-ERR")
}

// TestUIDL: identifiers stay when other messages go, and come to no other message.
func TestUIDL(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	h.put(first, second, third)
	c := h.login()
	before := c.multi("UIDL")
	_, last, _ := strings.Cut(before[2], " ")
	c.do("UIDL 3", "+OK 3 "+last)
	c.do("DELE 1", "+OK")
	c.do("DELE 3", "+OK")
	c.do("QUIT", "+OK")
	h.put(first)
	c = h.login()
	after := c.multi("UIDL")
	if len(after) != 2 || after[0][2:] != before[1][2:] {
		t.Errorf("UIDL: %q, then %q", before, after)
	}
	for _, old := range before {
		if after[1][2:] == old[2:] {
			t.Errorf("%s was used before: %q", after[1], before)
		}
	}
	for _, l := range after {
		if _, id, _ := strings.Cut(l, " "); id == "" || len(id) > 70 {
			t.Errorf("%q is no identifier", id)
		}
	}
}

// TestNothingIsDeletedWithoutQuit cuts sessions that have deleted.
func TestNothingIsDeletedWithoutQuit(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	h.put(first, second)
	for _, end := range []string{"", "DELE 9\r\n", "QUI"} {
		c := h.login()
		c.do("DELE 1", "+OK")
		c.send(end)
		c.Close()
	}
	c := h.login()
	c.do("STAT", "+OK 2 ")
}

// TestQuitThatFails: what could not be removed is all there again, and the client is told
// (RFC 1939 §6).
func TestQuitThatFails(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	h.put(first, second, third)
	c := h.login()
	before := c.multi("UIDL")
	c.do("DELE 1", "+OK")
	c.do("DELE 3", "+OK")
	h.reads.refuses.Store(true)
	c.do("QUIT", "-ERR [SYS/TEMP] Deleted messages were not removed")
	c.closed()
	h.reads.refuses.Store(false)
	if after := h.login().multi("UIDL"); !slices.Equal(after, before) {
		t.Errorf("%q is left of %q", after, before)
	}
}

// TestTwoClients: both see what was there when they came, and the second deletion of a message is no
// error. Others see the messages go.
func TestTwoClients(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	h.put(first, second, third)
	a, b := h.login(), h.login()
	a.do("DELE 1", "+OK")
	b.do("DELE 1", "+OK")
	b.do("DELE 2", "+OK")
	h.put(first)
	a.do("QUIT", "+OK Goodbye")
	b.do("STAT", "+OK 1 ")
	// What another has deleted can still be read.
	b.do("RSET", "+OK 3")
	if got := b.multi("RETR 1"); got[0] != "Subject: one" {
		t.Errorf("RETR 1: %q", got)
	}
	b.do("DELE 1", "+OK")
	b.do("DELE 2", "+OK")
	b.do("QUIT", "+OK Goodbye")
	err := h.account().View(context.Background(), func(tx *store.Tx) error {
		list, err := tx.List(tx.RoleMailbox(store.RoleInbox))
		if err == nil && list.Len() != 2 {
			t.Errorf("%d messages are left, want 2", list.Len())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestPipelining sends a whole session at once.
func TestPipelining(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	h.put(first)
	c := h.dial()
	c.send("CAPA\r\nUSER " + testUser + "\r\nPASS " + testPassword + "\r\nSTAT\r\nRETR 1\r\nQUIT\r\n")
	c.expect("+OK")
	if capa := c.lines(); !slices.Contains(capa, "PIPELINING") || !slices.Contains(capa, "UIDL") {
		t.Errorf("CAPA: %q", capa)
	}
	c.expect("+OK")
	c.expect("+OK Logged in")
	c.expect("+OK 1 ")
	c.expect("+OK")
	if got := strings.Join(c.lines(), "\r\n") + "\r\n"; got != first {
		t.Errorf("RETR: %q", got)
	}
	c.expect("+OK Goodbye")
	c.closed()
}

// TestClearText is STLS, RFC 2595 §4: without TLS nothing asks for a secret, and with it everything works.
func TestClearText(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	c := h.dial()
	capa := c.multi("CAPA")
	for _, l := range capa {
		if strings.HasPrefix(l, "SASL") || l == "USER" {
			t.Errorf("%s is offered in the clear", l)
		}
	}
	if !slices.Contains(capa, "STLS") {
		t.Errorf("no STLS in %q", capa)
	}
	c.do("USER "+testUser, "-ERR [AUTH] Log-in needs TLS")
	c.do("AUTH PLAIN", "-ERR [AUTH] Log-in needs TLS")
	c.do("STLS", "+OK")
	_, clientTLS := conntest.TLS()
	c.use(tls.Client(c.Conn, clientTLS))
	capa = c.multi("CAPA")
	if slices.Contains(capa, "STLS") || !slices.ContainsFunc(capa, func(l string) bool {
		return strings.HasPrefix(l, "SASL ") && strings.Contains(l, " SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-1 ")
	}) {
		t.Errorf("CAPA under TLS: %q", capa)
	}
	c.do("STLS", "-ERR")
	c.do("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+testUser+"\x00"+testPassword)), "+OK")
	c.do("STAT", "+OK 0 0")
}

// TestInjection is reliability P2: what came in the clear with STLS is not executed.
func TestInjection(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	c := h.dial()
	c.send("STLS\r\nCAPA\r\n")
	b, err := io.ReadAll(c.r)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		t.Error("the session goes on")
	}
	if strings.Contains(string(b), "Capability") || len(b) > 0 && !strings.HasPrefix(string(b), "+OK Begin TLS") {
		t.Errorf("answered %q", b)
	}
}

// TestSASL is RFC 5034 §4: a PLAIN exchange with a challenge, and what may go wrong in one.
func TestSASL(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	c := h.dial()
	if got := c.multi("AUTH"); !slices.Contains(got, "PLAIN") {
		t.Errorf("AUTH: %q", got)
	}
	c.do("AUTH NOSUCH", "-ERR Unknown authentication mechanism")
	c.do("AUTH PLAIN", "+ ")
	c.do("*", "-ERR Authentication was cancelled")
	c.do("AUTH PLAIN", "+ ")
	c.do("!", "-ERR Invalid base64")
	c.do("AUTH PLAIN", "+ ")
	c.do(base64.StdEncoding.EncodeToString([]byte("\x00"+testUser+"\x00wrong")), "-ERR [AUTH] Invalid")
	c.do("AUTH PLAIN", "+ ")
	c.do(base64.StdEncoding.EncodeToString([]byte("\x00"+testUser+"\x00"+testPassword)), "+OK Logged in")
	c.do("AUTH PLAIN", "-ERR Command is not possible now")
}

// TestRefusals: wrong log-ins, wrong commands, and the ends of patience.
func TestRefusals(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true, conn: limits.Conn{PerUser: 1}})
	h.put(first)
	c := h.dial()
	c.do("PASS x", "-ERR USER comes first")
	c.do("STAT", "-ERR Command is not possible now")
	c.do("USER nobody@example.test", "+OK")
	c.do("PASS "+testPassword, "-ERR [AUTH] Invalid user name or password")
	c.do("USER "+testUser, "+OK")
	c.do("PASS "+testPassword+" ", "-ERR [AUTH] Invalid user name or password")
	c.Close()

	c = h.login()
	other := h.dial()
	other.do("USER "+testUser, "+OK")
	other.do("PASS "+testPassword, "-ERR [SYS/TEMP] Too many sessions")
	for _, bad := range []string{"RETR", "RETR 0", "RETR x", "RETR 1 2", "LIST 1 1", "STAT 1"} {
		c.do(bad, "-ERR Wrong arguments")
		c.do("NOOP", "+OK")
	}
	c.do("RETR 2", "-ERR No such message")
	c.do("USER again", "-ERR")
	c.do("NOOP", "+OK")
	c.do(strings.Repeat("x", 3000), "-ERR Malformed")
	c.do("NOOP\x00", "-ERR Unknown command")
	for range limits.Default().POP3.BadCommands - 2 {
		c.do("XXXX", "-ERR Unknown command")
	}
	c.closed()
}

// TestCommandsWithoutLogin: who never logs in is sent away.
func TestCommandsWithoutLogin(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	c := h.dial()
	for range limits.Default().POP3.PreAuthCommands {
		c.multi("CAPA")
	}
	c.do("CAPA", "-ERR Too many commands without log-in")
	c.closed()
}

// TestLanguages is RFC 6856 §3.3.
func TestLanguages(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	c := h.login()
	if got := c.multi("LANG"); len(got) != 2 || got[1] != "vi Tiếng Việt" {
		t.Errorf("LANG: %q", got)
	}
	c.do("LANG fr", "-ERR No such language")
	c.do("LANG vi-VN", "+OK vi Đã đổi ngôn ngữ")
	c.do("RETR 1", "-ERR Không có thư này")
	c.do("LANG *", "+OK en Language changed")
	c.do("QUIT", "+OK Goodbye")
	for text, translation := range vietnamese {
		if strings.Count(text, "%d") != strings.Count(translation, "%d") {
			t.Errorf("%q and %q have not the same verbs", text, translation)
		}
	}
}

// TestRevoke: a session ends when its account's password changes.
func TestRevoke(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	c := h.login()
	if err := h.dir.SetPassword(context.Background(), h.alice.ID, "another-good-password"); err != nil {
		t.Fatal(err)
	}
	c.expect("-ERR [AUTH] Log-in was revoked")
	c.closed()
}

// naive is what RETR and TOP should write, made in one go.
func naive(message []byte, lines int) []byte {
	if lines >= 0 {
		_, body, found := bytes.Cut(message, []byte("\n\r\n"))
		if bytes.HasPrefix(message, []byte("\r\n")) {
			body, found = message[2:], true
		}
		if found {
			end := len(message) - len(body)
			for ; lines > 0 && end < len(message); lines-- {
				n := bytes.IndexByte(message[end:], '\n')
				if n < 0 {
					end = len(message)
					break
				}
				end += n + 1
			}
			message = message[:end]
		}
	}
	out := bytes.ReplaceAll(append([]byte("\n"), message...), []byte("\n."), []byte("\n.."))[1:]
	if len(message) > 0 && !bytes.HasSuffix(message, []byte("\r\n")) {
		out = append(out, "\r\n"...)
	}
	return append(out, ".\r\n"...)
}

func FuzzDotWriter(f *testing.F) {
	for _, m := range []string{first, second, third, "", ".", "\r\n", "a\r\n.", ".\r\n.", "a\n\n.b", "\r\n.\r\n"} {
		f.Add([]byte(m), -1, 3)
		f.Add([]byte(m), 1, 1)
	}
	f.Fuzz(func(t *testing.T, message []byte, lines, step int) {
		if bytes.Contains(message, []byte("\n\n")) && lines >= 0 {
			return // bare LF: the blank line is found, too; the naive one does not know it
		}
		if bytes.Contains(bytes.ReplaceAll(message, []byte("\r\n"), nil), []byte("\r")) {
			return // likewise lines of CR alone
		}
		if len(message) > 0 && message[0] == '\n' {
			return
		}
		lines, step = max(-1, min(lines, 100)), max(1, step)
		var out bytes.Buffer
		d := smtp.NewExactDotWriter(&out)
		var w io.Writer = d
		if lines >= 0 {
			w = &topWriter{w: d, lines: lines}
		}
		for rest := message; len(rest) > 0; {
			n := min(step, len(rest))
			if _, err := w.Write(rest[:n]); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if want := naive(message, lines); !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%q, %d lines: %q, want %q", message, lines, out.Bytes(), want)
		}
	})
}

// BenchmarkRetr reads one message of 5 kB again and again, 20 commands in flight.
func BenchmarkRetr(b *testing.B) {
	h := build(b, options{measure: true})
	text := "Subject: x\r\n\r\n" + strings.Repeat("A line of a letter, as people write them.\r\n", 120)
	h.put(text)
	c := h.login()
	const flight = 20
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%flight == 0 {
			c.send(strings.Repeat("RETR 1\r\n", flight))
		}
		reply := len(fmt.Sprintf("+OK %d octets\r\n", len(text))) + len(text) + len(".\r\n")
		if _, err := c.r.Discard(reply); err != nil {
			b.Fatal(err)
		}
	}
}
