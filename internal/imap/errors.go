package imap

import "errors"

// Error is what the other side did wrong, in the form a server answers it.
type Error struct {
	No    bool   // answer NO instead of BAD: the syntax is right, the value is not acceptable
	Code  string // response code without brackets, "" for none
	Text  string // what to say: one sentence without CR and LF
	Close bool   // the stream cannot be followed any more, or is not worth it: say BYE and close
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

// ErrCut is returned by a streamed literal that ended early.
var ErrCut = errors.New("literal cut short")

// The errors that have one wording.
var (
	errTooDeep   = &Error{Code: "LIMIT", Text: "Too many nested parentheses"}
	errTooMany   = &Error{Code: "LIMIT", Text: "Too many ranges in a number set"}
	errQuoted    = &Error{Code: "LIMIT", Text: "Quoted string too long"}
	errLiterals  = &Error{Code: "TOOBIG", Text: "Literals too long for this command"}
	errName      = &Error{No: true, Code: "CANNOT", Text: "Mailbox name is not valid modified UTF-7"}
	errNameUTF8  = &Error{No: true, Code: "CANNOT", Text: "Mailbox name is not valid UTF-8"}
	errLiteral   = &Error{Text: "Malformed literal"}
	errNUL       = &Error{Text: "NUL byte in a literal"}
	errLongEnd   = &Error{Text: "Unread literal too long", Close: true}
	errBadUTF8   = &Error{Text: "Invalid UTF-8 in a quoted string"}
	errEndOfLine = &Error{Text: "Unexpected end of command"}
)
