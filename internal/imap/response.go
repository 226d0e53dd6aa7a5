package imap

import (
	"bytes"
	"strings"
	"time"
)

// Replies are read by the grammar of commands: the same tokens, literals and lists. What a server may
// send beyond what is known here is kept as a tree of values, so that an unknown extension is no
// error.

// Response is one line from a server, with the literals in it.
type Response struct {
	Tag    string   // "*" for untagged data, "+" for a continuation request
	Name   string   // in upper case: OK, NO, BAD, BYE, PREAUTH, FETCH, EXISTS, LIST, ...
	Num    uint32   // of "* 23 EXPUNGE"
	Code   string   // response code without brackets and arguments, in upper case
	Args   string   // of the response code, verbatim
	Text   string   // of a status reply or continuation request
	Values []Value  // of everything that has no field of its own
	Fetch  *Fetched // of FETCH
}

// Fetched is the data of one FETCH reply. Fields that were not sent are zero.
type Fetched struct {
	Seq      uint32
	UID      uint32
	ModSeq   uint64
	Flags    []string
	HasFlags bool
	Size     int64
	Date     time.Time
	Bodies   map[string]string // by item, "BODY[TEXT]" or "BINARY[1]<0>", in upper case
	Values   map[string]Value  // every other item, by name in upper case
}

// BodyFunc takes a body while it streams in; item is as in Fetched.Bodies. What it leaves unread is
// dropped.
type BodyFunc func(seq uint32, item string, body *Literal) error

// Response reads one reply. Bodies go to onBody if that is not nil, else into memory.
func (d *Decoder) Response(onBody BodyFunc) Response {
	if d.Try('+') {
		d.Try(' ')
		return Response{Tag: "+", Text: d.restOfLine()}
	}
	r := Response{Tag: "*"}
	if !d.Try('*') {
		r.Tag = d.Tag()
	}
	d.SP()
	if c := d.peek(); '0' <= c && c <= '9' {
		r.Num = d.Number()
		d.SP()
	}
	r.Name = d.Label()
	switch r.Name {
	case "OK", "NO", "BAD", "BYE", "PREAUTH":
		d.status(&r)
	case "FETCH":
		d.SP()
		r.Fetch = d.fetched(r.Num, onBody)
		d.End()
	default:
		r.Values = d.rest()
	}
	return r
}

// status reads the code and text of a status reply.
func (d *Decoder) status(r *Response) {
	d.Try(' ')
	if d.peek() == '[' {
		end := bytes.IndexByte(d.line[d.pos:], ']')
		// A flag list in PERMANENTFLAGS cannot hold "]", a mailbox name in a code might.
		if end < 0 {
			d.Bad("Unterminated response code")
			return
		}
		code := string(d.line[d.pos+1 : d.pos+end])
		d.pos += end + 1
		r.Code, r.Args, _ = strings.Cut(code, " ")
		r.Code = upper(r.Code)
		d.Try(' ')
	}
	r.Text = d.restOfLine()
}

// restOfLine reads the rest of the line as it is.
func (d *Decoder) restOfLine() string {
	if d.err != nil {
		return ""
	}
	s := string(d.line[d.pos:])
	d.pos = len(d.line)
	return s
}

// fetched reads the parenthesised items of a FETCH reply.
func (d *Decoder) fetched(seq uint32, onBody BodyFunc) *Fetched {
	f := &Fetched{Seq: seq}
	d.List(func() { d.fetchedItem(f, onBody) })
	return f
}

// fetchedItem reads one item; those without a field of their own go to Values, so that extensions need
// no change here.
func (d *Decoder) fetchedItem(f *Fetched, onBody BodyFunc) {
	name := d.Label()
	if d.Try('[') {
		item := d.section().Append([]byte(name))
		d.Expect(']')
		if d.Try('<') {
			item = append(AppendNumber(append(item, '<'), d.Number64()), '>')
			d.Expect('>')
		}
		d.SP()
		d.body(f, upper(string(item)), onBody)
		return
	}
	d.SP()
	switch name {
	case "UID":
		f.UID = d.NonZero()
	case "FLAGS":
		f.Flags, f.HasFlags = d.Flags(), true
	case "RFC822.SIZE":
		f.Size = int64(d.Number64())
	case "INTERNALDATE":
		f.Date = d.DateTime()
	case "MODSEQ":
		d.Expect('(')
		f.ModSeq = d.Number64()
		d.Expect(')')
	case "RFC822", "RFC822.HEADER", "RFC822.TEXT":
		d.body(f, name, onBody)
	default:
		if f.Values == nil {
			f.Values = map[string]Value{}
		}
		f.Values[name] = d.Value()
	}
}

// body reads the value of a BODY or BINARY item, as a stream if somebody takes it.
func (d *Decoder) body(f *Fetched, name string, onBody BodyFunc) {
	if f.Bodies == nil {
		f.Bodies = map[string]string{}
	}
	if strings.HasPrefix(name, "BINARY.SIZE") {
		f.Bodies[name] = d.word(isAtom, "a number")
		return
	}
	if onBody != nil && d.AtLiteral() {
		l := d.Literal(1<<63 - 1)
		if l == nil {
			return
		}
		if err := onBody(f.Seq, name, l); err != nil {
			d.Fail(err)
			return
		}
		l.Close()
		return
	}
	s, _ := d.NString()
	f.Bodies[name] = s
}
