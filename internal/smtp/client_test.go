package smtp

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/xdg-go/scram"
)

var everything = []string{"PIPELINING", "8BITMIME", "SIZE 1000000", "DSN", "SMTPUTF8", "CHUNKING",
	"BINARYMIME", "REQUIRETLS", "DELIVERBY 60", "MT-PRIORITY MIXER", "LIMITS RCPTMAX=50 MAILMAX=9",
	"AUTH PLAIN LOGIN", "ENHANCEDSTATUSCODES"}

// mailTo is a Mail to n recipients whose body is text.
func mailTo(n int, text string) (*Mail, io.Reader) {
	m := &Mail{From: Address{"alice", "us.test"}, Size: int64(len(text))}
	for i := range n {
		m.Recipients = append(m.Recipients, Rcpt{Address: Address{fmt.Sprint("r", i), "peer.test"}})
	}
	return m, strings.NewReader(text)
}

const text = "Subject: x\r\n\r\n.dot\r\nend\r\n"

func TestSendDialogues(t *testing.T) {
	t.Parallel()
	full := func(m *Mail) {
		m.Body, m.UTF8, m.Ret, m.EnvID = Body8Bit, true, "HDRS", "a b"
		m.By, m.Priority, m.HasPriority = By{Set: true, Time: time.Minute, Return: true}, -3, true
		m.From.Local = "thư"
		m.Recipients[0].Notify = NotifySuccess | NotifyDelay
		m.Recipients[0].ORCPT = "rfc822;r+0@x"
	}
	tests := []struct {
		name  string
		ehlo  []string
		chop  int
		edit  func(*Mail)
		reply func(string, int) string
		body  string
		want  string // commands
		codes string // replies
		stage Stage
	}{
		{name: "plain", want: "MAIL FROM:<alice@us.test>\nRCPT TO:<r0@peer.test>\n" +
			"RCPT TO:<r1@peer.test>\nDATA\n", codes: "250 250", stage: StageDone},
		{name: "pipelined", ehlo: []string{"PIPELINING", "SIZE"},
			want: "MAIL FROM:<alice@us.test> SIZE=25\nRCPT TO:<r0@peer.test>\n" +
				"RCPT TO:<r1@peer.test>\nDATA\n", codes: "250 250", stage: StageDone},
		{name: "everything", ehlo: everything, edit: full, want: "MAIL FROM:<thư@us.test> SIZE=25 " +
			"BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+20b BY=60;R MT-PRIORITY=-3\n" +
			"RCPT TO:<r0@peer.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;r+2B0@x\n" +
			"RCPT TO:<r1@peer.test>\nBDAT 25 LAST\n", codes: "250 250", stage: StageDone},
		{name: "nothing is passed on to a server that knows nothing",
			edit: func(m *Mail) {
				full(m)
				m.Body, m.UTF8, m.From.Local = Body7Bit, false, "a"
			},
			want: "MAIL FROM:<a@us.test>\nRCPT TO:<r0@peer.test>\n" +
				"RCPT TO:<r1@peer.test>\nDATA\n", codes: "250 250", stage: StageDone},
		{name: "chunking needs pipelining to be worth it", ehlo: []string{"CHUNKING"},
			want: "MAIL FROM:<alice@us.test>\nRCPT TO:<r0@peer.test>\n" +
				"RCPT TO:<r1@peer.test>\nDATA\n", codes: "250 250", stage: StageDone},
		{name: "binary", ehlo: []string{"CHUNKING", "BINARYMIME"},
			edit: func(m *Mail) { m.Body = BodyBinary }, body: "a\r\n\nb\r.\x00",
			want: "MAIL FROM:<alice@us.test> BODY=BINARYMIME\nRCPT TO:<r0@peer.test>\n" +
				"RCPT TO:<r1@peer.test>\nBDAT 8 LAST\n", codes: "250 250", stage: StageDone},
		{name: "replies split oddly", ehlo: []string{"PIPELINING"}, chop: 1,
			reply: on("RCPT", 1, "550-5.1.1 No\r\n550 5.1.1 such user"),
			want:  "MAIL FROM:<alice@us.test>\nRCPT TO:<r0@peer.test>\nRCPT TO:<r1@peer.test>\nDATA\n",
			codes: "250 550", stage: StageDone},
		{name: "sender refused", reply: on("MAIL", 0, "550 5.7.1 No"),
			want: "MAIL FROM:<alice@us.test>\n", codes: "550 550", stage: StageMail},
		{name: "sender refused in a pipeline", ehlo: []string{"PIPELINING"},
			reply: func(stage string, _ int) string {
				return map[string]string{"MAIL": "451 4.3.0 Later", "RCPT": "503 5.5.1 MAIL first",
					"DATA": "503 5.5.1 MAIL first"}[stage]
			},
			want:  "MAIL FROM:<alice@us.test>\nRCPT TO:<r0@peer.test>\nRCPT TO:<r1@peer.test>\nDATA\n",
			codes: "451 451", stage: StageMail},
		{name: "all recipients refused", reply: on("RCPT", -1, "550 5.1.1 No"),
			want:  "MAIL FROM:<alice@us.test>\nRCPT TO:<r0@peer.test>\nRCPT TO:<r1@peer.test>\n",
			codes: "550 550", stage: StageRcpt},
		// RFC 2920 §3.1: the server still wants a message, and gets an empty one.
		{name: "all refused in a pipeline", ehlo: []string{"PIPELINING"},
			reply: on("RCPT", -1, "550 5.1.1 No"),
			want:  "MAIL FROM:<alice@us.test>\nRCPT TO:<r0@peer.test>\nRCPT TO:<r1@peer.test>\nDATA\n",
			codes: "550 550", stage: StageRcpt},
		{name: "all refused before chunks", ehlo: []string{"PIPELINING", "CHUNKING"},
			reply: on("RCPT", -1, "550 5.1.1 No"), want: "MAIL FROM:<alice@us.test>\n" +
				"RCPT TO:<r0@peer.test>\nRCPT TO:<r1@peer.test>\nBDAT 25 LAST\n",
			codes: "550 550", stage: StageRcpt},
		{name: "data refused", reply: on("DATA", 0, "451 4.3.0 No"), want: "MAIL FROM:<alice@us.test>\n" +
			"RCPT TO:<r0@peer.test>\nRCPT TO:<r1@peer.test>\nDATA\n", codes: "451 451", stage: StageData},
		{name: "message refused", reply: on("DOT", 0, "554 5.6.0 No"), want: "MAIL FROM:<alice@us.test>\n" +
			"RCPT TO:<r0@peer.test>\nRCPT TO:<r1@peer.test>\nDATA\n", codes: "554 554", stage: StageData},
		{name: "message refused for those who were accepted", ehlo: []string{"PIPELINING", "CHUNKING"},
			reply: func(stage string, n int) string {
				return map[string]string{"RCPT0": "450 4.2.1 Busy", "DOT0": "552 5.2.2 Full"}[fmt.Sprint(stage, n)]
			}, want: "MAIL FROM:<alice@us.test>\nRCPT TO:<r0@peer.test>\nRCPT TO:<r1@peer.test>\nBDAT 25 LAST\n",
			codes: "450 552", stage: StageData},
		{name: "forwarded", reply: on("RCPT", 0, "251 2.1.5 Will forward"), want: "MAIL FROM:<alice@us.test>\n" +
			"RCPT TO:<r0@peer.test>\nRCPT TO:<r1@peer.test>\nDATA\n", codes: "250 250", stage: StageDone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &peer{ehlo: tt.ehlo, chop: tt.chop, reply: tt.reply}
			c := p.open(t)
			body := text
			if tt.body != "" {
				body = tt.body
			}
			m, r := mailTo(2, body)
			if tt.edit != nil {
				tt.edit(m)
			}
			res, err := c.Send(t.Context(), m, r)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, p.said()); diff != "" {
				t.Error(diff)
			}
			if got := codes(res); got != tt.codes || res.Stage != tt.stage || res.Unknown {
				t.Errorf("replies %s, stage %d, want %s, %d", got, res.Stage, tt.codes, tt.stage)
			}
			// Whatever happened, the next message goes through.
			p.reply = nil
			m, r = mailTo(1, "second\r\n")
			if res, err := c.Send(t.Context(), m, r); err != nil || codes(res) != "250" {
				t.Errorf("second message: %v, %v", codes(res), err)
			}
			bodies := strings.Join(p.bodies, "")
			if want := map[bool]string{true: body + "second\r\n", false: "second\r\n"}[strings.Contains(
				tt.codes, "250") || strings.Contains(tt.name, "message refused")]; bodies != want {
				t.Errorf("peer has %q, want %q", bodies, want)
			}
		})
	}
}

