package dkim

import (
	"errors"
	"fmt"
)

// Tags are a tag=value list, RFC 6376 §3.2: of a signature or of a key record.
type Tags []Tag

// Tag is one of them. Value is as written, folding and all, without the white space around it.
type Tag struct {
	Name  string
	Value []byte
	// from and to are where the value is in the list with the white space around it: what is left out
	// when a signature is computed (RFC 6376 §3.5).
	from, to int
}

// maxTags is how many tags a list has at most; the standards know a dozen.
const maxTags = 64

// ParseTags reads a list. The values are slices of it.
func ParseTags(list []byte) (Tags, error) {
	tags := make(Tags, 0, 12)
	for pos := 0; pos < len(list); {
		end := pos
		for end < len(list) && list[end] != ';' {
			end++
		}
		t, err := parseTag(list, pos, end)
		switch {
		case errors.Is(err, errNoTag) && end == len(list):
			return tags, nil // the semicolon that may end the list
		case err != nil:
			return nil, err
		case len(tags) == maxTags:
			return nil, errors.New("too many tags")
		}
		if _, twice := tags.find(t.Name); twice {
			return nil, fmt.Errorf("tag %s= is there twice", t.Name)
		}
		tags = append(tags, t)
		pos = end + 1
	}
	return tags, nil
}

var errNoTag = errors.New("empty tag")

// parseTag reads list[pos:end].
func parseTag(list []byte, pos, end int) (Tag, error) {
	for pos < end && isSpace(list[pos]) {
		pos++
	}
	if pos == end {
		return Tag{}, errNoTag
	}
	start := pos
	for pos < end && isNameByte(list[pos], pos > start) {
		pos++
	}
	t := Tag{Name: tagName(list[start:pos])}
	for pos < end && isSpace(list[pos]) {
		pos++
	}
	if t.Name == "" || pos == end || list[pos] != '=' {
		return Tag{}, errors.New("a tag has no name or no value")
	}
	t.from, t.to = pos+1, end
	t.Value = trimSpace(list[t.from:t.to])
	for _, c := range t.Value {
		// Octets above 127 are UTF-8 in internationalised mail, RFC 8616 §4.
		if c < ' ' && !isSpace(c) || c == 0x7f {
			return Tag{}, fmt.Errorf("tag %s= holds a control character", t.Name)
		}
	}
	return t, nil
}

// tagName is the name as a string; those of one or two letters that every signature has are not
// allocated.
func tagName(b []byte) string {
	switch string(b) {
	case "v":
		return "v"
	case "a":
		return "a"
	case "b":
		return "b"
	case "bh":
		return "bh"
	case "c":
		return "c"
	case "cv":
		return "cv"
	case "d":
		return "d"
	case "h":
		return "h"
	case "i":
		return "i"
	case "k":
		return "k"
	case "p":
		return "p"
	case "q":
		return "q"
	case "s":
		return "s"
	case "t":
		return "t"
	case "x":
		return "x"
	}
	return string(b)
}

func isNameByte(c byte, inside bool) bool {
	letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	return letter || inside && ('0' <= c && c <= '9' || c == '_')
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func trimSpace(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func (t Tags) find(name string) (Tag, bool) {
	for _, tag := range t {
		if tag.Name == name {
			return tag, true
		}
	}
	return Tag{}, false
}

// Get returns a tag's value as written, and whether the tag is there.
func (t Tags) Get(name string) (string, bool) {
	tag, ok := t.find(name)
	return string(tag.Value), ok
}

// compact is a value without its white space: base64 and lists of names are folded anywhere.
func (t Tags) compact(name string) ([]byte, bool) {
	tag, ok := t.find(name)
	if !ok {
		return nil, false
	}
	out := make([]byte, 0, len(tag.Value))
	for _, c := range tag.Value {
		if !isSpace(c) {
			out = append(out, c)
		}
	}
	return out, true
}

// without is list without the value of the tag called b: what its signature was made of.
func (t Tags) without(list []byte) []byte {
	b, ok := t.find("b")
	if !ok {
		return list
	}
	out := make([]byte, 0, len(list)-(b.to-b.from))
	return append(append(out, list[:b.from]...), list[b.to:]...)
}
