package imapd

import (
	"errors"
	"fmt"
	"strings"

	"tram/internal/imap"
	"tram/internal/store"
)

// METADATA, RFC 5464: annotations of mailboxes and of the server. What they are kept in is up to their
// scope. A mailbox has its own, private and shared; they belong to it wherever it is renamed to. The
// server's private ones are the account's. Its shared ones are those of the account's domain: everybody
// there reads them, and its administrators alone may write them (RFC 5464 §3.3). Two are computed:
// /private/specialuse of a mailbox and /shared/admin of the server.

const (
	// entrySpecialUse reflects and sets a mailbox's special use, RFC 6154 §4.
	entrySpecialUse = "/private/specialuse"
	// entryAdmin says how to reach the administrator, and is read-only (RFC 5464 §3.2.1.1).
	entryAdmin = "/shared/admin"
)

// isShared reports whether an entry is in the scope that is shared.
func isShared(name string) bool { return strings.HasPrefix(strings.ToLower(name), "/shared") }

// getMetadata is GETMETADATA, RFC 5464 §4.2.
func (s *session) getMetadata() error {
	s.dec.SP()
	cmd := s.dec.GetMetadata()
	if err := s.args(); err != nil {
		return err
	}
	r := &metadataReply{s: s, cmd: &cmd, start: len(*s.buf())}
	r.begin(cmd.Mailbox)
	var err error
	if cmd.Mailbox == "" {
		err = s.serverMetadata(r)
	} else {
		err = s.mailboxMetadata(r)
	}
	if err != nil {
		*s.buf() = (*s.buf())[:r.start]
		return err
	}
	r.end()
	if r.longest > 0 { // RFC 5464 §4.2.1
		s.code = fmt.Sprintf("METADATA LONGENTRIES %d", r.longest)
	}
	return nil
}

// mailboxMetadata writes entries of the mailbox that the command names.
func (s *session) mailboxMetadata(r *metadataReply) error {
	at, err := s.place(r.cmd.Mailbox)
	if err != nil {
		return err
	}
	return at.view(s.ctx, func(tx *store.Tx) error {
		m, err := tx.MailboxByName(at.name)
		if err != nil {
			return err
		}
		return r.mailbox(tx, m, r.cmd.Entries)
	})
}

// metadataReply builds one METADATA reply with values.
type metadataReply struct {
	s       *session
	cmd     *imap.GetMetadata
	start   int // of the reply in the session's buffer
	n       int // entries in it
	longest int // the longest value that was left out
	told    map[string]bool
}

// begin writes the reply up to its first entry.
func (r *metadataReply) begin(mailbox string) {
	b := append(*r.s.buf(), "* METADATA "...)
	*r.s.buf() = append(imap.AppendMailbox(b, mailbox, r.s.mode.utf8), " ("...)
	r.n, r.told = 0, map[string]bool{}
}

// end completes the reply, or takes it back when it has no entry.
func (r *metadataReply) end() {
	p := r.s.buf()
	if r.n == 0 {
		*p = (*p)[:r.start]
		return
	}
	*p = append(*p, ")\r\n"...)
}

// add writes an entry, once however often it was asked for; value is nil where it has none.
func (r *metadataReply) add(name string, value []byte) {
	key := strings.ToLower(name)
	if r.told[key] {
		return
	}
	r.told[key] = true
	if r.cmd.MaxSize >= 0 && int64(len(value)) > r.cmd.MaxSize {
		r.longest = max(r.longest, len(value))
		return
	}
	b := *r.s.buf()
	if r.n > 0 {
		b = append(b, ' ')
	}
	r.n++
	b = append(imap.AppendAString(b, name, false), ' ')
	*r.s.buf() = imap.AppendMetadataValue(b, value, r.s.mode.utf8)
}

