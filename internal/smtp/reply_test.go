package smtp

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tram/internal/limits"
)

func TestAppendWire(t *testing.T) {
	t.Parallel()
	tests := []struct {
		r    Reply
		want string
	}{
		{NewReply(250, Enhanced{}, "Ok"), "250 Ok\r\n"},
		{NewReply(250, Enhanced{2, 1, 5}, "a\nb\nc"), "250-2.1.5 a\r\n250-2.1.5 b\r\n250 2.1.5 c\r\n"},
		{Reply{Code: 354}, "354 \r\n"},
		{Reply{Code: 250, Enhanced: Enhanced{2, 0, 0}}, "250 2.0.0 \r\n"},
		// Nothing that goes in makes a second line or a control character.
		{Reply{Code: 550, Lines: []string{"a\r\n250 b\x00\x1b[1m\u0085\xff"}},
			"550 a??250 b??[1m??\r\n"},
		{NewReply(550, Enhanced{}, strings.Repeat("ư", 400)),
			"550 " + strings.Repeat("ư", 253) + "\r\n"},
	}
	for _, tt := range tests {
		if got := string(tt.r.AppendWire(nil)); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.r, got, tt.want)
		}
	}
}

var testLimits = limits.Default().Client

func readAll(s string) (replies []Reply, err error) {
	r := bufio.NewReaderSize(strings.NewReader(s), testLimits.ReplyLine)
	for {
		reply, err := ReadReply(r, testLimits)
		if errors.Is(err, io.EOF) {
			return replies, nil
		}
		if err != nil {
			return replies, err
		}
		replies = append(replies, reply)
	}
}

func TestReadReply(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want []Reply
		err  error
	}{
		{in: "250 Ok\r\n", want: []Reply{{250, Enhanced{}, []string{"Ok"}}}},
		{in: "250\r\n", want: []Reply{{250, Enhanced{}, []string{""}}}},
		{in: "250-a\r\n250-b\r\n250 c\r\n", want: []Reply{{250, Enhanced{}, []string{"a", "b", "c"}}}},
		{in: "550-5.1.1 a\r\n550 5.1.1 b\r\n",
			want: []Reply{{550, Enhanced{5, 1, 1}, []string{"a", "b"}}}},
		// A status of another class than the code is text.
		{in: "550 2.1.1 a\r\n", want: []Reply{{550, Enhanced{}, []string{"2.1.1 a"}}}},
		{in: "550 5.1 a\r\n", want: []Reply{{550, Enhanced{}, []string{"5.1 a"}}}},
		{in: "550 5.01.1 a\r\n", want: []Reply{{550, Enhanced{}, []string{"5.01.1 a"}}}},
		{in: "550 5.7.509 a\r\n", want: []Reply{{550, Enhanced{5, 7, 509}, []string{"a"}}}},
		{in: "550 a\x1b[2Jb\xffc\tthư\r\n",
			want: []Reply{{550, Enhanced{}, []string{"a?[2Jb?c?thư"}}}},
		{in: "250 a\n", err: ErrReply},
		{in: "250 a\n250 b\r\n", err: ErrReply},
		{in: "250 a\rb\r\n", err: ErrReply},
		{in: "25 a\r\n", err: ErrReply},
		{in: "2500 a\r\n", err: ErrReply},
		{in: "150 a\r\n", err: ErrReply},
		{in: "650 a\r\n", err: ErrReply},
		{in: "2a0 a\r\n", err: ErrReply},
		{in: "\r\n", err: ErrReply},
		{in: "250-a\r\n251 b\r\n", err: ErrReply},
		{in: "HTTP/1.1 400 Bad Request\r\n", err: ErrReply},
		{in: "250 a", err: io.ErrUnexpectedEOF},
		{in: "250-a\r\n"},
		{in: "250 " + strings.Repeat("a", testLimits.ReplyLine) + "\r\n", err: ErrReply},
		{in: strings.Repeat("250-a\r\n", testLimits.ReplyLines) + "250 b\r\n", err: ErrReply},
	}
	for _, tt := range tests {
		got, err := readAll(tt.in)
		if diff := cmp.Diff(tt.want, got); diff != "" || !errors.Is(err, tt.err) {
			t.Errorf("%q: %v, want %v %s", tt.in, err, tt.err, diff)
		}
	}
}

func FuzzReadReply(f *testing.F) {
	for _, s := range []string{"250 Ok\r\n", "250-a\r\n250 b\r\n", "550 5.1.1 x\r\n", "250\r\n", "1\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		replies, _ := readAll(s)
		for _, r := range replies {
			wire := string(r.AppendWire(nil))
			if strings.Count(wire, "\n") != len(r.Lines) {
				t.Fatalf("%+v goes out as %q", r, wire)
			}
			back, err := readAll(wire)
			if err != nil || len(back) != 1 || back[0].Code != r.Code {
				t.Fatalf("%+v goes out as %q, comes back as %+v, %v", r, wire, back, err)
			}
		}
	})
}
