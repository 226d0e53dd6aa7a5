package imap

import "strings"

// Matching remembers, for each prefix of the name, whether the pattern up to here can produce it, and
// goes through the pattern once. Backtracking would be shorter and, with a pattern of a few dozen
// wildcards, take longer than the age of the universe.

// Pattern is a LIST pattern made ready for matching: "*" stands for anything, "%" for anything but
// the hierarchy separator "/" (RFC 9051 §6.3.9.1). It is not safe for concurrent use.
type Pattern struct {
	text  string
	least int    // length of the shortest name that can match
	wild  bool   // holds a wildcard
	reach []bool // scratch of Match
}

// NewPattern makes a pattern ready. Runs of wildcards are joined, so that matching costs at most
// twice the square of the name's length, however long the pattern is.
func NewPattern(s string) *Pattern {
	p := &Pattern{}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '*' && s[i] != '%' {
			b.WriteByte(s[i])
			p.least++
			i++
			continue
		}
		p.wild = true
		joined := byte('%')
		for ; i < len(s) && (s[i] == '*' || s[i] == '%'); i++ {
			if s[i] == '*' {
				joined = '*'
			}
		}
		b.WriteByte(joined)
	}
	p.text = b.String()
	return p
}

// Levels reports whether the pattern asks for levels of the hierarchy too, be they mailboxes or not: it
// ends in "%" (RFC 9051 §6.3.9).
func (p *Pattern) Levels() bool { return strings.HasSuffix(p.text, "%") }

// Within reports whether a name that begins with prefix may match.
func (p *Pattern) Within(prefix string) bool {
	reach := append(p.reach[:0], make([]bool, len(prefix)+1)...)
	p.reach = reach
	reach[0] = true
	for k := 0; k < len(p.text) && !reach[len(prefix)]; k++ {
		p.step(p.text[k], prefix)
	}
	return reach[len(prefix)]
}

// Match reports whether name matches.
func (p *Pattern) Match(name string) bool {
	switch {
	case p.text == "*":
		return true
	case !p.wild:
		return p.text == name
	case p.text == "%":
		return strings.IndexByte(name, '/') < 0
	case len(name) < p.least:
		return false
	}
	// reach[i] says that the pattern up to here can match name[:i].
	reach := append(p.reach[:0], make([]bool, len(name)+1)...)
	p.reach = reach
	reach[0] = true
	for k := 0; k < len(p.text); k++ {
		p.step(p.text[k], name)
	}
	return reach[len(name)]
}

// step goes one character of the pattern further.
func (p *Pattern) step(c byte, name string) {
	reach := p.reach
	if c == '*' || c == '%' {
		for i := 1; i <= len(name); i++ {
			reach[i] = reach[i] || reach[i-1] && (c == '*' || name[i-1] != '/')
		}
		return
	}
	for i := len(name); i > 0; i-- {
		reach[i] = reach[i-1] && name[i-1] == c
	}
	reach[0] = false
}
