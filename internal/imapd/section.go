package imapd

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"tram/internal/imap"
	"tram/internal/message"
	"tram/internal/store"
)

// Sections of messages are spans of their bytes: the part tree that was stored with the message says
// where they begin and end, and the body is read there. Nothing is parsed again.

// maxHeader bounds a header that is read into memory for HEADER.FIELDS; what follows is not
// searched for fields. The largest header that a mail program would look at is far smaller.
const maxHeader = 1 << 20

// sectionItem adds BODY[...], BODY.PEEK[...] and their BINARY forms to the plan.
func (s *session) sectionItem(plan *fetchPlan, item imap.FetchItem) {
	sec := &section{spec: *item.Section, partial: item.Partial}
	write := sec.body
	switch item.Name {
	case "BODY", "BODY.PEEK":
		sec.name = "BODY"
		plan.setsSeen = plan.setsSeen || item.Name == "BODY"
	case "BINARY", "BINARY.PEEK":
		sec.name, write = "BINARY", sec.binary
		plan.setsSeen = plan.setsSeen || item.Name == "BINARY"
	case "BINARY.SIZE":
		sec.name, write = "BINARY.SIZE", sec.binarySize
	default:
		s.dec.Bad("Unknown item to fetch")
	}
	if sec.name != "BODY" && sec.spec.Text != "" || sec.name == "BINARY.SIZE" && sec.partial != nil {
		s.dec.Bad("This section is for BODY") // RFC 9051 §9, section-binary
	}
	sec.label = string(sec.spec.Append([]byte(sec.name)))
	if sec.partial != nil {
		sec.label += fmt.Sprintf("<%d>", sec.partial.Offset)
	}
	sec.label += " "
	plan.needsRow = true
	plan.items = append(plan.items, write)
}

// section is one item with a section.
type section struct {
	name    string
	label   string // as the reply repeats it, with a space
	spec    imap.Section
	partial *imap.Partial
}

// sections are the parts of a message by the name IMAP has for them.
var sections = map[string]message.Section{
	"": message.SectionAll, "TEXT": message.SectionText, "MIME": message.SectionMIME,
	"HEADER":        message.SectionHeader,
	"HEADER.FIELDS": message.SectionHeader, "HEADER.FIELDS.NOT": message.SectionHeader,
}

// span finds the section's bytes; ok is false when the message has no such section.
func (sec *section) span(m *store.Email) (span message.Span, ok bool, err error) {
	if len(sec.spec.Part) == 0 && sec.spec.Text == "" {
		return message.Span{End: m.Size()}, true, nil
	}
	tree, err := m.Structure()
	if err != nil {
		return message.Span{}, false, err
	}
	span, ok = tree.Section(sec.spec.Part, sections[sec.spec.Text])
	return span, ok, nil
}

// cut applies the partial to n bytes and returns where it begins and ends.
func (sec *section) cut(n int64) (from, to int64) {
	if sec.partial == nil {
		return 0, n
	}
	// RFC 9051 §6.4.5: what reaches beyond the end is truncated.
	from = min(sec.partial.Offset, n)
	return from, from + min(sec.partial.Count, n-from)
}

// emptyString is what a range of bytes that lies beyond the end is answered with. A literal of no bytes
// would say the same (RFC 9051 §6.4.5), but Mail of iOS 18.2 and later waits a minute and a half after
// some of those: it asks for slices of 384 KiB up to the size of the whole message, whatever the size
// of the part.
const emptyString = `""`

// beyond reports whether nothing is left of a range of bytes.
func (sec *section) beyond(from, to int64) bool { return sec.partial != nil && from == to }

// body writes BODY[...].
func (sec *section) body(r *row, _ store.Entry, m *store.Email) error {
	r.label(sec.label)
	span, ok, err := sec.span(m)
	switch {
	case err != nil:
		return err
	case !ok:
		*r.out = append(*r.out, "NIL"...)
		return nil
	case len(sec.spec.Fields) > 0:
		return sec.headerFields(r, m, span)
	}
	from, to := sec.cut(span.Len())
	if sec.beyond(from, to) {
		*r.out = append(*r.out, emptyString...)
		return nil
	}
	return r.literal(m, span.Start+from, span.Start+to)
}

