package arc

import (
	"errors"
	"strconv"
	"strings"
)

var errInstance = errors.New("a field of the chain has no instance, or none that is possible")

// instance reads i=, RFC 8617 §4.2.1.
func instance(s string, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most || s[0] == '+' {
		return 0, errInstance
	}
	return n, nil
}

// resultsInstance reads the instance that an ARC-Authentication-Results field begins with, and
// returns what follows it.
func resultsInstance(body string, most int) (int, string, error) {
	rest, ok := strings.CutPrefix(skipCFWS(body), "i")
	if !ok {
		return 0, "", errInstance
	}
	if rest, ok = strings.CutPrefix(skipCFWS(rest), "="); !ok {
		return 0, "", errInstance
	}
	rest = skipCFWS(rest)
	digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
	n, err := instance(rest[:digits], most)
	if err != nil {
		return 0, "", err
	}
	rest, ok = strings.CutPrefix(skipCFWS(rest[digits:]), ";")
	if !ok {
		return 0, "", errInstance
	}
	return n, strings.Trim(rest, " \t\r\n"), nil
}

// skipCFWS takes white space and comments off the front, RFC 5322 §3.2.2.
func skipCFWS(s string) string {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0:
			i++
		case depth == 0 && c != ' ' && c != '\t' && c != '\r' && c != '\n':
			return s[i:]
		}
	}
	return ""
}
