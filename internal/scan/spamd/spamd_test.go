package spamd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"tram/internal/scan/filter"
	"tram/internal/scan/filter/filtertest"
)

const half = "SPAMD/1.1 0 EX_OK\r\nContent-length: 5\r\nSpam: False ; 1.0 / 5.0\r\n\r\nA,B,C"

// serve reads a whole question, hands it to fn and answers.
func serve(t *testing.T, fn func(head, body string) string) filter.Address {
	t.Helper()
	return filtertest.Serve(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		head, length := "", 0
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if line == "\r\n" {
				break
			}
			head += line
			if v, ok := strings.CutPrefix(line, "Content-length: "); ok {
				length, _ = strconv.Atoi(strings.TrimSpace(v))
			}
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		_, _ = io.WriteString(c, fn(head, string(body)))
	})
}

func client(a filter.Address) *Client {
	return New(Options{Address: a, User: "mail", Answer: 4096, Rules: 2})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	const text = "Subject: x\r\n\r\nhello\r\n"
	a := serve(t, func(head, body string) string {
		if head != "SYMBOLS SPAMC/1.5\r\nUser: mail\r\nContent-length: 21\r\n" || body != text {
			t.Errorf("asked %q, %q", head, body)
		}
		return "SPAMD/1.1 0 EX_OK\r\nContent-length: 22\r\nSpam: True ; 1003.5 / 5.0\r\n\r\nGTUBE,OWN_RULE,NO_MORE"
	})
	r, err := client(a).Check(t.Context(), filtertest.Mail(text))
	want := Result{Spam: true, Score: 1003.5, Required: 5, Rules: []string{"GTUBE", "OWN_RULE"}}
	if diff := cmp.Diff(want, r); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]error{
		half: nil,
		"SPAMD/1.1 0 EX_OK\r\nSpam: No ; -1 / 5\r\n\r\n":                          nil,
		"SPAMD/1.1 0 EX_OK\r\nContent-length: 5\r\n\r\nA,B,C":                     ErrProtocol,
		"SPAMD/1.1 0 EX_OK\r\nSpam: Perhaps ; 1 / 5\r\n\r\n":                      ErrProtocol,
		"SPAMD/1.1 0 EX_OK\r\nSpam: True ; NaN / 5\r\n\r\n":                       ErrProtocol,
		"SPAMD/1.1 0 EX_OK\r\nSpam: True ; x / 5\r\n\r\n":                         ErrProtocol,
		"SPAMD/1.1 0 EX_OK\r\nSpam: True\r\n\r\n":                                 ErrProtocol,
		"SPAMD/1.1 0 EX_OK\r\nContent-length: 9\r\nSpam: True ; 9 / 5\r\n\r\nA,B": ErrProtocol,
		"SPAMD/1.1 0 EX_OK\r\nContent-length: x\r\nSpam: True ; 9 / 5\r\n\r\nA,B": ErrProtocol,
		"SPAMD/1.1 0 EX_OK\r\nSpam: True ; 9 / 5\r\n":                             ErrProtocol,
		"SPAMD/9.0 0 EX_OK\r\nSpam: False ; 1 / 5\r\n\r\n":                        ErrProtocol,
		"HTTP/1.1 200 OK\r\n\r\n":                                                 ErrProtocol,
		"SPAMD":                                                                   ErrProtocol,
		"SPAMD/1.0 65 Data error\r\n\r\n":                                         filter.ErrMessage,
		half + strings.Repeat("x", 5000):                                          ErrProtocol,
		"":                                                                        io.ErrUnexpectedEOF,
		"SPAMD/1.0 76 Bad header line: FOO SPAMC/1.5\r\n":                         nil,
	} {
		r, err := client(serve(t, func(string, string) string { return answer })).
			Check(t.Context(), filtertest.Mail("x"))
		switch {
		case strings.Contains(answer, " 76 "):
			if err == nil {
				t.Errorf("%q: %+v", answer, r)
			}
		case want == nil && err != nil, want != nil && !errors.Is(err, want):
			t.Errorf("%.80q: %+v, %v, want %v", answer, r, err, want)
		}
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	a := serve(t, func(head, _ string) string {
		if head != "PING SPAMC/1.5\r\n" {
			t.Errorf("asked %q", head)
		}
		return "SPAMD/1.5 0 PONG\r\n"
	})
	if v, err := client(a).Ping(t.Context()); v != "SPAMD/1.5" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
}

// TestFaults is O15 for this client.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, f := range filtertest.Faults(half) {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			a, ctx := f.Serve(t)
			r, err := client(a).Check(ctx, filtertest.Mail(strings.Repeat("x", 1<<20)))
			if err == nil {
				t.Errorf("an answer: %+v", r)
			}
			if f.Hangs && !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want the context's error", err)
			}
		})
	}
}

// TestUnreadable: an error of our own storage, and a message of another length than was announced.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	wrong := errors.New("wrong checksum")
	for _, r := range []io.Reader{
		io.MultiReader(strings.NewReader("half"), iotest.ErrReader(wrong)), strings.NewReader("short"),
	} {
		m := filtertest.Mail(strings.Repeat("x", 100))
		m.Open = func() io.ReadCloser { return io.NopCloser(r) }
		_, err := client(serve(t, func(string, string) string { return half })).Check(t.Context(), m)
		if err == nil || !strings.Contains(err.Error(), "read message") {
			t.Errorf("%v", err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(half)
	f.Fuzz(func(t *testing.T, answer string) {
		r, err := New(Options{Rules: 2}).parse(answer)
		if err == nil && (len(r.Rules) > 2 || r.Score != r.Score) {
			t.Errorf("%q: %+v", answer, r)
		}
	})
}
