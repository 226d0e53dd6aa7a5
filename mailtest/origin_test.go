package mailtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// legitimate.com never sends from here and wants forgeries refused; attack.com sends from here, signs,
// and has every record it should have.
const forgery = `
legitimate.com. 300 IN TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.legitimate.com. 300 IN TXT "v=DMARC1; p=reject"
attack.com. 300 IN TXT "v=spf1 ip4:127.0.0.1 -all"
*.attack.com. 300 IN TXT "v=spf1 ip4:127.0.0.1 -all"
_dmarc.attack.com. 300 IN TXT "v=DMARC1; p=none"
`

// raw holds an SMTP session as a program does that obeys nobody.
type raw struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (h *House) raw(t *testing.T) *raw {
	t.Helper()
	c, err := net.Dial("tcp", h.Addr("smtp").String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s := &raw{c, t, bufio.NewReader(c)}
	s.reply()
	return s
}

// reply reads a reply and returns its last line.
func (s *raw) reply() string {
	s.t.Helper()
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		if len(line) < 4 || line[3] != '-' {
			return strings.TrimSpace(line)
		}
	}
}

func (s *raw) say(line string) string {
	s.t.Helper()
	if _, err := io.WriteString(s, line+"\r\n"); err != nil {
		s.t.Fatal(err)
	}
	return s.reply()
}

// send runs a transaction up to its first refusal, and returns the last reply.
func (s *raw) send(from, to, text string) string {
	s.t.Helper()
	for _, line := range []string{"EHLO attack.com", "MAIL FROM:" + from, "RCPT TO:<" + to + ">", "DATA", text + "."} {
		if r := s.say(line); r[0] > '3' || line == text+"." {
			return r
		}
	}
	return ""
}

// TestForgedAuthors is M1: the 19 server cases of espoofer (Chen, Paxson and Jiang, "Composition Kills",
// 2020). Nothing that shows the name of a domain that wants forgeries refused is delivered; what is
// delivered was checked, and shows the name that passed.
func TestForgedAuthors(t *testing.T) {
	t.Parallel()
	w := New(t)
	w.DNS.Add(forgery)
	a := w.House("a.test", Options{})
	alice := a.Person("alice", 0)
	const (
		path    = "<any@attack.com>"
		admin   = "From: <admin@legitimate.com>\r\n"
		dkim    = "DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=%s; s=key;\r\n h=from:to; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n"
		decoded = "=?utf-8?B?YWRtaW5AbGVnaXRpbWF0ZS5jb20=?="
	)
	for _, c := range []struct{ name, path, header, want string }{
		{"a1 a subdomain that does not exist", "<any@mailfrom.notexist.legitimate.com>", admin, "550 5.7.26"},
		{"a2 the null sender", "<>", admin, "550 5.7.26"},
		{"a3 NUL in d=", path, fmt.Sprintf(dkim, "legitimate.com\x00.attack.com") + admin, "550 5.6.0"},
		{"a4 a quote in d=", path, fmt.Sprintf(dkim, "legitimate.com'a.attack.com") + admin, "550 5.7.26"},
		{"a5 a parenthesis in the path", "<any@legitimate.com(.attack.com>", admin, "501"},
		{"a6 a quote in the path", "<any@legitimate.com'@a.attack.com>", admin, "501"},
		{"a7 a route in the path", "<@legitimate.com,@any.com:'any@attack.com>", admin, "553"},
		{"a8 two From fields", path, "From: <first@attack.com>\r\n" + admin, "550 5.7.1"},
		{"a9 a space before", path, " From: <first@attack.com>\r\n" + admin, "550"},
		{"a10 a space behind", path, "From : <first@attack.com>\r\n" + admin, "550 5.7.1"},
		{"a11 folded", path, "From\r\n : <first@attack.com>\r\n" + admin, "550 5.7.1"},
		{"a12 Sender", path, "Sender: <s@legitimate.com>\r\n", "550 5.7.1"},
		{"a13 Resent-From", path, "Resent-From: <admin@legitimate.com>\r\n", "550 5.7.1"},
		{"a14 two addresses", path, "From: <first@attack.com>, <admin@legitimate.com>\r\n", "550 5.7.1"},
		{"a15 an encoded address", path, "From: " + decoded + ",<second@attack.com>\r\n", "550 5.7.1"},
		{"a15 and nothing else", path, "From: " + decoded + "\r\n", "550 5.7.1"},
		{"a16 a route", path, "From: <@attack.com,@any.com:admin@legitimate.com>\r\n", "550 5.7.1"},
		{"a17 a quoted pair", path, "From: <any@attack.com>\\,<admin@legitimate.com>\r\n", "550 5.7.1"},
		{"a18 marks", path, "From: admin@legitimate.com,<second@attack.com>\r\n", "550 5.7.1"},
		{"a19 text behind", path, "From: <first@attack.com>admin@legitimate.com\r\n", "550 5.7.1"},
		{"a19 text before", path, "From: admin@legitimate.com<first@attack.com>\r\n", "550 5.7.1"},
		{"our own name", path, "From: alice@legitimate.com\r\nSender: any@attack.com\r\n", "550 5.7.26"},
		{"his own name", path, "From: any@attack.com\r\nSender: admin@legitimate.com\r\n", "250"},
	} {
		text := c.header + "To: alice@a.test\r\nSubject: x\r\nMessage-ID: <" + fmt.Sprintf("%x", c.name) + "@x>\r\n\r\nHello.\r\n"
		if r := a.raw(t).send(c.path, alice.Address, text); !strings.HasPrefix(r, c.want) {
			t.Errorf("%s: %s, want %s", c.name, r, c.want)
		}
	}
	got := append(alice.Inbox(), a.read(alice.IMAP(), "Junk")...)
	if len(got) != 1 || !strings.Contains(got[0], "dmarc=pass header.from=attack.com") {
		t.Errorf("%d messages: %.1000q", len(got), got)
	}
}

