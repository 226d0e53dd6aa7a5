package milter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"tram/internal/message"
	"tram/internal/scan/filter"
	"tram/internal/smtp"
)

// talk is one message told over a connection.
type talk struct {
	*session
	m      *filter.Message
	result Result
	added  int  // bytes of the fields
	decide bool // the milter has decided
	noBody bool // it has seen enough of the body
	ended  bool // it has been told all
	leaves bool // it does not want the connection any more
	whole  bool // see reusable
}

// stages is the order in which a message is told. Each ends early once the milter has decided.
var stages = []func(*talk) error{
	(*talk).connect, (*talk).helo, (*talk).mail, (*talk).rcpt, (*talk).data, (*talk).content,
}

// opening is how many stages come once on a connection: what they tell holds for all its messages.
const opening = 2

// run tells the message, stage by stage, until the milter has decided or has heard all.
func (t *talk) run() error {
	skipped := opening
	if t.count++; t.count == 1 {
		t.who, skipped = callerOf(t.m), 0
	}
	for i, stage := range stages[skipped:] {
		err := stage(t)
		switch {
		case err != nil:
			return err
		case t.decide && i+skipped < opening:
			return nil // it decided about the client, and expects no message
		case t.decide:
			return t.finish()
		}
	}
	return t.finish()
}

// finish brings the milter back to where it waits for another message of the same client. An error is
// none of this message, which has been decided.
func (t *talk) finish() error {
	if !t.ended {
		if t.put(cmdAbort) != nil || t.out.Flush() != nil { // it has no answer
			return nil
		}
	}
	// What was sent without having been asked for would be taken for an answer to the next message.
	t.whole = t.in.Buffered() == 0 && !t.leaves && t.count < t.c.o.Messages
	return nil
}

// reusable reports whether another message of the same client may follow on the connection.
func (t *talk) reusable() bool { return t != nil && t.whole }

// macros tells names with their values, before the command that they belong to.
func (t *talk) macros(cmd byte, pairs ...string) error {
	var b []byte
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		b = appendText(appendText(b, pairs[i]), pairs[i+1])
	}
	return t.put(cmdMacro, []byte{cmd}, b)
}

// appendText appends a text with the NUL that ends it; NULs of its own would end it early.
func appendText(dst []byte, s string) []byte {
	return append(append(dst, strings.ReplaceAll(s, "\x00", "")...), 0)
}

// tell sends a command and takes the answer, if one is due.
func (t *talk) tell(cmd byte, silent uint32, data ...[]byte) error {
	if err := t.put(cmd, data...); err != nil {
		return err
	}
	if t.skip&silent != 0 {
		return nil
	}
	return t.answer(false)
}

// connect tells who the client is, in the form of the protocol: a letter for the family, the port, which
// nobody here remembers, and the address. Without an address (LMTP over a socket) the family is unknown.
func (t *talk) connect() error {
	name := t.m.Name
	family, port, addr := byte('U'), uint16(0), ""
	if a := t.m.Addr.Unmap().WithZone(""); a.IsValid() {
		addr, family = a.String(), '4'
		if a.Is6() {
			family, addr = '6', "IPv6:"+addr
		}
		if name == "" { // as sendmail writes it, and milters look for
			name = "[" + strings.TrimPrefix(addr, "IPv6:") + "]"
		}
	}
	if name == "" {
		name = "localhost"
	}
	err := t.macros(cmdConnect, "j", t.m.Hostname, "{daemon_name}", "tram", "v", "tram",
		"{client_name}", name, "{client_ptr}", t.m.Name, "{client_addr}", strings.TrimPrefix(addr, "IPv6:"))
	if err != nil || t.skip&noConnect != 0 {
		return err
	}
	b := append(appendText(nil, name), family)
	if family != 'U' {
		b = appendText(binary.BigEndian.AppendUint16(b, port), addr)
	}
	return t.tell(cmdConnect, noReplyConn, b)
}

// helo tells the greeting. What is known of the encryption goes with it, because the session that is told is
// the one after STARTTLS.
func (t *talk) helo() error {
	protocol, cipher, _ := strings.Cut(t.m.TLS, " ")
	err := t.macros(cmdHelo, "{tls_version}", protocol, "{cipher}", cipher)
	if err != nil || t.skip&noHelo != 0 {
		return err
	}
	return t.tell(cmdHelo, noReplyHelo, appendText(nil, t.m.HELO))
}

