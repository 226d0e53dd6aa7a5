package rspamd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tram/internal/scan/filter"
	"tram/internal/scan/filter/filtertest"
	"tram/internal/spam/sign"
)

// serve answers requests with what fn says, over kept connections, and counts those.
func serve(t *testing.T, conns *atomic.Int32, fn func(*http.Request, string) (int, string)) filter.Address {
	t.Helper()
	return filtertest.Serve(t, func(c net.Conn) {
		conns.Add(1)
		in := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			code, text := fn(req, string(body))
			resp := http.Response{
				StatusCode: code, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(text)),
				Body: io.NopCloser(strings.NewReader(text)), Header: http.Header{"Server": {"rspamd/3.4"}},
			}
			if resp.Write(c) != nil {
				return
			}
		}
	})
}

func client(t *testing.T, a filter.Address) *Client {
	c := New(Options{Address: a, Password: "p", Conns: 4, Answer: 64 << 10, Signs: 3})
	t.Cleanup(c.Close)
	return c
}

func TestCheck(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	const text = "Subject: x\r\n\r\nhello\r\n"
	var got *http.Request
	a := serve(t, &conns, func(r *http.Request, body string) (int, string) {
		if body != text {
			t.Errorf("body %q", body)
		}
		got = r
		return 200, `{"action":"add header","score":9.0,"required_score":15,"is_skipped":false,
			"symbols":{"B_RULE":{"score":6,"options":["seen","twice\n"]},"odd name-1":{"score":-3},
			"INFO":{"score":0},"C":{"score":1.5},"D":{"score":0.5}},
			"messages":{"smtp_message":"no,\r\nthanks"}}`
	})
	c := client(t, a)
	for range 3 {
		r, err := c.Check(t.Context(), filtertest.Mail(text))
		if err != nil {
			t.Fatal(err)
		}
		want := Result{Action: AddHeader, Score: 9, Required: 15, Message: "no,  thanks", Signs: []sign.Sign{
			{Name: "RSPAMD_B_RULE", Score: 5, Detail: "seen, twice"},
			{Name: "RSPAMD_ODD_NAME_1", Score: -2.5}, {Name: "RSPAMD_C", Score: 1.25},
		}}
		if diff := cmp.Diff(want, r); diff != "" {
			t.Error(diff)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for three questions", n)
	}
	if got.Method != "POST" || got.URL.Path != "/checkv2" {
		t.Errorf("%s %s", got.Method, got.URL)
	}
	for name, want := range map[string]string{
		"Ip": "192.0.2.7", "Helo": "client.elsewhere.test", "Hostname": "out.elsewhere.test",
		"From": "<a@elsewhere.test>", "Rcpt": "<b@example.test>|<c@example.test>", "Queue-Id": "trail-1",
		"User": "", "Pass": "all", "Password": "p", "Mta-Name": "mx.example.test", "Tls-Version": "TLSv1.3",
		"Tls-Cipher": "TLS_AES_128_GCM_SHA256",
	} {
		if v := strings.Join(got.Header.Values(name), "|"); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
}

// TestHostileEnvelope: nothing of an envelope can make a field of its own.
func TestHostileEnvelope(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	a := serve(t, &conns, func(r *http.Request, _ string) (int, string) {
		if r.Header.Get("Evil") != "" || r.Header.Get("Helo") != "" {
			t.Errorf("header %v", r.Header)
		}
		return 200, `{"action":"no action","score":0,"required_score":15}`
	})
	m := filtertest.Mail("x")
	m.HELO, m.From = "a\r\nEvil: yes", "\"\r\nEvil: x\"@b.test"
	if r, err := client(t, a).Check(t.Context(), m); err != nil || r.Action != NoAction {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestAnswers is what else may come back.
func TestAnswers(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	const plain = `{"action":"no action","score":0,"required_score":15}`
	for _, tc := range []struct {
		code int
		text string
		ok   bool
		mine bool // it is about this message
	}{
		{200, plain, true, false},
		{200, `{"action":"reject","score":15,"required_score":15,"is_skipped":true}`, true, false},
		{200, plain[:len(plain)-1], false, false},
		{200, `{}`, false, false},
		{200, `null`, false, false},
		{200, `[]`, false, false},
		{200, `{"score":1}`, false, false},
		{200, `{"action":"no action"}`, false, false},
		{200, `{"action":"shrug","score":1}`, false, false},
		{200, `{"action":"no action","score":"much"}`, false, false},
		{200, `{"error":"no"}`, false, false},
		{200, "", false, false},
		{200, strings.Repeat(" ", 70<<10) + plain, false, false},
		{301, plain, false, false},
		{500, plain, false, false},
		{400, `{"error":"invalid content length"}`, false, true},
		{403, "forbidden", false, false},
	} {
		a := serve(t, &conns, func(*http.Request, string) (int, string) { return tc.code, tc.text })
		r, err := client(t, a).Check(t.Context(), filtertest.Mail("x"))
		if (err == nil) != tc.ok || errors.Is(err, filter.ErrMessage) != tc.mine {
			t.Errorf("%d %.60q: %+v, %v", tc.code, tc.text, r, err)
		}
	}
}

// TestMeasure: what rspamd marks as spam comes to 5.
func TestMeasure(t *testing.T) {
	t.Parallel()
	for want, a := range map[float64]answer{
		1:    {},
		2.5:  {Required: 5},
		1.25: {Required: 15, Thresholds: map[string]float64{AddHeader: 4}},
	} {
		if got := measureOf(a); got != want {
			t.Errorf("%+v: %v, want %v", a, got, want)
		}
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	a := serve(t, &conns, func(r *http.Request, _ string) (int, string) { return 200, "pong\r\n" })
	if v, err := client(t, a).Ping(t.Context()); v != "rspamd/3.4" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
}

// TestStale: a connection that rspamd closed between two messages is replaced.
func TestStale(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	a := filtertest.Serve(t, func(c net.Conn) {
		conns.Add(1)
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		const text = `{"action":"no action","score":0,"required_score":15}`
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 52\r\n\r\n"+text)
	})
	c := client(t, a)
	for range 5 {
		if _, err := c.Check(t.Context(), filtertest.Mail("x")); err != nil {
			t.Error(err)
		}
	}
}

// TestFaults is O15 for this client.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, f := range filtertest.Faults("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{\"action\":\"no action\"") {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			a, ctx := f.Serve(t)
			r, err := client(t, a).Check(ctx, filtertest.Mail(strings.Repeat("x", 1<<20)))
			if err == nil {
				t.Errorf("an answer: %+v", r)
			}
			if f.Hangs && !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want the context's error", err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(200, []byte(`{"action":"add header","score":9.0,"required_score":15,"symbols":{"A":{"score":1}}}`))
	f.Fuzz(func(t *testing.T, code int, body []byte) {
		c := New(Options{Signs: 3})
		r, err := c.parse(&http.Response{StatusCode: code}, body)
		if err == nil && (code != 200 || r.Action == "" || len(r.Signs) > 3) {
			t.Errorf("%d %q: %+v", code, body, r)
		}
	})
}