// on makes a reply override for one occurrence of a stage, or with n < 0 for all.
func on(stage string, n int, reply string) func(string, int) string {
	return func(s string, k int) string {
		if s == stage && (n < 0 || k == n) {
			return reply
		}
		return ""
	}
}

func codes(r Result) string {
	var s []string
	for _, reply := range r.Replies {
		s = append(s, fmt.Sprint(reply.Code))
	}
	return strings.Join(s, " ")
}

// Every kind of answer at every stage: an answer out of place ends the connection, and never makes
// a recipient look served.
func TestEveryReplyAtEveryStage(t *testing.T) {
	t.Parallel()
	replies := []string{"220 x", "250 x", "334 x", "354 x", "421 4.3.2 x", "450 4.2.0 x", "550 5.0.0 x",
		"hello", "250 a\n250 b", "999 x", "CUT", strings.Repeat("250-x\r\n", 101) + "250 x"}
	for _, ehlo := range [][]string{nil, {"PIPELINING"}, {"PIPELINING", "CHUNKING"}} {
		for _, stage := range []string{"greeting", "EHLO", "MAIL", "RCPT", "DATA", "DOT"} {
			for _, reply := range replies {
				p := &peer{ehlo: ehlo, reply: on(stage, 0, reply)}
				checkStage(t, p, stage, reply)
			}
		}
	}
}

