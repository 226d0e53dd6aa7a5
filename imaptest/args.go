package imaptest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

type kind int

const (
	atom kind = iota
	null      // NIL
	quoted
	literal
	list
)

// arg is one word of a reply, the server's or an expected one.
type arg struct {
	kind kind
	text string
	list []arg
}

// isWord reports whether the argument is a string of any form.
func (a arg) isWord() bool { return a.kind != list }

func (a arg) String() string {
	switch a.kind {
	case list:
		return "(" + format(a.list) + ")"
	case quoted:
		return strconv.Quote(a.text)
	case literal:
		return fmt.Sprintf("{%d}%q", len(a.text), a.text)
	}
	return a.text
}

func format(args []arg) string {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = a.String()
	}
	return strings.Join(words, " ")
}

var errUnfinished = errors.New("ends inside a list or a string")

// parseArgs splits a reply into its words. It is as loose as a script needs: "BODY[HEADER.FIELDS
// (DATE)]" is an atom, a list and an atom. Literals stand in the text behind their {size}CRLF.
func parseArgs(s string) ([]arg, error) {
	p := argParser{rest: s}
	args, err := p.args(false)
	if err != nil {
		return nil, fmt.Errorf("%.200q: %w", s, err)
	}
	return args, nil
}

type argParser struct{ rest string }

// args reads up to the end, or up to the parenthesis that ends a list.
func (p *argParser) args(inside bool) ([]arg, error) {
	var all []arg
	for {
		p.rest = strings.TrimLeft(p.rest, " ")
		if p.rest == "" {
			if inside {
				return nil, errUnfinished
			}
			return all, nil
		}
		if inside && p.rest[0] == ')' {
			p.rest = p.rest[1:]
			return all, nil
		}
		a, err := p.arg(inside)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
}

func (p *argParser) arg(inside bool) (arg, error) {
	switch {
	case p.rest[0] == '(':
		p.rest = p.rest[1:]
		l, err := p.args(true)
		return arg{kind: list, list: l}, err
	case p.rest[0] == '"':
		return p.quoted()
	case literalStart.MatchString(p.rest):
		return p.literal()
	}
	stop := " "
	if inside {
		stop = " )"
	}
	end := strings.IndexAny(p.rest, stop)
	if end < 0 {
		end = len(p.rest)
	}
	word := p.rest[:end]
	p.rest = p.rest[end:]
	if strings.EqualFold(word, "NIL") {
		return arg{kind: null, text: word}, nil
	}
	return arg{kind: atom, text: word}, nil
}

func (p *argParser) quoted() (arg, error) {
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; c {
		case '"':
			p.rest = p.rest[i+1:]
			return arg{kind: quoted, text: b.String()}, nil
		case '\\':
			i++
			if i < len(p.rest) {
				b.WriteByte(p.rest[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return arg{}, errUnfinished
}

func (p *argParser) literal() (arg, error) {
	m := literalStart.FindStringSubmatch(p.rest)
	n, err := strconv.Atoi(m[1])
	if err != nil || len(p.rest) < len(m[0])+n {
		return arg{}, errUnfinished
	}
	p.rest = p.rest[len(m[0]):]
	text := p.rest[:n]
	p.rest = p.rest[n:]
	return arg{kind: literal, text: text}, nil
}

// isStatus reports whether a reply ends with words for people.
func isStatus(name string) bool {
	switch strings.ToUpper(name) {
	case "OK", "NO", "BAD", "BYE", "PREAUTH":
		return true
	}
	return false
}

// parseReply splits a reply of the server. The words for people in a status reply may hold anything:
// only its code is looked at as a list of arguments.
func parseReply(s string) ([]arg, error) {
	name, rest, _ := strings.Cut(s, " ")
	if !isStatus(name) {
		return parseArgs(s)
	}
	args := []arg{{text: name}}
	if end := strings.IndexByte(rest, ']'); strings.HasPrefix(rest, "[") && end >= 0 {
		code, err := parseArgs(rest[:end+1])
		if err != nil {
			return nil, err
		}
		args, rest = append(args, code...), rest[end+1:]
	}
	for _, word := range strings.Fields(rest) {
		args = append(args, arg{text: word})
	}
	return args, nil
}