// entries writes what is at each of the names and, as DEPTH says, below. Without DEPTH each name is
// answered, with NIL where there is nothing; with it only what exists (RFC 5464 §4.2.2).
func (r *metadataReply) entries(a *store.Annotations, names []string, computed map[string]string) error {
	for _, name := range names {
		under := strings.ToLower(name)
		if r.cmd.Depth == 0 {
			if err := r.one(a, name, computed[under]); err != nil {
				return err
			}
			continue
		}
		for at, value := range computed {
			if value != "" && within(at, under, r.cmd.Depth) {
				r.add(at, []byte(value))
			}
		}
		err := a.Each(under, func(e store.Annotation) error {
			if within(strings.ToLower(e.Name), under, r.cmd.Depth) {
				r.add(e.Name, e.Value)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// one writes the entry with a name as the client spells it.
func (r *metadataReply) one(a *store.Annotations, name, computed string) error {
	if computed != "" {
		r.add(name, []byte(computed))
		return nil
	}
	e, err := a.Get(name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	r.add(name, e.Value)
	return nil
}

// within reports whether an entry is another or at most depth below it.
func within(name, under string, depth int) bool {
	rest, ok := strings.CutPrefix(name, under)
	if !ok || rest != "" && rest[0] != '/' {
		return false
	}
	return depth == imap.Infinity || strings.Count(rest, "/") <= depth
}

// mailbox writes entries of a mailbox.
func (r *metadataReply) mailbox(tx *store.Tx, m *store.Mailbox, names []string) error {
	a, err := tx.Annotations(m.ID)
	if err != nil {
		return err
	}
	return r.entries(a, names, map[string]string{entrySpecialUse: specialUses[m.Role]})
}

// serverMetadata writes entries of the server: the private ones first, then the shared ones, from a
// snapshot each.
func (s *session) serverMetadata(r *metadataReply) error {
	var private, shared []string
	for _, name := range r.cmd.Entries {
		if isShared(name) {
			shared = append(shared, name)
		} else {
			private = append(private, name)
		}
	}
	if len(private) > 0 {
		err := s.view(func(tx *store.Tx) error {
			a, err := tx.Annotations(0)
			if err != nil {
				return err
			}
			return r.entries(a, private, nil)
		})
		if err != nil {
			return err
		}
	}
	if len(shared) == 0 {
		return nil
	}
	computed := map[string]string{entryAdmin: "mailto:postmaster@" + s.domain}
	return s.srv.o.Store.ViewDomainAnnotations(s.ctx, s.domain, func(a *store.Annotations) error {
		return r.entries(a, shared, computed)
	})
}

// setMetadata is SETMETADATA, RFC 5464 §4.3: all of it happens or nothing does.
func (s *session) setMetadata() error {
	s.dec.SP()
	name := s.dec.Mailbox()
	s.dec.SP()
	values := s.dec.EntryValues(s.srv.o.Store.MaxAnnotation())
	if err := s.args(); err != nil {
		return err
	}
	var err error
	switch {
	case name != "":
		err = s.setMailboxMetadata(name, values)
	default:
		err = s.setServerMetadata(values)
	}
	return s.metadataRefusal(err)
}

// metadataRefusal gives the errors of annotations their response codes.
func (s *session) metadataRefusal(err error) error {
	switch {
	case errors.Is(err, store.ErrTooLong):
		limit := s.srv.o.Store.MaxAnnotation()
		return &no{fmt.Sprintf("METADATA MAXSIZE %d", limit), "Value too long"}
	case errors.Is(err, store.ErrTooMany):
		return &no{"METADATA TOOMANY", "Too many annotations"}
	case errors.Is(err, store.ErrOverQuota):
		return &no{"OVERQUOTA", "The annotations take too much room together"}
	}
	return err
}

// annotate is a transaction that sets annotations; where it only removes, it works on a full disk.
func (s *session) annotate(a *account, values []imap.EntryValue,
	fn func(tx *store.Tx) (store.MailboxID, error)) error {
	in := s.freeingIn
	for _, v := range values {
		if !v.Nil {
			in = s.updateIn
		}
	}
	update := func(fn func(tx *store.Tx) error) error { return in(a, fn) }
	if a == s.account {
		return s.annotating(update, values, fn)
	}
	return update(func(tx *store.Tx) error { // of others' annotations no news are told
		_, err := fn(tx)
		return err
	})
}

// setMailboxMetadata sets annotations of a mailbox.
func (s *session) setMailboxMetadata(name string, values []imap.EntryValue) error {
	at, err := s.place(name)
	if err != nil {
		return err
	}
	return s.annotate(at.account, values, func(tx *store.Tx) (store.MailboxID, error) {
		m, err := tx.MailboxByName(at.name)
		if err != nil {
			return 0, err
		}
		a, err := tx.Annotations(m.ID)
		if err != nil {
			return 0, err
		}
		for i, v := range values {
			if !strings.EqualFold(v.Name, entrySpecialUse) {
				err = a.Set(changes(values[i : i+1]))
			} else {
				err = setSpecialUse(tx, m, v)
			}
			if err != nil {
				return 0, err
			}
		}
		return m.ID, nil
	})
}

// setSpecialUse gives a mailbox a special use, which the mailbox that has it loses (RFC 6154 §4 and
// §5.4), or takes it away. What CREATE would refuse is refused here.
func setSpecialUse(tx *store.Tx, m *store.Mailbox, v imap.EntryValue) error {
	role, err := roleOf(strings.Fields(v.Value))
	if err != nil {
		return err
	}
	if m.Role == store.RoleInbox {
		if role == store.NoRole {
			return nil
		}
		return &no{"USEATTR", "INBOX has no special use"}
	}
	return tx.SetRole(m.ID, role)
}

// changes turns what the client sent into what the store takes.
func changes(values []imap.EntryValue) []store.AnnotationChange {
	out := make([]store.AnnotationChange, len(values))
	for i, v := range values {
		out[i].Name = v.Name
		if !v.Nil {
			out[i].Value = []byte(v.Value)
		}
	}
	return out
}