func checkStage(t *testing.T, p *peer, stage, reply string) {
	t.Helper()
	name := fmt.Sprintf("%.12q to %s with %v", reply, stage, p.ehlo)
	c, err := NewClient(t.Context(), p.start(t), options())
	if stage == "greeting" || stage == "EHLO" {
		good := reply[:3] == map[string]string{"greeting": "220", "EHLO": "250"}[stage] && len(reply) < 6
		helo := stage == "EHLO" && reply[0] == '5' // falls back to HELO
		if (err == nil) != (good || helo) {
			t.Errorf("%s: %v", name, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	m, r := mailTo(2, text)
	res, err := c.Send(t.Context(), m, r)
	served := 0
	for _, r := range res.Replies {
		if r.OK() {
			served++
		}
	}
	if served > 0 && len(p.bodies) == 0 {
		t.Errorf("%s: %s, but the peer has no message", name, codes(res))
	}
	if (err != nil) != (c.Err() != nil) {
		t.Errorf("%s: error %v, and connection %v", name, err, c.Err())
	}
	if res.Unknown && len(p.bodies) == 0 && !(stage == "MAIL" || stage == "RCPT") {
		t.Errorf("%s: unknown, but nothing was sent", name)
	}
	bad := reply == "hello" || reply[:3] == "999" || strings.Contains(reply, "\n") || reply == "CUT"
	if bad && err == nil && (stage != "DATA" || !p.chunks()) {
		t.Errorf("%s: no error", name)
	}
	if bad && stage == "DOT" && !res.Unknown {
		t.Errorf("%s: the message was sent, and no answer makes that known", name)
	}
	c.Close()
}

func (p *peer) chunks() bool { return len(p.ehlo) == 2 }

// A transaction that was left open is reset before the next. If the server refuses that or hangs up,
// nothing of the next message was sent, and it can go over another connection at once.
func TestResetThatFails(t *testing.T) {
	t.Parallel()
	for _, ehlo := range [][]string{nil, {"PIPELINING"}, {"PIPELINING", "CHUNKING"}} {
		for _, reply := range []string{"421 4.4.2 Idle for too long", "500 5.5.1 What?", "354 Odd", "CUT"} {
			p := &peer{ehlo: ehlo}
			p.reply = func(stage string, n int) string {
				return map[string]string{"RCPT0": "450 4.2.0 Later", "RSET0": reply}[fmt.Sprint(stage, n)]
			}
			c := p.open(t)
			m, r := mailTo(1, text)
			if res, err := c.Send(t.Context(), m, r); err != nil || codes(res) != "450" {
				t.Fatalf("%v: %v, %v", ehlo, codes(res), err)
			}
			m, r = mailTo(1, text)
			body := &eofNoter{Reader: r}
			res, err := c.Send(t.Context(), m, body)
			if err == nil || c.Err() == nil || res.Unknown || res.Stage != StageMail || codes(res) != "0" || body.eof {
				t.Errorf("%q to RSET with %v: %+v, %v", reply, ehlo, res, err)
			}
			if strings.Contains(strings.Join(p.bodies, ""), text) {
				t.Errorf("%q to RSET with %v: the message went out", reply, ehlo)
			}
		}
	}
}

func TestSendLimits(t *testing.T) {
	t.Parallel()
	p := &peer{ehlo: everything}
	c := p.open(t)
	want := Extensions{ESMTP: true, Pipelining: true, EightBit: true, UTF8: true, DSN: true,
		Chunking: true, Binary: true, RequireTLS: true, DeliverBy: true, Priority: true,
		SizeOffered: true, Size: 1000000, MaxRcpt: 50, MaxMail: 9, Auth: []string{"PLAIN", "LOGIN"},
		DeliverByMin: time.Minute}
	if diff := cmp.Diff(want, c.Extensions()); diff != "" {
		t.Error(diff)
	}
	if c.Name() != "peer.test" {
		t.Errorf("name %q", c.Name())
	}
	m, r := mailTo(1, text)
	m.Recipients[0].Address.Local = "a\r\nRCPT TO:<b@c>"
	if _, err := c.Send(t.Context(), m, r); !errors.Is(err, ErrAddress) || p.said() != "" {
		t.Errorf("an address that breaks out: %v, %q", err, p.said())
	}
}

func TestUnsupportedIsNotSent(t *testing.T) {
	t.Parallel()
	tests := []struct {
		edit func(*Mail)
		want string
	}{
		{func(m *Mail) { m.Body = Body8Bit }, "554 5.6.3 8BITMIME support required"},
		{func(m *Mail) { m.Body = BodyBinary }, "554 5.6.3 BINARYMIME support required"},
		{func(m *Mail) { m.UTF8 = true }, "553 5.6.7 SMTPUTF8 support required"},
		{func(m *Mail) { m.Recipients[0].Address.Local = "thư" }, "553 5.6.7 SMTPUTF8 support required"},
		{func(m *Mail) { m.RequireTLS = true }, "550 5.7.10 Encryption needed"}, // RFC 8689 §4.2.1
		{func(m *Mail) { m.Size = 101 }, "552 5.3.4 Message too big for the server"},
	}
	p := &peer{ehlo: []string{"SIZE 100"}}
	c := p.open(t)
	for _, tt := range tests {
		m, r := mailTo(1, text)
		tt.edit(m)
		_, err := c.Send(t.Context(), m, r)
		var u Unsupported
		if !errors.As(err, &u) || u.Reply.String() != tt.want || p.said() != "" || c.Err() != nil {
			t.Errorf("%v, want %s; sent %q", err, tt.want, p.said())
		}
	}
}

// A connection that breaks at any octet of the peer's replies never shows a message as delivered,
// and as perhaps delivered only once the whole of it was out.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	for _, ehlo := range [][]string{nil, {"PIPELINING"}, {"PIPELINING", "CHUNKING"}} {
		for cut := range 400 {
			p := &peer{ehlo: ehlo}
			client, server := net.Pipe()
			p.serve(t, &cutConn{Conn: server, left: cut})
			res, sent, err := sendOne(t, client)
			if err == nil {
				break // the cut came after everything
			}
			if cut == 399 {
				t.Error("never got through")
			}
			for _, r := range res.Replies {
				if r.OK() {
					t.Fatalf("cut after %d with %v: %s", cut, ehlo, codes(res))
				}
			}
			if res.Unknown != sent && ehlo == nil {
				t.Fatalf("cut after %d: unknown %v, message taken %v", cut, res.Unknown, sent)
			}
			p.mu.Lock()
			if len(p.bodies) > 0 && !res.Unknown {
				t.Fatalf("cut after %d with %v: the peer has the message", cut, ehlo)
			}
			p.mu.Unlock()
		}
	}
}

func sendOne(t *testing.T, conn net.Conn) (res Result, sent bool, err error) {
	c, err := NewClient(t.Context(), conn, options())
	if err != nil {
		return Result{}, false, err
	}
	m, r := mailTo(2, text)
	body := &eofNoter{Reader: r}
	res, err = c.Send(t.Context(), m, body)
	c.Close()
	return res, body.eof, err
}

// eofNoter notes that a reader was read to its end.
type eofNoter struct {
	io.Reader
	eof bool
}

func (e *eofNoter) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	e.eof = e.eof || err == io.EOF
	return n, err
}

