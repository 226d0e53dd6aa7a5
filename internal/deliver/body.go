package deliver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"tram/internal/envelope"
	"tram/internal/mailauth/authres"
	"tram/internal/mailauth/check"
	"tram/internal/message"
	"tram/internal/smtp"
	"tram/internal/store"
)

// Body takes a message in as it arrives: the bytes go through one pass that hashes, parses and
// stores them, with the header held back until it is whole so that the trace fields can be put on
// top of it. It is how the SMTP door writes messages without knowing where bytes are kept. Finish
// or Abort must end it.
type Body struct {
	d       *Deliverer
	env     *envelope.Envelope
	out     *store.Body
	content hash.Hash
	look    *check.Check // of mail from outside, when somebody is to look
	top     []byte       // our fields, ending in CRLF
	header  []byte       // held back; what is beyond the limit passes unchanged
	inside  bool         // the header has passed
	err     error        // of storage; sticky
}

func newBody() *Body { return &Body{content: sha256.New()} }

// NewBody begins the message of env, whose From and Origin are known by then. received is our
// Received field, CRLF included; it is copied. In front of it goes the Return-Path field of the
// final delivery (RFC 5321 §4.4), which the queue leaves out again of what it relays. A submission
// gets the fields it lacks (RFC 6409 §8).
func (d *Deliverer) NewBody(
	ctx context.Context, env *envelope.Envelope, received []byte,
) *Body {
	b := d.bodies.Get().(*Body)
	b.d, b.env = d, env
	if b.looked() {
		b.out = d.o.Store.NewDraft(ctx) // the results go on top of it
	} else {
		b.out = d.o.Store.NewBody(ctx)
	}
	b.content.Reset()
	b.top, b.header, b.inside, b.err = b.top[:0], b.header[:0], false, nil
	b.top = append(appendReturnPath(b.top, env), received...)
	return b
}

func appendReturnPath(dst []byte, env *envelope.Envelope) []byte {
	dst = append(dst, "Return-Path: "...)
	dst = append(dst, env.From.Path()...)
	return append(dst, "\r\n"...)
}

// Write implements io.Writer. It takes every byte: an error of storage comes from Finish, so that
// the door can read the message to its end first. Err tells it early.
func (b *Body) Write(p []byte) (int, error) {
	_, _ = b.content.Write(p) // a hash takes everything
	if b.inside {
		b.see(p)
		b.put(p)
		return len(p), nil
	}
	b.takeHeader(p)
	return len(p), nil
}

// Err returns what storage said so far: the message will not be stored.
func (b *Body) Err() error { return b.err }

func (b *Body) put(p []byte) {
	if b.err == nil && len(p) > 0 {
		_, b.err = b.out.Write(p)
	}
}

// takeHeader holds the header back until its blank line has come. Of a header that is longer than
// the parser reads, the fields are neither completed nor cleaned: of a stranger's message it is refused,
// for it could hold results of checks or a Return-Path in our name.
func (b *Body) takeHeader(p []byte) {
	limit, held := b.d.o.Limits.Message.HeaderBytes, len(b.header)
	if held > 0 {
		b.header = append(b.header, p...)
		p = b.header
	}
	// The usual case is the whole header in the first slice: it is handed on without a copy.
	end := headerEnd(p, held)
	switch {
	case end >= 0 && end <= limit:
		b.pass(p[:end])
		b.see(p[end+len("\r\n"):])
		b.put(p[end:])
	case end > limit || len(p) > limit:
		b.inside = true
		if b.env.Origin == envelope.Inbound {
			b.err = smtp.NewReply(550, smtp.Enhanced{5, 6, 0}, fmt.Sprintf(
				"Header is too long to be checked: it may have %d kB", limit/1024))
		}
		b.put(b.top)
		b.put(p)
	case held == 0:
		b.header = append(b.header, p...)
		return
	default:
		return
	}
	b.forgetHeader()
}

// forgetHeader gives up what was held back; a large buffer does not wait for the end of the body.
func (b *Body) forgetHeader() {
	if b.header = b.header[:0]; cap(b.header) > maxKept {
		b.header = nil
	}
}

// headerEnd returns where the blank line begins that ends a header, -1 when it has not come; what
// is before from has been looked at.
func headerEnd(p []byte, from int) int {
	if bytes.HasPrefix(p, []byte("\r\n")) {
		return 0
	}
	from = max(from-3, 0)
	if i := bytes.Index(p[from:], []byte("\r\n\r\n")); i >= 0 {
		return from + i + 2
	}
	return -1
}

