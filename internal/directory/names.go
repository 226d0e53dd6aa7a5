package directory

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"

	"tram/internal/message"
	"tram/internal/smtp"
)

// maxLocal is the length of a local part in octets, RFC 5321 §4.5.3.1.1.
const maxLocal = 64

// separator divides a local part from its detail: alice+shop@example.com is alice's.
const separator = "+"

// localKey returns the form under which a local part is kept and looked up: two local parts are
// the same user exactly when their keys are equal. ASCII is folded to lower case as it stands;
// everything else goes through the UsernameCaseMapped profile (RFC 8265 §3.3), which maps full
// width and case, composes (NFC), and refuses what looks like something else: ligatures, long s,
// invisible joiners, mixed directions.
func localKey(local string) (string, error) {
	if local == "" || len(local) > maxLocal {
		return "", fmt.Errorf("local part of %d octets: %w", len(local), ErrInvalid)
	}
	ascii := true
	for i := 0; i < len(local); i++ {
		c := local[i]
		if c < 0x20 || c == 0x7f {
			return "", fmt.Errorf("local part with a control character: %w", ErrInvalid)
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	if ascii {
		return strings.ToLower(local), nil
	}
	key, err := precis.UsernameCaseMapped.String(local)
	if err != nil {
		return "", fmt.Errorf("local part %q: %w", local, ErrInvalid)
	}
	return key, nil
}

// splitDetail cuts a local part at the first separator. ok is false when there is nothing to cut.
func splitDetail(local string) (base, detail string, ok bool) {
	base, detail, ok = strings.Cut(local, separator)
	return base, detail, ok && base != ""
}

// domainKey returns a domain as lower-case A-labels (RFC 5891 §4, by way of UTS 46). Address
// literals are not domains of anybody.
func domainKey(name string) (string, error) {
	if isKey(name) {
		return name, nil
	}
	key, err := smtp.ParseDomain(strings.TrimSuffix(name, "."))
	if err != nil || key == "" || key[0] == '[' {
		return "", fmt.Errorf("domain %q: %w", name, ErrInvalid)
	}
	return key, nil
}

// isKey reports whether name is plainly in the form of a key already, which spares the look-up of
// every recipient the mapping: lower-case letters and digits in labels, and no label that could be
// an A-label in need of checking.
func isKey(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			len(label) > 3 && label[2:4] == "--" {
			return false
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return strings.Contains(name, ".") && (name[len(name)-1] < '0' || name[len(name)-1] > '9')
}

// addressKey returns domain key and local key of an address as a person writes it. "@example.com"
// has the empty local key, the catch-all's.
func addressKey(address string) (domain, local string, err error) {
	if name, ok := strings.CutPrefix(address, "@"); ok {
		domain, err = domainKey(name)
		return domain, "", err
	}
	a, err := smtp.ParseAddress(address)
	if err != nil {
		return "", "", fmt.Errorf("address %q: %w", address, ErrInvalid)
	}
	return keysOf(a)
}

// keysOf returns domain key and local key of an address.
func keysOf(a smtp.Address) (domain, local string, err error) {
	if domain, err = domainKey(a.Domain); err != nil {
		return "", "", err
	}
	local, err = localKey(a.Local)
	return domain, local, err
}

// skeleton returns what a local key looks like. Two names of a domain never share one: a new
// аlice@ in Cyrillic beside alice@ is refused when it is made (A18).
func skeleton(key string) string { return message.Skeleton(key) }
