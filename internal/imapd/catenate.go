package imapd

import (
	"errors"
	"io"
	"strings"

	"tram/internal/imap"
	"tram/internal/store"
)

// CATENATE, RFC 4469, makes a message of literals and of pieces of messages that are there already.
// The pieces are copied from store to store in one go, with a buffer's worth in memory; each is
// found, and bounded, before a byte of it is written. The new message is refused as a whole when one
// piece is not there. URLs name messages that the client may read anyway and carry no authority of
// their own: URLAUTH (RFC 4467) is not supported.

// catenation is one message in the making.
type catenation struct {
	a     *appending
	body  *store.Body
	size  int64
	parts int
}

// catenate reads CATENATE with its list.
func (a *appending) catenate(o *store.AppendOptions) error {
	d := a.s.dec
	d.Label()
	d.SP()
	d.Expect('(')
	c := &catenation{a: a, body: a.s.srv.o.Store.NewBody(a.s.ctx)}
	defer c.body.Abort()
	for {
		if err := c.part(); err != nil {
			return err
		}
		if d.Try(')') {
			break
		}
		if d.SP(); d.Err() != nil {
			return d.Err()
		}
	}
	if c.size == 0 {
		return errEmptyMessage
	}
	return a.finish(o, c.body)
}

// part reads and copies one part.
func (c *catenation) part() error {
	d := c.a.s.dec
	c.parts++
	if limit := c.a.s.srv.o.Limits.AppendParts; limit > 0 && c.parts > limit {
		return &no{"LIMIT", "Too many parts in one CATENATE"}
	}
	switch word := d.Label(); word {
	case "TEXT", "UTF8":
		d.SP()
		return c.text(word == "UTF8")
	case "URL":
		d.SP()
		raw := d.AString()
		if err := d.Err(); err != nil {
			return err
		}
		return c.url(raw)
	}
	d.Bad("Expected TEXT or URL")
	return d.Err()
}

// text copies a literal. UTF8 (literal8) is RFC 6855 §4's.
func (c *catenation) text(utf8 bool) error {
	a, d := c.a, c.a.s.dec
	if utf8 {
		d.Expect('(')
	}
	l := d.Literal(a.s.srv.o.Limits.AppendSize - c.size)
	if err := d.Err(); err != nil {
		return err
	}
	if err := a.check(l.Size, l.NonSync); err != nil {
		return err
	}
	if err := a.stream(c.body, l); err != nil {
		return err
	}
	c.size += l.Size
	l.Close()
	if utf8 {
		d.Expect(')')
	}
	return d.Err()
}

// piece is the bytes that a URL stands for: those of a stored message, or, for HEADER.FIELDS, some
// that were picked from it.
type piece struct {
	open     func() storedBody
	from, to int64
	whole    bool // the piece is all of the message
	picked   []byte
}

// storedBody is what the store reads messages with outside of transactions.
type storedBody interface {
	bodyReader
	io.WriterTo
}

// errNoPiece: a URL is none, or names what is not there.
var errNoPiece = errors.New("no such piece of a message")

// url copies what a URL stands for. No \Seen is set (RFC 4469 §3).
func (c *catenation) url(raw string) error {
	a := c.a
	p, err := a.s.locate(raw)
	if isAny(err, errNoPiece, store.ErrNotFound, store.ErrInvalidName, store.ErrNoPermission) {
		return badURL(raw)
	}
	if err != nil {
		return err
	}
	n := p.to - p.from
	if n > a.s.srv.o.Limits.AppendSize-c.size {
		return &no{"TOOBIG", "The message would be too long"}
	}
	if err := a.check(n, false); err != nil {
		return err
	}
	c.size += n
	return c.copy(&p)
}

// locate finds a piece. Where it is part of a message, its encoding stays as it is.
func (s *session) locate(raw string) (p piece, err error) {
	base, err := s.selectedName()
	if err != nil {
		return p, err
	}
	u, ok := imap.ParseMessageURL(raw, base)
	if !ok {
		return p, errNoPiece
	}
	at, err := s.place(u.Mailbox)
	if err != nil {
		return p, err
	}
	err = at.view(s.ctx, func(tx *store.Tx) error {
		p, err = s.locateIn(tx, at.name, &u)
		return err
	})
	return p, err
}

