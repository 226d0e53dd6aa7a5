package imap

import (
	"bytes"
	"errors"
	"strings"
)

// filterLimits bound the search criteria of a filter.
var filterLimits = Limits{
	Line: 64 << 10, Literals: 64 << 10, Quoted: 8 << 10, Depth: 32, Ranges: 10000, Keyword: 1000,
}

// errCriteria is what is wrong with criteria that do not end where they should.
var errCriteria = errors.New("text after the last search key")

// ParseSearch reads the search criteria that a filter stands for, RFC 5466 §3.2. They are UTF-8.
func ParseSearch(criteria string) (SearchKey, error) {
	src := NewReader(strings.NewReader(criteria + "\r\n"))
	d := NewDecoder(src, filterLimits)
	d.UTF8 = true
	if err := d.Next(); err != nil {
		return SearchKey{}, err
	}
	k := d.SearchKeys()
	d.End()
	if d.Err() != nil {
		return SearchKey{}, d.Err()
	}
	if _, err := src.ReadLine(filterLimits.Line); err == nil {
		return SearchKey{}, errCriteria
	}
	return k, nil
}

// filterName reads the name of a filter, RFC 5466 §4.
func (d *Decoder) filterName() string {
	name := d.Atom()
	if d.err == nil && !ValidFilterName(name) {
		d.Bad("Not a name of a filter%s", d.found())
	}
	return name
}

// ValidFilterName reports whether a filter may have this name: an atom without "/".
func ValidFilterName(name string) bool {
	return ValidKeyword(name) && !strings.Contains(name, "/") && len(name) <= maxEntryName
}

// Mentions reports whether the rest of the line has a text in it, which is in upper case, in any case
// of letters: for a command that is refused and not read to its end.
func (d *Decoder) Mentions(text string) bool {
	return bytes.Contains(bytes.ToUpper(d.line[min(d.pos, len(d.line)):]), []byte(text))
}
