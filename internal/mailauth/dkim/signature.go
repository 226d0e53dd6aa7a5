package dkim

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"tram/internal/limits"
	"tram/internal/message"
)

// Names of the fields and algorithms.
const (
	FieldName = "DKIM-Signature"

	RSASHA256     = "rsa-sha256"
	Ed25519SHA256 = "ed25519-sha256"
	rsaSHA1       = "rsa-sha1"
)

// Signature is one field that signs others: a DKIM-Signature, or an ARC-Message-Signature, which is
// the same without v= and with a number in i= (RFC 8617 §4.1.2).
type Signature struct {
	Field   message.Field
	Tags    Tags
	Domain  string // d=, A-labels, lower case
	Query   string // s=, A-labels: as it is asked for
	Headers []string
	Signed  time.Time
	Expires time.Time

	Algorithm string
	Identity  string // of a DKIM-Signature
	Selector  string // as written

	relaxedHeader, relaxedBody bool
	length                     int64 // l=, or -1
	bodyHash, value            []byte
	body                       *BodyHash
}

// Kind is what a Signature is.
type Kind int

// The kinds.
const (
	DKIM Kind = iota
	ArcMessage
	ArcSeal // no body and no h=
)

// ParseSignature reads a field. It fails where RFC 6376 §6.1.1 wants a signature to be ignored for
// what it looks like; what could be read is returned all the same, for reports.
func ParseSignature(f message.Field, kind Kind) (*Signature, error) {
	s := &Signature{Field: f, length: -1}
	// Sealers that leave c= out mean relaxed, as the ARC suite has it, and not what DKIM's default is.
	s.relaxedHeader, s.relaxedBody = kind == ArcMessage, kind == ArcMessage
	var err error
	if s.Tags, err = ParseTags(f.Body); err != nil {
		return s, err
	}
	// What identifies it comes first: it is reported of broken signatures too.
	algorithm, _ := s.Tags.compact("a")
	s.Algorithm = strings.ToLower(string(algorithm))
	selector, _ := s.Tags.compact("s")
	s.Selector = string(selector)
	domain, _ := s.Tags.compact("d")
	if s.Domain, err = asDomain(string(domain)); err != nil {
		return s, fmt.Errorf("d= is no domain: %w", err)
	}
	if s.Query, err = asDomain(s.Selector); err != nil {
		return s, fmt.Errorf("s= is no selector: %w", err)
	}
	steps := []func() error{s.readValue, s.readTimes}
	switch kind {
	case DKIM:
		steps = append(steps, s.readVersion, s.readIdentity, s.readBody, s.readHeaders, s.namesFrom)
	case ArcMessage:
		steps = append(steps, s.readBody, s.readHeaders)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *Signature) readVersion() error {
	if v, _ := s.Tags.Get("v"); v != "1" {
		return errors.New("v= is not 1")
	}
	return nil
}

// readValue reads a= and b=.
func (s *Signature) readValue() error {
	b, ok := s.Tags.compact("b")
	if !ok || s.Algorithm == "" {
		return errors.New("a= or b= is missing")
	}
	if s.value = decodeBase64(b); len(s.value) == 0 {
		return errors.New("b= is not base64")
	}
	return nil
}

// readBody reads c=, bh=, l= and q=.
func (s *Signature) readBody() error {
	bh, _ := s.Tags.compact("bh")
	if s.bodyHash = decodeBase64(bh); len(s.bodyHash) == 0 {
		return errors.New("bh= is missing or not base64")
	}
	if c, ok := s.Tags.compact("c"); ok {
		header, body, both := strings.Cut(strings.ToLower(string(c)), "/")
		if !both {
			body = "simple" // RFC 6376 §3.5
		}
		known := func(s string) bool { return s == "simple" || s == "relaxed" }
		if !known(header) || !known(body) {
			return errors.New("c= names an unknown canonicalisation")
		}
		s.relaxedHeader, s.relaxedBody = header == "relaxed", body == "relaxed"
	}
	if l, ok := s.Tags.compact("l"); ok {
		n, err := strconv.ParseInt(string(l), 10, 64)
		if err != nil || n < 0 || l[0] == '+' {
			return errors.New("l= is no length")
		}
		s.length = n
	}
	if q, ok := s.Tags.compact("q"); ok {
		for method := range strings.SplitSeq(strings.ToLower(string(q)), ":") {
			if method == "dns/txt" {
				return nil
			}
		}
		return errors.New("q= names no known way to the key")
	}
	return nil
}

// maxNames is how many fields h= may name. No message that is delivered has so many, and what is kept of
// one name while the body comes in is a multiple of the two octets that it costs its sender.
const maxNames = 2000

// readHeaders reads h=.
func (s *Signature) readHeaders() error {
	h, ok := s.Tags.compact("h")
	if !ok {
		return errors.New("h= is missing")
	}
	if bytes.Count(h, []byte(":")) >= maxNames {
		return errors.New("h= names too many fields")
	}
	if len(h) > 0 {
		s.Headers = strings.Split(string(h), ":")
	}
	return nil
}

// namesFrom wants the author's field in h=: without it a signature says nothing of what people see.
func (s *Signature) namesFrom() error {
	if !s.Covers("From") {
		return errors.New("h= does not name From")
	}
	return nil
}

// Covers reports whether h= names a field.
func (s *Signature) Covers(name string) bool {
	return slices.ContainsFunc(s.Headers, func(n string) bool { return strings.EqualFold(n, name) })
}

// readTimes reads t= and x=.
func (s *Signature) readTimes() error {
	for i, to := range []*time.Time{&s.Signed, &s.Expires} {
		tag := [...]string{"t", "x"}[i]
		v, ok := s.Tags.compact(tag)
		if !ok {
			continue
		}
		// RFC 6376 §3.5: implementations take 12 digits; more is beyond all time.
		n, err := strconv.ParseUint(string(v), 10, 64)
		if err != nil || len(v) == 0 {
			return fmt.Errorf("%s= is no time", tag)
		}
		*to = time.Unix(int64(min(n, 999_999_999_999)), 0).UTC()
	}
	if !s.Expires.IsZero() && s.Expires.Before(s.Signed) {
		return errors.New("x= is before t=")
	}
	return nil
}

// readIdentity reads i=, whose domain is d= or below it.
func (s *Signature) readIdentity() error {
	i, ok := s.Tags.Get("i")
	if !ok {
		s.Identity = "@" + s.Domain
		return nil
	}
	s.Identity = i
	at := strings.LastIndexByte(i, '@')
	if at < 0 {
		return errors.New("i= is no identity")
	}
	domain, err := asDomain(i[at+1:])
	if err != nil || domain != s.Domain && !strings.HasSuffix(domain, "."+s.Domain) {
		return errors.New("i= is not in the domain of d=")
	}
	return nil
}

// identityBelow reports whether i= is of a subdomain, which a key may forbid.
func (s *Signature) identityBelow() bool {
	domain, err := asDomain(s.Identity[strings.LastIndexByte(s.Identity, '@')+1:])
	return err != nil || domain != s.Domain
}

// hashed appends what the signature was made of: the canonical fields and itself without b=.
func (s *Signature) hashed(dst []byte, h *Header) []byte {
	h.begin()
	for _, name := range s.Headers {
		if f, ok := h.take([]byte(name)); ok {
			dst = AppendField(dst, f, s.relaxedHeader)
		}
	}
	return s.AppendSelf(dst, s.relaxedHeader)
}

// AppendSelf appends the signature's own field as it enters its hash: without the value of b= and
// without the line end.
func (s *Signature) AppendSelf(dst []byte, relaxed bool) []byte {
	raw := s.Field.Raw
	colon := len(raw) - len(s.Field.Body) - 1
	bare := append(append([]byte(nil), raw[:colon+1]...), s.Tags.without(s.Field.Body)...)
	return appendBare(dst, bare, colon, relaxed)
}

// asDomain brings a domain, or a selector, to lower-case A-labels (RFC 8616 §4 allows U-labels).
func asDomain(name string) (string, error) {
	if len(name) == 0 || len(name) > 253 || name[0] == '.' {
		return "", errors.New("empty or too long")
	}
	ascii := true
	for _, c := range []byte(name) {
		switch {
		case c >= 0x80:
			ascii = false
		case c <= ' ' || c == 0x7f || c == '@' || c == ';':
			return "", errors.New("not made of letters, digits and hyphens")
		}
	}
	if strings.Contains(name, "..") || strings.HasSuffix(name, ".") {
		return "", errors.New("an empty label")
	}
	if ascii {
		return strings.ToLower(name), nil
	}
	return idna.Lookup.ToASCII(name)
}

// decodeBase64 returns nil for what is not base64; missing padding is forgiven.
func decodeBase64(b []byte) []byte {
	b = bytes.TrimRight(b, "=")
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(b)))
	n, err := base64.RawStdEncoding.Decode(out, b)
	if err != nil {
		return nil
	}
	return out[:n]
}

// future is how far ahead the clock of a signer may be.
const future = time.Hour

// inTime says what is wrong with the times of a signature: it holds no longer, or not yet.
func (s *Signature) inTime(now time.Time) error {
	switch {
	case !s.Expires.IsZero() && now.After(s.Expires):
		return errors.New("the signature has expired")
	case s.Signed.After(now.Add(future)):
		return errors.New("the signature is from the future")
	}
	return nil
}

// MaxField bounds the octets of one signature: what is longer is not one.
func MaxField(l limits.MailAuth) int { return 4 * l.KeyRecord }
