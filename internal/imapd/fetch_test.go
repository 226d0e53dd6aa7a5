package imapd

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"tram/internal/imap"
)

// TestFetchManyWindows reads more messages than a window holds, in sets with holes.
func TestFetchManyWindows(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	const n = 3 * windowRows
	h.fill("INBOX", 1, n)
	c := h.client()
	do(t, c, "SELECT INBOX")
	for _, items := range []string{"(UID FLAGS)", "(UID ENVELOPE)", "(UID BODY.PEEK[])"} {
		for set, want := range map[string]func(int) bool{
			"1:*":              func(int) bool { return true },
			"1:600,700:*":      func(i int) bool { return i <= 600 || i >= 700 },
			"*,1,3,5:7,5:6,10": func(i int) bool { return i == 1 || i == 3 || i >= 5 && i <= 7 || i == 10 || i == n },
		} {
			next := 1
			for _, r := range do(t, c, "FETCH "+set+" "+items).Data {
				for ; next < n && !want(next); next++ {
				}
				f := r.Fetch
				if f == nil || int(f.Seq) != next || int(f.UID) != next {
					t.Fatalf("FETCH %s %s: %+v, want message %d", set, items, r, next)
				}
				if body, ok := f.Bodies["BODY[]"]; ok && body != mail(next) {
					t.Fatalf("message %d: %q", next, body)
				}
				next++
			}
			if next != n+1 {
				t.Errorf("FETCH %s %s ended before %d", set, items, next)
			}
		}
	}
}

// bigMail is a message with an attachment of n bytes.
func bigMail(n int) (whole string, attachment []byte) {
	attachment = make([]byte, n)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range attachment {
		attachment[i] = byte(rnd.Uint32())
	}
	var b strings.Builder
	b.WriteString("Subject: big\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" +
		"--x\r\n\r\nsmall\r\n--x\r\nContent-Type: application/octet-stream\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n")
	for i := 0; i < n; i += 57 {
		b.WriteString(base64.StdEncoding.EncodeToString(attachment[i:min(i+57, n)]) + "\r\n")
	}
	b.WriteString("--x--\r\n")
	return b.String(), attachment
}

// TestBigMessage appends and fetches a message far above every buffer, whole, in parts and decoded.
func TestBigMessage(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	whole, attachment := bigMail(3 << 20)
	c := h.client()
	do(t, c, "APPEND INBOX ", []byte(whole))
	do(t, c, "SELECT INBOX")
	r := do(t, c, "FETCH 1 (BODY.PEEK[] BODY.PEEK[]<1000000.100000> BINARY.PEEK[2] BINARY.SIZE[2]"+
		" BINARY.PEEK[2]<2000000.70000> BODY.PEEK[1])")
	got := r.Data[0].Fetch.Bodies
	for item, want := range map[string]string{
		"BODY[]": whole, "BODY[]<1000000>": whole[1000000:1100000], "BODY[1]": "small",
		"BINARY[2]": string(attachment), "BINARY[2]<2000000>": string(attachment[2000000:2070000]),
		"BINARY.SIZE[2]": fmt.Sprint(len(attachment)),
	} {
		if got[item] != want {
			t.Errorf("%s: %d bytes, want %d", item, len(got[item]), len(want))
		}
	}
}

// TestStreamingIsBounded: neither APPEND nor FETCH holds a message in memory.
func TestStreamingIsBounded(t *testing.T) {
	h := build(t, options{})
	whole, _ := bigMail(8 << 20)
	c := h.client()
	do(t, c, "APPEND INBOX ", imap.Body{Size: int64(len(whole)), Reader: strings.NewReader(whole)})
	do(t, c, "SELECT INBOX")
	sum := sha256.New()
	c.OnBody = func(_ uint32, _ string, l *imap.Literal) error {
		_, err := io.Copy(sum, l)
		return err
	}
	do(t, c, "FETCH 1 BODY.PEEK[]") // buffers are there now
	want := sha256.Sum256([]byte(whole))
	if !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Error("the body was altered")
	}
	var m0, m1 runtime.MemStats
	runtime.ReadMemStats(&m0)
	do(t, c, "FETCH 1 BODY.PEEK[]")
	runtime.ReadMemStats(&m1)
	if grown := m1.TotalAlloc - m0.TotalAlloc; grown > 4<<20 {
		t.Errorf("%d bytes allocated for %d", grown, len(whole))
	}
}

