package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"tram/internal/kv"
)

// Annotations are named values (RFC 5464 §3) of one of three things: a mailbox, an account as a
// whole, and a domain, whose annotations all of its accounts read. A mailbox's go with its
// identifier: they follow it through renames and end with it.
//
// A head row for all that an account, or a domain, has bounds them together and tells with one read
// whether any has changed. Both rows are in metadatarow.go.
type Annotations struct {
	s      *Store
	r      kv.Reader
	w      kv.Txn // nil in a View
	root   []byte // key of the head row, prefix of all that it counts
	prefix []byte // of the entries of this one
	change func() (ModSeq, error)

	// visitor says that the private ones are somebody else's, and fixed that the others are not to be
	// changed.
	visitor, fixed bool
}

// Annotation is one entry. A name is the same in all its cases; it is kept as it was set.
type Annotation struct {
	Name   string
	Value  []byte // never nil, valid until the transaction ends
	ModSeq ModSeq // of the transaction that set it; of a domain, counted by itself
}

// AnnotationChange sets an entry, or removes it when Value is nil.
type AnnotationChange struct {
	Name  string
	Value []byte
}

// ErrTooLong: the value of an annotation is above limits.Storage.MetadataValue.
var ErrTooLong = errors.New("value too long")

// MaxAnnotation returns the longest value that an annotation may have.
func (s *Store) MaxAnnotation() int { return s.limits.MetadataValue }

// Annotations returns those of a mailbox; those of the account as a whole for id 0. ErrNotFound.
func (tx *Tx) Annotations(id MailboxID) (*Annotations, error) {
	if tx.as != nil {
		return tx.annotationsTo(id)
	}
	if id != 0 {
		if _, err := tx.mailbox(id); err != nil {
			return nil, err
		}
	}
	return tx.annotations(id), nil
}

func (tx *Tx) annotations(id MailboxID) *Annotations {
	return &Annotations{
		s: tx.s, r: tx.r, w: tx.w, root: appendKey(nil, tx.id, kindMetadata),
		prefix: key32(nil, tx.id, kindMetadata, uint32(id)), change: tx.change,
	}
}

// AnnotationsAt returns the ModSeq of the last change of any annotation of the account, 0 when there
// was none. It is one read.
func (tx *Tx) AnnotationsAt() (ModSeq, error) {
	h, err := tx.annotations(0).head()
	return h.ModSeq, err
}

// EachAnnotation calls fn for every annotation of the account and of its mailboxes, by mailbox (0 is
// the account) and name.
func (tx *Tx) EachAnnotation(fn func(id MailboxID, a Annotation) error) error {
	root := appendKey(nil, tx.id, kindMetadata)
	err := tx.r.Scan(kv.Prefix(root), func(key, value []byte) error {
		id, name, err := kv.TakeUint32(key[len(root):])
		if err != nil {
			return nil // the head row
		}
		if tx.as != nil {
			if ok, err := tx.annotationShows(MailboxID(id), string(name)); !ok {
				return err
			}
		}
		a, err := decodeAnnotation(key, string(name), value)
		if err != nil {
			tx.s.log.Error("annotation cannot be read", "err", err)
			return nil
		}
		return fn(MailboxID(id), a)
	})
	return wrap(stopped(err), "read annotations")
}

func domainMetadataKey(domain string) []byte {
	return kv.AppendString(appendKey(nil, 0, kindMetadata), domain)
}

func metadataScope(domain string) kv.Scope { return kv.Scope("domainmetadata/" + domain) }

// domainAnnotations are those of a domain.
func (s *Store) domainAnnotations(r kv.Reader, w kv.Txn, domain string) *Annotations {
	root := domainMetadataKey(domain)
	a := &Annotations{s: s, r: r, w: w, root: root, prefix: root}
	a.change = func() (ModSeq, error) {
		if w == nil {
			return 0, ErrReadOnly
		}
		h, err := a.head()
		return h.ModSeq + 1, err
	}
	return a
}

// ViewDomainAnnotations calls fn with the annotations of a domain, in one snapshot.
func (s *Store) ViewDomainAnnotations(ctx context.Context, domain string,
	fn func(*Annotations) error) error {
	return s.db.View(ctx, metadataScope(domain), func(r kv.Reader) error {
		return fn(s.domainAnnotations(r, nil, domain))
	})
}