// looked reports whether somebody is to look who vouches for the message.
func (b *Body) looked() bool {
	return b.env.Origin == envelope.Inbound && b.d.o.Origins.Checker != nil
}

// see shows the next bytes of the body to who looks: all bytes pass once, and are hashed for the
// signatures on the way.
func (b *Body) see(p []byte) {
	if b.look != nil {
		_, _ = b.look.Write(p) // it takes everything
	}
}

// pass writes the trace fields and the header. Two kinds of fields are left out. A Return-Path that the
// client had put there, as RFC 5321 §4.4 allows to the server that makes the final delivery and as the
// Deliverer relies on: only the first field of a stored message can be one. And results of checks that
// say they are ours, RFC 8601 §5: what a message brings with it is not what was found here. All other
// bytes stay as they came.
func (b *Body) pass(header []byte) {
	b.inside = true
	if len(header) > 0 && (header[0] == ' ' || header[0] == '\t') {
		// It would continue our own last field.
		b.err = smtp.NewReply(550, smtp.Enhanced{5, 6, 0}, "Header begins with a continuation line")
		return
	}
	if b.env.Binary && !cleanEnds(header) {
		// BINARYMIME lets them into bodies only (RFC 3030 §3), and a program for which a bare CR ends a line
		// reads another From field here than the one that was checked.
		b.err = smtp.NewReply(550, smtp.Enhanced{5, 6, 0}, "Header holds a bare CR, a bare LF or a NUL octet")
		return
	}
	if b.env.Origin == envelope.Submission {
		b.complete(header)
	}
	if b.looked() {
		b.look = b.d.o.Origins.Checker.Begin(header)
	}
	b.put(b.top)
	for {
		start, end := b.findForeign(header)
		if start < 0 {
			b.put(header)
			return
		}
		b.put(header[:start])
		header = header[end:]
	}
}

// cleanEnds reports whether every line of a header ends in CRLF, and none holds half of one or a NUL.
func cleanEnds(header []byte) bool {
	ends := bytes.Count(header, []byte("\r\n"))
	return bytes.Count(header, []byte("\r")) == ends && bytes.Count(header, []byte("\n")) == ends &&
		bytes.IndexByte(header, 0) < 0
}

// foreign are the fields that only this server may write.
const (
	returnPathName = "return-path"
	resultsName    = "authentication-results"
)

// findForeign returns the span of the first field that is left out, start -1 when there is none.
func (b *Body) findForeign(header []byte) (start, end int) {
	for at := 0; at < len(header); {
		next := lineEnd(header, at)
		path := isField(header[at:], returnPathName)
		results := !path && b.env.Origin != envelope.LMTP && isField(header[at:], resultsName)
		if !path && !results {
			at = next
			continue
		}
		for next < len(header) && (header[next] == ' ' || header[next] == '\t') {
			next = lineEnd(header, next)
		}
		body := at + bytes.IndexByte(header[at:next], ':') + 1
		if path || authres.Claims(header[body:next], b.d.o.Hostname) {
			return at, next
		}
		at = next
	}
	return -1, -1
}