// TestForgedResults is M6: results that a message brings in our name are gone when it is read, and those
// of a chain of forwarders whom nobody here trusts count for nothing.
func TestForgedResults(t *testing.T) {
	t.Parallel()
	w := New(t)
	w.DNS.Add(forgery)
	a := w.House("a.test", Options{})
	alice := a.Person("alice", 0)
	const forged = "Authentication-Results: mx.a.test; dmarc=pass header.from=legitimate.com\r\n" +
		"authentication-results : (x) \"MX.a.test\" 1; dmarc=pass header.from=legitimate.com\r\n" +
		"Authentication-Results: relay.attack.com; dmarc=pass header.from=legitimate.com\r\n"
	const chain = "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=attack.com; s=k; t=1772442000; b=AAAA\r\n" +
		"ARC-Message-Signature: i=1; a=rsa-sha256; c=relaxed/relaxed; d=attack.com; s=k; h=from;\r\n" +
		"\tbh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n" +
		"ARC-Authentication-Results: i=1; mx.a.test; dmarc=pass header.from=legitimate.com\r\n"
	text := Letter("any@attack.com", alice.Address, "one")
	if r := a.raw(t).send("<any@attack.com>", alice.Address, forged+text); !strings.HasPrefix(r, "250") {
		t.Fatal(r)
	}
	got := alice.WaitInbox(1)[0]
	_, rest, _ := strings.Cut(got, "\r\n") // Return-Path
	if !strings.HasPrefix(rest, "Authentication-Results: mx.a.test;\r\n\tdmarc=pass header.from=attack.com") {
		t.Errorf("on top: %.300q", rest)
	}
	if n := strings.Count(strings.ToLower(got), "mx.a.test"); n != 2 || !strings.Contains(got, "relay.attack.com; dmarc=pass") {
		t.Errorf("our name stands there %d times:\n%s", n, got)
	}
	for _, prefix := range []string{chain, forged + chain} {
		text := Letter("admin@legitimate.com", alice.Address, "two")
		r := a.raw(t).send("<any@attack.com>", alice.Address, prefix+text)
		if !strings.HasPrefix(r, "550 5.7.26") {
			t.Errorf("with a chain of his own: %s", r)
		}
	}
}

// TestWideSPF is M8: a pass that half of the Internet can have is recorded with how wide it is, counts as
// doubtful, and is not taken for knowing the sender: nothing is ever sent to him. A pass of DMARC that rests
// on such a one alone is no better; from a /16 on it is worth what it says.
func TestWideSPF(t *testing.T) {
	t.Parallel()
	w := New(t)
	w.DNS.Add(`wide.com. 300 IN TXT "v=spf1 include:cloud.com -all"` + "\n" +
		`cloud.com. 300 IN TXT "v=spf1 ip4:64.0.0.0/2 ip4:127.0.0.1 -all"` + "\n" +
		`two.com. 300 IN TXT "v=spf1 ip4:127.0.0.0/15 -all"` + "\n" + `_dmarc.two.com. 300 IN TXT "v=DMARC1; p=reject"` + "\n" +
		`one.com. 300 IN TXT "v=spf1 ip4:127.0.0.0/16 -all"` + "\n" + `_dmarc.one.com. 300 IN TXT "v=DMARC1; p=reject"`)
	a := w.House("a.test", Options{})
	alice := a.Person("alice", 0)
	if r := a.raw(t).send("<any@wide.com>", alice.Address, Letter("any@wide.com", alice.Address, "one")); r[0] != '2' {
		t.Fatal(r)
	}
	if got := alice.WaitInbox(1)[0]; !strings.Contains(got, "spf=pass smtp.mailfrom=any@wide.com") {
		t.Error(got)
	}
	found := false
	for _, e := range a.traced("any@wide.com", "authenticate") {
		found = found || strings.Contains(e, "SPF pass for wide.com by include:cloud.com ip4:64.0.0.0/2")
	}
	if !found {
		t.Errorf("trace: %q", a.traced("any@wide.com", "authenticate"))
	}
	if score := a.traced("any@wide.com", "spam"); len(score) != 1 || !strings.Contains(score[0], "SPF_WIDE 1") {
		t.Errorf("the score: %q", score)
	}
	for i, c := range []struct{ domain, want, not string }{
		{"two.com", "SPF_WIDE 1", "DMARC_PASS"}, {"one.com", "DMARC_PASS", "SPF_WIDE"},
	} {
		from := "any@" + c.domain
		if r := a.raw(t).send("<"+from+">", alice.Address, Letter(from, alice.Address, c.domain)); r[0] != '2' {
			t.Fatal(r)
		}
		if got := alice.WaitInbox(2 + i)[1+i]; !strings.Contains(got, "dmarc=pass header.from="+c.domain) {
			t.Error(got)
		}
		score := a.traced(from, "spam")
		if len(score) != 1 || !strings.Contains(score[0], c.want) || strings.Contains(score[0], c.not) {
			t.Errorf("%s: the score: %q", c.domain, score)
		}
	}
}

