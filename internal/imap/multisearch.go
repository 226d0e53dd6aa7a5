package imap

// maxSourceNames bounds the mailbox names in the sources of one ESEARCH.
const maxSourceNames = 500

// SearchSource says which mailboxes ESEARCH searches, RFC 7377 §2.2.
type SearchSource struct {
	Filter string   // in upper case: SELECTED, INBOXES, PERSONAL, SUBSCRIBED, SUBTREE, ...
	Names  []string // of SUBTREE, SUBTREE-ONE and MAILBOXES
}

// SearchSources reads the parenthesised source options of ESEARCH. There are no scope options yet
// (RFC 7377 §4), so that any is an error.
func (d *Decoder) SearchSources() []SearchSource {
	var out []SearchSource
	names := 0
	d.Expect('(')
	for more := true; more && d.err == nil; more = d.Try(' ') {
		if len(out) > 0 && d.peek() == '(' {
			d.Bad("Unknown scope option")
			break
		}
		s := d.searchSource()
		if names += 1 + len(s.Names); names > maxSourceNames {
			d.Fail(errManySources)
		}
		out = append(out, s)
	}
	d.Expect(')')
	return out
}

// errManySources is a limit of RFC 7377 §2.4.
var errManySources = &Error{Code: "LIMIT", Text: "Too many mailboxes are named", No: true}

// searchSource reads filter-mailboxes, RFC 5465 §8 without SELECTED-DELAYED.
func (d *Decoder) searchSource() SearchSource {
	s := SearchSource{Filter: d.Label()}
	switch s.Filter {
	case "SELECTED", "INBOXES", "PERSONAL", "SUBSCRIBED":
		return s
	case "SUBTREE", "SUBTREE-ONE", "MAILBOXES":
		d.SP()
	default:
		d.Bad("Unknown mailbox filter")
		return s
	}
	if d.peek() != '(' {
		s.Names = append(s.Names, d.Mailbox())
		return s
	}
	d.List(func() {
		if len(s.Names) >= maxSourceNames {
			d.Fail(errManySources)
		}
		s.Names = append(s.Names, d.Mailbox())
	})
	if len(s.Names) == 0 {
		d.Bad("Expected mailbox names%s", d.found())
	}
	return s
}
