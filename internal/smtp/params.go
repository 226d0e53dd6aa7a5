package smtp

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// BodyType is the BODY parameter of MAIL.
type BodyType string

// The values of BODY: RFC 6152 §2 and RFC 3030 §3.
const (
	BodyDefault BodyType = "" // not given, means 7BIT
	Body7Bit    BodyType = "7BIT"
	Body8Bit    BodyType = "8BITMIME"
	BodyBinary  BodyType = "BINARYMIME"
)

// The longest values in octets, encoded: RFC 3461 §5.4.
const (
	maxEnvID = 100
	maxORCPT = 500
)

// MailParams are the parameters of MAIL. A zero field was not given. Which of them a session may
// use is for the server to decide.
type MailParams struct {
	Size       int64         // SIZE in octets, RFC 1870 §3; MaxInt64 when larger than that
	Body       BodyType      // BODY
	UTF8       bool          // SMTPUTF8, RFC 6531 §3.4
	RequireTLS bool          // REQUIRETLS, RFC 8689 §2
	Ret        string        // RET: "FULL" or "HDRS", RFC 3461 §4.3
	EnvID      string        // ENVID, decoded, RFC 3461 §4.4
	Auth       string        // AUTH, decoded: "<>" or a mailbox, RFC 4954 §5
	HoldFor    time.Duration // HOLDFOR, RFC 4865 §5
	HoldUntil  time.Time     // HOLDUNTIL, RFC 4865 §5
	By         By            // BY
	Priority   int           // MT-PRIORITY, RFC 6710 §4: -9 to 9
	// HasPriority tells a Priority of 0 that was given from none.
	HasPriority bool
}

// By is the BY parameter, RFC 2852 §4: deliver within Time, or else return the message or tell.
type By struct {
	Set    bool
	Time   time.Duration // from the reception of MAIL; zero and below only without Return
	Return bool          // R: return it; else N: notify the sender and go on
	Trace  bool          // T: a "relayed" DSN at each hop
}

// RcptParams are the parameters of RCPT.
type RcptParams struct {
	Notify Notify // NOTIFY, RFC 3461 §4.1
	ORCPT  string // ORCPT, RFC 3461 §4.2, decoded: "type;address"
}

// Notify is when a sender wants to hear of a recipient. Zero: the sender did not say.
type Notify uint8

// The values of NOTIFY. NotifyNever stands alone.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// badParam is the answer to a known parameter with a wrong value, or twice.
func badParam(key string) error {
	return NewReply(501, Enhanced{5, 5, 4}, "Bad value of parameter "+key)
}

// eachParam calls set for each parameter of s, in upper case. A parameter may stand once only
// (RFC 3461 §4.5); set returns false for one that it does not know (555, RFC 5321 §4.1.1.11).
func eachParam(s string, set func(key, value string, has bool) (known, ok bool)) error {
	var seen []string
	for _, field := range strings.Fields(s) {
		key, value, has := strings.Cut(field, "=")
		key = strings.ToUpper(key)
		if !isKeyword(key) || has && !isValue(value) {
			return NewReply(501, Enhanced{5, 5, 4}, "Malformed parameter")
		}
		for _, k := range seen {
			if k == key {
				return badParam(key)
			}
		}
		seen = append(seen, key)
		known, ok := set(key, value, has)
		if !known {
			return NewReply(555, Enhanced{5, 5, 4}, "Unknown parameter "+key)
		}
		if !ok {
			return badParam(key)
		}
	}
	return nil
}

// isKeyword reports whether s, in upper case, is an esmtp-keyword of RFC 5321 §4.1.2.
func isKeyword(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && (c != '-' || i == 0) {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

// isValue reports whether s is an esmtp-value: printable without "=", and UTF-8 (RFC 6531 §3.3).
func isValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '=' || c == 0x7f {
			return false
		}
	}
	return s != "" && utf8.ValidString(s)
}

// ParseMailParams reads the parameters of MAIL, separated by spaces. The error is a Reply.
func ParseMailParams(s string) (MailParams, error) {
	var p MailParams
	err := eachParam(s, p.set)
	if err != nil {
		return MailParams{}, err
	}
	if p.HoldFor != 0 && !p.HoldUntil.IsZero() {
		return MailParams{}, badParam("HOLDUNTIL")
	}
	return p, nil
}

func (p *MailParams) set(key, value string, has bool) (known, ok bool) {
	switch key {
	case "SIZE":
		p.Size, ok = parseSize(value)
	case "BODY":
		p.Body = BodyType(strings.ToUpper(value))
		ok = p.Body == Body7Bit || p.Body == Body8Bit || p.Body == BodyBinary
	case "SMTPUTF8":
		p.UTF8, ok = true, !has
	case "REQUIRETLS":
		p.RequireTLS, ok = true, !has
	case "RET":
		p.Ret = strings.ToUpper(value)
		ok = p.Ret == "FULL" || p.Ret == "HDRS"
	case "ENVID":
		p.EnvID, ok = parseEnvID(value)
	case "AUTH":
		p.Auth, ok = parseAuth(value)
	case "HOLDFOR":
		p.HoldFor, ok = parseSeconds(value)
		ok = ok && p.HoldFor > 0
	case "HOLDUNTIL":
		// RFC 4865 §5: the time is in UTC, written with Z.
		t, err := time.Parse(time.RFC3339, value)
		p.HoldUntil, ok = t.UTC(), err == nil && strings.HasSuffix(value, "Z") && !t.IsZero()
	case "BY":
		p.By, ok = parseBy(value)
	case "MT-PRIORITY":
		p.Priority, ok = parsePriority(value)
		p.HasPriority = true
	default:
		return false, false
	}
	return true, ok
}

