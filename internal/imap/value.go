package imap

import "strings"

// Kind says what a Value is.
type Kind uint8

// The kinds of values in replies.
const (
	Atom Kind = iota
	Quoted
	Nil
	ListOf
)

// Value is a piece of a reply that has no type of its own here: a tree of atoms, strings and lists.
type Value struct {
	Kind Kind
	Text string
	List []Value
}

// Str returns the text of an atom or string, "" for NIL and lists.
func (v Value) Str() string { return v.Text }

// At returns the i-th member of a list, NIL where there is none.
func (v Value) At(i int) Value {
	if i < 0 || i >= len(v.List) {
		return Value{Kind: Nil}
	}
	return v.List[i]
}

// Value reads any value.
func (d *Decoder) Value() Value {
	switch c := d.peek(); {
	case c == '(':
		v := Value{Kind: ListOf}
		d.valueList(&v)
		return v
	case c == '"' || d.AtLiteral():
		return Value{Kind: Quoted, Text: d.Str()}
	}
	s := d.word(isPattern|isAtom, "a value")
	if strings.EqualFold(s, "NIL") {
		return Value{Kind: Nil}
	}
	return Value{Kind: Atom, Text: s}
}

// valueList reads a list whose members may touch, as the bodies of a multipart in BODYSTRUCTURE do.
func (d *Decoder) valueList(v *Value) {
	d.Expect('(')
	d.enter()
	for d.err == nil && !d.Try(')') {
		if len(v.List) > 0 && d.peek() != '(' {
			d.SP()
		} else {
			d.Try(' ')
		}
		v.List = append(v.List, d.value())
	}
	d.depth--
}

// value is Value, and flags with their backslash.
func (d *Decoder) value() Value {
	if d.peek() == '\\' {
		return Value{Kind: Atom, Text: d.Flag()}
	}
	return d.Value()
}

// rest reads the values up to the end of the line. Lists may touch, as those of THREAD do.
func (d *Decoder) rest() []Value {
	var vs []Value
	for d.err == nil && (d.TrySP() || len(vs) > 0 && d.peek() == '(') {
		vs = append(vs, d.value())
	}
	d.End()
	return vs
}
