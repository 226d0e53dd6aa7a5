package message

import (
	"strings"
	"time"
)

// FormatDate writes t as a Date field wants it, RFC 5322 §3.3, with t's own zone.
func FormatDate(t time.Time) string { return t.Format("Mon, 2 Jan 2006 15:04:05 -0700") }

// ParseDate reads the value of a Date field: RFC 5322 §3.3, the obsolete forms of §4.3, and what
// real mail has besides (ISO 8601, C's asctime, full names, missing seconds or zone, AM and PM,
// "GMT+0700"). A time without a zone is taken for UTC. ok is false when there is no full date.
func ParseDate(s string) (t time.Time, ok bool) {
	p := dateParser{year: -1, zone: noZone}
	s = s[:min(len(s), 200)]
	for pos := 0; pos < len(s); {
		pos = p.token(s, pos)
	}
	return p.time()
}

// noZone is larger than any offset.
const noZone = 1 << 30

// dateParser collects what the tokens of a date say, in whatever order they come.
type dateParser struct {
	day, month, year  int // 0, 0, -1: not seen
	hour, minute, sec int
	clock             bool // a time of day was seen
	zone              int  // seconds east of UTC, or noZone
	afternoon, noon   bool // PM; AM or PM given
}

// token reads one token at s[pos:] and returns the position after it.
func (p *dateParser) token(s string, pos int) int {
	c := s[pos]
	switch {
	case c == '(':
		return skipComment(s, pos)
	case isDigit(c):
		end := pos
		for end < len(s) && (isDigit(s[end]) || strings.IndexByte(":-/.", s[end]) >= 0) {
			if (s[end] == '-' || s[end] == '+') && p.endsClock(s[pos:end]) {
				break // 15:04:05-0700
			}
			end++
		}
		if end < len(s) && s[end-1] == '-' { // 02-Jan-2006
			end--
		}
		p.number(s[pos:end])
		return end
	case (c == '+' || c == '-') && p.clock && pos+1 < len(s) && isDigit(s[pos+1]):
		end := pos + 1
		for end < len(s) && (isDigit(s[end]) || s[end] == ':') {
			end++
		}
		p.offset(s[pos:end])
		return end
	case c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z':
		end := pos
		for end < len(s) && (s[end]|0x20 >= 'a' && s[end]|0x20 <= 'z') {
			end++
		}
		p.word(lower(s[pos:end]))
		return end
	}
	return pos + 1
}

// endsClock reports whether s is a whole time of day, so that a hyphen after it begins a zone.
func (p *dateParser) endsClock(s string) bool { return strings.Count(s, ":") >= 1 }

// number takes a token that begins with a digit.
func (p *dateParser) number(s string) {
	if strings.IndexByte(s, ':') > 0 && !p.clock {
		p.clockToken(s)
		return
	}
	if f, count, sep := splitNumbers(s); count == 3 {
		if f[0] > 31 { // 2006-01-02
			p.year, p.month, p.day = f[0], f[1], f[2]
		} else if sep == '/' && f[0] <= 12 { // 1/2/2006, the American order
			p.month, p.day, p.year = f[0], f[1], fullYear(f[2], len(s))
		} else {
			p.day, p.month, p.year = f[0], f[1], fullYear(f[2], len(s))
		}
		return
	}
	n := atoi(s)
	switch {
	case p.day == 0 && n >= 1 && n <= 31 && len(s) <= 2:
		p.day = n
	case p.year < 0 && len(s) <= 4:
		p.year = fullYear(n, len(s))
	}
}

// clockToken reads 15:04, 15:04:05 and 15:04:05.999.
func (p *dateParser) clockToken(s string) {
	if i := strings.IndexByte(s, '.'); i > 0 {
		s = s[:i]
	}
	f, count, _ := splitNumbers(s)
	if count < 2 || f[0] > 24 || f[1] > 59 {
		return
	}
	p.clock, p.hour, p.minute = true, f[0], f[1]
	if count > 2 && f[2] <= 60 {
		p.sec = f[2]
	}
}

// splitNumbers cuts s at its separators, the first of which is sep. There may be more numbers than
// the three that are kept.
func splitNumbers(s string) (f [3]int, count int, sep byte) {
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && isDigit(s[i]) {
			continue
		}
		if i < len(s) && sep == 0 {
			sep = s[i]
		}
		if i > start {
			if count < len(f) {
				f[count] = atoi(s[start:i])
			}
			count++
		}
		start = i + 1
	}
	return f, count, sep
}

// atoi reads leading digits; numbers that no date holds come out as 1<<20.
func atoi(s string) int {
	n := 0
	for i := 0; i < len(s) && isDigit(s[i]); i++ {
		if n = n*10 + int(s[i]-'0'); n > 1<<20 {
			return 1 << 20
		}
	}
	return n
}

// fullYear completes years of two and three digits, RFC 5322 §4.3.
func fullYear(n, digits int) int {
	switch {
	case n < 50 && digits != 4:
		return n + 2000
	case n < 1000:
		return n + 1900
	}
	return n
}

// offset reads +0700, -07:00, +7.
func (p *dateParser) offset(s string) {
	digits := strings.ReplaceAll(s[1:], ":", "")
	n := atoi(digits)
	switch len(digits) {
	case 1, 2:
		n *= 3600
	case 3, 4:
		n = n/100*3600 + n%100*60
	default:
		return
	}
	if n > 24*3600 {
		n = 0
	}
	if s[0] == '-' {
		n = -n
	}
	p.zone = n
}

const monthNames = "janfebmaraprmayjunjulaugsepoctnovdec"

// word takes a name: of a month, a zone, or half of the day. Days of the week say nothing new.
func (p *dateParser) word(w string) {
	if len(w) >= 3 && p.month == 0 {
		if i := strings.Index(monthNames, w[:3]); i >= 0 && i%3 == 0 {
			p.month = i/3 + 1
			return
		}
	}
	switch {
	case w == "am", w == "pm":
		p.noon, p.afternoon = true, w == "pm"
	case p.zone == noZone && p.clock:
		if z, ok := namedZone(w); ok {
			p.zone = z
		}
	}
}

// namedZone knows the zones of RFC 5322 §4.3. The military ones are UTC there, as RFC 822 had them
// backwards; other names are unknown and count as UTC, too.
func namedZone(w string) (seconds int, ok bool) {
	switch w {
	case "ut", "utc", "gmt", "z":
		return 0, true
	case "edt":
		return -4 * 3600, true
	case "est", "cdt":
		return -5 * 3600, true
	case "cst", "mdt":
		return -6 * 3600, true
	case "mst", "pdt":
		return -7 * 3600, true
	case "pst":
		return -8 * 3600, true
	}
	return 0, len(w) == 1 && w != "t"
}

// time puts the pieces together. Days that a month does not have run over into the next.
func (p *dateParser) time() (time.Time, bool) {
	switch {
	case p.day < 1 || p.day > 31 || p.month < 1 || p.month > 12:
		return time.Time{}, false
	case p.year < 1900 || p.year > 9999:
		return time.Time{}, false
	}
	if p.noon {
		p.hour %= 12
		if p.afternoon {
			p.hour += 12
		}
	}
	loc := time.UTC
	if p.zone != noZone && p.zone != 0 {
		loc = time.FixedZone("", p.zone)
	}
	return time.Date(p.year, time.Month(p.month), p.day, p.hour, p.minute, p.sec, 0, loc), true
}
