package smtp

import (
	"errors"
	"fmt"
	"strings"
)

// ParsePath reads a path from the start of s: "<>", "<local@domain>" or "<Postmaster>" (any case,
// without a domain, RFC 5321 §4.1.1.3). It returns what follows the closing bracket. A source route
// "<@a,@b:c@d>" is refused: RFC 5321 §4.1.1.3 allows it, and nothing but abuse still uses one.
// Errors wrap ErrAddress, ErrSourceRoute or ErrTooLong.
func ParsePath(s string) (a Address, rest string, err error) {
	inner, ok := strings.CutPrefix(s, "<")
	switch {
	case !ok:
		return Address{}, "", fmt.Errorf("%w: no angle bracket", ErrAddress)
	case strings.HasPrefix(inner, ">"):
		return Address{}, inner[1:], nil
	case strings.HasPrefix(inner, "@"):
		return Address{}, "", ErrSourceRoute
	}
	local, after, err := takeLocal(inner)
	if err != nil {
		return Address{}, "", err
	}
	if strings.HasPrefix(after, ">") && strings.EqualFold(local, "postmaster") {
		return Address{Local: local}, after[1:], nil
	}
	domain, ok := strings.CutPrefix(after, "@")
	end := strings.IndexByte(domain, '>')
	if !ok || end < 0 {
		return Address{}, "", fmt.Errorf("%w: no domain", ErrAddress)
	}
	d, err := ParseDomain(domain[:end])
	if err != nil {
		return Address{}, "", err
	}
	a, err = newAddress(local, d)
	return a, domain[end+1:], err
}

// ParseMail reads what follows the verb MAIL: "FROM:<path>" and parameters. The error is a Reply.
func ParseMail(args string) (Address, MailParams, error) {
	a, rest, err := takePath(args, "FROM:", Enhanced{5, 1, 7})
	if err != nil {
		return Address{}, MailParams{}, err
	}
	if a.Domain == "" && !a.IsNull() {
		return Address{}, MailParams{}, NewReply(553, Enhanced{5, 1, 7}, "Sender needs a domain")
	}
	p, err := ParseMailParams(rest)
	if err != nil {
		return Address{}, MailParams{}, err
	}
	return a, p, nil
}

// ParseRcpt reads what follows the verb RCPT: "TO:<path>" and parameters. The error is a Reply.
func ParseRcpt(args string) (Address, RcptParams, error) {
	a, rest, err := takePath(args, "TO:", Enhanced{5, 1, 3})
	if err != nil {
		return Address{}, RcptParams{}, err
	}
	if a.IsNull() {
		return Address{}, RcptParams{}, NewReply(553, Enhanced{5, 1, 3}, "Recipient is empty")
	}
	p, err := ParseRcptParams(rest)
	if err != nil {
		return Address{}, RcptParams{}, err
	}
	return a, p, nil
}

// takePath reads keyword and path; e is the enhanced status of a bad address. One or more spaces
// before the path are accepted: Microsoft Outlook and many scripts send them.
func takePath(args, keyword string, e Enhanced) (Address, string, error) {
	if len(args) < len(keyword) || !strings.EqualFold(args[:len(keyword)], keyword) {
		return Address{}, "", NewReply(501, Enhanced{5, 5, 4}, "Syntax: "+keyword+"<address>")
	}
	a, rest, err := ParsePath(strings.TrimLeft(args[len(keyword):], " "))
	switch {
	case errors.Is(err, ErrSourceRoute):
		return Address{}, "", NewReply(553, e, "Source routes are not accepted")
	case errors.Is(err, ErrTooLong):
		return Address{}, "", NewReply(553, e, "Address too long")
	case err != nil:
		return Address{}, "", NewReply(501, e, "Malformed address")
	case rest != "" && rest[0] != ' ':
		return Address{}, "", NewReply(501, Enhanced{5, 5, 4}, "Syntax: space before parameters")
	}
	return a, rest, nil
}
