package directory

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestPasswordRules(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	a := h.account("alice.nguyen@example.test")
	for _, tt := range []struct {
		password string
		why      string // "" when it is good
	}{
		{"sáu con voi đi", ""},
		{"hb7-dkw-29fj", ""},
		{"correct river lantern", ""},
		{"12 chữ đủ rồi", ""},
		{strings.Repeat("xK4!", 64), "tried first"},
		{"eleven char", "at least 12"},
		{"mười một chữ"[:13], "at least 12"},
		{"", "no keyboard"},
		{"a\x00bcdefghijklmn", "no keyboard"},
		{"\xff\xfe\xfd and more text", "no keyboard"},
		{strings.Repeat("sáu con voi ", 20), "at most 256"},
		{"tram-demo-mail", "tried first"},
		{"TRAM-demo-mail", "tried first"},
		{"passwordpassword", "tried first"},
		{"Password2026!", "tried first"},
		{"p4ssw0rd12345", "tried first"},
		{"!!dragon!!111", "tried first"},
		{"123456789012", "tried first"},
		{"210987654321", "tried first"},
		{"abcdefghijkl", "tried first"},
		{"qwertyuiop12", "tried first"},
		{"1qaz2wsx3edc", "tried first"},
		{"aaaaaaaaaaaa", "tried first"},
		{"abababababab", "tried first"},
		{"xyz7xyz7xyz7", "tried first"},
		{"alice.nguyen1", "tried first"},
		{"Alice.Nguyen@example.test", "tried first"},
		{"example.test99", "tried first"},
		{"matkhau20262026", "tried first"},
	} {
		err := h.SetPassword(ctx, a.ID, tt.password)
		if tt.why == "" {
			if err != nil {
				t.Errorf("%q: %v", tt.password, err)
			}
			continue
		}
		if !errors.Is(err, ErrPassword) || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%q: %v; want one that says %q", tt.password, err, tt.why)
		}
		if len(tt.password) > 5 && err != nil && strings.Contains(err.Error(), tt.password) {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

// TestCommonPasswordsAreRefused proves it for the whole list, as it stands and as people decorate
// it to make it long enough (A4).
func TestCommonPasswordsAreRefused(t *testing.T) {
	t.Parallel()
	words := commonWords()
	if len(words) < 5000 {
		t.Fatalf("the list has %d words", len(words))
	}
	missed := 0
	for w := range words {
		for _, p := range []string{w, strings.ToUpper(w), w + "2026!", "123" + w} {
			if !isCommon(p) {
				missed++
				t.Logf("%q passes", p)
			}
		}
	}
	if missed > 0 {
		t.Errorf("%d forms of common passwords pass", missed)
	}
}

func TestDemoPassword(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	o := AccountOptions{Address: addr("alice@example.test"), Password: "tram-demo-mail"}
	if _, err := h.AddAccount(ctx, o); !errors.Is(err, ErrPassword) {
		t.Fatalf("a password that everybody knows: %v", err)
	}
	o.AllowCommonPassword = true
	if _, err := h.AddAccount(ctx, o); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Authenticate(ctx, attempt("alice@example.test", "tram-demo-mail")); err != nil {
		t.Error(err)
	}
	o.Address, o.Password = addr("bob@example.test"), "short"
	if _, err := h.AddAccount(ctx, o); !errors.Is(err, ErrPassword) {
		t.Errorf("too short for the demo too: %v", err)
	}
}

// TestPasswordSpellings proves that one password typed on two keyboards is one password, RFC 8265
// §4.2.
func TestPasswordSpellings(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	a := h.account("alice@example.test")
	if err := h.SetPassword(ctx, a.ID, "mật\u00a0khẩu của tôi"); err != nil {
		t.Fatal(err)
	}
	for p, ok := range map[string]bool{
		"mật khẩu của tôi":                   true,
		"ma\u0323\u0302t khâ\u0309u của tôi": true, // decomposed
		"Mật khẩu của tôi":                   false,
		"mat khau cua toi":                   false,
	} {
		_, err := h.Authenticate(ctx, attempt("alice@example.test", p))
		if (err == nil) != ok {
			t.Errorf("%q: %v", p, err)
		}
	}
}