// parseSize reads 1 to 20 digits, RFC 1870 §4; what is beyond an int64 is larger than any limit.
func parseSize(s string) (int64, bool) {
	if !isDigits(s, 20) {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return math.MaxInt64, true
	}
	return n, true
}

func isDigits(s string, max int) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != "" && len(s) <= max
}

// parseSeconds reads 1 to 9 digits.
func parseSeconds(s string) (time.Duration, bool) {
	if !isDigits(s, 9) {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return time.Duration(n) * time.Second, err == nil
}

func parseEnvID(s string) (string, bool) {
	v, err := DecodeXText(s)
	return v, err == nil && len(s) <= maxEnvID && s != "" && isPrintableASCII(v)
}

func isPrintableASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// parseAuth reads the AUTH parameter: "<>" or a mailbox in xtext. RFC 6531 leaves it as it was.
func parseAuth(s string) (string, bool) {
	v, err := DecodeXText(s)
	if err != nil || len(s) > maxORCPT {
		return "", false
	}
	if v == "<>" {
		return v, true
	}
	_, err = ParseAddress(v)
	return v, err == nil
}

// parseBy reads by-time ";" by-mode [by-trace], RFC 2852 §4.
func parseBy(s string) (By, bool) {
	when, mode, _ := strings.Cut(strings.ToUpper(s), ";")
	b := By{Set: true, Return: strings.HasPrefix(mode, "R"), Trace: strings.HasSuffix(mode, "T")}
	digits := strings.TrimLeft(when, "+-")
	d, ok := parseSeconds(digits)
	if strings.HasPrefix(when, "-") {
		d = -d
	}
	b.Time = d
	switch mode {
	case "R", "RT", "N", "NT":
	default:
		return By{}, false
	}
	return b, ok && len(when)-len(digits) <= 1 && (d > 0 || !b.Return)
}

// parsePriority reads -9 to 9 without a plus or a leading zero, RFC 6710 §7.
func parsePriority(s string) (int, bool) {
	digit := strings.TrimPrefix(s, "-")
	if !isDigits(digit, 1) || s == "-0" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// ParseRcptParams reads the parameters of RCPT, separated by spaces. The error is a Reply.
func ParseRcptParams(s string) (RcptParams, error) {
	var p RcptParams
	err := eachParam(s, func(key, value string, _ bool) (known, ok bool) {
		switch key {
		case "NOTIFY":
			p.Notify, ok = parseNotify(value)
		case "ORCPT":
			p.ORCPT, ok = parseORCPT(value)
		default:
			return false, false
		}
		return true, ok
	})
	if err != nil {
		return RcptParams{}, err
	}
	return p, nil
}

// notifyNames are the values of NOTIFY in the order they are written.
var notifyNames = [...]struct {
	bit  Notify
	name string
}{
	{NotifyNever, "NEVER"}, {NotifySuccess, "SUCCESS"},
	{NotifyFailure, "FAILURE"}, {NotifyDelay, "DELAY"},
}

// String returns the value as the parameter has it: "SUCCESS,FAILURE"; "" for zero.
func (n Notify) String() string {
	var names []string
	for _, v := range notifyNames {
		if n&v.bit != 0 {
			names = append(names, v.name)
		}
	}
	return strings.Join(names, ",")
}

func parseNotify(s string) (Notify, bool) {
	var n Notify
next:
	for word := range strings.SplitSeq(strings.ToUpper(s), ",") {
		for _, v := range notifyNames {
			if word == v.name {
				n |= v.bit
				continue next
			}
		}
		return 0, false
	}
	return n, n == NotifyNever || n&NotifyNever == 0
}

// parseORCPT reads addr-type ";" encoded address and returns it decoded.
func parseORCPT(s string) (string, bool) {
	kind, enc, ok := strings.Cut(s, ";")
	if !ok || kind == "" || enc == "" || len(s) > maxORCPT {
		return "", false
	}
	for i := range len(kind) {
		if !isAtext(kind[i]) {
			return "", false
		}
	}
	if strings.EqualFold(kind, "utf-8") {
		v, err := decodeUnitext(enc)
		return kind + ";" + v, err == nil && v == printable([]byte(v))
	}
	v, err := DecodeXText(enc)
	return kind + ";" + v, err == nil && isPrintableASCII(v)
}

// AppendORCPT appends a decoded "type;address" as the value of ORCPT. Addresses of the type utf-8
// keep their characters only if the peer has SMTPUTF8.
func AppendORCPT(dst []byte, orcpt string, utf8OK bool) []byte {
	kind, address, _ := strings.Cut(orcpt, ";")
	dst = append(dst, kind...)
	dst = append(dst, ';')
	if strings.EqualFold(kind, "utf-8") {
		return appendUnitext(dst, address, utf8OK)
	}
	return AppendXText(dst, address)
}
