package smtp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"strings"
	"time"
)

// ReturnAddresses makes addresses of our own for the senders of mail that is sent on, and finds the
// sender again when a bounce comes to one: the Sender Rewriting Scheme. Without it the next server would
// see us send in the name of a domain whose SPF record does not know us (RFC 7208 §D.3).
//
// An address has the form of the scheme's specification,
//
//	SRS0=hash=day=domain=local@ours
//	SRS1=hash=forwarder==hash=day=domain=local@ours	for one that another forwarder made
//
// and holds all there is to know; the hash is a keyed one, so that nobody can make us send mail to
// anybody he likes. The day, counted modulo 1024, bounds how long it holds.
type ReturnAddresses struct {
	Secret []byte
	Age    time.Duration // how long an address holds
}

// ErrReturn says that an address looks like a return address and is none of ours, or holds no longer.
var ErrReturn = errors.New("not a return address of this server, or too old")

// srsBase writes hashes and days: letters and digits of one case, which no server on the way changes.
var srsBase = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

const (
	srsHash = 8 // characters, of 5 bits each
	srsDays = 1024
)

// IsReturnAddress reports whether a local part looks like one that ReturnAddresses makes.
func IsReturnAddress(local string) bool {
	_, _, ok := cutSRS(local)
	return ok
}

// cutSRS takes the beginning off. Others use "+" and "-" behind the number too.
func cutSRS(local string) (kind byte, rest string, ok bool) {
	if len(local) < 6 || !strings.EqualFold(local[:3], "SRS") || local[3] != '0' && local[3] != '1' ||
		!strings.ContainsRune("=+-", rune(local[4])) {
		return 0, "", false
	}
	return local[3], local[4:], true
}

// Make returns the return address for a sender, in a domain of ours. The null sender stays.
func (s ReturnAddresses) Make(from Address, domain string, now time.Time) Address {
	if from.IsNull() {
		return from
	}
	switch kind, rest, _ := cutSRS(from.Local); kind {
	case '0':
		return Address{Local: s.again(from.Domain, rest), Domain: domain}
	case '1':
		// SRS1=hash=first=rest: the address goes back to the first forwarder at once.
		if parts := strings.SplitN(rest[1:], "=", 3); len(parts) == 3 {
			return Address{Local: s.again(parts[1], parts[2]), Domain: domain}
		}
	}
	day := srsDay(now)
	return Address{Domain: domain, Local: strings.Join([]string{
		"SRS0", s.hash("SRS0", day, from.Domain, from.Local), day, from.Domain, from.Local}, "=")}
}

// again is the local part for an address that the server of another domain has made.
func (s ReturnAddresses) again(first, rest string) string {
	return "SRS1=" + s.hash("SRS1", first, rest) + "=" + first + "=" + rest
}

// Sender returns whose return address an address of ours is. ErrReturn.
func (s ReturnAddresses) Sender(a Address, now time.Time) (Address, error) {
	kind, rest, ok := cutSRS(a.Local)
	if !ok {
		return Address{}, ErrReturn
	}
	if kind == '1' {
		parts := strings.SplitN(rest[1:], "=", 3)
		if len(parts) != 3 || !s.matches(parts[0], "SRS1", parts[1], parts[2]) {
			return Address{}, ErrReturn
		}
		return asReturn("SRS0"+parts[2], parts[1])
	}
	parts := strings.SplitN(rest[1:], "=", 4)
	if len(parts) != 4 || !s.matches(parts[0], "SRS0", parts[1], parts[2], parts[3]) || !s.holds(parts[1], now) {
		return Address{}, ErrReturn
	}
	return asReturn(parts[3], parts[2])
}

func asReturn(local, domain string) (Address, error) {
	domain, err := ParseDomain(domain)
	if err != nil || local == "" {
		return Address{}, ErrReturn
	}
	return Address{Local: local, Domain: domain}, nil
}

// hash is that of the fields, in whatever case a server on the way has brought them. The first names the
// kind of address: whoever gets one of a stranger's address made (SRS1 holds whatever he writes) must not
// have the hash of another kind with it.
func (s ReturnAddresses) hash(fields ...string) string {
	mac := hmac.New(sha256.New, s.Secret)
	mac.Write([]byte(strings.ToLower(strings.Join(fields, "="))))
	return srsBase.EncodeToString(mac.Sum(nil))[:srsHash]
}

func (s ReturnAddresses) matches(hash string, fields ...string) bool {
	return hmac.Equal([]byte(strings.ToLower(hash)), []byte(s.hash(fields...)))
}

func srsDay(now time.Time) string {
	day := now.Unix() / 86400 % srsDays
	const digits = "abcdefghijklmnopqrstuvwxyz234567"
	return string([]byte{digits[day/32], digits[day%32]})
}

// holds reports whether a day is not too long ago. One that lies ahead by the clocks' difference is now.
func (s ReturnAddresses) holds(day string, now time.Time) bool {
	limit := int64(s.Age/(24*time.Hour)) + 1
	for ago := int64(-1); ago <= min(limit, srsDays/2); ago++ {
		if strings.EqualFold(day, srsDay(now.Add(-time.Duration(ago)*24*time.Hour))) {
			return true
		}
	}
	return false
}
