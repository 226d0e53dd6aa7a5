package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tram/internal/kv"
	"tram/internal/kv/memkv"
)

func annotationKey(id MailboxID, name string) []byte {
	return append(key32(nil, 1, kindMetadata, uint32(id)), name...)
}

// annotate sets one annotation of account 1; value "" removes it.
func (h *house) annotate(id MailboxID, name, value string) {
	h.t.Helper()
	h.must(h.tryAnnotate(id, name, value))
}

func (h *house) tryAnnotate(id MailboxID, name, value string) error {
	return h.store.Account(1).Update(context.Background(), func(tx *Tx) error {
		a, err := tx.Annotations(id)
		if err != nil {
			return err
		}
		c := AnnotationChange{Name: name}
		if value != "" {
			c.Value = []byte(value)
		}
		return a.Set([]AnnotationChange{c})
	})
}

// annotations returns what an annotated thing has at and below a name.
func (h *house) annotations(id MailboxID, under string) (out []string) {
	h.t.Helper()
	h.view(func(tx *Tx) error {
		a, err := tx.Annotations(id)
		if err != nil {
			return err
		}
		return a.Each(under, func(e Annotation) error {
			out = append(out, e.Name+"="+string(e.Value))
			return nil
		})
	})
	return out
}

func (h *house) wantAnnotations(id MailboxID, under string, want ...string) {
	h.t.Helper()
	if got := h.annotations(id, under); !slices.Equal(got, want) {
		h.t.Errorf("mailbox %d has %q under %s, want %q", id, got, under, want)
	}
}

// annotationsAt returns the account's ModSeq and that of its annotations.
func (h *house) annotationsAt() (account, annotations ModSeq) {
	h.t.Helper()
	h.view(func(tx *Tx) (err error) {
		account = tx.ModSeq()
		annotations, err = tx.AnnotationsAt()
		return err
	})
	return account, annotations
}

// TestAnnotations sets, reads, replaces and removes, in all cases of letters (RFC 5464 §3.2), and
// with any bytes for a value.
func TestAnnotations(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	box := h.create("Work")
	binary := "a\x00\r\n\xff"
	h.annotate(box, "/private/Comment", "first")
	h.annotate(box, "/private/comment", binary)
	h.annotate(box, "/private/vendor/x/a", "1")
	h.annotate(box, "/private/vendor/x/a/b", "2")
	h.annotate(box, "/private/vendor/xa", "3")
	h.annotate(0, "/private/comment", "of the account")
	h.wantAnnotations(box, "/PRIVATE/comment", "/private/comment="+binary)
	h.wantAnnotations(box, "/private/vendor/x", "/private/vendor/x/a=1", "/private/vendor/x/a/b=2")
	h.wantAnnotations(0, "/private", "/private/comment=of the account")
	account, at := h.annotationsAt()
	if account != at {
		t.Errorf("annotations at %d, the account at %d", at, account)
	}
	h.annotate(box, "/private/vendor/x/a", "1") // is so already
	h.annotate(box, "/private/vendor/x/none", "")
	if again, _ := h.annotationsAt(); again != account {
		t.Errorf("setting what is there already raised the ModSeq from %d to %d", account, again)
	}
	h.annotate(box, "/private/Vendor/X/a", "")
	h.wantAnnotations(box, "/private/vendor/x", "/private/vendor/x/a/b=2")
	for _, bad := range []string{"", "/", "comment", "/privat\xe9", "/a\x01", "/" + strings.Repeat("x", 600),
		"/private/\u212A"} { // the last is the Kelvin sign, whose lower case is k
		if err := h.tryAnnotate(box, bad, "x"); !errors.Is(err, ErrInvalidName) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := h.tryAnnotate(77, "/private/x", "y"); !errors.Is(err, ErrNotFound) {
		t.Errorf("of no mailbox: %v", err)
	}
	h.view(func(tx *Tx) error {
		a, err := tx.Annotations(box)
		h.must(err)
		if err := a.Set([]AnnotationChange{{"/private/x", nil}}); !errors.Is(err, ErrReadOnly) {
			t.Errorf("in a view: %v", err)
		}
		return nil
	})
}

// TestAnnotationsFollow: annotations go with the mailbox when it, or one above it, is renamed, and
// away with it; a new one of the old name has none. INBOX keeps its own and gives copies (RFC 5464
// §4.1).
func TestAnnotationsFollow(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	below := h.create("a/b")
	// A mailbox whose identifier has the byte of a slash in it.
	for n := h.create("n0"); n < '/'; {
		n = h.create(fmt.Sprintf("n%d", n))
	}
	slash := MailboxID('/')
	h.annotate(below, "/shared/comment", "stays")
	h.annotate(slash, "/shared/comment", "slash")
	h.annotate(1, "/private/comment", "of INBOX")
	h.update(func(tx *Tx) error {
		m, err := tx.MailboxByName("a")
		if err != nil {
			return err
		}
		return errors.Join(tx.RenameMailbox(m.ID, "z/y"), tx.RenameMailbox(1, "old mail"))
	})
	h.wantAnnotations(below, "/shared", "/shared/comment=stays")
	h.wantAnnotations(1, "/private", "/private/comment=of INBOX")
	h.view(func(tx *Tx) error {
		m, err := tx.MailboxByName("old mail")
		h.must(err)
		h.wantAnnotations(m.ID, "/private", "/private/comment=of INBOX")
		return nil
	})
	h.check()
	h.update(func(tx *Tx) error {
		return errors.Join(tx.DeleteMailbox(below), tx.DeleteMailbox(slash))
	})
	h.wantAnnotations(h.create("z/y/b"), "/shared")
	h.check()
}

// TestAnnotationLimits: RFC 5464 §4.1 lets a server bound them.
func TestAnnotationLimits(t *testing.T) {
	t.Parallel()
	h := openHouse(t, memkv.New())
	h.limit.MetadataEntries, h.limit.MetadataValue, h.limit.MetadataBytes = 10, 2000, 4000
	h.open()
	for n := range 10 {
		h.annotate(1, fmt.Sprintf("/private/vendor/x/%d", n), "v")
	}
	for _, c := range []struct {
		id    MailboxID
		name  string
		value string
		want  error
	}{
		{1, "/private/vendor/x/10", "v", ErrTooMany},
		{1, "/private/vendor/x/9", "w", nil}, // not a new one
		{2, "/private/vendor/x/1", strings.Repeat("v", 2001), ErrTooLong},
		{2, "/private/vendor/x/1", strings.Repeat("v", 2000), nil},
		{2, "/private/vendor/x/2", strings.Repeat("v", 2000), ErrOverQuota},
		{2, "/private/vendor/x/1", "", nil},
		{2, "/private/vendor/x/2", strings.Repeat("v", 2000), nil},
		{1, "/private/vendor/x/0", "", nil},
		{1, "/private/vendor/x/10", "v", nil},
	} {
		if err := h.tryAnnotate(c.id, c.name, c.value); !errors.Is(err, c.want) {
			t.Errorf("%s of mailbox %d: %v, want %v", c.name, c.id, err, c.want)
		}
	}
	h.limit.MetadataBytes = 100 // what is too much already may shrink
	h.open()
	h.annotate(2, "/private/vendor/x/2", strings.Repeat("v", 1500))
}

// TestAnnotationsAllOrNothing: with an error none of the changes is made (RFC 5464 §4.3).
func TestAnnotationsAllOrNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	err := h.store.Account(1).Update(context.Background(), func(tx *Tx) error {
		a, err := tx.Annotations(1)
		if err != nil {
			return err
		}
		return a.Set([]AnnotationChange{
			{"/private/comment", []byte("x")}, {"/shared/comment", bytes.Repeat([]byte("x"), 1<<17)},
		})
	})
	if !errors.Is(err, ErrTooLong) {
		t.Errorf("too long: %v", err)
	}
	h.wantAnnotations(1, "/private")
}