// cutConn closes after it has written left octets.
type cutConn struct {
	net.Conn
	left int
}

func (c *cutConn) Write(p []byte) (int, error) {
	if len(p) > c.left {
		c.Conn.Write(p[:c.left])
		c.Conn.Close()
		return c.left, io.ErrClosedPipe
	}
	c.left -= len(p)
	return c.Conn.Write(p)
}

func TestBodyThatFails(t *testing.T) {
	t.Parallel()
	damaged := errors.New("damaged")
	for _, ehlo := range [][]string{nil, {"PIPELINING", "CHUNKING"}} {
		p := &peer{ehlo: ehlo}
		c := p.open(t)
		m, _ := mailTo(1, text)
		body := io.MultiReader(strings.NewReader("Subject: x\r\n\r\nhalf"), iotest.ErrReader(damaged))
		res, err := c.Send(t.Context(), m, body)
		if !errors.Is(err, damaged) || codes(res) != "0" || res.Unknown || c.Err() == nil {
			t.Errorf("%v: %s, %v", ehlo, codes(res), err)
		}
		p.mu.Lock()
		if len(p.bodies) > 0 {
			t.Errorf("%v: the peer took half a message", ehlo)
		}
		p.mu.Unlock()
	}
}

// A server that refuses a large message while it comes, and hangs up, is heard.
func TestRefusalDuringBody(t *testing.T) {
	t.Parallel()
	client, server := tcpPair(t)
	go func() {
		defer server.Close()
		r := &lineReader{conn: server}
		for _, reply := range []string{"220 x", "250 x", "250 ok", "250 ok", "354 go"} {
			io.WriteString(server, reply+"\r\n")
			if reply != "354 go" {
				r.line()
			}
		}
		io.CopyN(io.Discard, server, 100<<10)
		io.WriteString(server, "552 5.3.4 Too much\r\n")
		server.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, server)
	}()
	c, err := NewClient(t.Context(), client, options())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m, _ := mailTo(1, "")
	res, _ := c.Send(t.Context(), m, strings.NewReader(strings.Repeat("0123456789abcd\r\n", 10<<10)))
	if codes(res) != "552" {
		t.Errorf("replies %s", codes(res))
	}
}

func tcpPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

func TestLMTP(t *testing.T) {
	t.Parallel()
	for _, ehlo := range [][]string{nil, {"PIPELINING"}, {"PIPELINING", "CHUNKING"}} {
		// RFC 2033 §4.2: a reply for each accepted recipient, in order.
		p := &peer{ehlo: ehlo, reply: func(stage string, n int) string {
			return map[string]string{"RCPT1": "550 5.1.1 No", "DOT1": "452 4.2.2 Full"}[fmt.Sprint(stage, n)]
		}}
		o := options()
		o.LMTP = true
		c, err := NewClient(t.Context(), p.start(t), o)
		if err != nil {
			t.Fatal(err)
		}
		m, r := mailTo(4, text)
		res, err := c.Send(t.Context(), m, r)
		if err != nil || codes(res) != "250 550 452 250" {
			t.Errorf("%v: %s, %v", ehlo, codes(res), err)
		}
		c.Close()
	}
}

func TestManyRecipientsInWindows(t *testing.T) {
	t.Parallel()
	p := &peer{ehlo: []string{"PIPELINING"}, reply: on("RCPT", 150, "550 no")}
	c := p.open(t)
	m, r := mailTo(500, text)
	res, err := c.Send(t.Context(), m, r)
	if err != nil || strings.Count(codes(res), "250") != 499 || res.Replies[150].Code != 550 {
		t.Errorf("%v, %s", err, codes(res))
	}
}

