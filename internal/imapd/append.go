package imapd

import (
	"errors"
	"io"

	"tram/internal/imap"
	"tram/internal/store"
)

// append is APPEND, RFC 9051 §6.3.12, for one message or, with MULTIAPPEND (RFC 3502), several: all
// are stored in one transaction, or none. Messages stream into the store as they arrive.
func (s *session) append() error {
	s.dec.SP()
	name := s.dec.Mailbox()
	if err := s.dec.Err(); err != nil {
		return err
	}
	to, err := s.place(name)
	if err != nil {
		return tryCreate(err)
	}
	a := &appending{s: s, to: to}
	defer a.discard()
	if err := a.receive(); err != nil {
		return err
	}
	return a.commit()
}

// Nothing is visible, or counts against the quota, before commit: bodies that were received and not
// stored are given up, and what a crash leaves of them is collected by the blob store. The last
// bytes of each body travel in the transaction itself, which is why their number is bounded.

// appending is an APPEND or REPLACE on its way.
type appending struct {
	s        *session
	to       place        // the target mailbox
	one      bool         // REPLACE: there is no MULTIAPPEND of it (RFC 8508 §4.7)
	frees    *store.Entry // the message that REPLACE removes; nil: none
	messages []store.AppendOptions
	sum      int64
}

// discard gives up what was received and not stored; after a commit it does nothing.
func (a *appending) discard() {
	for i := range a.messages {
		a.messages[i].Body.Discard()
	}
}

// receive reads all messages.
func (a *appending) receive() error {
	// A literal takes as long as its slowest stretch allows, not as long as an idle client may.
	a.s.c.SetIdle(a.s.srv.o.Limits.WriteStall)
	defer a.s.c.SetIdle(a.s.srv.o.Limits.Idle)
	d := a.s.dec
	d.SP()
	for {
		o := a.attributes()
		take := a.whole
		if a.s.peekWord() == "CATENATE" {
			take = a.catenate
		}
		if err := take(&o); err != nil {
			return err
		}
		a.messages = append(a.messages, o)
		if d.Err() != nil || a.one || !d.TrySP() {
			return a.s.args()
		}
	}
}

// whole reads a message that comes as one literal.
func (a *appending) whole(o *store.AppendOptions) error {
	d := a.s.dec
	utf8 := a.utf8Prefix()
	literal := d.Literal(a.s.srv.o.Limits.AppendSize)
	if err := d.Err(); err != nil {
		return err
	}
	if literal.Size == 0 {
		return errEmptyMessage
	}
	if err := a.check(literal.Size, literal.NonSync); err != nil {
		return err
	}
	if err := a.read(o, literal); err != nil {
		return err
	}
	if utf8 {
		d.Expect(')')
	}
	return nil
}

// errEmptyMessage: RFC 3502 §6.3.11.
var errEmptyMessage = &no{"CANNOT", "A message cannot be empty"}

// attributes reads the optional flags and date. Flags may lack their parentheses: what is built on
// async-imap sends `APPEND Sent \Seen {310}`, and loses the copy of what was sent if it is refused.
func (a *appending) attributes() store.AppendOptions {
	var o store.AppendOptions
	d := a.s.dec
	if d.Peek() == '(' {
		o.Flags, o.Keywords = splitFlags(d.Flags())
		d.SP()
	}
	for d.Peek() == '\\' {
		bit, _ := splitFlags([]string{d.Flag()})
		o.Flags |= bit
		d.SP()
	}
	if d.Peek() == '"' {
		o.Received = d.DateTime()
		d.SP()
	}
	return o
}

// utf8Prefix reads the beginning of "UTF8 (literal8)", RFC 6855 §4. Messages with 8-bit header
// fields are taken without it too: the RFC would have them refused, and people who move their mail
// here would lose those (raw UTF-8 in Subject is common in old Vietnamese mail).
func (a *appending) utf8Prefix() bool {
	d := a.s.dec
	if d.AtLiteral() || d.Err() != nil {
		return false
	}
	if d.Label() != "UTF8" {
		d.Bad("Expected a literal")
	}
	d.SP()
	d.Expect('(')
	return true
}

// freeLiteral is up to which size a literal that the client sends unasked is not checked before it
// is stored: the commit's own check is soon enough.
const freeLiteral = 64 << 10

