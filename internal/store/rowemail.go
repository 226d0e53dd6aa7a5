package store

import (
	"time"

	"tram/internal/blob"
	"tram/internal/message"
)

// The email row is what was found in a message when it came:
//
//	thread blob(56 bytes, see blob.Ref) received(signed) bits:1 sent(signed) zone(signed)
//	envelope envelopeASCII body bodyASCII structure structureASCII
//	preview messageID inReplyTo references subject baseSubject addresses tree
//
// received and sent are seconds since 1970, zone the Date field's in seconds east. bits are
// emailHasSent and emailHasAttachment. The rest are byte strings; an ...ASCII form that is empty is
// the same as the one before it. inReplyTo and references are n { string }; addresses are six lists
// in the order of AddressField, each n { name mailbox host }; tree is message.AppendBinary's.
// subject and baseSubject are decoded.
const (
	emailHasSent byte = 1 << iota
	emailHasAttachment
)

func (tx *Tx) appendEmail(dst []byte, thread ThreadID, ref blob.Ref, received time.Time,
	m *message.Message) []byte {
	dst = appendUint(append(dst, version1), thread)
	dst = ref.AppendBinary(dst)
	dst = appendInt(dst, received.Unix())
	var bits byte
	var sent int64
	var zone int
	if !m.Date.IsZero() {
		bits, sent = emailHasSent, m.Date.Unix()
		_, zone = m.Date.Zone()
	}
	if m.HasAttachment {
		bits |= emailHasAttachment
	}
	dst = appendInt(appendInt(append(dst, bits), sent), int64(zone))

	dst = tx.appendRendered(dst, m.Envelope.AppendIMAP)
	dst = tx.appendRendered(dst, func(b []byte, utf8 bool) []byte {
		return m.Root.AppendIMAP(b, false, utf8)
	})
	dst = tx.appendRendered(dst, func(b []byte, utf8 bool) []byte {
		return m.Root.AppendIMAP(b, true, utf8)
	})
	dst = appendBytes(appendBytes(dst, m.Preview), m.MessageID)
	dst = tx.appendNested(dst, func(b []byte) []byte { return appendStrings(b, m.InReplyTo) })
	dst = tx.appendNested(dst, func(b []byte) []byte { return appendStrings(b, m.References) })
	dst = appendBytes(appendBytes(dst, m.Subject), m.BaseSubject)
	dst = tx.appendNested(dst, func(b []byte) []byte {
		e := &m.Envelope
		for _, list := range [...][]message.Address{
			From: e.From, To: e.To, Cc: e.Cc, Bcc: e.Bcc, Sender: e.Sender, ReplyTo: e.ReplyTo,
		} {
			b = appendAddresses(b, list)
		}
		return b
	})
	return tx.appendNested(dst, m.AppendBinary)
}

// appendRendered appends the two forms of a structure, the second only where it differs.
func (tx *Tx) appendRendered(dst []byte, render func([]byte, bool) []byte) []byte {
	tx.nested = render(tx.nested[:0], true)
	n := len(tx.nested)
	tx.nested = render(tx.nested, false)
	first, second := tx.nested[:n], tx.nested[n:]
	if string(first) == string(second) {
		second = nil
	}
	return appendBytes(appendBytes(dst, first), second)
}

func (tx *Tx) appendNested(dst []byte, build func([]byte) []byte) []byte {
	tx.nested = build(tx.nested[:0])
	return appendBytes(dst, tx.nested)
}

func appendStrings(dst []byte, list []string) []byte {
	dst = appendUint(dst, uint64(len(list)))
	for _, s := range list {
		dst = appendBytes(dst, s)
	}
	return dst
}

// appendAddresses keeps what SEARCH and SORT look at. A group's name is kept as ENVELOPE shows it, as
// a mailbox without a host (RFC 9051 §7.5.2): people look for a group too.
func appendAddresses(dst []byte, list []message.Address) []byte {
	n := 0
	for i := range list {
		if list[i].Group != message.GroupEnd {
			n++
		}
	}
	dst = appendUint(dst, uint64(n))
	for i := range list {
		if a := &list[i]; a.Group != message.GroupEnd {
			dst = appendBytes(appendBytes(appendBytes(dst, a.Name), a.Mailbox), a.Host)
		}
	}
	return dst
}

// decode reads a row into e. It copies nothing: e shares value's memory. The key's last 8 bytes
// are the identifier.
func (e *Email) decode(key, value []byte) error {
	d, err := unseal(key, value)
	if err != nil {
		return err
	}
	*e = Email{ID: emailOfKey(key), Thread: ThreadID(d.uint())}
	if ref := d.raw(blob.RefSize); ref != nil {
		if e.Blob, err = blob.ParseRef(ref); err != nil {
			return damaged(key, "reference to the body")
		}
	}
	e.Received = time.Unix(d.int(), 0).UTC()
	bits := d.byte()
	sent, zone := d.int(), d.int()
	e.hasSent = bits&emailHasSent != 0
	e.sent, e.zone, e.HasAttachment = sent, int32(zone), bits&emailHasAttachment != 0

	e.Envelope, e.Body, e.BodyStructure = d.rendered(), d.rendered(), d.rendered()
	e.Preview, e.messageID = d.bytes(), d.bytes()
	e.inReplyTo, e.references = d.bytes(), d.bytes()
	e.subject, e.baseSubject = d.bytes(), d.bytes()
	e.addresses, e.tree = d.bytes(), d.bytes()
	return d.done(key)
}

func emailOfKey(key []byte) EmailID {
	var id EmailID
	for _, b := range key[max(0, len(key)-8):] {
		id = id<<8 | EmailID(b)
	}
	return id
}

func (d *decoder) rendered() Rendered {
	r := Rendered{utf8: d.bytes(), ascii: d.bytes()}
	if len(r.ascii) == 0 {
		r.ascii = r.utf8
	}
	return r
}