func TestLargeBinaryGoesInChunks(t *testing.T) {
	t.Parallel()
	for _, ehlo := range [][]string{{"CHUNKING", "BINARYMIME"}, {"CHUNKING", "BINARYMIME", "PIPELINING"}} {
		p := &peer{ehlo: ehlo}
		client, server := tcpPair(t) // chunks overlap with replies: a pipe has no room for that
		p.serve(t, server)
		c, err := NewClient(t.Context(), client, options())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		body := strings.Repeat("\x00\r\n.\n", 50<<10)
		m, r := mailTo(1, body)
		m.Body = BodyBinary
		res, err := c.Send(t.Context(), m, r)
		if err != nil || codes(res) != "250" || strings.Join(p.bodies, "") != body {
			t.Errorf("%v: %s, %v, %d octets", ehlo, codes(res), err, len(strings.Join(p.bodies, "")))
		}
		// A chunk refused half way: the message is.
		p.reply = on("BDAT", 4, "552 5.3.4 Too much")
		m, r = mailTo(1, body)
		m.Body = BodyBinary
		res, err = c.Send(t.Context(), m, r)
		if codes(res) != "552" || err != nil {
			t.Errorf("%v: %s, %v after a refused chunk", ehlo, codes(res), err)
		}
	}
}

func TestStartTLS(t *testing.T) {
	t.Parallel()
	server, pool := certificate(t)
	p := &peer{ehlo: []string{"STARTTLS", "AUTH PLAIN"}, afterTLS: []string{"PIPELINING", "REQUIRETLS"},
		tls: server}
	c := p.open(t)
	if err := c.StartTLS(t.Context(), &tls.Config{RootCAs: pool, ServerName: "peer.test"}); err != nil {
		t.Fatal(err)
	}
	// RFC 3207 §4.2: what was offered before is forgotten.
	if diff := cmp.Diff(Extensions{ESMTP: true, Pipelining: true, RequireTLS: true}, c.Extensions()); diff != "" {
		t.Error(diff)
	}
	m, r := mailTo(1, text)
	m.RequireTLS = true
	if res, err := c.Send(t.Context(), m, r); err != nil || codes(res) != "250" || c.TLS() == nil {
		t.Errorf("%v, %v", codes(res), err)
	}
	if !strings.Contains(p.said(), "MAIL FROM:<alice@us.test> REQUIRETLS\n") {
		t.Errorf("said %q", p.said())
	}
}

func TestStartTLSFailures(t *testing.T) {
	t.Parallel()
	server, pool := certificate(t)
	// P2: bytes behind the 220 came in the clear, and are never read as if protected.
	p := &peer{ehlo: []string{"STARTTLS"}, tls: server,
		reply: on("STARTTLS", 0, "220 go\r\n250-peer.test\r\n250 AUTH PLAIN")}
	c := p.open(t)
	cfg := &tls.Config{RootCAs: pool, ServerName: "peer.test"}
	if err := c.StartTLS(t.Context(), cfg); !errors.Is(err, ErrInjected) || c.Err() == nil {
		t.Errorf("injection: %v", err)
	}
	// An unknown certificate.
	p = &peer{ehlo: []string{"STARTTLS"}, tls: server}
	c = p.open(t)
	if err := c.StartTLS(t.Context(), &tls.Config{ServerName: "peer.test"}); !errors.Is(err, ErrHandshake) {
		t.Errorf("unknown certificate: %v", err)
	}
	// Declined: the session goes on in the clear.
	p = &peer{ehlo: []string{"STARTTLS"}, reply: on("STARTTLS", 0, "454 4.7.0 Not now")}
	c = p.open(t)
	var refused Reply
	if err := c.StartTLS(t.Context(), cfg); !errors.As(err, &refused) || refused.Code != 454 || c.Err() != nil {
		t.Errorf("declined: %v, %v", err, c.Err())
	}
	m, r := mailTo(1, text)
	if res, err := c.Send(t.Context(), m, r); err != nil || codes(res) != "250" {
		t.Errorf("after a declined STARTTLS: %v, %v", codes(res), err)
	}
}

