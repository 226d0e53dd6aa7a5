package imap

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// scripted serves one connection: each step is what the client must send, and what it is answered.
// A step that ends in "\r\n" is a line; the client's literals are steps of their own.
func scripted(t *testing.T, greeting string, steps ...[2]string) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	deadline := time.Now().Add(20 * time.Second)
	if err := errors.Join(client.SetDeadline(deadline), server.SetDeadline(deadline)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer server.Close()
		r := bufio.NewReader(server)
		if _, err := io.WriteString(server, greeting+"\r\n"); err != nil {
			t.Error(err)
			return
		}
		for _, s := range steps {
			got := make([]byte, len(s[0]))
			if _, err := io.ReadFull(r, got); err != nil || string(got) != s[0] {
				t.Errorf("client sent %q, %v; want %q", got, err, s[0])
				return
			}
			if _, err := io.WriteString(server, s[1]); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	t.Cleanup(func() {
		client.Close()
		<-done
	})
	return client
}

func TestClientLoginAndFetch(t *testing.T) {
	t.Parallel()
	c, err := NewClient(scripted(t, "* OK [CAPABILITY IMAP4rev1 LITERAL+] hi",
		[2]string{"t1 LOGIN \"a b\" {3+}\r\n\xc3\xa9\x01\r\n", "t1 OK [CAPABILITY IMAP4rev2] in\r\n"},
		[2]string{"t2 FETCH 1 ALL\r\n", "* 1 FETCH (UID 7 FLAGS (\\Seen $x) RFC822.SIZE 12 MODSEQ (9)" +
			" INTERNALDATE \" 7-Feb-1994 21:52:25 -0800\" BODY[HEADER.FIELDS (TO)]<5> {3}\r\na\r\n" +
			" ENVELOPE (NIL \"s\" ((NIL NIL \"a\" \"b\"))) BINARY.SIZE[1] 4 BODY[1] NIL)\r\n" +
			"* 23 EXISTS\r\nt2 OK done\r\n"},
		[2]string{"t3 SELECT x\r\n", "* OK [UIDNEXT 5] x\r\nt3 NO [NONEXISTENT] no such box\r\n"},
		[2]string{"t4 LOGOUT\r\n", "* BYE bye\r\nt4 OK\r\n"},
	))
	if err != nil {
		t.Fatal(err)
	}
	if !c.Has("LITERAL+") || c.Has("IDLE") {
		t.Errorf("capabilities %v", c.Caps)
	}
	// What cannot be quoted is sent as a literal; Login forgets capabilities, so it must ask first.
	c.Caps = map[string]bool{"LITERAL+": true}
	_, err = c.Do("LOGIN \"a b\" ", []byte("\xc3\xa9\x01"))
	if err != nil || !c.Has("IMAP4REV2") || c.Has("LITERAL+") {
		t.Fatalf("login: %v, %v", err, c.Caps)
	}
	r, err := c.Do("FETCH 1 ALL")
	if err != nil || len(r.Data) != 2 || r.Data[1].Name != "EXISTS" || r.Data[1].Num != 23 {
		t.Fatalf("%+v, %v", r, err)
	}
	f := r.Data[0].Fetch
	want := time.Date(1994, 2, 8, 5, 52, 25, 0, time.UTC)
	if f.Seq != 1 || f.UID != 7 || len(f.Flags) != 2 || f.Size != 12 || f.ModSeq != 9 ||
		!f.Date.Equal(want) || f.Bodies["BODY[HEADER.FIELDS (TO)]<5>"] != "a\r\n" ||
		f.Bodies["BINARY.SIZE[1]"] != "4" ||
		f.Values["ENVELOPE"].At(2).At(0).At(2).Str() != "a" {
		t.Errorf("%+v", f)
	}
	var status *StatusError
	if _, err := c.Do("SELECT x"); !errors.As(err, &status) || status.Code != "NONEXISTENT" ||
		!strings.Contains(err.Error(), "no such box") {
		t.Errorf("%v", err)
	}
	if err := c.Logout(); err != nil {
		t.Error(err)
	}
}

func TestClientWaitsForLiterals(t *testing.T) {
	t.Parallel()
	c, err := NewClient(scripted(t, "* OK hi",
		[2]string{"t1 APPEND x {3}\r\n", "* 1 EXISTS\r\n+ go on\r\n"},
		[2]string{"abc\r\n", "t1 OK\r\n"},
		[2]string{"t2 APPEND x {3}\r\n", "t2 NO [TRYCREATE] no\r\n"},
		[2]string{"t3 NOOP\r\n", "t3 OK\r\n"},
	))
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Do("APPEND x ", Body{Size: 3, Reader: strings.NewReader("abc")})
	if err != nil || len(r.Data) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := c.Do("APPEND x ", []byte("abc")); err == nil {
		t.Error("a refused literal gives no error")
	}
	if _, err := c.Do("NOOP"); err != nil {
		t.Error(err)
	}
}

func TestClientStreamsBodies(t *testing.T) {
	t.Parallel()
	c, err := NewClient(scripted(t, "* OK hi",
		[2]string{"t1 FETCH 1:2 BODY[]\r\n", "* 1 FETCH (BODY[] {5}\r\nhello UID 1)\r\n" +
			"* 2 FETCH (UID 2 BODY[] {5}\r\nworld)\r\nt1 OK\r\n"},
	))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	c.OnBody = func(seq uint32, item string, l *Literal) error {
		b := make([]byte, 4) // what is left unread is dropped
		_, err := io.ReadFull(l, b)
		got = append(got, string(b))
		return err
	}
	r, err := c.Do("FETCH 1:2 BODY[]")
	if err != nil || strings.Join(got, " ") != "hell worl" || r.Data[0].Fetch.UID != 1 {
		t.Errorf("%q, %+v, %v", got, r, err)
	}
}

// TestClientRefusesWhatCameBeforeTLS is the client's side of reliability.md P2.
func TestClientRefusesWhatCameBeforeTLS(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"refused":  "t1 NO no TLS here\r\n",
		"injected": "t1 OK begin\r\n* OK [CAPABILITY AUTH=PLAIN] fake\r\n",
	} {
		conn := scripted(t, "* OK hi", [2]string{"t1 STARTTLS\r\n", answer})
		_, err := Dial(context.Background(), "x:143", ClientOptions{
			TLS: &tls.Config{ServerName: "x"}, StartTLS: true,
			Dial: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		})
		if !errors.Is(err, ErrTLS) {
			t.Errorf("%s: %v", name, err)
		}
	}
	conn := scripted(t, "* PREAUTH hi")
	_, err := Dial(context.Background(), "x:143", ClientOptions{
		TLS: &tls.Config{ServerName: "x"}, StartTLS: true,
		Dial: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	})
	if !errors.Is(err, ErrTLS) {
		t.Errorf("PREAUTH in the clear: %v", err)
	}
}

func TestClientRefusesBrokenReplies(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{
		"* 1 FETCH (UID x)\r\n", "* OK [UNTERMINATED\r\n", "t9 OK for another\r\n", "garbage\r\n",
		"* LIST (a \"/\" x\r\n", "* 1 FETCH (BODY[] {99999999999999999999}\r\n",
	} {
		c, err := NewClient(scripted(t, "* OK hi", [2]string{"t1 NOOP\r\n", reply}))
		if err != nil {
			t.Fatal(err)
		}
		var status *StatusError
		if _, err := c.Do("NOOP"); err == nil || errors.As(err, &status) {
			t.Errorf("%q: %v", reply, err)
		}
	}
	if _, err := NewClient(scripted(t, "* BYE go away")); err == nil {
		t.Error("BYE is no greeting")
	}
}
