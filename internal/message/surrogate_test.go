package message

import (
	"bytes"
	"strings"
	"testing"
)

// surrogateOf returns the surrogate of a message, and sees to it that its size was told right.
func surrogateOf(t *testing.T, raw string) string {
	t.Helper()
	m, err := Decode(Parse([]byte(raw), testLimits).AppendBinary(nil)) // as a store has it
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Surrogate(&b, strings.NewReader(raw), m); err != nil {
		t.Fatal(err)
	}
	growth, err := SurrogateGrowth(strings.NewReader(raw), m)
	if err != nil {
		t.Fatal(err)
	}
	sent := b.Len()
	if sent > 0 && !bytes.HasSuffix(b.Bytes(), []byte("\r\n")) {
		sent += 2
	}
	if int64(sent-len(raw)) != growth {
		t.Errorf("%q grew by %d to %q, and %d were told", raw, sent-len(raw), b.String(), growth)
	}
	return b.String()
}

// TestSurrogate has each kind of field that RFC 6858 §2 names.
func TestSurrogate(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{
			"ascii", "Subject: x\r\nFrom: a@example.com\r\n\r\nbódy\r\n",
			"Subject: x\r\nFrom: a@example.com\r\n\r\nbódy\r\n",
		},
		{
			"subject", "Subject: Phở bò\r\nX: y\r\n\r\nx",
			"Subject: =?utf-8?b?UGjhu58gYsOy?=\r\nX: y\r\n\r\nx",
		},
		{
			"subject in another charset", "Content-Type: text/plain; charset=iso-8859-1\r\nSubject: caf\xe9\r\n\r\n\xe9\r\n",
			"Content-Type: text/plain; charset=iso-8859-1\r\nSubject: =?utf-8?b?Y2Fmw6k=?=\r\n\r\n\xe9\r\n",
		},
		{
			"name", "From: Ngọc <ngoc@example.com>, B <b@example.com>\r\n\r\n",
			"From: =?utf-8?b?Tmfhu41j?= <ngoc@example.com>, B <b@example.com>\r\n\r\n",
		},
		{
			"address", "To: Ngọc <ngọc@example.com>, b@example.com\r\n\r\n",
			"To: =?utf-8?b?Tmfhu41jIChuZ+G7jWNAZXhhbXBsZS5jb20p?=\r\n" +
				" <invalid@internationalized-address.invalid>, b@example.com\r\n\r\n",
		},
		{
			"domain", "Cc: ann@ví-dụ.vn\r\n\r\n",
			"Cc: ann@xn--v-d-rma6749a.vn\r\n\r\n",
		},
		{
			"return path", "Return-Path: <ngọc@example.com>\r\n\r\n",
			"Return-Path: <invalid@internationalized-address.invalid>\r\n\r\n",
		},
		{
			"file name",
			"Content-Disposition: attachment; filename=\"phở.txt\"; phở=1\r\nContent-Transfer-Encoding: Base64 (phở)\r\n\r\n",
			"Content-Disposition: attachment; filename*=utf-8''ph%E1%BB%9F.txt\r\n" +
				"Content-Transfer-Encoding: base64\r\n\r\n",
		},
		{
			"date with a comment", "Date: Fri, 21 Nov 1997 09:55:06 +0700 (Giờ Đông Dương)\r\nMessage-ID: <1@x>\r\n\r\n",
			"Date: Fri, 21 Nov 1997 09:55:06 +0700\r\nMessage-ID: <1@x>\r\n\r\n",
		},
		{
			"the rest is left out",
			"Message-ID: <phở@x>\r\nX-Phở: 1\r\nReceived: from phở\r\nđây\r\nX-A: 1\r\nList-Id: Phở <a.b>\r\n\r\nx\r\n",
			"X-A: 1\r\n\r\nx\r\n",
		},
		{"nothing is left", "X-A: phở", "\r\n"},
		{"no line end", "Subject: phở", "Subject: =?utf-8?b?cGjhu58=?=\r\n"},
		{
			"parts",
			"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; name=phở\r\n\r\nphở\r\n" +
				"--b\r\nContent-Type: message/global\r\n\r\nSubject: phở\r\nFrom: ở@x.vn\r\n\r\nphở\r\n--b--\r\n",
			"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; name*=utf-8''ph%E1%BB%9F\r\n\r\nphở\r\n" +
				"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?utf-8?b?cGjhu58=?=\r\n" +
				"From: =?utf-8?b?4bufQHgudm4=?= <invalid@internationalized-address.invalid>\r\n\r\nphở\r\n--b--\r\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := surrogateOf(t, tt.in); got != tt.want {
				t.Errorf("got\n%q, want\n%q", got, tt.want)
			}
		})
	}
}

// TestSurrogateOfLongHeader: what is too long to be taken apart keeps its length.
func TestSurrogateOfLongHeader(t *testing.T) {
	t.Parallel()
	raw := "Subject: phở\r\n" + strings.Repeat("X-A: "+strings.Repeat("ở", 300)+"\r\n", 400) + "\r\nphở\r\n"
	want := strings.ReplaceAll(raw, "ở", "???")
	want = strings.TrimSuffix(want, "ph???\r\n") + "phở\r\n"
	if got := surrogateOf(t, raw); got != want {
		t.Errorf("got %.200q", got)
	}
}

// FuzzSurrogate: the size told is the size sent, headers need no UTF-8, the rest is as it was, and
// there is nothing to do a second time.
func FuzzSurrogate(f *testing.F) {
	f.Add([]byte("Subject: ph\xe1\xbb\x9f\r\nTo: \xc3\xa9@x (\xc3\xa9), g: a@\xc3\xa9;\r\n\r\n\xc3\xa9"))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/global\n\nFrom: \xe9@x\n\n\n--b\nX: \xe9"))
	f.Add([]byte("Content-Type: text/plain; \xe9=1; name*0=\"\xe9\"; name*1=x\r\nDate: 1 Jan 2000 (\"\xe9\\)\r\n\r\n"))
	f.Add([]byte("X: \xe9\r"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got := surrogateOf(t, string(raw))
		was, is := Parse(raw, testLimits), Parse([]byte(got), testLimits)
		if was.Flaws.Has(FlawHeaderLimit) || was.Flaws.Has(FlawPartLimit) {
			return
		}
		if hasHigh(is.Header) {
			t.Errorf("%q needs UTF-8 still: %q", raw, got)
		}
		if !was.EightBitHeader && got != string(raw) && !strings.Contains(strings.ToLower(string(raw)), "global") {
			t.Errorf("%q needs no surrogate and has %q", raw, got)
		}
	})
}
