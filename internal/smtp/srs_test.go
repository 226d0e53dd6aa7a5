package smtp

import (
	"strings"
	"testing"
	"time"
)

var srsNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func srs() ReturnAddresses {
	return ReturnAddresses{Secret: []byte("a secret of this house alone"), Age: 21 * 24 * time.Hour}
}

// TestReturnAddresses is why the scheme is there, RFC 7208 §D.3: bounces find their way back, over one
// forwarder or several, and nobody can make such an address himself.
func TestReturnAddresses(t *testing.T) {
	t.Parallel()
	for _, from := range []string{
		"lan@example.org", "Lan.Anh+x@example.org", `"quoted @ local"@example.org`, "a=b=c@example.org",
		"srs@example.org", "trần@example.org", "x@[192.0.2.1]",
	} {
		a, err := ParseAddress(from)
		if err != nil {
			t.Fatal(err)
		}
		made := srs().Make(a, "us.test", srsNow)
		if made.Domain != "us.test" || !strings.HasPrefix(made.Local, "SRS0=") || !IsReturnAddress(made.Local) {
			t.Errorf("%s: %s", from, made)
		}
		parsed, err := ParseAddress(made.String())
		if err != nil {
			t.Fatalf("%s: %v", made, err)
		}
		back, err := srs().Sender(parsed, srsNow.Add(20*24*time.Hour))
		if err != nil || back != a {
			t.Errorf("%s: back to %s %v", from, back, err)
		}
		// A server that lowers the case of a local part does no harm.
		low := Address{Local: strings.ToLower(made.Local), Domain: made.Domain}
		if back, err := srs().Sender(low, srsNow); err != nil || !strings.EqualFold(back.Local, a.Local) {
			t.Errorf("%s in lower case: %s %v", from, back, err)
		}
	}
	if null := (Address{}); srs().Make(null, "us.test", srsNow) != null {
		t.Error("the null sender was rewritten")
	}
}

func TestReturnAddressesOfOthers(t *testing.T) {
	t.Parallel()
	other := ReturnAddresses{Secret: []byte("another secret"), Age: time.Hour}
	first := other.Make(Address{Local: "lan", Domain: "example.org"}, "first.test", srsNow)
	made := srs().Make(first, "us.test", srsNow)
	if !strings.HasPrefix(made.Local, "SRS1=") {
		t.Fatal(made)
	}
	if back, err := srs().Sender(made, srsNow); err != nil || back != first {
		t.Errorf("%s: back to %s %v", made, back, err)
	}
	// The hash of one kind of address, which holds what a stranger wrote, is none of the other kind.
	parts := strings.SplitN(made.Local, "=", 3)
	if joined := srs(); joined.matches(parts[1], "SRS0", parts[2]) || joined.matches(parts[1], parts[2]) {
		t.Errorf("the hash of %s is another's too", made)
	}
	// A third forwarder shortens the way: it goes from us to the first one at once.
	third := ReturnAddresses{Secret: []byte("a third secret"), Age: time.Hour}
	long := third.Make(made, "third.test", srsNow)
	if back, err := third.Sender(long, srsNow); err != nil || back != first {
		t.Errorf("%s: back to %s %v", long, back, err)
	}
}

func TestReturnAddressesRefused(t *testing.T) {
	t.Parallel()
	good := srs().Make(Address{Local: "lan", Domain: "example.org"}, "us.test", srsNow)
	for name, c := range map[string]struct {
		local string
		at    time.Duration
	}{
		"too old":      {good.Local, 24 * 24 * time.Hour},
		"from far off": {good.Local, -3 * 24 * time.Hour},
		"wrapped":      {good.Local, 900 * 24 * time.Hour},
		"other person": {strings.Replace(good.Local, "=lan", "=nam", 1), 0},
		"other domain": {strings.Replace(good.Local, "example.org", "example.net", 1), 0},
		"other hash":   {"SRS0=aaaaaaaa" + good.Local[13:], 0},
		"no hash":      {"SRS0==" + good.Local[14:], 0},
		"short":        {"SRS0=x=y", 0},
		"SRS1":         {"SRS1=aaaaaaaa=example.org==x=y=z=a", 0},
		"SRS1 short":   {"SRS1=aaaaaaaa", 0},
		"none":         {"lan", 0},
	} {
		if a, err := srs().Sender(Address{Local: c.local, Domain: "us.test"}, srsNow.Add(c.at)); err == nil {
			t.Errorf("%s: %s leads to %s", name, c.local, a)
		}
	}
	stolen := ReturnAddresses{Secret: []byte("not the secret"), Age: srs().Age}
	if _, err := stolen.Sender(good, srsNow); err == nil {
		t.Error("another secret does")
	}
}

func FuzzReturnAddresses(f *testing.F) {
	f.Add("SRS0=abcdefgh=ab=example.org=lan")
	f.Add("srs1+abcdefgh=a.test==x=y=z=lan")
	f.Add("SRS0-=")
	f.Add("lan")
	f.Fuzz(func(t *testing.T, local string) {
		if _, err := srs().Sender(Address{Local: local, Domain: "us.test"}, srsNow); err == nil {
			t.Fatalf("%q was believed", local)
		}
		from := Address{Local: local, Domain: "example.org"}
		made := srs().Make(from, "us.test", srsNow)
		if local == "" || IsReturnAddress(local) {
			return
		}
		if back, err := srs().Sender(made, srsNow); err != nil || back != from {
			t.Fatalf("%q came back as %q: %v", local, back.Local, err)
		}
	})
}
