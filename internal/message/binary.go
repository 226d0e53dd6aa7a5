package message

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// ErrDamaged is returned by Decode for bytes that AppendBinary did not write.
var ErrDamaged = errors.New("message structure is damaged")

// binaryVersion is the first byte of the stored form. Decode refuses others.
const binaryVersion = 1

// maxDecodeDepth bounds the tree Decode builds: the hard cap of limits.Message.Depth, twice, as an
// embedded message is a level of its own.
const maxDecodeDepth = 256

// The stored form, version 1. uv is an unsigned varint (encoding/binary), sv a signed one, str a uv
// of length and that many bytes, list<x> a uv count and so many x.
//
//	message  = 0x01 size:uv headerSize:uv flags:uv flaws:uv received:uv fromCount:uv
//	           date messageID:str inReplyTo:list<str> references:list<str> subject:str
//	           baseSubject:str preview:str deliveredTo:list<str> envelope part
//	flags    = bit 0 attachment, 1 long line, 2 bare CR, 3 bare LF, 4 NUL, 5 8-bit,
//	           6 8-bit header, 7 reply, 8 open end
//	date     = 0x00, or 0x01 seconds:sv zone:sv          (Unix time; seconds east of UTC)
//	envelope = empty:uv date:str subject:str from sender replyTo to cc bcc inReplyTo:str
//	           messageID:str                              (each address field list<address>)
//	address  = flags:uv [name:str] [mailbox:str] [host:str] [route:str] [raw:str]
//	           flags: bits 0-4 say which strings follow, bits 5-6 are the group
//	part     = flags:uv headerStart:sv headerLen:uv gap:uv bodyLen:uv lines:uv
//	           [type:str] [subtype:str] [params] [id:str] [description:str] [encoding:str]
//	           [disposition:str] [dispositionParams] [language:list<str>] [location:str] [md5:str]
//	           [parts:list<part>] [envelope part]
//	           flags: bit 0 opaque, bits 1-13 say which of the above follow, in their order;
//	           headerStart counts from the end of the last span written, gap is between header
//	           and body
//	params   = list<flags:uv name:str value:str [raw:str]>   flags: bit 0 extended, bit 1 raw
type binaryWriter struct {
	b    []byte
	last int64 // end of the last span
}

// AppendBinary appends the compact stored form of m, a few hundred bytes for most messages. The
// header bytes are not part of it.
func (m *Message) AppendBinary(dst []byte) []byte {
	w := binaryWriter{b: append(dst, binaryVersion)}
	w.uint(uint64(m.Size))
	w.uint(uint64(m.HeaderSize))
	w.uint(m.flagBits())
	w.uint(uint64(m.Flaws))
	w.uint(uint64(m.Received))
	w.uint(uint64(m.FromCount))
	w.date(m.Date)
	w.str(m.MessageID)
	w.strs(m.InReplyTo)
	w.strs(m.References)
	w.str(m.Subject)
	w.str(m.BaseSubject)
	w.str(m.Preview)
	w.strs(m.DeliveredTo)
	w.envelope(&m.Envelope)
	w.part(m.Root)
	return w.b
}

// flagBits are the flags of the stored form.
func (m *Message) flagBits() uint64 {
	return bits(m.HasAttachment, m.LongLine, m.BareCR, m.BareLF, m.NUL, m.EightBit,
		m.EightBitHeader, m.Reply, m.OpenEnd)
}

// bits packs flags, the first one lowest.
func bits(flags ...bool) (v uint64) {
	for i, f := range flags {
		if f {
			v |= 1 << i
		}
	}
	return v
}

// uint writes a uv, int an sv.
func (w *binaryWriter) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *binaryWriter) int(v int64)   { w.b = binary.AppendVarint(w.b, v) }

// str writes a str, strs a list of them.
func (w *binaryWriter) str(s string) {
	w.uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *binaryWriter) strs(list []string) {
	w.uint(uint64(len(list)))
	for _, s := range list {
		w.str(s)
	}
}

// some writes the strings that are not empty; the flags before them say which.
func (w *binaryWriter) some(list ...string) {
	for _, s := range list {
		if s != "" {
			w.str(s)
		}
	}
}

// date keeps the zone: INTERNALDATE and SENTSINCE care for the day the sender saw.
func (w *binaryWriter) date(t time.Time) {
	if t.IsZero() {
		w.b = append(w.b, 0)
		return
	}
	_, zone := t.Zone()
	w.b = append(w.b, 1)
	w.int(t.Unix())
	w.int(int64(zone))
}

func (w *binaryWriter) envelope(e *Envelope) {
	w.uint(uint64(e.Empty))
	w.str(e.Date)
	w.str(e.Subject)
	for _, list := range [...][]Address{e.From, e.Sender, e.ReplyTo, e.To, e.Cc, e.Bcc} {
		w.uint(uint64(len(list)))
		for i := range list {
			w.address(&list[i])
		}
	}
	w.str(e.InReplyTo)
	w.str(e.MessageID)
}

// address writes what is there; most addresses have a name, a mailbox and a host.
func (w *binaryWriter) address(a *Address) {
	flags := bits(a.Name != "", a.Mailbox != "", a.Host != "", a.Route != "", a.Raw != "")
	w.uint(flags | uint64(a.Group)<<5)
	w.some(a.Name, a.Mailbox, a.Host, a.Route, a.Raw)
}

// part writes a part and what is in it.
func (w *binaryWriter) part(p *Part) {
	w.uint(bits(p.Opaque, p.Type != "", p.Subtype != "", len(p.Params) > 0, p.ID != "",
		p.Description != "", p.Encoding != "", p.Disposition != "", len(p.DispositionParams) > 0,
		len(p.Language) > 0, p.Location != "", p.MD5 != "", len(p.Parts) > 0, p.Embedded != nil))
	w.int(p.Header.Start - w.last)
	w.uint(uint64(p.Header.Len()))
	w.uint(uint64(p.Body.Start - p.Header.End))
	w.uint(uint64(p.Body.Len()))
	w.uint(uint64(p.Lines))
	w.last = p.Body.Start
	w.some(p.Type, p.Subtype)
	w.params(p.Params)
	w.some(p.ID, p.Description, p.Encoding, p.Disposition)
	w.params(p.DispositionParams)
	if len(p.Language) > 0 {
		w.strs(p.Language)
	}
	w.some(p.Location, p.MD5)
	if len(p.Parts) > 0 {
		w.uint(uint64(len(p.Parts)))
		for _, c := range p.Parts {
			w.part(c)
		}
	}
	if p.Embedded != nil {
		w.envelope(&p.Embedded.Envelope)
		w.part(p.Embedded.Root)
	}
}

// params writes a list that the flags of the part have announced.
func (w *binaryWriter) params(list []Param) {
	if len(list) == 0 {
		return
	}
	w.uint(uint64(len(list)))
	for _, p := range list {
		w.uint(bits(p.Extended, p.Raw != ""))
		w.str(p.Name)
		w.str(p.Value)
		w.some(p.Raw)
	}
}

// Decode reads what AppendBinary wrote. Damage gives ErrDamaged, never a panic, and no more memory
// than some ten times the input. The strings of the message share one copy of b.
func Decode(b []byte) (*Message, error) {
	if len(b) == 0 || b[0] != binaryVersion {
		return nil, fmt.Errorf("decode message: version: %w", ErrDamaged)
	}
	r := binaryReader{s: string(b[1:])}
	m := r.message()
	if r.bad || r.s != "" {
		return nil, fmt.Errorf("decode message: %w", ErrDamaged)
	}
	return m, nil
}