// selectedName is what the selected mailbox is called now, "" if there is none.
func (s *session) selectedName() (name string, err error) {
	if s.sel == nil {
		return "", nil
	}
	err = s.viewSelected(func(tx *store.Tx) error {
		m, err := tx.Mailbox(s.sel.id)
		if err == nil {
			name = s.sel.account.called(m.Name)
		}
		return err
	})
	if isAny(err, store.ErrNotFound) {
		err = nil
	}
	return name, err
}

// locateIn is locate in the mailbox of a name.
func (s *session) locateIn(tx *store.Tx, name string, u *imap.MessageURL) (piece, error) {
	id, validity, err := tx.FindMailbox(name)
	if err != nil {
		return piece{}, err
	}
	list, err := tx.List(id)
	if err != nil {
		return piece{}, err
	}
	i, ok := list.Find(store.UID(u.UID))
	if !ok || u.UIDValidity != 0 && u.UIDValidity != validity {
		return piece{}, errNoPiece
	}
	m, err := tx.Email(list.At(i).Email)
	if err != nil {
		return piece{}, err
	}
	return s.cutPiece(tx, m, u)
}

// cutPiece applies the section and the range of bytes.
func (s *session) cutPiece(tx *store.Tx, m *store.Email, u *imap.MessageURL) (piece, error) {
	sec := &section{partial: u.Partial}
	if u.Section != nil {
		sec.spec = *u.Section
	}
	if p := sec.partial; p != nil && p.Count < 0 {
		p.Count = m.Size()
	}
	span, ok, err := sec.span(m)
	if err != nil {
		return piece{}, err
	}
	if !ok {
		return piece{}, errNoPiece
	}
	st, ref, ctx := s.srv.o.Store, m.Blob, s.ctx
	p := piece{open: func() storedBody { return st.OpenBody(ctx, ref) }}
	if len(sec.spec.Fields) > 0 {
		body := tx.Open(m)
		defer body.Close()
		if err := sec.pick(s, body, span, &p.picked); err != nil {
			return piece{}, err
		}
		p.from, p.to = sec.cut(int64(len(p.picked)))
		return p, nil
	}
	from, to := sec.cut(span.Len())
	p.from, p.to = span.Start+from, span.Start+to
	p.whole = p.from == 0 && p.to == m.Size()
	return p, nil
}

// copy writes a piece.
func (c *catenation) copy(p *piece) error {
	if p.picked != nil {
		_, err := c.body.Write(p.picked[p.from:p.to])
		return err
	}
	src := p.open()
	defer src.Close()
	if p.whole { // the store checks the hash of what is read to its end
		_, err := src.WriteTo(c.body)
		return readFailed(err)
	}
	srv := c.a.s.srv
	buf := srv.borrow(copySize)
	defer srv.giveBack(buf)
	piece := io.NewSectionReader(src, p.from, p.to-p.from)
	// The wrapper hides a WriteTo that would bring a buffer of its own.
	_, err := io.CopyBuffer(c.body, struct{ io.Reader }{piece}, (*buf)[:copySize])
	return readFailed(err)
}

// maxBadURL is how much of a URL a refusal repeats.
const maxBadURL = 1000

// badURL names the URL that could not be used (RFC 4469 §4.1), with what would end the response code
// or the line in its percent form.
func badURL(raw string) error {
	var b strings.Builder
	for i := 0; i < len(raw) && i < maxBadURL; i++ {
		if c := raw[i]; c <= 0x20 || c >= 0x7f || c == ']' {
			const hex = "0123456789ABCDEF"
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	if b.Len() == 0 {
		return &no{"", "An empty URL"}
	}
	return &no{"BADURL " + b.String(), "This URL names no message or part here"}
}
