package kv

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func TestPrefixEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ prefix, want string }{
		{"", ""}, {"a", "b"}, {"ab", "ac"}, {"a\xff", "b"}, {"a\xff\xff", "b"}, {"\xff", ""},
		{"\xff\xff", ""}, {"\xfe\xff", "\xff"}, {"a\x00", "a\x01"},
	} {
		p := []byte(c.prefix)
		got := PrefixEnd(p)
		if string(got) != c.want || (got == nil) != (c.want == "") {
			t.Errorf("PrefixEnd(%q) = %q, want %q", c.prefix, got, c.want)
		}
		if string(p) != c.prefix {
			t.Errorf("PrefixEnd changed its argument %q to %q", c.prefix, p)
		}
	}
}

// field is a random field of a key, in both forms.
type field struct {
	number uint64
	text   string
	kind   int // 0: 8 bytes, 1: 4 bytes, 2: string
}

func (f field) append(dst []byte) []byte {
	switch f.kind {
	case 0:
		return AppendUint64(dst, f.number)
	case 1:
		return AppendUint32(dst, uint32(f.number))
	}
	return AppendString(dst, f.text)
}

func compare(a, b []field) int {
	for i := range a {
		d := cmp.Compare(a[i].number, b[i].number)
		switch a[i].kind {
		case 1:
			d = cmp.Compare(uint32(a[i].number), uint32(b[i].number))
		case 2:
			d = strings.Compare(a[i].text, b[i].text)
		}
		if d != 0 {
			return d
		}
	}
	return 0
}

// TestKeyOrder: keys of the same fields are ordered as the fields are, and read back.
func TestKeyOrder(t *testing.T) {
	t.Parallel()
	text := rapid.StringMatching(`(a|b|\x00|\x01|\x{ff}){0,4}`)
	rapid.Check(t, func(t *rapid.T) {
		kinds := rapid.SliceOfN(rapid.IntRange(0, 2), 1, 4).Draw(t, "kinds")
		draw := func(name string) []field {
			fields := make([]field, len(kinds))
			for i, k := range kinds {
				fields[i] = field{kind: k, text: text.Draw(t, name),
					number: rapid.OneOf(rapid.Uint64Range(0, 3), rapid.Uint64()).Draw(t, name)}
			}
			return fields
		}
		a, b := draw("a"), draw("b")
		var ka, kb []byte
		for i := range kinds {
			ka, kb = a[i].append(ka), b[i].append(kb)
		}
		if got, want := bytes.Compare(ka, kb), compare(a, b); got != want {
			t.Fatalf("%v and %v compare as %d, want %d: %x, %x", a, b, got, want, ka, kb)
		}
		if text := string(AppendBytes(nil, []byte(a[0].text))); text != string(AppendString(nil, a[0].text)) {
			t.Fatalf("AppendBytes and AppendString differ: %x", text)
		}
		rest := ka
		for i, f := range a {
			var err error
			got := field{kind: f.kind, number: f.number, text: f.text}
			switch f.kind {
			case 0:
				got.number, rest, err = TakeUint64(rest)
			case 1:
				var n uint32
				n, rest, err = TakeUint32(rest)
				got.number = f.number&^0xffffffff | uint64(n)
			default:
				got.text, rest, err = TakeString(rest)
			}
			if err != nil || got != f {
				t.Fatalf("field %d of %x: %v, %v, want %v", i, ka, got, err, f)
			}
		}
		if len(rest) != 0 {
			t.Fatalf("%x is left", rest)
		}
	})
}

func TestTakeDamaged(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "a", "a\x00", "a\x00\x02", "a\x00\x00", "a\x00\xff", "\x00\xff\x00"} {
		if _, _, err := TakeString([]byte(bad)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("TakeString(%q): %v, want ErrCorrupt", bad, err)
		}
	}
	if _, _, err := TakeUint64(make([]byte, 7)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("TakeUint64 of 7 bytes: %v", err)
	}
	if _, _, err := TakeUint32(make([]byte, 3)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("TakeUint32 of 3 bytes: %v", err)
	}
}

func FuzzTakeBytes(f *testing.F) {
	f.Add([]byte("a\x00\xffb\x00\x01rest"))
	f.Add([]byte("\x00\x01"))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, rest, err := TakeBytes(b)
		if err == nil && !bytes.Equal(append(AppendBytes(nil, v), rest...), b) {
			t.Errorf("%x is read as %x and %x", b, v, rest)
		}
	})
}

func TestLocks(t *testing.T) {
	t.Parallel()
	var l Locks
	ctx := context.Background()
	if err := l.Lock(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := l.Lock(ctx, "b"); err != nil { // another scope
		t.Fatal(err)
	}
	l.Unlock("b")
	ended, cancel := context.WithCancel(ctx)
	waiting := make(chan error)
	go func() { waiting <- l.Lock(ended, "a") }()
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("Lock whose context ended: %v", err)
	}
	if err := l.Lock(ended, "b"); !errors.Is(err, context.Canceled) {
		t.Errorf("Lock of a free scope with an ended context: %v", err)
	}
	l.Unlock("a")
	// Many on few scopes: never two inside, and nothing is left behind.
	var inside [3]int
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 300 {
				n := (w + i) % len(inside)
				scope := Scope(rune('x' + n))
				if err := l.Lock(ctx, scope); err != nil {
					t.Error(err)
					return
				}
				inside[n]++
				if inside[n] != 1 {
					t.Errorf("%d hold scope %s", inside[n], scope)
				}
				inside[n]--
				l.Unlock(scope)
			}
		})
	}
	wg.Wait()
	for i := range l.shards {
		if n := len(l.shards[i].m); n > 0 {
			t.Errorf("%d locks are left that nobody holds", n)
		}
	}
}

func TestFreeing(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	if IsFreeing(ctx) || !IsFreeing(Freeing(ctx)) {
		t.Error("IsFreeing does not tell a context of Freeing from another")
	}
}

// plain is a Reader without Peek.
type plain struct{ Reader }

func (plain) Get(key []byte) ([]byte, error) {
	if len(key) == 0 {
		return nil, ErrNotFound
	}
	return key, nil
}

func TestPeekWithoutPeeker(t *testing.T) {
	t.Parallel()
	got := ""
	err := Peek(plain{}, []byte("k"), func(v []byte) error { got = string(v); return nil })
	if got != "k" || err != nil {
		t.Errorf("Peek: %q, %v", got, err)
	}
	if err := Peek(plain{}, nil, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("Peek of a missing key: %v", err)
	}
}
