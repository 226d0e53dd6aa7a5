package smtp

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseMailParams(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want MailParams
		code int // of the refusal
	}{
		{in: ""},
		{in: "   "},
		{in: "SIZE=1000", want: MailParams{Size: 1000}},                             // RFC 1870
		{in: "size=99999999999999999999", want: MailParams{Size: math.MaxInt64}},    // 20 digits
		{in: "SIZE=999999999999999999999", code: 501},                               // 21
		{in: "SIZE=-1", code: 501},                                                  //
		{in: "SIZE=", code: 501},                                                    //
		{in: "SIZE", code: 501},                                                     //
		{in: "BODY=8bitmime", want: MailParams{Body: Body8Bit}},                     // RFC 6152
		{in: "BODY=7BIT", want: MailParams{Body: Body7Bit}},                         //
		{in: "BODY=BINARYMIME", want: MailParams{Body: BodyBinary}},                 // RFC 3030
		{in: "BODY=9BIT", code: 501},                                                //
		{in: "SMTPUTF8", want: MailParams{UTF8: true}},                              // RFC 6531
		{in: "SMTPUTF8=1", code: 501},                                               //
		{in: "REQUIRETLS", want: MailParams{RequireTLS: true}},                      // RFC 8689
		{in: "REQUIRETLS=no", code: 501},                                            //
		{in: "RET=full", want: MailParams{Ret: "FULL"}},                             // RFC 3461
		{in: "RET=HDRS ENVID=QQ+2B1", want: MailParams{Ret: "HDRS", EnvID: "QQ+1"}}, //
		{in: "RET=ALL", code: 501},                                                  //
		{in: "ENVID=a+0Ab", code: 501},                                              //
		{in: "ENVID=" + strings.Repeat("a", 100), want: MailParams{EnvID: strings.Repeat("a", 100)}},
		{in: "ENVID=" + strings.Repeat("a", 101), code: 501},
		{in: "RET=FULL RET=FULL", code: 501},
		{in: "AUTH=<>", want: MailParams{Auth: "<>"}}, // RFC 4954
		{in: "AUTH=e+3Dmc2@example.com", want: MailParams{Auth: "e=mc2@example.com"}},
		{in: "AUTH=nobody", code: 501},
		{in: "HOLDFOR=86400", want: MailParams{HoldFor: 24 * time.Hour}}, // RFC 4865
		{in: "HOLDFOR=0", code: 501},
		{in: "HOLDFOR=1234567890", code: 501},
		{in: "HOLDUNTIL=2026-12-24T18:00:00Z",
			want: MailParams{HoldUntil: time.Date(2026, 12, 24, 18, 0, 0, 0, time.UTC)}},
		{in: "HOLDUNTIL=2026-12-24T18:00:00+01:00", code: 501},
		{in: "HOLDUNTIL=tomorrow", code: 501},
		{in: "HOLDFOR=1 HOLDUNTIL=2026-12-24T18:00:00Z", code: 501},
		{in: "BY=120;R", want: MailParams{By: By{Set: true, Time: 2 * time.Minute, Return: true}}},
		{in: "BY=-60;nt", want: MailParams{By: By{Set: true, Time: -time.Minute, Trace: true}}},
		{in: "BY=+60;RT",
			want: MailParams{By: By{Set: true, Time: time.Minute, Return: true, Trace: true}}},
		{in: "BY=0;R", code: 501},
		{in: "BY=-1;R", code: 501},
		{in: "BY=--1;N", code: 501},
		{in: "BY=1", code: 501},
		{in: "BY=1;X", code: 501},
		{in: "MT-PRIORITY=-9", want: MailParams{Priority: -9, HasPriority: true}}, // RFC 6710
		{in: "MT-PRIORITY=0", want: MailParams{HasPriority: true}},
		{in: "MT-PRIORITY=10", code: 501},
		{in: "MT-PRIORITY=+1", code: 501},
		{in: "MT-PRIORITY=-0", code: 501},
		{in: "FOO=bar", code: 555},
		{in: "SIZE=1=2", code: 501},
		{in: "=1", code: 501},
		{in: "-X=1", code: 501},
	}
	for _, tt := range tests {
		got, err := ParseMailParams(tt.in)
		if diff := cmp.Diff(tt.want, got); diff != "" || codeOf(err) != tt.code {
			t.Errorf("ParseMailParams(%q): %v %s", tt.in, err, diff)
		}
	}
}

func codeOf(err error) int {
	if r, ok := err.(Reply); ok {
		return r.Code
	}
	return 0
}

