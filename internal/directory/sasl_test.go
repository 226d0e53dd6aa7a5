package directory

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// secured is a connection with TLS that has no keys to bind to.
var secured = SASLOptions{Protocol: IMAP, Remote: home, TLS: &tls.ConnectionState{}}

func TestMechanisms(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	measured := open(t, func(o *Options) { o.Measure = true })
	for _, tt := range []struct {
		h    house
		tls  bool
		want string
	}{
		{h, true, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-1 PLAIN LOGIN"},
		{h, false, ""},
		{measured, true, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-1 PLAIN LOGIN"},
		{measured, false, "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN"},
	} {
		if got := strings.Join(tt.h.Mechanisms(tt.tls), " "); got != tt.want {
			t.Errorf("Mechanisms(%v) = %q, want %q", tt.tls, got, tt.want)
		}
	}
}

// TestNothingWithoutTLS proves that in the clear the secret is refused before it is asked for
// (A15), except by a server that measures, on loopback.
func TestNothingWithoutTLS(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	loop := netip.MustParseAddr("::1")
	h := open(t, nil)
	measured := open(t, func(o *Options) { o.Measure = true })
	for _, mech := range []string{"PLAIN", "login", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS",
		"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "OAUTHBEARER", "XOAUTH2"} {
		for _, tt := range []struct {
			h    house
			from netip.Addr
			want error
		}{
			{h, loop, ErrTLSRequired}, {h, home, ErrTLSRequired}, {measured, home, ErrTLSRequired},
			{measured, loop, nil},
		} {
			want := tt.want
			if want == nil && strings.HasSuffix(mech, "-PLUS") {
				want = ErrMechanism
			}
			if _, err := tt.h.Start(ctx, mech, SASLOptions{Protocol: SMTP, Remote: tt.from}); err != want {
				t.Errorf("%s from %s: %v, want %v", mech, tt.from, err, want)
			}
		}
	}
	for _, mech := range []string{"", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-512", "ANONYMOUS", "GSSAPI", "PLAIN "} {
		if _, err := h.Start(ctx, mech, secured); err != ErrMechanism {
			t.Errorf("%q: %v", mech, err)
		}
	}
}

// nothing stands for a client that has not said anything.
const nothing = "<nothing>"

// talk has a dialogue: what the client says, and what it should be told in turn.
func talk(t *testing.T, h house, mech string, o SASLOptions, says ...string) ([]string, Exchange, error) {
	t.Helper()
	x, err := h.Start(context.Background(), mech, o)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for i, s := range says {
		response := []byte(s)
		if s == nothing {
			response = nil
		}
		challenge, done, err := x.Next(response)
		if err != nil || done {
			if i < len(says)-1 {
				t.Errorf("%s: over after %d of %d: %v", mech, i+1, len(says), err)
			}
			return told, x, err
		}
		if x.Account().ID != 0 {
			t.Errorf("%s: logged in before the end", mech)
		}
		told = append(told, string(challenge))
	}
	t.Errorf("%s: not over after %q", mech, says)
	return told, x, nil
}

// TestPlainAndLogin tells a dialogue by what each side says. A client that does not speak first hears an
// empty challenge, and after the outcome there is no more to say (RFC 4422 §3).
func TestPlainAndLogin(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	h.domain("example.test")
	alice := h.account("alice@example.test")
	h.account("bob@example.test")
	z := "\x00"
	for _, tt := range []struct {
		mech string
		says []string
		told []string
		err  error
	}{
		// RFC 4616 §2
		{"PLAIN", []string{z + "alice@example.test" + z + password}, nil, nil},
		{"plain", []string{nothing, z + "alice" + z + password}, []string{""}, nil},
		{"PLAIN", []string{"ALICE@example.test" + z + "alice@example.test" + z + password}, nil, nil},
		{"PLAIN", []string{"bob@example.test" + z + "alice@example.test" + z + password}, nil, ErrBadCredentials},
		{"PLAIN", []string{"x" + z + "alice@example.test" + z + password}, nil, ErrBadCredentials},
		{"PLAIN", []string{z + "alice@example.test" + z + "wrong"}, nil, ErrBadCredentials},
		{"PLAIN", []string{z + "nobody@example.test" + z + password}, nil, ErrBadCredentials},
		{"PLAIN", []string{""}, nil, ErrMalformed},
		{"PLAIN", []string{"alice@example.test"}, nil, ErrMalformed},
		{"PLAIN", []string{z + "alice@example.test"}, nil, ErrMalformed},
		{"PLAIN", []string{z + z + password}, nil, ErrMalformed},
		{"PLAIN", []string{z + "alice@example.test" + z}, nil, ErrMalformed},
		{"PLAIN", []string{z + "alice@example.test" + z + password + z}, nil, ErrMalformed},
		{"PLAIN", []string{z + "a" + z + strings.Repeat("x", 9000)}, nil, ErrMalformed},
		{"LOGIN", []string{nothing, "alice@example.test", password}, []string{"Username:", "Password:"}, nil},
		{"LOGIN", []string{"alice@example.test", password}, []string{"Password:"}, nil},
		{"LOGIN", []string{nothing, "alice@example.test", "wrong"}, []string{"Username:", "Password:"},
			ErrBadCredentials},
		{"LOGIN", []string{nothing, "nobody", password}, []string{"Username:", "Password:"}, ErrBadCredentials},
		{"LOGIN", []string{nothing, ""}, []string{"Username:"}, ErrMalformed},
		{"LOGIN", []string{"alice", ""}, []string{"Password:"}, ErrMalformed},
		{"LOGIN", []string{"alice", nothing}, []string{"Password:"}, ErrMalformed},
		{"LOGIN", []string{"al\x00ice"}, nil, ErrMalformed},
		// RFC 7628 §3.2.3: the mechanism's own failure, an answer to it, the end.
		{"OAUTHBEARER", []string{"n,a=alice,\x01auth=Bearer x\x01\x01", "\x01"}, []string{`{"status":"invalid_token"}`}, ErrBadCredentials},
		{"XOAUTH2", []string{nothing, "user=alice\x01auth=Bearer x\x01\x01", ""}, []string{"",
			`{"status":"401","schemes":"bearer","scope":"mail"}`}, ErrBadCredentials},
	} {
		told, x, err := talk(t, h, tt.mech, secured, tt.says...)
		if err != tt.err || !slices.Equal(told, tt.told) {
			t.Errorf("%s %q: told %q, %v; want %q, %v", tt.mech, tt.says, told, err, tt.told, tt.err)
		}
		want := AccountID(0)
		if tt.err == nil {
			want = alice.ID
		}
		if got := x.Account().ID; got != want {
			t.Errorf("%s %q: account %d", tt.mech, tt.says, got)
		}
		// What is over stays over.
		if _, done, err := x.Next([]byte(z + "alice" + z + password)); done || err != ErrMalformed {
			t.Errorf("%s went on after the end: %v, %v", tt.mech, done, err)
		}
		if err := h.Unban(context.Background(), home); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSASLIsThrottledWithTheRest(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	h.domain("example.test")
	h.account("alice@example.test")
	for i := range 11 {
		var err error
		switch i % 4 {
		case 0:
			_, _, err = talk(t, h, "PLAIN", secured, "\x00alice\x00wrong")
		case 1:
			_, _, err = talk(t, h, "LOGIN", secured, "alice", "wrong")
		case 2:
			_, err = h.Authenticate(context.Background(), attempt("alice", "wrong"))
		case 3:
			err = scramOnce(t, h, secured, "SCRAM-SHA-256", "alice", "wrong", nil)
		}
		if throttled := errors.As(err, new(ErrThrottled)); throttled != (i == 10) {
			t.Errorf("try %d: %v", i, err)
		}
	}
	// Malformed messages and cancelled dialogues are no failures.
	if err := h.Unban(context.Background(), home); err != nil {
		t.Fatal(err)
	}
	for range 30 {
		if _, _, err := talk(t, h, "PLAIN", secured, "nonsense"); err != ErrMalformed {
			t.Fatal(err)
		}
		x, err := h.Start(context.Background(), "LOGIN", secured)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := x.Next([]byte("alice")); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := talk(t, h, "PLAIN", secured, "\x00alice\x00"+password); err != nil {
		t.Errorf("after nothing but nonsense: %v", err)
	}
}

// FuzzSASL proves that no dialogue panics, goes on for ever or logs in without a secret.
func FuzzSASL(f *testing.F) {
	for i, s := range []string{"\x00alice\x00x", "alice", "n,,n=alice,r=abc", "p=tls-exporter,,n=alice,r=abc",
		"y,a=bob,n=a=2Cb,r=x,m=1", "n,,n=alice,r=", "n,a=alice,\x01auth=Bearer x\x01\x01", ""} {
		f.Add(i, []byte(s), []byte("c=biws,r=abc,p=AAAA"), []byte(""))
	}
	h := open(f, func(o *Options) {
		o.Limits.PerMinute, o.Limits.PerDay, o.Limits.AccountPerHour = 1<<30, 1<<30, 1<<30
	})
	h.domain("example.test")
	h.account("alice@example.test")
	mechs := []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS",
		"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "OAUTHBEARER", "XOAUTH2"}
	f.Fuzz(func(t *testing.T, mech int, a, b, c []byte) {
		if mech < 0 {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		x, err := h.Start(ctx, mechs[mech%len(mechs)], secured)
		if err != nil {
			t.Fatal(err)
		}
		for i, response := range [][]byte{a, b, c, nil, {}} {
			challenge, done, err := x.Next(response)
			if done || x.Account().ID != 0 {
				t.Fatalf("logged in with %q %q %q", a, b, c)
			}
			if len(challenge) > 3*len(a)+200 {
				t.Fatalf("a challenge of %d bytes", len(challenge))
			}
			known := errors.Is(err, ErrBadCredentials) || errors.Is(err, ErrMalformed)
			if err != nil && !known {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
			if i == 4 {
				t.Fatalf("not over after %q %q %q", a, b, c)
			}
		}
	})
}

func Example() {
	// A door asks for what the mechanism wants until it is done.
	var x Exchange // from Directory.Start
	step := func(response []byte) {
		challenge, done, err := x.Next(response)
		switch {
		case err != nil:
			fmt.Println("535 5.7.8 no")
		case done:
			fmt.Println("235 2.7.0 welcome", x.Account().Address)
		default:
			fmt.Printf("334 %s\n", challenge) // in base64
		}
	}
	_ = step
}
