package imap

import "github.com/xdg-go/stringprep"

// maxIdentifier is the longest identifier of an access control list in bytes: longer than any address.
const maxIdentifier = 512

// RightsChange is the last argument of SETACL, RFC 4314 §3.1.
type RightsChange struct {
	Mode   byte   // '+' to add, '-' to take away, 0 to replace
	Rights string // letters and digits; which there are is not checked
}

// RightsChange reads a rights modification.
func (d *Decoder) RightsChange() RightsChange {
	var c RightsChange
	c.Rights = d.AString()
	if c.Rights != "" && (c.Rights[0] == '+' || c.Rights[0] == '-') {
		c.Mode, c.Rights = c.Rights[0], c.Rights[1:]
	}
	for i := range len(c.Rights) {
		switch r := c.Rights[i]; {
		case 'a' <= r && r <= 'z' || '0' <= r && r <= '9':
		case 'A' <= r && r <= 'Z':
			d.Bad("Uppercase rights are not allowed")
		default:
			d.Bad("Rights are letters")
		}
	}
	if d.err != nil {
		return RightsChange{}
	}
	return c
}

// Identifier reads the identifier of an access control list and prepares it with SASLprep (RFC 4314
// §3). given is as the client wrote it.
func (d *Decoder) Identifier() (id, given string) {
	given = d.AString()
	if len(given) > maxIdentifier {
		d.Fail(&Error{Code: "LIMIT", Text: "Identifier too long"})
	}
	if d.err != nil {
		return "", ""
	}
	id, err := stringprep.SASLprep.Prepare(given)
	if err != nil || id == "" {
		d.Bad("Not a valid identifier")
		return "", ""
	}
	return id, given
}