// traced returns the details of a step in what the trace says of a sender.
func (h *House) traced(from, step string) []string {
	h.t.Helper()
	var all []string
	events, err := h.Trace.Find(h.t.Context(), from, 100)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range events {
		if e.Step == step {
			all = append(all, e.Detail)
		}
	}
	return all
}

// TestHostileSPF is P25 through the door: records that ask for ever end in an error, after few questions,
// and the message arrives without anybody vouching for it.
func TestHostileSPF(t *testing.T) {
	t.Parallel()
	w := New(t)
	a := w.House("a.test", Options{})
	alice := a.Person("alice", 0)
	var many, voids strings.Builder
	for i := range 11 {
		fmt.Fprintf(&many, " a:h%d.many.com", i)
		w.DNS.Add(fmt.Sprintf("h%d.many.com. 300 IN A 192.0.2.9", i))
	}
	for i := range 3 {
		fmt.Fprintf(&voids, " a:no%d.voids.com", i)
	}
	big := strings.Repeat(`"`+strings.Repeat("x=y ", 60)+`" `, 256)
	w.DNS.Add(`many.com. 300 IN TXT "v=spf1` + many.String() + ` +all"` + "\n" +
		`voids.com. 300 IN TXT "v=spf1` + voids.String() + ` +all"` + "\n" +
		`loop.com. 300 IN TXT "v=spf1 include:%{d} redirect=%{o}"` + "\n" +
		`big.com. 300 IN TXT "v=spf1 " ` + big + `"+all"`)
	for i, domain := range []string{"many.com", "voids.com", "loop.com", "big.com"} {
		before := len(w.DNS.Asked())
		from := "any@" + domain
		if r := a.raw(t).send("<"+from+">", alice.Address, Letter(from, alice.Address, domain)); r[0] != '2' {
			t.Fatalf("%s: %s", domain, r)
		}
		got := alice.WaitInbox(i + 1)[i]
		if !strings.Contains(got, "spf=permerror") || strings.Contains(got, "spf=pass") || strings.Contains(got, "dmarc=pass") {
			t.Errorf("%s: %.400s", domain, got)
		}
		if n := len(w.DNS.Asked()) - before; n > 40 {
			t.Errorf("%s: %d questions", domain, n)
		}
	}
}

// TestLostDNS is O11 for what comes in: with name servers that fail, mail is taken, nothing of it is a
// pass, and nothing is refused for good.
func TestLostDNS(t *testing.T) {
	t.Parallel()
	w := New(t)
	w.DNS.Add(forgery)
	a := w.House("a.test", Options{})
	alice := a.Person("alice", 0)
	lost := []string{"attack.com", "_dmarc.attack.com", "_dmarc.legitimate.com", "_dmarc.com"}
	for n := range len(lost) + 1 {
		for i, name := range lost {
			var err error
			if i == n || n == len(lost) {
				err = errors.New("lost")
			}
			w.DNS.Fail(name, err)
		}
		for _, from := range []string{"any@attack.com", "admin@legitimate.com"} {
			text := Letter(from, alice.Address, fmt.Sprint(n, from))
			r := a.raw(t).send("<any@attack.com>", alice.Address, text)
			refused := strings.HasPrefix(r, "550 5.7.26") && from == "admin@legitimate.com" && n != 2 && n != len(lost)
			if r[0] != '2' && !refused {
				t.Errorf("without %s, from %s: %s", lost[min(n, len(lost)-1)], from, r)
			}
		}
	}
	for _, text := range slices.Concat(alice.Inbox(), a.read(alice.IMAP(), "Junk")) {
		if strings.Contains(text, "dmarc=pass header.from=legitimate.com") {
			t.Errorf("a pass: %s", text)
		}
	}
	if took := w.Clock.Now().Sub(Start); took > time.Minute {
		t.Errorf("waited for %v", took)
	}
}
