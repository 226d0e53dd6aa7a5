package imap

import (
	"strings"
	"time"
)

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// parseMonth returns 0 for what is not a month's name.
func parseMonth(s string) time.Month {
	for m := 0; m < 12; m++ {
		if strings.EqualFold(s, months[3*m:3*m+3]) {
			return time.Month(m + 1)
		}
	}
	return 0
}

// Date reads a date, with or without quotes, and returns its first instant in UTC. Searches
// disregard time zones (RFC 9051 §6.4.4).
func (d *Decoder) Date() time.Time {
	var s string
	if d.peek() == '"' {
		s = d.quoted()
	} else {
		s = d.word(isAtom, "a date")
	}
	if d.err != nil {
		return time.Time{}
	}
	parts := strings.SplitN(s, "-", 3)
	if len(parts) == 3 {
		day, n := parseUint([]byte(parts[0]))
		year, y := parseUint([]byte(parts[2]))
		month := parseMonth(parts[1])
		if n == len(parts[0]) && 1 <= n && n <= 2 && y == 4 && len(parts[2]) == 4 && month != 0 {
			t := time.Date(int(year), month, int(day), 0, 0, 0, 0, time.UTC)
			if t.Day() == int(day) {
				return t
			}
		}
	}
	d.Bad("Expected a date like 1-Feb-2026")
	return time.Time{}
}

// dateTime is the layout of date-time; the day is padded with a space.
const dateTime = "_2-Jan-2006 15:04:05 -0700"

// DateTime reads the quoted date-time of APPEND and INTERNALDATE. The space before a day of one digit
// may be missing: Outlook for Android and imapflow until March 2025 write it so, in the first nine
// days of each month. imapsync and mbsync write a zero there.
func (d *Decoder) DateTime() time.Time {
	s := d.quoted()
	if d.err != nil {
		return time.Time{}
	}
	if len(s) == 26 || len(s) == 25 && s[1] == '-' {
		if t, err := time.Parse(dateTime, s); err == nil && t.Year() > 0 {
			return t
		}
	}
	d.Bad("Expected a date and time like \" 1-Feb-2026 10:00:00 +0000\"")
	return time.Time{}
}

// AppendDateTime appends t in UTC as a quoted date-time. It does not allocate.
func AppendDateTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	year = min(max(year, 0), 9999)
	dst = append(dst, '"')
	if day < 10 {
		dst = append(dst, ' ', byte('0'+day))
	} else {
		dst = append2(dst, day)
	}
	dst = append(dst, '-')
	dst = append(dst, months[3*(month-1):3*month]...)
	dst = append2(append2(append(dst, '-'), year/100), year%100)
	dst = append2(append(dst, ' '), hour)
	dst = append2(append(dst, ':'), minute)
	dst = append2(append(dst, ':'), second)
	return append(dst, ` +0000"`...)
}

func append2(dst []byte, n int) []byte { return append(dst, byte('0'+n/10), byte('0'+n%10)) }
