package imapd

import (
	"errors"
	"time"

	"tram/internal/imap"
	"tram/internal/store"
)

// The items of FETCH that have no section, RFC 9051 §7.5.2.

func (r *row) uid(e store.Entry, _ *store.Email) error {
	r.label("UID ")
	*r.out = imap.AppendNumber(*r.out, e.UID)
	return nil
}

func (r *row) flagList(e store.Entry, _ *store.Email) error {
	r.label("FLAGS ")
	*r.out = r.flags.append(*r.out, e)
	return nil
}

func (r *row) internalDate(e store.Entry, _ *store.Email) error {
	r.label("INTERNALDATE ")
	*r.out = imap.AppendDateTime(*r.out, time.Unix(e.Received, 0))
	return nil
}

func (r *row) size(e store.Entry, _ *store.Email) error {
	r.label("RFC822.SIZE ")
	*r.out = imap.AppendNumber(*r.out, e.Size)
	return nil
}

func (r *row) envelope(_ store.Entry, m *store.Email) error {
	r.label("ENVELOPE ")
	*r.out = append(*r.out, m.Envelope.For(r.utf8)...)
	return nil
}

func (r *row) bodyShort(_ store.Entry, m *store.Email) error {
	r.label("BODY ")
	*r.out = append(*r.out, m.Body.For(r.utf8)...)
	return nil
}

func (r *row) bodyStructure(_ store.Entry, m *store.Email) error {
	r.label("BODYSTRUCTURE ")
	*r.out = append(*r.out, m.BodyStructure.For(r.utf8)...)
	return nil
}

func (r *row) emailID(e store.Entry, m *store.Email) error {
	r.label("EMAILID (")
	*r.out = append(appendEmailID(*r.out, e, m), ')')
	return nil
}

func (r *row) threadID(_ store.Entry, m *store.Email) error {
	r.label("THREADID (")
	*r.out = append(r.s.sel.account.appendID(*r.out, threadPrefix, uint64(m.Thread)), ')')
	return nil
}

// dropped decides what an error of one message means: the message is left out of the reply, and the
// command goes on, unless the error has nothing to do with the message.
func (r *row) dropped(err error) error {
	switch {
	case errors.Is(err, errUnknownCTE):
		r.w.unknownCTE = true
	case errors.Is(err, store.ErrDamaged):
		r.s.log("imap message not readable", err)
		r.w.damaged = true
	case errors.Is(err, store.ErrNotFound):
		r.w.gone = true
	default:
		return err
	}
	return nil
}