// mail tells the sender, and the account that submits the message: signing milters go by that.
func (t *talk) mail() error {
	method := ""
	if t.m.User != "" {
		method = "PLAIN" // milters ask whether there is one, not which
	}
	_, host, _ := strings.Cut(t.m.From, "@")
	err := t.macros(cmdMail, "i", t.m.ID, "{auth_authen}", t.m.User, "{auth_type}", method,
		"{mail_mailer}", "smtp", "{mail_host}", host, "{mail_addr}", t.m.From)
	if err != nil || t.skip&noMail != 0 {
		return err
	}
	return t.tell(cmdMail, noReplyMail, appendText(nil, "<"+t.m.From+">"))
}

// rcpt tells all recipients. One reply is owed for the whole message: if the milter refuses one of them,
// the message is refused, so that nobody is left without it in silence.
func (t *talk) rcpt() error {
	for _, to := range t.m.Recipients {
		_, host, _ := strings.Cut(to, "@")
		err := t.macros(cmdRcpt, "i", t.m.ID, "{rcpt_mailer}", "local", "{rcpt_host}", host, "{rcpt_addr}", to)
		// Macros are told also to a milter that does not want the command: it may look at them later.
		if err == nil && t.skip&noRcpt == 0 {
			err = t.tell(cmdRcpt, noReplyRcpt, appendText(nil, "<"+to+">"))
		}
		if err != nil || t.decide {
			return err
		}
	}
	return nil
}

// data only announces the message.
func (t *talk) data() error {
	if err := t.macros(cmdData, "i", t.m.ID); err != nil || t.skip&noData != 0 {
		return err
	}
	return t.tell(cmdData, noReplyData)
}

// readError is an error of our own storage.
type readError struct{ err error }