// lineEnd is where the line after the one at begins.
func lineEnd(header []byte, at int) int {
	if i := bytes.IndexByte(header[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(header)
}

// isField reports whether the field of a name in lower case begins here. There may be white space before
// the colon (RFC 5322 §4.5.8), and even a line end if the next line continues this one.
func isField(b []byte, name string) bool {
	if len(b) <= len(name) || b[0]|0x20 != name[0] || !bytes.EqualFold(b[:len(name)], []byte(name)) {
		return false
	}
	for i, c := range b[len(name):] {
		switch c {
		case ':':
			return true
		case ' ', '\t', '\r':
		case '\n':
			if next := len(name) + i + 1; next == len(b) || b[next] != ' ' && b[next] != '\t' {
				return false
			}
		default:
			return false
		}
	}
	return false
}

// complete adds the fields that a message must have and a submission lacks, RFC 6409 §8.1 and §8.2.
// A Bcc field stays as the client sent it: who writes one into the copy that others get means it
// (RFC 5322 §3.6.3 leaves that to the author's program).
func (b *Body) complete(header []byte) {
	var date, id bool
	for f := range message.Header(header) {
		date = date || f.Is("Date")
		id = id || f.Is("Message-ID")
	}
	if !date {
		b.top = append(b.top, "Date: "+message.FormatDate(b.d.o.Clock.Now())+"\r\n"...)
	}
	if !id {
		domain := b.env.From.Domain
		if domain == "" {
			domain = b.d.o.Hostname
		}
		made, err := message.NewMessageID(b.d.o.Rand, domain)
		if err != nil {
			b.err = err
			return
		}
		b.top = append(b.top, "Message-ID: "+made+"\r\n"...)
	}
}

// Finish ends the message and puts body, parse and content hash into the envelope.
func (b *Body) Finish() error {
	if !b.inside {
		b.pass(b.header) // a header without a body, RFC 5322 §3.5
	}
	if b.err != nil {
		err := b.err
		b.Abort()
		return fmt.Errorf("store message: %w", err)
	}
	body, parsed, err := b.out.Finish()
	if err != nil {
		b.release()
		return fmt.Errorf("store message: %w", err)
	}
	b.env.Body, b.env.Message, b.env.Check = body, parsed, b.look
	b.content.Sum(b.env.ContentHash[:0])
	b.release()
	return nil
}

// Abort throws the message away.
func (b *Body) Abort() {
	b.out.Abort()
	b.release()
}

// maxKept is the largest header buffer that goes back to the pool.
const maxKept = 32 << 10

func (b *Body) release() {
	b.forgetHeader()
	d := b.d
	b.d, b.env, b.out, b.look = nil, nil, nil, nil
	d.bodies.Put(b)
}

// finalForm makes sure that what is filed begins with its Return-Path field, has on top what the steps
// before have found out, and is parsed. What comes from a door lacks only the fields of those steps, if
// there are any; what comes from the queue may lack the first (a notice, a forward that came home) or
// its parse. The message is copied with what it lacks.
//
// The copy is the price for results above the fields that the client sent (RFC 8601 §4.1), which are
// known after the last byte only. Of most mail it is made in memory: nothing of a message is written
// before it outgrows the first chunk of a body.
func (r *delivery) finalForm(ctx context.Context) (smtp.Reply, error) {
	r.key = dedupeKey(r.env)
	stamped := r.env.Message != nil && bytes.HasPrefix(r.env.Message.Header, []byte(returnPath))
	if stamped && len(r.top) == 0 {
		return smtp.Reply{}, nil
	}
	var top []byte
	for _, field := range r.top {
		top = append(top, field...)
	}
	var made *bound
	var err error
	if stamped {
		made, err = r.insert(ctx, top)
	} else {
		made, err = r.remake(ctx, append(appendReturnPath(nil, r.env), top...))
	}
	if err != nil {
		return smtp.Reply{}, err
	}
	final := *r.env
	final.Body, final.Message, final.ContentHash = made.body, made.message, contentOf(r.env)
	r.env = &final
	return smtp.Reply{}, nil
}

// insert copies the body of env with fields below its Return-Path field. The parse is not done again.
func (r *delivery) insert(ctx context.Context, fields []byte) (*bound, error) {
	m := r.env.Message
	body, parsed, err := r.o.Store.Insert(ctx, r.env.Body, m, bytes.IndexByte(m.Header, '\n')+1, fields)
	if err != nil {
		return nil, err
	}
	made := &bound{body, parsed}
	r.made = append(r.made, made)
	return made, nil
}

const returnPath = "Return-Path: "

// remake copies the body of env with other fields on top, in place of a Return-Path field.
func (r *delivery) remake(ctx context.Context, top []byte) (*bound, error) {
	out := r.o.Store.NewBody(ctx)
	in := r.env.Body.Open(ctx)
	defer in.Close()
	if _, err := out.Write(top); err != nil {
		out.Abort()
		return nil, fmt.Errorf("copy message: %w", err)
	}
	if _, err := io.Copy(out, &withoutReturnPath{r: in}); err != nil {
		out.Abort()
		return nil, fmt.Errorf("copy message: %w", err)
	}
	body, parsed, err := out.Finish()
	if err != nil {
		return nil, fmt.Errorf("copy message: %w", err)
	}
	made := &bound{body, parsed}
	r.made = append(r.made, made)
	return made, nil
}

// withoutReturnPath reads a message from after its leading Return-Path field, if it begins with one.
type withoutReturnPath struct {
	r    io.Reader
	head []byte
	done bool
}

// maxReturnPath is longer than any Return-Path field of ours (smtp.MaxPath).
const maxReturnPath = 1024

func (w *withoutReturnPath) Read(p []byte) (int, error) {
	if !w.done {
		w.done = true
		head := make([]byte, maxReturnPath)
		n, err := io.ReadFull(w.r, head)
		if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
			return 0, err
		}
		w.head = head[:n]
		if bytes.HasPrefix(w.head, []byte(returnPath)) {
			_, w.head, _ = bytes.Cut(w.head, []byte("\r\n"))
		}
	}
	if len(w.head) > 0 {
		n := copy(p, w.head)
		w.head = w.head[n:]
		return n, nil
	}
	return w.r.Read(p)
}