func TestUnsolicitedReplies(t *testing.T) {
	t.Parallel()
	p := &peer{reply: on("EHLO", 0, "250-peer.test\r\n250 8BITMIME\r\n250 2.1.0 Ok")}
	client := p.start(t)
	c, err := NewClient(t.Context(), client, options())
	if err != nil {
		t.Fatal(err)
	}
	m, r := mailTo(1, text)
	if res, err := c.Send(t.Context(), m, r); !errors.Is(err, ErrUnsolicited) || codes(res) != "0" {
		t.Errorf("a reply too many: %v, %v", codes(res), err)
	}
}

func TestHELO(t *testing.T) {
	t.Parallel()
	p := &peer{reply: on("EHLO", 0, "502 5.5.1 What?")}
	c := p.open(t)
	m, r := mailTo(1, text)
	if res, err := c.Send(t.Context(), m, r); err != nil || codes(res) != "250" || c.Extensions().ESMTP {
		t.Errorf("%v, %v", codes(res), err)
	}
	c.Quit(t.Context())
	if !strings.HasPrefix(p.said(), "HELO us.test\n") || !strings.HasSuffix(p.said(), "QUIT\n") {
		t.Errorf("said %q", p.said())
	}
}

// Each wait has its own limit, RFC 5321 §4.5.3.2.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		stage string
		want  time.Duration
	}{
		{"greeting", testLimits.Greeting}, {"EHLO", testLimits.Mail}, {"MAIL", testLimits.Mail},
		{"RCPT", testLimits.Rcpt}, {"DATA", testLimits.Data}, {"DOT", testLimits.Dot},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			p := &peer{reply: on(tt.stage, 0, "SILENCE")}
			client, server := net.Pipe()
			p.conn, p.r, p.seen = server, nil, map[string]int{}
			p.serve(t, server)
			start := time.Now()
			_, _, err := sendOne(t, client)
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(start) != tt.want {
				t.Errorf("%s: %v after %v, want %v", tt.stage, err, time.Since(start), tt.want)
			}
			client.Close()
		})
	}
}

func TestContextEndsAWait(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	p := &peer{reply: func(stage string, _ int) string {
		if stage != "MAIL" {
			return ""
		}
		cancel(enough)
		return "SILENCE"
	}}
	c := p.open(t)
	m, r := mailTo(1, text)
	if _, err := c.Send(ctx, m, r); !errors.Is(err, enough) || c.Err() == nil {
		t.Errorf("Send = %v", err)
	}
}

