package store

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"tram/internal/kv"
)

// KeywordTable is the account's keywords in the order they were first used. It never changes; a
// later transaction may have a longer one. Names are compared without case (RFC 9051 §2.3.2) and
// shown as they were first written.
type KeywordTable struct{ names []string }

// noKeywords is the table of an account that has used none.
var noKeywords = &KeywordTable{}

// registered are the keywords of the IANA registry that mail programs use, as they are written
// there, whatever case a program writes first.
var registered = []string{
	"$Forwarded", "$MDNSent", "$SubmitPending", "$Submitted", "$Junk", "$NotJunk", "$Phishing",
	"$Important", "$canunsubscribe", "$followed", "$hasattachment", "$hasmemo", "$hasnoattachment",
	"$imported", "$istrusted", "$maskedemail", "$memo", "$muted", "$new", "$notify",
	"$unsubscribed",
}

// maxKeywordBytes bounds one keyword; doors bound what they take from a client more tightly.
const maxKeywordBytes = 255

// Names returns the keywords; the first have the bits of Flags above MoreKeywords, in their order.
func (t *KeywordTable) Names() []string { return slices.Clone(t.names) }

// Len returns the number of keywords.
func (t *KeywordTable) Len() int { return len(t.names) }

// name returns the keyword with a number; a number that is not in the table has none.
func (t *KeywordTable) name(k int) string {
	if k < 0 || k >= len(t.names) {
		return ""
	}
	return t.names[k]
}

// Bit returns a keyword's bit in Flags. ok is false when it has none: it was never used, or it is
// among those beyond the bits.
func (t *KeywordTable) Bit(name string) (f Flags, ok bool) {
	k := t.index(name)
	if k < 0 || k >= keywordBits {
		return 0, false
	}
	return 1 << (firstKeywordBit + k), true
}

// Has reports whether the keyword was ever used.
func (t *KeywordTable) Has(name string) bool { return t.index(name) >= 0 }

// AppendNames appends the names of the keywords that have their bit in f.
func (t *KeywordTable) AppendNames(dst []string, f Flags) []string {
	for rest := uint64(f >> firstKeywordBit); rest != 0; rest &= rest - 1 {
		if name := t.name(bits.TrailingZeros64(rest)); name != "" {
			dst = append(dst, name)
		}
	}
	return dst
}

// Keywords returns the account's keyword table.
func (tx *Tx) Keywords() (*KeywordTable, error) {
	if tx.words != nil {
		return tx.words, nil
	}
	tx.key = appendKey(tx.key[:0], tx.id, kindKeywords)
	value, err := tx.r.Get(tx.key)
	if errors.Is(err, kv.ErrNotFound) {
		tx.words = noKeywords
		return tx.words, nil
	}
	if err != nil {
		return nil, wrap(err, "read keywords")
	}
	words, err := decodeKeywords(tx.key, value)
	if err != nil {
		return nil, err
	}
	tx.words = words
	return words, nil
}

// keywordSet is keywords by number: the bits of Flags, and the numbers beyond them.
type keywordSet struct {
	bits Flags
	more []uint32 // ascending
}

// keywordSet returns the keywords called names, adding to the table those it does not have when add
// is set, and otherwise leaving them out.
func (tx *Tx) keywordSet(names []string, add bool) (set keywordSet, err error) {
	if len(names) == 0 {
		return set, nil
	}
	words, err := tx.Keywords()
	if err != nil {
		return set, err
	}
	for _, name := range names {
		k := words.index(name)
		if k < 0 && !add {
			continue
		}
		if k < 0 {
			if words, err = tx.addKeyword(name); err != nil {
				return set, err
			}
			k = len(words.names) - 1
		}
		if k < keywordBits {
			set.bits |= 1 << (firstKeywordBit + k)
		} else if i, found := slices.BinarySearch(set.more, uint32(k)); !found {
			set.more = slices.Insert(set.more, i, uint32(k))
		}
	}
	return set, nil
}

func (tx *Tx) addKeyword(name string) (*KeywordTable, error) {
	if err := checkKeyword(name); err != nil {
		return nil, err
	}
	if len(tx.words.names) >= tx.s.limits.Keywords {
		return nil, fmt.Errorf("add keyword: %d are in use: %w", len(tx.words.names), ErrTooMany)
	}
	for _, r := range registered {
		if strings.EqualFold(r, name) {
			name = r
		}
	}
	tx.words = &KeywordTable{names: append(slices.Clip(tx.words.names), name)}
	if _, err := tx.change(); err != nil {
		return nil, err
	}
	tx.key = appendKey(tx.key[:0], tx.id, kindKeywords)
	return tx.words, tx.set(tx.words.append(tx.value[:0]))
}

// checkKeyword holds a keyword to what IMAP can say: an atom (RFC 9051 §9, flag-keyword), which is
// more than RFC 8621 §4.1.1 allows, by a little.
func checkKeyword(name string) error {
	if name == "" || len(name) > maxKeywordBytes {
		return fmt.Errorf("keyword of %d bytes: %w", len(name), ErrInvalidName)
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return fmt.Errorf("keyword with character %q: %w", c, ErrInvalidName)
		}
	}
	return nil
}
