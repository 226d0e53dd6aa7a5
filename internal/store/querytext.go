package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"tram/internal/message"
	"tram/internal/textindex"
)

// folder brings texts into the form in which they are compared. Its buffers are reused.
type folder struct {
	keep, bare []byte
	raw, text  []byte
}

// needle is a text that is looked for.
type needle struct {
	text string
	// keep and bare are the text with and without its marks, folded.
	keep, bare []byte
	// marked says which words of it have marks: when all or none, one form is enough to look at.
	marked     []bool
	some, none bool
}

func newNeedle(text string) *needle {
	n := &needle{text: text, none: true}
	n.keep = foldText(nil, []byte(text), false)
	n.bare = foldText(nil, []byte(text), true)
	for _, w := range strings.Split(string(squeeze([]byte(text))), " ") {
		marked := message.HasMarks(w)
		n.marked = append(n.marked, marked)
		n.some = n.some || !marked && w != ""
		n.none = n.none && !marked
	}
	return n
}

func (n *needle) empty() bool { return len(n.keep) == 0 }

// foldText appends s folded, with runs of white space made one blank.
func foldText(dst, s []byte, bare bool) []byte {
	start := len(dst)
	dst = message.Fold(dst, s, bare)
	return append(dst[:start], squeeze(dst[start:])...)
}

// squeeze makes runs of white space one blank, in place.
func squeeze(b []byte) []byte {
	out, blank := b[:0], false
	for _, c := range b {
		if c == ' ' || '\t' <= c && c <= '\r' {
			if !blank {
				out = append(out, ' ')
			}
			blank = true
			continue
		}
		blank = false
		out = append(out, c)
	}
	return out
}

// in reports whether the needle is in text.
func (f *folder) in(n *needle, text []byte) bool {
	if n.empty() {
		return true
	}
	if n.none {
		f.bare = foldText(f.bare[:0], text, true)
		return bytes.Contains(f.bare, n.bare)
	}
	f.keep = foldText(f.keep[:0], text, false)
	if !n.some {
		return bytes.Contains(f.keep, n.keep)
	}
	// Words with marks and words without: found without marks first, then compared word by word.
	// A text has the same blanks in both forms, which is how a place in one is found in the other.
	f.bare = foldText(f.bare[:0], text, true)
	for from := 0; ; {
		i := bytes.Index(f.bare[from:], n.bare)
		if i < 0 {
			return false
		}
		if n.marksAgree(f.keep, bytes.Count(f.bare[:from+i], []byte{' '})) {
			return true
		}
		from += i + 1
	}
}

// marksAgree compares the words that have marks with those of text from the word with number at.
func (n *needle) marksAgree(text []byte, at int) bool {
	words := bytes.Split(text, []byte{' '})
	mine := bytes.Split(n.keep, []byte{' '})
	last := len(mine) - 1
	if at+last >= len(words) || len(mine) != len(n.marked) {
		return false
	}
	for i, w := range mine {
		theirs := words[at+i]
		switch {
		case !n.marked[i]:
		case i == 0 && !bytes.HasSuffix(theirs, w):
			return false
		case i == last && !bytes.HasPrefix(theirs, w):
			return false
		case i > 0 && i < last && !bytes.Equal(theirs, w):
			return false
		}
	}
	return true
}

// textNode is the node of a text that is looked for in something of the row.
func (q *querier) textNode(text string, of func(e *Email, dst []byte) []byte) (node, error) {
	n := newNeedle(text)
	if n.empty() {
		return node{quick: always}, nil
	}
	out, err := byRow(func(e *Email) bool {
		q.fold.text = of(e, q.fold.text[:0])
		return q.fold.in(n, q.fold.text)
	})
	if err == nil {
		err = q.narrow(&out, text, textindex.Header, false)
	}
	return out, err
}

func (f SubjectText) compile(q *querier) (node, error) {
	return q.textNode(string(f), func(e *Email, dst []byte) []byte {
		return append(dst, e.subject...)
	})
}

func (f AddressText) compile(q *querier) (node, error) {
	return q.textNode(f.Text, func(e *Email, dst []byte) []byte {
		return appendAddressText(dst, e, f.Field)
	})
}

// appendAddressText writes the addresses of a field as Name <local@host>, one after another.
func appendAddressText(dst []byte, e *Email, f AddressField) []byte {
	for a := range e.eachAddress(f) {
		if len(dst) > 0 {
			dst = append(dst, ", "...)
		}
		if len(a.name) > 0 {
			dst = append(append(dst, a.name...), ' ')
		}
		dst = append(append(dst, '<'), a.mailbox...)
		if len(a.host) > 0 {
			dst = append(append(dst, '@'), a.host...)
		}
		dst = append(dst, '>')
	}
	return dst
}

func (f HeaderText) compile(q *querier) (node, error) {
	n := newNeedle(f.Text)
	return node{quick: doubt, cost: costHeader, full: func(c *candidate) (bool, error) {
		// What programs look for most, to find a message again, is in the row.
		if strings.EqualFold(f.Name, "message-id") && len(c.email.messageID) > 0 &&
			q.fold.in(n, c.email.messageID) {
			return true, nil
		}
		return c.headerHas(f.Name, n)
	}}, nil
}