func TestAuth(t *testing.T) {
	t.Parallel()
	plain := base64.StdEncoding.EncodeToString([]byte("\x00alice\x00secret"))
	user := base64.StdEncoding.EncodeToString([]byte("alice"))
	pass := base64.StdEncoding.EncodeToString([]byte("secret"))
	login := func(stage string, n int) string {
		return map[string]string{"AUTH0": "334 VXNlcm5hbWU6", user + "0": "334 UGFzc3dvcmQ6",
			pass + "0": "235 2.7.0 ok"}[fmt.Sprint(stage, n)]
	}
	tests := []struct {
		name  string
		ehlo  string
		clear bool
		reply func(string, int) string
		want  string
		said  string
	}{
		{"plain", "AUTH LOGIN PLAIN", true, nil, "", "AUTH PLAIN " + plain + "\n"},
		{"refused", "AUTH PLAIN", true, on("AUTH", 0, "535 5.7.8 No"), "AUTH: 535 5.7.8 No",
			"AUTH PLAIN " + plain + "\n"},
		{"clear text forbidden", "AUTH PLAIN LOGIN", false, nil, ErrNoMechanism.Error(), ""},
		{"nothing in common", "AUTH GSSAPI", true, nil, ErrNoMechanism.Error(), ""},
		{"login", "AUTH LOGIN", true, login, "", "AUTH LOGIN\n" + user + "\n" + pass + "\n"},
		{"challenge in PLAIN", "AUTH PLAIN", true, on("AUTH", 0, "334 AAAA"), "AUTH: malformed reply",
			"AUTH PLAIN " + plain + "\n*\n"},
		{"not base64", "AUTH LOGIN", true, on("AUTH", 0, "334 !!"),
			"AUTH: illegal base64 data at input byte 0", "AUTH LOGIN\n*\n"},
	}
	for _, tt := range tests {
		p := &peer{ehlo: []string{tt.ehlo}, reply: tt.reply}
		c := p.open(t)
		err := c.Auth(t.Context(), Credentials{User: "alice", Password: "secret", AllowClear: tt.clear})
		if got := fmt.Sprint(err); got != tt.want && !(err == nil && tt.want == "") {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if p.said() != tt.said {
			t.Errorf("%s: said %q, want %q", tt.name, p.said(), tt.said)
		}
	}
}

// RFC 7677: both sides prove that they know the password.
func TestAuthSCRAM(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, password string
		tamper         func(string) string
		ok             bool
	}{
		{name: "right", password: "secret", ok: true},
		{name: "wrong password", password: "guess"},
		{name: "server without the password", password: "secret",
			tamper: func(s string) string { return strings.Replace(s, "v=", "v=AAAA", 1) }},
		{name: "endless work", password: "secret",
			tamper: func(s string) string { return strings.Replace(s, "i=4096", "i=2000000000", 1) }},
	} {
		client, server := net.Pipe()
		p := &scramPeer{tamper: tt.tamper}
		go p.serve(server)
		c, err := NewClient(t.Context(), client, options())
		if err != nil {
			t.Fatal(err)
		}
		err = c.Auth(t.Context(), Credentials{User: "alice", Password: tt.password})
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		c.Close()
	}
}

// scramPeer answers AUTH SCRAM-SHA-256 for alice with the password "secret".
type scramPeer struct{ tamper func(string) string }

func (p *scramPeer) serve(conn net.Conn) {
	defer conn.Close()
	known, _ := scram.SHA256.NewClient("alice", "secret", "")
	stored := known.GetStoredCredentials(scram.KeyFactors{Salt: "salt", Iters: 4096})
	server, _ := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
	conv := server.NewConversation()
	r := &lineReader{conn: conn}
	io.WriteString(conn, "220 x\r\n")
	r.line()
	io.WriteString(conn, "250-x\r\n250 AUTH SCRAM-SHA-256\r\n")
	line := strings.TrimPrefix(r.line(), "AUTH SCRAM-SHA-256 ")
	for line != "*" {
		raw, _ := base64.StdEncoding.DecodeString(line)
		if conv.Done() {
			io.WriteString(conn, "235 2.7.0 ok\r\n")
			return
		}
		answer, err := conv.Step(string(raw))
		if err != nil {
			break
		}
		if p.tamper != nil {
			answer = p.tamper(answer)
		}
		io.WriteString(conn, "334 "+base64.StdEncoding.EncodeToString([]byte(answer))+"\r\n")
		line = r.line()
	}
	io.WriteString(conn, "535 5.7.8 no\r\n")
}

type lineReader struct{ conn net.Conn }

func (l *lineReader) line() string {
	var b []byte
	one := make([]byte, 1)
	for {
		if _, err := l.conn.Read(one); err != nil || one[0] == '\n' {
			return strings.TrimSuffix(string(b), "\r")
		}
		b = append(b, one[0])
	}
}
