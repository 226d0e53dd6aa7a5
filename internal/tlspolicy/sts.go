package tlspolicy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"
)

// Mode is what an MTA-STS policy asks senders to do when it does not hold, RFC 8461 §5.
type Mode string

// The modes of RFC 8461 §3.2.
const (
	ModeEnforce Mode = "enforce"
	ModeTesting Mode = "testing"
	ModeNone    Mode = "none"
)

// STS is a parsed MTA-STS policy, RFC 8461 §3.2.
type STS struct {
	Mode   Mode
	MX     []string // host names, or "*." and a domain; A-labels in lower case
	MaxAge time.Duration
	Lines  []string // as it was served, for reports
}

// longest is the greatest max_age, in seconds: RFC 8461 §3.2.
const longest = 31557600

// errPolicy says that a policy, or the record that announces it, is not written as it should be.
var errPolicy = errors.New("MTA-STS policy is not valid")

// parseSTS reads a policy. Unknown keys are extensions (RFC 8461 §3.2); of a key that comes twice the
// first counts, but mx, which may. At most most mx lines are taken, for the rest would only let more
// servers in.
func parseSTS(text string, most int) (*STS, error) {
	p := &STS{}
	seen := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "" {
			continue // after the last one, where many have it
		}
		key, value, ok := strings.Cut(line, ":")
		value = strings.TrimLeft(value, " \t")
		if !ok || !fieldName(key) || !fieldValue(value) {
			return nil, fmt.Errorf("%w: line %.60q", errPolicy, line)
		}
		p.Lines = append(p.Lines, line)
		if key == "mx" {
			if err := p.addMX(value, most); err != nil {
				return nil, err
			}
			continue
		}
		if _, dup := seen[key]; !dup {
			seen[key] = value
		}
	}
	if seen["version"] != "STSv1" {
		return nil, fmt.Errorf("%w: version is %.20q", errPolicy, seen["version"])
	}
	switch p.Mode = Mode(seen["mode"]); p.Mode {
	case ModeEnforce, ModeTesting, ModeNone:
	default:
		return nil, fmt.Errorf("%w: mode is %.20q", errPolicy, seen["mode"])
	}
	age := seen["max_age"]
	seconds, err := strconv.ParseUint(age, 10, 64)
	if err != nil || len(age) > 10 {
		return nil, fmt.Errorf("%w: max_age is %.20q", errPolicy, age)
	}
	p.MaxAge = time.Duration(min(seconds, longest)) * time.Second
	if len(p.MX) == 0 && p.Mode != ModeNone {
		return nil, fmt.Errorf("%w: no mx", errPolicy)
	}
	return p, nil
}

func (p *STS) addMX(value string, most int) error {
	host, wild := strings.CutPrefix(value, "*.")
	host, err := hostName(host)
	if err != nil {
		return fmt.Errorf("%w: mx is %.60q", errPolicy, value)
	}
	if wild {
		host = "*." + host
	}
	if len(p.MX) < most {
		p.MX = append(p.MX, host)
	}
	return nil
}

// hostName brings a host name into A-labels of lower case without trailing dot.
func hostName(s string) (string, error) {
	s = strings.TrimSuffix(s, ".")
	a, err := idna.Lookup.ToASCII(s)
	if err != nil {
		return "", err
	}
	a = strings.ToLower(a)
	for label := range strings.SplitSeq(a, ".") {
		bad := strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
		})
		if label == "" || len(label) > 63 || bad {
			return "", fmt.Errorf("%w: host name %.60q", errPolicy, s)
		}
	}
	if len(a) > 253 {
		return "", fmt.Errorf("%w: host name of %d octets", errPolicy, len(a))
	}
	return a, nil
}

// fieldName is sts-policy-ext-name of RFC 8461 §3.2, which the known names are too.
func fieldName(s string) bool {
	if s == "" || len(s) > 32 || !alnum(rune(s[0])) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !alnum(r) && r != '_' && r != '-' && r != '.'
	})
}

func alnum(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// fieldValue is sts-policy-ext-value: printable, and anything above ASCII.
func fieldValue(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

// Matches reports whether the policy lets host take the domain's mail, RFC 8461 §4.1: a "*" stands for
// exactly one label.
func (p *STS) Matches(host string) bool {
	host, err := hostName(host)
	if err != nil {
		return false
	}
	_, parent, _ := strings.Cut(host, ".")
	for _, mx := range p.MX {
		if domain, wild := strings.CutPrefix(mx, "*."); wild && parent == domain || mx == host {
			return true
		}
	}
	return false
}

// Same reports whether two policies, of which either may be nil, ask the same.
func (p *STS) Same(other *STS) bool {
	if p == nil || other == nil {
		return p == other
	}
	return slices.Equal(p.Lines, other.Lines)
}

// policyID finds the identifier in the TXT records of _mta-sts.DOMAIN, RFC 8461 §3.1. ok is false
// unless there is exactly one record of the kind, and it is valid.
func policyID(records []string) (id string, ok bool) {
	found := ""
	for _, r := range records {
		rest, is := strings.CutPrefix(r, "v=STSv1")
		if !is || !strings.HasPrefix(strings.TrimLeft(rest, " \t"), ";") {
			continue
		}
		if found != "" {
			return "", false
		}
		found = r
	}
	if found == "" {
		return "", false
	}
	return recordID(found)
}

// recordID reads the fields of one record.
func recordID(record string) (id string, ok bool) {
	fields := strings.Split(record, ";")
	for i, f := range fields[1:] {
		f = strings.Trim(f, " \t")
		if f == "" && i == len(fields)-2 {
			break // the delimiter at the end
		}
		key, value, has := strings.Cut(f, "=")
		if !has || !fieldName(key) || strings.ContainsAny(value, "= \t") || !fieldValue(value) {
			return "", false
		}
		if key != "id" || id != "" {
			continue
		}
		if len(value) > 32 || strings.ContainsFunc(value, func(r rune) bool { return !alnum(r) }) {
			return "", false
		}
		id = value
	}
	return id, id != ""
}