// literal writes bytes of the message as a literal: at once when they are few, else after the
// window's snapshot is given back.
func (r *row) literal(m *store.Email, from, to int64) error {
	n := to - from
	*r.out = imap.AppendLiteral(*r.out, n)
	if n <= inlineBody && !r.tight(n) {
		return r.inline(m, from, int(n))
	}
	window, ref := r.w, m.Blob
	whole := from == 0 && to == m.Size()
	r.streams = append(r.streams, stream{at: len(*r.out), copy: func(w io.Writer) error {
		if whole {
			return window.sendBody(w, ref)
		}
		body := window.open(ref)
		defer body.Close()
		_, err := io.Copy(w, io.NewSectionReader(body, from, n))
		return err
	}})
	return nil
}

// inline reads n bytes of the message into the reply buffer.
func (r *row) inline(m *store.Email, from int64, n int) error {
	body := r.tx.Open(m)
	defer body.Close()
	b := slices.Grow(*r.out, n)
	read := b[len(b) : len(b)+n]
	var err error
	if from == 0 && int64(n) == m.Size() {
		_, err = io.ReadFull(body, read)
	} else {
		_, err = body.ReadAt(read, from)
	}
	if err != nil && !(errors.Is(err, io.EOF) && n == 0) {
		return readFailed(err)
	}
	*r.out = b[:len(b)+n]
	return nil
}

// readFailed wraps an error of reading a body; ReadAt's io.EOF at the very end is none.
func readFailed(err error) error {
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return nil
	case errors.Is(err, store.ErrBodyDamaged):
		return fmt.Errorf("read body: %w (%w)", err, store.ErrDamaged)
	}
	return fmt.Errorf("read body: %w", err)
}

// headerFields writes, of all that Apple Mail, Thunderbird, K-9 and mutt fetch for a list of messages, the
// greater part: HEADER.FIELDS and HEADER.FIELDS.NOT.
func (sec *section) headerFields(r *row, m *store.Email, span message.Span) error {
	picked := r.s.srv.borrow(0)
	defer r.s.srv.giveBack(picked)
	body := r.tx.Open(m)
	defer body.Close()
	if err := sec.pick(r.s, body, span, picked); err != nil {
		return err
	}
	from, to := sec.cut(int64(len(*picked)))
	if sec.beyond(from, to) {
		*r.out = append(*r.out, emptyString...)
		return nil
	}
	*r.out = imap.AppendLiteral(*r.out, to-from)
	if r.tight(to - from) {
		r.laterFields(sec, m.Blob, span, from, to)
		return nil
	}
	*r.out = append(*r.out, (*picked)[from:to]...)
	return nil
}

// laterFields leaves fields that there is no room for to be picked again and sent in steps, so that
// none but the step is held for the client.
func (r *row) laterFields(sec *section, ref store.BodyRef, span message.Span, from, to int64) {
	window := r.w
	step := func(w io.Writer, from, to int64) error {
		piece := make([]byte, to-from)
		err := func() error {
			picked := window.s.srv.borrow(0)
			defer window.s.srv.giveBack(picked)
			body := window.open(ref)
			defer body.Close()
			if err := sec.pick(window.s, body, span, picked); err != nil {
				return err
			}
			copy(piece, (*picked)[from:to])
			return nil
		}()
		if err != nil {
			return err
		}
		_, err = w.Write(piece)
		return err
	}
	r.streams = append(r.streams, stream{at: len(*r.out), copy: func(w io.Writer) error {
		for at := from; at < to; at += narrowStep {
			if err := step(w, at, min(at+narrowStep, to)); err != nil {
				return err
			}
		}
		return nil
	}})
}

// pick reads the header in span and appends its fields that the section names to dst.
func (sec *section) pick(s *session, body io.ReaderAt, span message.Span, dst *[]byte) error {
	n := int(min(span.Len(), maxHeader))
	scratch := s.srv.borrow(n)
	defer s.srv.giveBack(scratch)
	header := (*scratch)[:n]
	if _, err := body.ReadAt(header, span.Start); err != nil {
		if err := readFailed(err); err != nil {
			return err
		}
	}
	*dst = message.AppendHeaderFields(
		*dst, header, sec.spec.Fields, sec.spec.Text == "HEADER.FIELDS.NOT")
	return nil
}

// rfc822, rfc822Header and rfc822Text are RFC 3501 §6.4.5's older names for sections.
func (r *row) rfc822(_ store.Entry, m *store.Email) error {
	r.label("RFC822 ")
	return r.literal(m, 0, m.Size())
}

func (r *row) rfc822Header(e store.Entry, m *store.Email) error {
	return (&section{label: "RFC822.HEADER ", spec: imap.Section{Text: "HEADER"}}).body(r, e, m)
}

func (r *row) rfc822Text(e store.Entry, m *store.Email) error {
	return (&section{label: "RFC822.TEXT ", spec: imap.Section{Text: "TEXT"}}).body(r, e, m)
}
