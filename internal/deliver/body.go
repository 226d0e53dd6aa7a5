package deliver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"tram/internal/envelope"
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
	top     []byte // our fields, ending in CRLF
	header  []byte // held back; what is beyond the limit passes unchanged
	inside  bool   // the header has passed
	err     error  // of storage; sticky
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
	b.d, b.env, b.out = d, env, d.o.Store.NewBody(ctx)
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
// the parser reads, the fields are neither completed nor cleaned.
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
		b.put(p[end:])
	case end > limit || len(p) > limit:
		b.inside = true
		b.put(b.top)
		b.put(p)
	case held == 0:
		b.header = append(b.header, p...)
		return
	default:
		return
	}
	b.header = b.header[:0]
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

// pass writes the trace fields and the header: a Return-Path field that the client had put there is
// left out, as RFC 5321 §4.4 allows to the server that makes the final delivery and as the
// Deliverer relies on: only the first field of a stored message can be one.
func (b *Body) pass(header []byte) {
	b.inside = true
	if len(header) > 0 && (header[0] == ' ' || header[0] == '\t') {
		// It would continue our own last field.
		b.err = smtp.NewReply(550, smtp.Enhanced{5, 6, 0}, "Header begins with a continuation line")
		return
	}
	if b.env.Origin == envelope.Submission {
		b.complete(header)
	}
	b.put(b.top)
	for {
		start, end := findReturnPath(header)
		if start < 0 {
			b.put(header)
			return
		}
		b.put(header[:start])
		header = header[end:]
	}
}

// findReturnPath returns the span of the first Return-Path field, start -1 when there is none.
func findReturnPath(header []byte) (start, end int) {
	const name = "return-path"
	for at := 0; at < len(header); {
		line := header[at:]
		next := len(line)
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			next = i + 1
		}
		if line[0]|0x20 == 'r' && len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) &&
			bytes.HasPrefix(bytes.TrimLeft(line[len(name):next], " \t"), []byte(":")) {
			end = at + next
			for end < len(header) && (header[end] == ' ' || header[end] == '\t') {
				i := bytes.IndexByte(header[end:], '\n')
				if i < 0 {
					return at, len(header)
				}
				end += i + 1
			}
			return at, end
		}
		at += next
	}
	return -1, -1
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
	b.env.Body, b.env.Message = body, parsed
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
	if cap(b.header) > maxKept {
		b.header = nil
	}
	d := b.d
	b.d, b.env, b.out = nil, nil, nil
	d.bodies.Put(b)
}

// finalForm makes sure that what is filed begins with its Return-Path field and is parsed. Both hold
// for what comes from a door. What comes from the queue may lack the field (a notice, a forward that
// came home) or its parse: it is copied with both.
func (r *delivery) finalForm(ctx context.Context) (smtp.Reply, error) {
	r.key = dedupeKey(r.env)
	if r.env.Message != nil && bytes.HasPrefix(r.env.Message.Header, []byte(returnPath)) {
		return smtp.Reply{}, nil
	}
	made, err := r.remake(ctx, appendReturnPath(nil, r.env))
	if err != nil {
		return smtp.Reply{}, err
	}
	final := *r.env
	final.Body, final.Message = made.body, made.message
	r.env = &final
	return smtp.Reply{}, nil
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