func (e *readError) Error() string { return "read message: " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// ours reports whether an error is about the message, so that another connection helps nobody.
func ours(err error) bool {
	var own *readError
	return errors.As(err, &own) || errors.Is(err, filter.ErrHeader)
}

// content tells header, body and end.
func (t *talk) content() error {
	r := t.m.Open()
	defer r.Close()
	header, body, err := filter.Split(r, t.c.o.Header)
	if err != nil {
		return &readError{err}
	}
	for _, stage := range []func() error{
		func() error { return t.header(header) },
		func() error { return t.headerEnd() },
		func() error { return t.body(body) },
		t.end,
	} {
		if err := stage(); err != nil || t.decide {
			return err
		}
	}
	return nil
}

// header tells the fields as they came: the Received field on top that is ours is left out, as mail
// servers tell milters what they were sent.
func (t *talk) header(header []byte) error {
	if t.skip&noHeaders != 0 {
		return nil
	}
	first := true
	for f := range message.Header(header) {
		if first && f.Is("Received") && t.m.ID != "" && bytes.Contains(f.Body, []byte(t.m.ID)) {
			continue
		}
		first = false
		if f.Name == nil {
			continue // a line that is no field cannot be told
		}
		value := string(bytes.TrimRight(f.Body, "\r\n"))
		if t.skip&leadSpace == 0 {
			value = strings.TrimPrefix(value, " ")
		}
		// Folded lines are told with LF alone, as sendmail does: milters that sign count on it.
		value = strings.ReplaceAll(value, "\r\n", "\n")
		b := appendText(appendText(nil, string(f.Name)), value)
		if err := t.tell(cmdHeader, noReplyHdr, b); err != nil || t.decide {
			return err
		}
	}
	return nil
}

// headerEnd is the last moment to decide before the body.
func (t *talk) headerEnd() error {
	if t.skip&noHeaderEnd != 0 {
		return nil
	}
	return t.tell(cmdHeaderEnd, noReplyEnd)
}

// body tells the body in the largest chunks that libmilter takes: those of sendmail are as large, and some
// milters count on no more.
func (t *talk) body(r io.Reader) error {
	if t.skip&noBody != 0 {
		return nil
	}
	buf := make([]byte, bodyChunk)
	for !t.noBody {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			if err := t.tell(cmdBody, noReplyBody, buf[:n]); err != nil || t.decide {
				return err
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return &readError{err}
		}
	}
	return nil
}

// end asks for the decision. Only here a milter may change something.
func (t *talk) end() error {
	if err := t.macros(cmdBodyEnd, "i", t.m.ID); err != nil {
		return err
	}
	if err := t.put(cmdBodyEnd); err != nil {
		return err
	}
	t.ended = true
	return t.answer(true)
}

// answer reads what the milter says to a command; atEnd, its wishes for the message come before that.
func (t *talk) answer(atEnd bool) error {
	for {
		code, data, err := t.next()
		if err != nil {
			return err
		}
		again := false
		switch code {
		case ansProgress:
			again = true // it works: the time-out of the whole message holds
		case ansAddHeader, ansInsertHeader, ansQuarantine:
			again = true
			if !atEnd {
				return fmt.Errorf("%w: a change before the end of the message", ErrProtocol)
			}
			err = t.change(code, data)
		case ansContinue:
		case ansSkip:
			t.noBody = true
		case ansAccept:
			t.decide = true
		default:
			err = t.refuse(code, data)
		}
		if err != nil || !again {
			return err
		}
	}
}

// refuse is for the answers that keep a message out.
func (t *talk) refuse(code byte, data []byte) error {
	t.decide = true
	switch code {
	case ansReject:
		t.result.Refuse = smtp.NewReply(550, smtp.Enhanced{5, 7, 1}, "Message refused")
	case ansTempFail, ansConnFail, ansShutdown:
		t.result.Refuse = smtp.NewReply(451, smtp.Enhanced{4, 7, 1}, "Try again later")
		t.leaves = code != ansTempFail
	case ansDiscard:
		t.result.Hold = "the milter discards it"
	case ansReplyCode:
		// Its own words. A reply that is none (a code of success, half a line) is a failure, not a refusal.
		reply, err := parseReply(string(bytes.TrimRight(data, "\x00")))
		t.result.Refuse = reply
		return err
	default:
		return fmt.Errorf("%w: %q", ErrProtocol, code)
	}
	return nil
}

// parseReply reads "550 5.7.1 text", or several such lines with one code. Control characters are taken out,
// as the text goes to the sender and into the log.
func parseReply(s string) (smtp.Reply, error) {
	var r smtp.Reply
	for i, line := range strings.Split(strings.ReplaceAll(strings.TrimRight(s, "\r\n"), "\r\n", "\n"), "\n") {
		code, rest := line, ""
		if len(line) > 3 {
			code, rest = line[:3], line[4:]
		}
		n, err := strconv.Atoi(code)
		if err != nil || n < 400 || n > 599 || i > 0 && n != r.Code || i >= 32 {
			return r, fmt.Errorf("%w: reply %q", ErrProtocol, filter.Clean(line))
		}
		r.Code = n
		if e, text, ok := smtp.ParseEnhanced(rest); ok && int(e[0]) == n/100 {
			r.Enhanced, rest = e, text
		}
		r.Lines = append(r.Lines, filter.Clean(rest))
	}
	return r, nil
}

// change takes a wish for the message. What is taken is bounded, and must be able to stand in a message: a
// milter is believed about its opinion, not about its grammar.
func (t *talk) change(code byte, data []byte) error {
	if code == ansQuarantine {
		t.result.Hold = "quarantine: " + filter.Clean(string(bytes.TrimRight(data, "\x00")))
		return nil
	}
	if code == ansInsertHeader {
		// Behind its place among the fields it is built as one to be added.
		if len(data) < 4 {
			return fmt.Errorf("%w: a field without its place", ErrProtocol)
		}
		data = data[4:] // every field of ours stands on top, wherever it was meant to
	}
	name, rest, ok := bytes.Cut(data, []byte{0})
	value, _, ended := bytes.Cut(rest, []byte{0})
	if !ok || !ended {
		return fmt.Errorf("%w: half a field", ErrProtocol)
	}
	field, err := formatField(string(name), string(value))
	if err != nil {
		return err
	}
	if t.added += len(field); t.added > t.c.o.FieldBytes || len(t.result.Fields) >= t.c.o.Fields {
		return fmt.Errorf("%w: it adds too many fields", ErrProtocol)
	}
	if code == ansInsertHeader {
		// Each insertion at the top goes above the one before, as milters expect.
		t.result.Fields = append([]string{field}, t.result.Fields...)
		return nil
	}
	t.result.Fields = append(t.result.Fields, field)
	return nil
}

var errField = errors.New("a header field that cannot stand in a message")

// formatField makes a field for the top of a message: printable name, lines that end in CRLF and are
// folded. The names of the fields that this server writes for itself are not a milter's.
func formatField(name, value string) (string, error) {
	bad := strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' })
	if name == "" || bad || len(name) > 100 || strings.EqualFold(name, "Return-Path") ||
		strings.EqualFold(name, "Received") {
		return "", fmt.Errorf("%w: name %q", errField, filter.Clean(name))
	}
	var b strings.Builder
	b.WriteString(name + ":")
	value = strings.ReplaceAll(strings.TrimRight(value, "\r\n"), "\r\n", "\n")
	for i, line := range strings.Split(value, "\n") {
		if strings.ContainsAny(line, "\r\x00") {
			return "", fmt.Errorf("%w: %s", errField, name)
		}
		// A line of the value that does not begin with white space would be a field of its own.
		if i > 0 {
			if strings.TrimSpace(line) == "" {
				continue // RFC 5322 §3.2.2: no line of white space alone
			}
			b.WriteString("\r\n")
		}
		if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") {
			b.WriteByte(" \t"[min(i, 1)])
		}
		b.WriteString(line)
	}
	b.WriteString("\r\n")
	return b.String(), nil
}