// TestSlowReaderHoldsNothing: while one client does not read its answer, another changes the mailbox
// and a third is served.
func TestSlowReaderHoldsNothing(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	whole, _ := bigMail(8 << 20)
	c := h.client()
	do(t, c, "APPEND INBOX ", []byte(whole))
	do(t, c, "APPEND INBOX ", []byte(whole))
	slow := h.loggedIn()
	slow.say(t, "a SELECT INBOX")
	slow.want(t, "a OK")
	slow.say(t, "b FETCH 1:* BODY.PEEK[]")
	slow.want(t, "* 1 FETCH")
	do(t, c, "SELECT INBOX")
	began := time.Now()
	do(t, c, "STORE 1:2 +FLAGS (\\Deleted)")
	do(t, c, "EXPUNGE")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("a slow reader held another client for %v", took)
	}
	// What it asked for before is still sent, though removed meanwhile.
	if _, err := io.CopyN(io.Discard, slow.r, int64(len(whole))); err != nil {
		t.Fatal(err)
	}
	slow.want(t, "b ")
}

func TestFetchOfAMessageThatWentMeanwhile(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	h.fill("INBOX", 1, 3)
	a, b := h.client(), h.client()
	do(t, a, "SELECT INBOX")
	do(t, b, "SELECT INBOX")
	do(t, b, "STORE 2 +FLAGS.SILENT (\\Deleted)")
	do(t, b, "EXPUNGE")
	r, err := a.Do("FETCH 1:3 (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
	status, ok := err.(*imap.StatusError)
	if !ok || status.Code != "EXPUNGEISSUED" || len(r.Data) != 2 || r.Data[1].Fetch.UID != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	if r := do(t, a, "NOOP"); len(r.Data) != 1 || r.Data[0].Name != "EXPUNGE" || r.Data[0].Num != 2 {
		t.Errorf("NOOP: %+v", r.Data)
	}
}

func TestObjectIDs(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	h.fill("INBOX", 1, 2)
	c := h.client()
	do(t, c, "SELECT INBOX")
	do(t, c, "APPEND INBOX ", []byte("Subject: Re: Message 1\r\nIn-Reply-To: <1@example.com>\r\n"+
		"References: <1@example.com>\r\n\r\nx\r\n"))
	do(t, c, "COPY 1 Archive")
	do(t, c, "COPY 1 INBOX")
	id := func(r imap.Response, item string) string { return r.Fetch.Values[item].At(0).Str() }
	data := do(t, c, "UID FETCH 1:* (EMAILID THREADID)").Data
	data = data[len(data)-4:]
	if id(data[0], "THREADID") != id(data[2], "THREADID") || id(data[0], "THREADID") == id(data[1], "THREADID") {
		t.Errorf("threads: %v", data)
	}
	if id(data[0], "EMAILID") != id(data[3], "EMAILID") || id(data[0], "EMAILID") == id(data[2], "EMAILID") {
		t.Errorf("a copy has another EMAILID: %v", data)
	}
	found := do(t, c, "UID SEARCH EMAILID "+id(data[0], "EMAILID")).Data[0]
	if fmt.Sprint(found.Values) != fmt.Sprint([]imap.Value{{Text: "1"}, {Text: "4"}}) {
		t.Errorf("search by EMAILID: %v", found.Values)
	}
	found = do(t, c, "SEARCH THREADID "+id(data[1], "THREADID")).Data[0]
	if len(found.Values) != 1 || found.Values[0].Text != "2" {
		t.Errorf("search by THREADID: %v", found.Values)
	}
	do(t, c, "SEARCH OR THREADID nothing EMAILID nothing")
}