// UpdateDomainAnnotations calls fn with the annotations of a domain in a transaction; it is durable
// when UpdateDomainAnnotations returns nil. fn may be called again.
func (s *Store) UpdateDomainAnnotations(ctx context.Context, domain string,
	fn func(*Annotations) error) error {
	err := s.db.Update(ctx, metadataScope(domain), func(w kv.Txn) error {
		return fn(s.domainAnnotations(w, w, domain))
	})
	if err == nil {
		s.hubs.nudge()
	}
	return err
}

// ForgetDomain removes the annotations of a domain that is no more.
func (s *Store) ForgetDomain(ctx context.Context, domain string) error {
	err := s.db.Update(kv.Freeing(ctx), metadataScope(domain), func(w kv.Txn) error {
		root := domainMetadataKey(domain)
		return w.DeleteRange(root, kv.PrefixEnd(root))
	})
	return wrap(err, "remove annotations of domain "+domain)
}

// At returns a number that rises with each change of what the head row counts.
func (a *Annotations) At() (ModSeq, error) {
	h, err := a.head()
	return h.ModSeq, err
}

// Get returns the entry with a name. ErrNotFound.
func (a *Annotations) Get(name string) (Annotation, error) {
	name = lowerASCII(name)
	if a.visitor && !sharedAnnotation(name) {
		return Annotation{}, wrap(ErrNotFound, "read annotation")
	}
	key := a.key(name)
	value, err := a.r.Get(key)
	if err != nil {
		return Annotation{}, wrap(err, "read annotation")
	}
	return decodeAnnotation(key, name, value)
}

// key is that of an entry whose name is in lower case.
func (a *Annotations) key(name string) []byte {
	return append(bytes.Clone(a.prefix), name...)
}

// Each calls fn for the entry called under, if there is one, and for all below it, by name. An entry
// that cannot be read is left out. Stop from fn ends it early.
func (a *Annotations) Each(under string, fn func(Annotation) error) error {
	under = lowerASCII(under)
	if e, err := a.Get(under); err == nil {
		if err := fn(e); err != nil {
			return stopped(err)
		}
	} else if !lost(err) {
		return err
	}
	err := a.r.Scan(kv.Prefix(a.key(under+"/")), func(key, value []byte) error {
		name := string(key[len(a.prefix):])
		if a.visitor && !sharedAnnotation(name) {
			return nil
		}
		e, err := decodeAnnotation(key, name, value)
		if err != nil {
			a.s.log.Error("annotation cannot be read", "err", err)
			return nil
		}
		return fn(e)
	})
	return wrap(stopped(err), "read annotations")
}

// Set makes changes, all of them or, with an error that ends the transaction, none. What is as it
// should be already does not count as a change. Errors: ErrTooMany for entries, ErrTooLong for a
// value, ErrOverQuota for all values together, ErrInvalidName.
func (a *Annotations) Set(changes []AnnotationChange) error {
	if a.w == nil {
		return ErrReadOnly
	}
	for _, c := range changes {
		if err := a.set(c); err != nil {
			return fmt.Errorf("set annotation %q: %w", c.Name, err)
		}
	}
	return nil
}

func (a *Annotations) set(c AnnotationChange) error {
	name := lowerASCII(c.Name)
	if !validAnnotation(name) {
		return ErrInvalidName
	}
	if a.fixed || a.visitor && !sharedAnnotation(name) {
		return ErrNoPermission
	}
	if len(c.Value) > a.s.limits.MetadataValue {
		return ErrTooLong
	}
	key := a.key(name)
	old, err := a.Get(name)
	switch {
	case err == nil && c.Value != nil && bytes.Equal(old.Value, c.Value):
		return nil
	case errors.Is(err, ErrNotFound) && c.Value == nil:
		return nil
	case err != nil && !lost(err):
		return err
	}
	at, headErr := a.change()
	if headErr != nil {
		return headErr
	}
	if c.Value == nil {
		if err := a.w.Delete(key); err != nil {
			return err
		}
	} else {
		e := Annotation{Name: c.Name, Value: c.Value, ModSeq: at}
		if err := a.w.Set(key, seal(key, e.append(nil))); err != nil {
			return err
		}
	}
	if errors.Is(err, ErrDamaged) {
		return a.recount(at) // nobody knows what the row counted for
	}
	h, headErr := a.head()
	if headErr != nil {
		return headErr
	}
	before := h.Bytes
	if err == nil {
		h.count(old, -1)
	}
	h.ModSeq = at
	if c.Value == nil {
		return a.setHead(h)
	}
	h.count(Annotation{Name: c.Name, Value: c.Value}, 1)
	if h.Bytes > a.s.limits.MetadataBytes && h.Bytes > before {
		return ErrOverQuota
	}
	if err != nil { // a new one
		if err := a.room(); err != nil {
			return err
		}
	}
	return a.setHead(h)
}

