package smtp

import (
	"strings"
	"unicode/utf8"
)

// Command is one line of a client, split.
type Command struct {
	Verb string // in upper case
	Args string // what follows the verb and one space, trailing spaces removed
}

// ParseCommand splits a line without its CRLF. Control characters, NUL and broken UTF-8 anywhere
// are refused before anything looks at them or logs them. The error is a Reply.
func ParseCommand(line []byte) (Command, error) {
	if !utf8.Valid(line) {
		return Command{}, NewReply(500, Enhanced{5, 5, 2}, "Command is not UTF-8")
	}
	s := string(line)
	for _, r := range s {
		if r < ' ' || r >= 0x7f && r <= 0x9f {
			return Command{}, NewReply(500, Enhanced{5, 5, 2}, "Control character in command")
		}
	}
	verb, args, _ := strings.Cut(s, " ")
	if verb == "" || len(verb) > 12 || strings.TrimFunc(verb, isLetter) != "" {
		return Command{}, NewReply(500, Enhanced{5, 5, 2}, "Command not recognized")
	}
	return Command{Verb: strings.ToUpper(verb), Args: strings.TrimRight(args, " ")}, nil
}

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
