package directory

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

// script is an exchange that takes what it is told to and asks for more until it has everything.
type script struct {
	want []string // responses, "nil" for none
	fail error    // at the end
	got  []string
}

func (s *script) Next(response []byte) ([]byte, bool, error) {
	if s.got = append(s.got, string(response)); response == nil {
		s.got[len(s.got)-1] = "nil"
	}
	if len(s.got) < len(s.want) {
		return fmt.Append(nil, "challenge ", len(s.got)), false, nil
	}
	return nil, s.fail == nil, s.fail
}

func (s *script) Account() Account {
	if s.fail != nil || len(s.got) < len(s.want) {
		return Account{}
	}
	return Account{ID: 7}
}

// TestConverse has what a client may say in the lines of a log-in, RFC 4954 §4 and RFC 5034 §4.
func TestConverse(t *testing.T) {
	t.Parallel()
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	gone := errors.New("gone")
	for name, tt := range map[string]struct {
		initial string
		lines   []string
		want    []string
		fail    error // of the exchange
		err     error // of Converse
	}{
		"initial response":   {b64("a"), nil, []string{"a"}, nil, nil},
		"empty one":          {"=", nil, []string{""}, nil, nil},
		"none":               {"", []string{b64("a"), ""}, []string{"nil", "a", ""}, nil, nil},
		"refused":            {b64("a"), []string{b64("b")}, []string{"a", "b"}, ErrBadCredentials, ErrBadCredentials},
		"cancelled":          {"", []string{"*"}, []string{"nil", "x"}, nil, ErrCancelled},
		"no base64":          {"", []string{"a"}, []string{"nil", "x"}, nil, ErrBase64},
		"loose base64":       {"", []string{"YQ=a"}, []string{"nil", "x"}, nil, ErrBase64},
		"no base64 at first": {"?", nil, []string{"x"}, nil, ErrBase64},
		"client leaves":      {"", nil, []string{"nil", "x"}, nil, gone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := &script{want: tt.want, fail: tt.fail}
			lines, asked, buf := tt.lines, 0, make([]byte, 0, 100)
			account, err := Converse(x, tt.initial, func(challenge []byte) ([]byte, error) {
				asked++
				if want := b64(fmt.Sprint("challenge ", asked)); string(challenge) != want {
					t.Errorf("asked %q, want %q", challenge, want)
				}
				if len(lines) == 0 {
					return nil, gone
				}
				buf = append(buf[:0], lines[0]...) // the same memory each time, as a connection's
				lines = lines[1:]
				return buf, nil
			})
			if err != tt.err || (account.ID == 7) != (err == nil) {
				t.Errorf("account %d, %v", account.ID, err)
			}
			if want := tt.want; err == nil && !slices.Equal(x.got, want) {
				t.Errorf("the exchange got %q, want %q", x.got, want)
			}
		})
	}
}

// TestLogFailure: what is the client's is told, in one line without secrets; the rest is not.
func TestLogFailure(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	log := slog.New(slog.NewTextHandler(&out, nil))
	for _, err := range []error{
		ErrBadCredentials, fmt.Errorf("x: %w", ErrDisabled), ErrThrottled{}, ErrMechanism, ErrBase64, nil,
	} {
		LogFailure(log, POP3, "PLAIN", err)
	}
	if got := out.String(); strings.Count(got, "\n") != 3 || strings.Count(got, "pop3 log-in refused") != 2 ||
		!strings.Contains(got, "pop3 log-in throttled") {
		t.Error(got)
	}
}