func TestParseRcptParams(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want RcptParams
		code int
	}{
		{in: ""},
		{in: "NOTIFY=NEVER", want: RcptParams{Notify: NotifyNever}},
		{in: "NOTIFY=success,Delay", want: RcptParams{Notify: NotifySuccess | NotifyDelay}},
		{in: "NOTIFY=NEVER,SUCCESS", code: 501},
		{in: "NOTIFY=", code: 501},
		{in: "NOTIFY=SUCCESS,", code: 501},
		{in: "NOTIFY=SOMETIMES", code: 501},
		{in: "ORCPT=rfc822;a+2Bb@x.test", want: RcptParams{ORCPT: "rfc822;a+b@x.test"}},
		{in: "ORCPT=rfc822;a+0D@x", code: 501},
		{in: "ORCPT=rfc822;th\u01b0@x", code: 501},
		{in: "ORCPT=a@x", code: 501},
		{in: "ORCPT=;a@x", code: 501},
		{in: "ORCPT=rfc822;", code: 501},
		{in: "ORCPT=rfc822;" + strings.Repeat("a", 500), code: 501},
		// RFC 6533 §3, all three forms.
		{in: `ORCPT=utf-8;th\x{1B0}@x`, want: RcptParams{ORCPT: "utf-8;thư@x"}},
		{in: "ORCPT=utf-8;thư@x", want: RcptParams{ORCPT: "utf-8;thư@x"}},
		{in: `ORCPT=UTF-8;a\x{2B}b@x`, want: RcptParams{ORCPT: "UTF-8;a+b@x"}},
		{in: `ORCPT=utf-8;a\x{D800}`, code: 501},
		{in: `ORCPT=utf-8;a\x{0A}`, code: 501},
		{in: `ORCPT=utf-8;a\x{110000}`, code: 501},
		{in: `ORCPT=utf-8;a\x{zz}`, code: 501},
		{in: `ORCPT=utf-8;a\x{41`, code: 501},
		{in: `ORCPT=utf-8;a+b`, code: 501},
		{in: "SIZE=1", code: 555},
	}
	for _, tt := range tests {
		got, err := ParseRcptParams(tt.in)
		if diff := cmp.Diff(tt.want, got); diff != "" || codeOf(err) != tt.code {
			t.Errorf("ParseRcptParams(%q): %v %s", tt.in, err, diff)
		}
		if err != nil || tt.want.ORCPT == "" {
			continue
		}
		for _, utf8OK := range []bool{true, false} {
			wire := string(AppendORCPT([]byte("ORCPT="), tt.want.ORCPT, utf8OK))
			again, err := ParseRcptParams(wire)
			if err != nil || again != got || !utf8OK && !isASCII(wire) {
				t.Errorf("%q goes out as %q and comes back as %+v, %v", tt.in, wire, again, err)
			}
		}
	}
}

func TestNotifyString(t *testing.T) {
	t.Parallel()
	for n := Notify(1); n < 16; n++ {
		back, ok := parseNotify(n.String())
		if want := n == NotifyNever || n&NotifyNever == 0; ok != want || back != n {
			t.Errorf("Notify %d is %q, which reads as %d, %v", n, n, back, ok)
		}
	}
}

func FuzzParams(f *testing.F) {
	for _, s := range []string{"SIZE=1 BODY=8BITMIME SMTPUTF8", "ENVID=a+2B RET=FULL", "BY=1;R",
		"MT-PRIORITY=-3 HOLDFOR=3", "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+40b",
		`ORCPT=utf-8;\x{1B0}a`, "AUTH=<> REQUIRETLS"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParseMailParams(s); err != nil && p != (MailParams{}) {
			t.Fatalf("%q: error and %+v", s, p)
		} else if !isPrintableASCII(p.EnvID) {
			t.Fatalf("%q: ENVID %q", s, p.EnvID)
		}
		p, err := ParseRcptParams(s)
		if err != nil || p.ORCPT == "" {
			return
		}
		wire := string(AppendORCPT(nil, p.ORCPT, false))
		back, ok := parseORCPT(wire)
		if len(wire) <= maxORCPT && (!ok || back != p.ORCPT) {
			t.Fatalf("%q: ORCPT %q goes out as %q, comes back as %q", s, p.ORCPT, wire, back)
		}
	})
}

func FuzzXText(f *testing.F) {
	for _, s := range []string{"", "a b", "+=", "thư", "a+2Bb", "a+2", "a++1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		enc := string(AppendXText(nil, s))
		if back, err := DecodeXText(enc); err != nil || back != s {
			t.Fatalf("%q is %q in xtext, which is %q, %v", s, enc, back, err)
		}
		if v, err := DecodeXText(s); err == nil {
			if w, err := DecodeXText(string(AppendXText(nil, v))); err != nil || w != v {
				t.Fatalf("%q decodes to %q, and again to %q, %v", s, v, w, err)
			}
		}
	})
}