// check refuses a message, or n bytes more of one, before they are asked for, where that can be
// known. It looks without waiting for what others are changing in the account, and waits only to be
// sure of a refusal.
func (a *appending) check(n int64, unasked bool) error {
	limits := &a.s.srv.o.Limits
	a.sum += n
	switch {
	case a.s.saveLimit() > 0 && len(a.messages) >= a.s.saveLimit():
		return a.s.tooManyToSave()
	case limits.AppendSum > 0 && a.sum > limits.AppendSum && len(a.messages) > 0:
		return &no{"LIMIT", "Too many bytes in one APPEND"}
	case len(a.messages) > 0, unasked && n <= freeLiteral:
		return nil
	}
	look := func(tx *store.Tx) error {
		id, _, err := tx.FindMailbox(a.to.name)
		if err != nil {
			return tryCreate(err)
		}
		if err := a.to.account.mayInsert(tx, id); err != nil {
			return err
		}
		usage, quota := tx.Usage()
		if a.frees != nil { // RFC 8508 §3.4: what counts is the difference
			usage.Bytes -= int64(a.frees.Size)
			usage.Messages--
		}
		if quota.Bytes > 0 && usage.Bytes+a.sum > quota.Bytes ||
			quota.Messages > 0 && usage.Messages >= quota.Messages {
			return store.ErrOverQuota
		}
		return nil
	}
	if a.to.account.Glance(a.s.ctx, look) == nil {
		return nil
	}
	return a.to.view(a.s.ctx, look)
}

// copySize is the size of the buffer between connection and store.
const copySize = 32 << 10

// read streams one message into the store.
func (a *appending) read(o *store.AppendOptions, l *imap.Literal) error {
	body := a.s.srv.o.Store.NewBody(a.s.ctx)
	defer body.Abort()
	if err := a.stream(body, l); err != nil {
		return err
	}
	if err := a.finish(o, body); err != nil {
		return err
	}
	if l.Close(); a.s.dec.Err() != nil {
		o.Body.Discard()
		return a.s.dec.Err()
	}
	return nil
}

// finish ends a body that is complete.
func (a *appending) finish(o *store.AppendOptions, body *store.Body) error {
	var err error
	if o.Body, o.Message, err = body.Finish(); err != nil {
		return err
	}
	if o.Message.NUL {
		if err := a.s.withoutNUL(o); err != nil {
			o.Body.Discard()
			return err
		}
	}
	return nil
}

// stream copies the literal. An error of the client's end is the decoder's too, and ends the
// session; one of the store's is answered.
func (a *appending) stream(w io.Writer, l *imap.Literal) error {
	buf := a.s.srv.borrow(copySize)
	defer a.s.srv.giveBack(buf)
	for {
		n, err := l.Read((*buf)[:copySize])
		if n > 0 {
			if _, err := w.Write((*buf)[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF) && a.s.dec.Err() == nil:
			return nil
		case err != nil:
			return err
		}
	}
}

// commit stores the messages and tells their UIDs (RFC 4315 §3).
func (a *appending) commit() error {
	s := a.s
	var code string
	var n *news
	err := s.updateIn(a.to.account, func(tx *store.Tx) (err error) {
		n = nil
		if code, err = a.store(tx); err == nil && s.sees(a.to.account) {
			n, err = s.learn(tx)
		}
		return err
	})
	if err != nil {
		return s.gone(err)
	}
	switch {
	case n != nil:
		err = s.tell(n, mayExpunge, nil)
	case s.sel != nil: // what was selected is in another account
		err = s.catchUp(mayExpunge)
	}
	s.code = code
	return err
}

// store stores the messages and returns the APPENDUID code.
func (a *appending) store(tx *store.Tx) (code string, err error) {
	id, validity, err := tx.FindMailbox(a.to.name)
	if err != nil {
		return "", tryCreate(err)
	}
	var set imap.SetBuilder
	for i, o := range a.messages {
		tx.Progress().At(i, len(a.messages))
		o.Mailboxes = []store.MailboxID{id}
		done, err := tx.Append(o)
		if err != nil {
			return "", err
		}
		set.Add(uint32(done.Entries[0].UID))
	}
	b := imap.AppendNumber([]byte("APPENDUID "), validity)
	return string(imap.AppendSet(append(b, ' '), set.Ranges)), nil
}
