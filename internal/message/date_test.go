package message

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseDate(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		// RFC 5322 §3.3, §4.3, §A.5, §A.6.2.
		"Fri, 21 Nov 1997 09:55:06 -0600":                       "1997-11-21T09:55:06-06:00",
		"Tue, 1 Jul 2003 10:52:37 +0200":                        "2003-07-01T10:52:37+02:00",
		"Thu,\r\n 13\r\n Feb\r\n 1969\r\n 23:32\r\n -0330 (NF)": "1969-02-13T23:32:00-03:30",
		"21 Nov 97 09:55:06 GMT":                                "1997-11-21T09:55:06Z",
		"21 Nov 49 09:55 EST":                                   "2049-11-21T09:55:00-05:00",
		"21 Nov 50 09:55 PDT":                                   "1950-11-21T09:55:00-07:00",
		"21 Nov 103 09:55 Z":                                    "2003-11-21T09:55:00Z",
		"Fri, 21 Nov 1997 09:55:06 A":                           "1997-11-21T09:55:06Z",
		"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600":       "1997-11-21T00:00:00Z",
		"Fri, 21 Nov 1997 23:59:60 +0000":                       "1997-11-22T00:00:00Z",
		"Mon, 15 Apr 2019 10:00:00 -0000":                       "2019-04-15T10:00:00Z",
		// The wild.
		"2025-11-18 09:12:40 +0700":                  "2025-11-18T09:12:40+07:00",
		"2025-11-18T09:12:40Z":                       "2025-11-18T09:12:40Z",
		"2025-11-18T09:12:40.123+07:00":              "2025-11-18T09:12:40+07:00",
		"Tue Nov 18 09:12:40 2025":                   "2025-11-18T09:12:40Z",
		"Tue Nov 18 09:12:40 2025 +0700":             "2025-11-18T09:12:40+07:00",
		"Tue, 18 November 2025 9:12:40 PM +0700":     "2025-11-18T21:12:40+07:00",
		"Tue, 18 Nov 2025 12:00:00 AM":               "2025-11-18T00:00:00Z",
		"Tue, 18 Nov 2025 09:12:40 GMT+0700":         "2025-11-18T09:12:40+07:00",
		"Tue, 18 Nov 2025 09:12:40 +07:00":           "2025-11-18T09:12:40+07:00",
		"Tue, 18 Nov 2025 09:12:40 +7":               "2025-11-18T09:12:40+07:00",
		"Tue, 18 Nov 2025 09:12:40 ICT":              "2025-11-18T09:12:40Z",
		"Tue, 18 Nov 2025 09:12:40-0500":             "2025-11-18T09:12:40-05:00",
		"18-Nov-2025 09:12:40 +0700":                 "2025-11-18T09:12:40+07:00",
		"11/18/2025 09:12":                           "2025-11-18T09:12:00Z",
		"18.11.2025 09:12":                           "2025-11-18T09:12:00Z",
		"Tue, 18 Nov 2025":                           "2025-11-18T00:00:00Z",
		"Sept 3, 2024 10:00 (with (nested) comment)": "2024-09-03T10:00:00Z",
		"Tue, 18 Nov 2025 09:12:40 +9999":            "2025-11-18T09:12:40Z",
		// None.
		"": "", "yesterday": "", "Tue, 45 Nov 2025 09:00:00": "", "18 Nov": "", "(": "",
		"18 Nov 20251 09:00": "", "99:99:99": "", "Nov 2025": "", "0000-00-00 00:00:00": "",
	} {
		got := ""
		if d, ok := ParseDate(in); ok {
			got = d.Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// TestDateRoundTrip: what FormatDate writes, ParseDate reads.
func TestDateRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sec := rapid.Int64Range(-2208988800, 253402300799).Draw(t, "seconds")
		zone := rapid.IntRange(-23*60, 23*60).Draw(t, "zone") * 60
		want := time.Unix(sec, 0).In(time.FixedZone("", zone))
		if want.Year() < 1900 || want.Year() > 9999 {
			return
		}
		got, ok := ParseDate(FormatDate(want))
		if !ok || !got.Equal(want) || got.Format(time.RFC3339) != want.Format(time.RFC3339) {
			t.Fatalf("%v: got %v", FormatDate(want), got)
		}
	})
}