// headerHas looks into the message's header.
func (c *candidate) headerHas(name string, n *needle) (found bool, err error) {
	err = c.eachField(name, func(value []byte) bool {
		found = c.q.fold.in(n, value)
		return !found
	})
	return found, err
}

// eachField calls fn with the decoded values of the header fields of a name, until it returns false.
func (c *candidate) eachField(name string, fn func(value []byte) bool) error {
	m, err := c.email.Structure()
	if err != nil {
		return err
	}
	header := make([]byte, min(m.Root.Header.End, c.email.Blob.Size))
	r := c.q.tx.Open(c.email)
	defer r.Close()
	if _, err := r.ReadAt(header, 0); err != nil && err != io.EOF {
		return c.damaged(err)
	}
	for f := range message.Header(header) {
		if f.Is(name) && !fn([]byte(message.DecodeHeader(f.Value()))) {
			return nil
		}
	}
	return c.q.tx.ctx.Err()
}

// damaged tells an unreadable body from a reader that failed otherwise.
func (c *candidate) damaged(err error) error {
	return fmt.Errorf("read email %d: %w (%w)", c.email.ID, err, ErrDamaged)
}

func (f BodyText) compile(q *querier) (node, error) { return q.compileText(string(f), false) }
func (f AnyText) compile(q *querier) (node, error)  { return q.compileText(string(f), true) }

// compileText makes the node of a search in the text of messages. The index, where there is one,
// leaves those out that cannot match.
func (q *querier) compileText(text string, header bool) (node, error) {
	n := newNeedle(text)
	if n.empty() {
		return node{quick: always}, nil
	}
	out := node{quick: doubt, cost: costBody, full: func(c *candidate) (bool, error) {
		return c.textHas(n, header)
	}}
	fields := textindex.Body
	if header {
		fields = textindex.Any
	}
	return out, q.narrow(&out, text, fields, true)
}

// narrow makes n leave out by the index, where there is one, the emails that do not have the text in
// the fields. all says that any place in the fields does, so that what the index is sure of needs no
// second look.
func (q *querier) narrow(n *node, text string, fields textindex.Field, all bool) error {
	if !q.tx.s.indexed {
		return nil
	}
	found, err := textindex.Find(q.tx.ctx, q.tx.r, uint64(q.tx.id), text, fields)
	if err != nil {
		return q.withoutIndex(err)
	}
	if found.All {
		return nil
	}
	n.quick = func(_ MailboxID, e *Entry) verdict {
		switch {
		case uint64(e.Email) > found.Newest, found.Unsure.Contains(uint64(e.Email)):
			return unknown
		case !found.Emails.Contains(uint64(e.Email)):
			return no
		case all && found.Exact:
			return yes
		}
		return unknown
	}
	return nil
}

// withoutIndex is what becomes of a search whose index cannot be read: reading everything finds it
// too. One of an older layout is about to be built anew.
func (q *querier) withoutIndex(err error) error {
	if !errors.Is(err, textindex.ErrOutdated) {
		q.tx.s.log.Error("text index cannot be read", "account", uint64(q.tx.id), "err", err)
	}
	return q.tx.ctx.Err()
}

// textHas looks into the message's text, and with header set into its header.
func (c *candidate) textHas(n *needle, header bool) (bool, error) {
	m, err := c.email.Structure()
	if err != nil {
		return false, err
	}
	if !header {
		m = bodyAlone(m)
	}
	r := c.q.tx.Open(c.email)
	defer r.Close()
	found := false
	f := &c.q.fold
	f.raw = f.raw[:0]
	err = message.SearchText(r, m, c.q.tx.s.message.SearchText, func(chunk []byte) error {
		if err := c.q.tx.ctx.Err(); err != nil {
			return err
		}
		runtime.Gosched() // a chunk takes some hundred microseconds
		f.raw = append(f.raw, chunk...)
		if found = f.in(n, f.raw); found {
			return Stop
		}
		f.raw = f.raw[:copy(f.raw, tail(f.raw, n.overlap()))]
		return nil
	})
	if err != nil && !found {
		if ctxErr := c.q.tx.ctx.Err(); ctxErr != nil {
			return false, ctxErr
		}
		return false, c.damaged(err)
	}
	return found, nil
}

// overlap is how much of a piece of text is kept for a match that reaches into the next: folded,
// text never shrinks to less than an eighth.
func (n *needle) overlap() int { return 8*len(n.keep) + 64 }

// tail returns about the last n bytes of b, from the beginning of a character that stands by
// itself.
func tail(b []byte, n int) []byte {
	if len(b) <= n {
		return b
	}
	if cut := message.FoldBoundary(b[:len(b)-n]); cut > 0 {
		return b[cut:]
	}
	return b[len(b)-n:] // no place is good: nothing but combining marks
}
