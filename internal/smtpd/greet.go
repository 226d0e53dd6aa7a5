package smtpd

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"time"

	"tram/internal/smtp"
)

// greet sends the banner. A client that talks before it on port 25 is a program that does not wait
// for anybody: it is turned away (RFC 5321 §3.1, P3).
func (x *session) greet() bool {
	x.c.SetDeadline(x.lifeEnd())
	if x.o.Mode == MX && x.c.Arrived() {
		x.abuse("early talk", 554, "You spoke before the greeting")
		return false
	}
	kind := " ESMTP tram\r\n"
	if x.o.Mode == LMTP {
		kind = " LMTP tram\r\n"
	}
	b := append(x.c.AvailableBuffer(), "220 "...)
	x.write(append(append(b, x.o.Hostname...), kind...))
	return true
}

// hello is HELO, EHLO (RFC 5321 §4.1.1.1) and LHLO (RFC 2033 §4.1). It ends a transaction.
func (x *session) hello(ctx context.Context, cmd smtp.Command) {
	if lmtp := cmd.Verb == "LHLO"; lmtp != (x.o.Mode == LMTP) {
		x.fail(ctx, 500, smtp.Enhanced{5, 5, 1}, "This server speaks the other of SMTP and LMTP")
		return
	}
	name, _, _ := strings.Cut(strings.TrimSpace(cmd.Args), " ")
	if name == "" || !ascii(name) {
		x.fail(ctx, 501, smtp.Enhanced{5, 5, 4}, "Your name is missing")
		return
	}
	if x.ahead() {
		return
	}
	x.reset()
	x.lookUp()
	x.slowDown(ctx)
	x.helo, x.esmtp = name, cmd.Verb != "HELO"
	if !x.esmtp {
		x.write([]byte("250 " + x.o.Hostname + "\r\n"))
		return
	}
	b := append(x.c.AvailableBuffer(), x.offer...)
	b = x.appendExtensions(b)
	// All lines but the last have a hyphen behind their code, RFC 5321 §4.2.1.
	last := 1 + bytes.LastIndexByte(b[:len(b)-1], '\n')
	b[last+len("250")] = ' '
	x.write(b)
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// makeOffer makes what every EHLO of a server is answered with: who we are and what is always there.
func (s *Server) makeOffer() string {
	l := s.o.Limits.SMTP
	var b []byte
	for _, line := range []string{
		s.o.Hostname,
		"PIPELINING", // RFC 2920
		"SIZE " + strconv.FormatInt(l.MessageSize, 10), // RFC 1870
		"8BITMIME",            // RFC 6152
		"SMTPUTF8",            // RFC 6531
		"ENHANCEDSTATUSCODES", // RFC 2034
		"CHUNKING",            // RFC 3030
		"BINARYMIME",
		"DSN", // RFC 3461
		s.limitsKeyword(),
	} {
		b = appendOffer(b, line)
	}
	return string(b)
}

func appendOffer(b []byte, line string) []byte {
	return append(append(append(b, "250-"...), line...), "\r\n"...)
}

// appendExtensions appends what is on offer in this session now.
func (x *session) appendExtensions(b []byte) []byte {
	if x.c.CanStartTLS() {
		b = appendOffer(b, "STARTTLS") // RFC 3207
	}
	if x.c.Secure() {
		b = appendOffer(b, "REQUIRETLS") // RFC 8689 §2
	}
	if x.o.Mode == Submission {
		for _, line := range x.submissionExtensions() {
			b = appendOffer(b, line)
		}
	}
	return b
}

// limitsKeyword announces what a session may hold, RFC 9422 §4.
func (s *Server) limitsKeyword() string {
	text := "LIMITS RCPTMAX=" + strconv.Itoa(s.maxRecipients())
	if n := s.o.Limits.SMTP.Transactions; s.o.Mode == MX && n > 0 {
		text += " MAILMAX=" + strconv.Itoa(n)
	}
	return text
}

func (x *session) submissionExtensions() []string {
	ext := []string{
		"DELIVERBY",   // RFC 2852
		"MT-PRIORITY", // RFC 6710
	}
	if hold := x.o.Limits.SMTP.HoldMax; hold > 0 {
		// RFC 4865 §4: the longest interval and the latest time.
		until := x.o.Clock.Now().Add(hold).UTC().Format(time.RFC3339)
		ext = append(ext, "FUTURERELEASE "+strconv.Itoa(int(hold.Seconds()))+" "+until)
	}
	if mechanisms := x.mechanisms(); len(mechanisms) > 0 {
		ext = append(ext, "AUTH "+strings.Join(mechanisms, " ")) // RFC 4954 §3
	}
	return ext
}
