package store

import (
	"errors"
	"fmt"
	"io"

	"tram/internal/kv"
	"tram/internal/message"
)

// A line protocol cannot send every message as it is stored. Mail that came over SMTP ends in CR LF;
// what programs file themselves may not, and needs a line end. One with UTF-8 in its header goes to
// most programs as a surrogate (RFC 6856 §2.1). POP3 tells beforehand how many octets that makes, for
// a whole folder, without looking at any message. So each of the few has a row:
//
//	's' account:8 'g' email:8   no fields: it does not end in CR LF, and has no surrogate
//	                            else open:1 form growth(signed)
//
// with growth as in LineForm, and the number of the form of surrogate that it holds for.

// LineForm says how what a line protocol sends differs from what is stored.
type LineForm struct {
	// Open: the message does not end in CR LF, and two octets more are sent.
	Open bool
	// Surrogate: the message's header needs UTF-8. Growth is how many octets more go to a program
	// that cannot read it, the line end included.
	Surrogate bool
	Growth    int64
}

// lineFormOf returns the form of a message.
func lineFormOf(m *message.Message) LineForm {
	return LineForm{Open: m.OpenEnd, Surrogate: m.EightBitHeader, Growth: m.SurrogateGrowth}
}

// measure finds out how long a message's surrogate is, if it has one. It reads headers alone.
func measure(m *message.Message, body io.ReaderAt) (err error) {
	if m.EightBitHeader {
		m.SurrogateGrowth, err = message.SurrogateGrowth(body, m)
	}
	return err
}

func lineFormKey(dst []byte, id AccountID, email EmailID) []byte {
	return key64(dst, id, kindLineForm, uint64(email))
}

// append writes the row; nil for a message that is sent as it is.
func (f LineForm) append() []byte {
	switch {
	case f.Surrogate:
		row := appendBool([]byte{version1}, f.Open)
		return appendInt(appendUint(row, uint64(message.SurrogateForm)), f.Growth)
	case f.Open:
		return []byte{version1}
	}
	return nil
}

// decode reads a row. The growth of another form of surrogate is nobody's any more: the message is
// sent as it is until a repair has measured it anew.
func (f *LineForm) decode(key, value []byte) error {
	*f = LineForm{Open: true}
	d, err := unseal(key, value)
	if err != nil || len(d.b) == 0 {
		return err
	}
	open, form, growth := d.byte(), d.uint(), d.int()
	if f.Open = open != 0; form == message.SurrogateForm {
		f.Surrogate, f.Growth = true, growth
	}
	return d.done(key)
}

// LineForms returns the forms of the account's emails that a line protocol cannot send as they are;
// nil when there is none.
func (tx *Tx) LineForms() (map[EmailID]LineForm, error) {
	if err := tx.ownerOnly("line forms"); err != nil {
		return nil, err
	}
	var forms map[EmailID]LineForm
	err := tx.r.Scan(kv.Prefix(appendKey(nil, tx.id, kindLineForm)), func(key, value []byte) error {
		var f LineForm
		if f.decode(key, value) != nil {
			return nil // it is sent as it is until it is repaired
		}
		if forms == nil {
			forms = map[EmailID]LineForm{}
		}
		forms[emailOfKey(key)] = f
		return nil
	})
	return forms, wrap(err, "read line forms")
}

// noteForm writes or removes an email's row.
func (tx *Tx) noteForm(id EmailID, f LineForm) error {
	key := lineFormKey(nil, tx.id, id)
	row := f.append()
	if row == nil {
		return tx.w.Delete(key)
	}
	return tx.w.Set(key, seal(key, row))
}

// lineForm returns an email's form: the zero one when it has no row.
func (tx *Tx) lineForm(id EmailID) (f LineForm, err error) {
	key := lineFormKey(nil, tx.id, id)
	value, err := tx.r.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return LineForm{}, nil
	}
	if err != nil {
		return LineForm{}, wrap(err, "read line form")
	}
	return f, f.decode(key, value)
}

// lineForm compares an email's row with what is known of the message; measured says that the growth
// is.
func (c *checker) lineForm(where string, id EmailID, want LineForm, measured bool) error {
	has, err := c.tx.lineForm(id)
	if errors.Is(err, ErrDamaged) {
		c.hurt.emails[id] = true // the row itself is told of elsewhere
		return nil
	}
	if !measured {
		has.Growth = want.Growth
	}
	if err == nil && has != want {
		c.hurt.emails[id] = true
		c.find("line-form", where, true, "line protocols need %s, and %s is noted", want, has)
	}
	return err
}

// String tells people of a form.
func (f LineForm) String() string {
	s := "no other form"
	if f.Open {
		s = "a line end"
	}
	if f.Surrogate {
		s += fmt.Sprintf(" and a surrogate (%+d octets)", f.Growth)
	}
	return s
}

// lineForms looks for rows that cannot be read, or have no email.
func (c *checker) lineForms() error {
	return c.scan(kindLineForm, func(key, value []byte) error {
		id := emailOfKey(key)
		var f LineForm
		if err := f.decode(key, value); err != nil {
			c.hurt.emails[id] = true
			c.bad(key, err, true)
			return nil
		}
		_, err := c.tx.r.Get(key64(nil, c.id, kindEmail, uint64(id)))
		if errors.Is(err, kv.ErrNotFound) {
			c.find("line-form", describeKey(key), true, "there is no such email")
			return nil
		}
		return err
	})
}

// lineForms takes out rows that have no email, or that cannot be read still: what should be in them
// was written where the email's own row was repaired, unless its body is lost.
func (m *mender) lineForms() error {
	return m.scan(kindLineForm, func(key, value []byte) error {
		_, err := m.w.Get(key64(nil, m.id, kindEmail, uint64(emailOfKey(key))))
		var f LineForm
		if errors.Is(err, kv.ErrNotFound) || err == nil && f.decode(key, value) != nil {
			return m.drop(key, value)
		}
		return err
	})
}