// TestDomainAnnotations: those of a domain are beside those of accounts, and of other domains.
func TestDomainAnnotations(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	set := func(domain, value string) error {
		return h.store.UpdateDomainAnnotations(ctx, domain, func(a *Annotations) error {
			return a.Set([]AnnotationChange{{"/shared/comment", []byte(value)}})
		})
	}
	get := func(domain string) (value string, at ModSeq) {
		h.must(h.store.ViewDomainAnnotations(ctx, domain, func(a *Annotations) error {
			e, err := a.Get("/shared/Comment")
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			value = string(e.Value)
			at, err = a.At()
			return err
		}))
		return value, at
	}
	h.must(set("example.test", "one"))
	h.must(set("example.test", "two"))
	h.must(set("example.test.org", "other"))
	if value, at := get("example.test"); value != "two" || at != 2 {
		t.Errorf("%q at %d", value, at)
	}
	h.check()
	h.must(h.store.ForgetDomain(ctx, "example.test"))
	if value, at := get("example.test"); value != "" || at != 0 {
		t.Errorf("of a domain that is no more: %q at %d", value, at)
	}
	if value, _ := get("example.test.org"); value != "other" {
		t.Errorf("of the other domain: %q", value)
	}
}

// TestAnnotationsOfRemoved: an account's annotations go with it.
func TestAnnotationsOfRemoved(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.annotate(0, "/private/comment", "x")
	h.annotate(1, "/private/comment", "x")
	h.must(h.store.Remove(context.Background(), 1))
	h.must(h.db.View(context.Background(), "", func(r kv.Reader) error {
		return r.Scan(kv.Prefix(appendKey(nil, 1, kindMetadata)), func(key, _ []byte) error {
			t.Errorf("left: %s", describeKey(key))
			return nil
		})
	}))
}

// TestAnnotationDamaged: a damaged annotation costs itself, and a damaged head row nothing.
func TestAnnotationDamaged(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	h := &house{t: t, db: db, clock: newHouse(t).clock, limit: newHouse(t).limit}
	h.open()
	h.annotate(1, "/private/a", "1")
	h.annotate(1, "/private/b", "2")
	p := &planter{h: h}
	p.do(func(kv.Txn) {
		p.rubbish(annotationKey(1, "/private/a"))
		p.rubbish(appendKey(nil, 1, kindMetadata))
	})
	h.wantAnnotations(1, "/private", "/private/b=2")
	h.annotate(1, "/private/a", "3")
	h.wantAnnotations(1, "/private", "/private/a=3", "/private/b=2")
	h.check()
}