// room returns ErrTooMany when there are more entries than there may be.
func (a *Annotations) room() error {
	n := 0
	r := kv.Prefix(append(bytes.Clone(a.prefix), '/'))
	r.KeysOnly, r.Limit = true, a.s.limits.MetadataEntries+1
	err := a.r.Scan(r, func(_, _ []byte) error {
		n++
		return nil
	})
	if err == nil && n > a.s.limits.MetadataEntries {
		err = ErrTooMany
	}
	return err
}

// head returns the head row. One that is damaged is counted again: it describes nothing but the rest.
func (a *Annotations) head() (metadataHead, error) {
	value, err := a.r.Get(a.root)
	if errors.Is(err, kv.ErrNotFound) {
		return metadataHead{}, nil
	}
	if err != nil {
		return metadataHead{}, wrap(err, "read annotations")
	}
	h, err := decodeMetadataHead(a.root, value)
	if errors.Is(err, ErrDamaged) {
		a.s.log.Error("annotations are counted again", "err", err)
		return a.counted()
	}
	return h, err
}

func (a *Annotations) setHead(h metadataHead) error {
	return a.w.Set(a.root, seal(a.root, h.append(nil)))
}

// counted returns the head row that the entries call for.
func (a *Annotations) counted() (h metadataHead, err error) {
	err = a.r.Scan(kv.Prefix(a.root), func(key, value []byte) error {
		if len(key) <= len(a.prefix) {
			return nil // the head row itself
		}
		e, err := decodeAnnotation(key, string(key[len(a.prefix):]), value)
		if err == nil {
			h.count(e, 1)
			h.ModSeq = max(h.ModSeq, e.ModSeq)
		}
		return nil
	})
	return h, wrap(err, "count annotations")
}

// recount writes the head row anew.
func (a *Annotations) recount(at ModSeq) error {
	h, err := a.counted()
	if err != nil {
		return err
	}
	h.ModSeq = at
	return a.setHead(h)
}

// dropAnnotations removes those of a mailbox that goes.
func (tx *Tx) dropAnnotations(id MailboxID) error {
	a := tx.annotations(id)
	any := false
	r := kv.Prefix(a.prefix)
	r.KeysOnly, r.Limit = true, 1
	err := tx.r.Scan(r, func(_, _ []byte) error {
		any = true
		return nil
	})
	if err != nil || !any {
		return wrap(err, "read annotations")
	}
	at, err := tx.change()
	if err != nil {
		return err
	}
	if err := tx.w.DeleteRange(a.prefix, kv.PrefixEnd(a.prefix)); err != nil {
		return err
	}
	return a.recount(at)
}

// copyAnnotations gives a mailbox the annotations of another (RFC 5464 §4.1, of INBOX's RENAME).
func (tx *Tx) copyAnnotations(from, to MailboxID) error {
	var changes []AnnotationChange
	a := tx.annotations(from)
	err := tx.r.Scan(kv.Prefix(a.prefix), func(key, value []byte) error {
		e, err := decodeAnnotation(key, string(key[len(a.prefix):]), value)
		if err == nil {
			changes = append(changes, AnnotationChange{e.Name, bytes.Clone(e.Value)})
		}
		return nil
	})
	if err != nil {
		return wrap(err, "read annotations")
	}
	return tx.annotations(to).Set(changes)
}
