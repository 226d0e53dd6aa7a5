package directory

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"tram/internal/smtp"
)

func TestLocalKey(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		local, want string
		ok          bool
	}{
		{"alice", "alice", true},
		{"ALICE.B-c_d+e", "alice.b-c_d+e", true},
		{"a b", "a b", true},
		{"TUẤN", "tuấn", true},
		{"Tua\u0302\u0301n", "tuấn", true}, // NFD
		{"ＡＢＣ", "abc", true},               // full width, RFC 8265 §3.3
		{"\u212aelvin", "kelvin", true},    // the Kelvin sign is a K
		{"İ", "i\u0307", true},
		{"", "", false},
		{"a\x00", "", false},
		{"a\n", "", false},
		{"a\x7f", "", false},
		{"\xff", "", false},
		{"ſ", "", false},        // long s
		{"ﬁ", "", false},        // ligature
		{"a\u200db", "", false}, // joiner
		{"a\u202eb", "", false}, // override
		{"aא", "", false},       // mixed directions
		{"a\u00a0é", "", false}, // no-break space
		{strings.Repeat("a", 64), strings.Repeat("a", 64), true},
		{strings.Repeat("a", 65), "", false},
	} {
		got, err := localKey(tt.local)
		if got != tt.want || (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("localKey(%q) = %q, %v; want %q", tt.local, got, err, tt.want)
		}
	}
}

func TestDomainKey(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want string
	}{
		{"example.test", "example.test"},
		{"EXAMPLE.test.", "example.test"},
		{"bưuđiện.vn", "xn--buin-1ua66gr30m.vn"},
		{"BƯUĐIỆN.VN", "xn--buin-1ua66gr30m.vn"},
		{"ｅｘａｍｐｌｅ.test", "example.test"},
		{"", ""}, {".", ""}, {"a..b", ""}, {"-a.test", ""}, {"a-.test", ""}, {"[192.0.2.1]", ""},
		{"a b.test", ""}, {"xn--.test", ""}, {"a.test\x00", ""},
		{strings.Repeat("a", 64) + ".test", ""}, {strings.Repeat("a.", 130) + "test", ""},
	} {
		got, err := domainKey(tt.name)
		if tt.want == "" {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("domainKey(%q) = %q, %v", tt.name, got, err)
			}
			continue
		}
		again, err2 := domainKey(got)
		if err != nil || err2 != nil || again != got || !strings.EqualFold(DisplayDomain(got),
			DisplayDomain(tt.want)) {
			t.Errorf("domainKey(%q) = %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

// TestPlainDomainsAreAsTheMappingSays proves that the shortcut for plain names changes nothing.
func TestPlainDomainsAreAsTheMappingSays(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"example.test", "a-b.example", "x1.y2.z", "1a.test", "a.b2c", "a.b2"} {
		if !isKey(name) {
			continue
		}
		if got, err := smtp.ParseDomain(name); err != nil || got != name {
			t.Errorf("%q goes the short way, the mapping says %q, %v", name, got, err)
		}
	}
}

func TestSkeleton(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"paypal", "pаypаl", true}, {"scope", "ѕсоре", true}, {"alice", "alıce", true},
		{"ivan", "ιvαn", true}, {"tuấn", "tuan", false}, {"đức", "duc", false}, {"bob1", "bobl", false},
		{"rn", "m", false},
	} {
		if got := skeleton(tt.a) == skeleton(tt.b); got != tt.same {
			t.Errorf("%q and %q look the same: %v", tt.a, tt.b, got)
		}
	}
}

// FuzzAddress proves that normalising is stable: a key's key is the key, and two spellings of an
// address have one key.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"alice@example.test", "TUẤN@BƯUĐIỆN.vn", `"a b"@x.test`, "@x.test",
		"ａ@ｂ.test", "\u212a@k.test", "a+b@c.test", "x@[192.0.2.1]", "\xff@\xff", "İ@İ.test", "ß@ß.test"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		domain, local, err := addressKey(s)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("addressKey(%q) = %v", s, err)
			}
			return
		}
		if again, err := domainKey(domain); err != nil || again != domain {
			t.Fatalf("domain of %q is %q, of that %q, %v", s, domain, again, err)
		}
		if local == "" {
			if !strings.HasPrefix(s, "@") {
				t.Fatalf("%q has no local part", s)
			}
			return
		}
		if !utf8.ValidString(local) || strings.ContainsAny(local, "\x00\r\n") {
			t.Fatalf("local part of %q is %q", s, local)
		}
		// A key may have grown past the length that names have.
		again, err := localKey(local)
		if len(local) <= maxLocal && (err != nil || again != local) {
			t.Fatalf("local part of %q is %q, of that %q, %v", s, local, again, err)
		}
		if skeleton(skeleton(local)) != skeleton(local) {
			t.Fatalf("looks of %q change twice", local)
		}
	})
}
