package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"tram/internal/kv"
)

// inbox is the one name that is the same in all its cases (RFC 9051 §5.1).
const inbox = "INBOX"

// separator is the hierarchy separator.
const separator = "/"

// splitName is the function splitName with the configured limits.
func (s *Store) splitName(name string) ([]string, error) {
	return splitName(name, s.limits.NameBytes, s.limits.NameDepth)
}

// splitName normalizes a full name and cuts it into levels: NFC, INBOX in capitals at the first
// level, no empty level, no control character (RFC 9051 §5.1, Net-Unicode of RFC 5198), within the
// limits. One trailing separator is forgiven: it is how CREATE says that children will follow.
func splitName(name string, maxBytes, depth int) ([]string, error) {
	name = strings.TrimSuffix(name, separator)
	if !utf8.ValidString(name) {
		return nil, fmt.Errorf("mailbox name is not UTF-8: %w", ErrInvalidName)
	}
	for _, r := range name {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\ufeff' {
			return nil, fmt.Errorf("mailbox name has the character %U: %w", r, ErrInvalidName)
		}
	}
	if len(name) <= maxBytes {
		name = norm.NFC.String(name)
	}
	if len(name) > maxBytes {
		return nil, fmt.Errorf("mailbox name of %d bytes, %d are allowed: %w",
			len(name), maxBytes, ErrInvalidName)
	}
	levels := strings.Split(name, separator)
	if len(levels) > depth {
		return nil, fmt.Errorf("mailbox name of %d levels, %d are allowed: %w",
			len(levels), depth, ErrInvalidName)
	}
	if slices.Contains(levels, "") {
		return nil, fmt.Errorf("mailbox name has an empty level: %w", ErrInvalidName)
	}
	if strings.EqualFold(levels[0], inbox) {
		levels[0] = inbox
	}
	return levels, nil
}

// child returns the mailbox called leaf under parent, 0 when there is none.
func (tx *Tx) child(parent MailboxID, leaf string) (MailboxID, error) {
	tx.key = nameKey(tx.key[:0], tx.id, parent, leaf)
	value, err := tx.r.Get(tx.key)
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, wrap(err, "read mailbox name")
	}
	return decodeName(tx.key, value)
}

// walk follows levels from the top as far as there are mailboxes. It returns the last found and how
// many levels led there.
func (tx *Tx) walk(levels []string) (id MailboxID, found int, err error) {
	for i, leaf := range levels {
		next, err := tx.child(id, leaf)
		if err != nil || next == 0 {
			return id, i, err
		}
		id = next
	}
	return id, len(levels), nil
}

// fullName returns the name of m, and its depth.
func (tx *Tx) fullName(m *mailboxTx) (name string, depth int, err error) {
	name, depth = m.row.Leaf, 1
	for m.row.Parent != 0 {
		if m, err = tx.mailbox(m.row.Parent); err != nil {
			return "", 0, err
		}
		name = m.row.Leaf + separator + name
		if depth++; depth > maxDepth {
			return "", 0, fmt.Errorf("mailbox %d is its own parent: %w", m.row.ID, ErrDamaged)
		}
	}
	return name, depth, nil
}

// maxDepth is deeper than any configured limit, to end a walk over damaged rows.
const maxDepth = 1000

// compareNames orders full names so that a mailbox stands before its children, those before its
// next sibling, and INBOX before all.
func compareNames(a, b string) int {
	for level := 0; ; level++ {
		x, restA, moreA := strings.Cut(a, separator)
		y, restB, moreB := strings.Cut(b, separator)
		if x != y {
			switch {
			case level == 0 && x == inbox:
				return -1
			case level == 0 && y == inbox:
				return 1
			}
			return strings.Compare(x, y)
		}
		if !moreA || !moreB {
			return boolCompare(moreA, moreB)
		}
		a, b = restA, restB
	}
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func subscriptionKey(dst []byte, id AccountID, name string) []byte {
	return append(appendKey(dst, id, kindSubscribe), name...)
}

// Subscribe puts a name on the list of subscriptions, or takes it off. The name need not be that of
// a mailbox, and stays on the list when its mailbox goes (RFC 9051 §6.3.7). Errors: ErrInvalidName,
// ErrTooMany.
func (tx *Tx) Subscribe(name string, on bool) error {
	if err := tx.ownerOnly("subscriptions"); err != nil {
		return err
	}
	levels, err := tx.s.splitName(name)
	if err != nil {
		return err
	}
	name = strings.Join(levels, separator)
	is, err := tx.subscribed(name)
	if err != nil || is == on {
		return err
	}
	if on {
		if err := tx.roomToSubscribe(); err != nil {
			return err
		}
	}
	if _, err := tx.change(); err != nil {
		return err
	}
	if id, found, err := tx.walk(levels); err != nil {
		return err
	} else if found == len(levels) {
		m, err := tx.mailbox(id)
		if err != nil {
			return err
		}
		tx.meta(m)
	}
	tx.key = subscriptionKey(tx.key[:0], tx.id, name)
	if !on {
		return tx.w.Delete(tx.key)
	}
	return tx.set(append(tx.value[:0], version1))
}

// roomToSubscribe returns ErrTooMany when there are as many subscriptions as there may be mailboxes. They
// are counted, not known by a counter, as nobody has many; mailboxes come and go, but these stay.
func (tx *Tx) roomToSubscribe() error {
	n := 0
	r := kv.Prefix(appendKey(nil, tx.id, kindSubscribe))
	r.KeysOnly = true
	err := tx.r.Scan(r, func(_, _ []byte) error { n++; return nil })
	if err == nil && n >= tx.s.limits.Mailboxes {
		return fmt.Errorf("subscribe: %d subscriptions exist: %w", n, ErrTooMany)
	}
	return wrap(err, "count subscriptions")
}

func (tx *Tx) subscribed(name string) (bool, error) {
	tx.key = subscriptionKey(tx.key[:0], tx.id, name)
	_, err := tx.r.Get(tx.key)
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	return err == nil, wrap(err, "read subscription")
}

// Subscriptions returns the names that are subscribed to, in the order of Mailboxes.
func (tx *Tx) Subscriptions() ([]string, error) {
	if tx.as != nil {
		return nil, nil // those are the owner's
	}
	var names []string
	prefix := appendKey(nil, tx.id, kindSubscribe)
	r := kv.Prefix(prefix)
	r.KeysOnly = true
	err := tx.r.Scan(r, func(key, _ []byte) error {
		names = append(names, string(key[len(prefix):]))
		return nil
	})
	slices.SortFunc(names, compareNames)
	return names, wrap(err, "read subscriptions")
}
