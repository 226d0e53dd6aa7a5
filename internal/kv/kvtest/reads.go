package kvtest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tram/internal/kv"
)

func ownWrites(t *testing.T, s *suite) {
	db := s.open(t)
	fill(t, db, "a", "b", "c", "d")
	update(t, db, "fill", func(txn kv.Txn) error {
		wantList(t, txn, kv.Range{}, "a==a", "b==b", "c==c", "d==d")
		if err := errors.Join(txn.Set([]byte("b"), []byte("new")), txn.Delete([]byte("c")),
			txn.Set([]byte("bb"), []byte("in")), txn.Set([]byte("e"), nil)); err != nil {
			return err
		}
		wantValue(t, txn, "a", "=a")
		wantValue(t, txn, "b", "new")
		wantNone(t, txn, "c")
		wantValue(t, txn, "e", "")
		wantList(t, txn, kv.Range{}, "a==a", "b=new", "bb=in", "d==d", "e=")
		wantList(t, txn, kv.Range{Reverse: true}, "e=", "d==d", "bb=in", "b=new", "a==a")
		wantList(t, txn, kv.Range{Limit: 2, Start: []byte("b")}, "b=new", "bb=in")
		wantList(t, txn, kv.Range{Limit: 2, Reverse: true, End: []byte("d")}, "bb=in", "b=new")
		if err := errors.Join(txn.Set([]byte("c"), []byte("back")),
			txn.Delete([]byte("a")), txn.Delete([]byte("bb"))); err != nil {
			return err
		}
		wantList(t, txn, kv.Range{}, "b=new", "c=back", "d==d", "e=")
		wantList(t, txn, kv.Range{KeysOnly: true, Reverse: true}, "e=", "d=", "c=", "b=")
		return nil
	})
	view(t, db, "fill", func(r kv.Reader) error {
		wantList(t, r, kv.Range{}, "b=new", "c=back", "d==d", "e=")
		return nil
	})
}

func ownDeleteRange(t *testing.T, s *suite) {
	db := s.open(t)
	fill(t, db, "a", "b", "c", "d", "e", "f", "\xff", "\xff\xff")
	update(t, db, "fill", func(txn kv.Txn) error {
		if err := txn.DeleteRange([]byte("b"), []byte("d")); err != nil {
			return err
		}
		wantNone(t, txn, "b")
		wantValue(t, txn, "d", "=d")
		wantList(t, txn, kv.Range{}, "a==a", "d==d", "e==e", "f==f", "\xff==\xff",
			"\xff\xff==\xff\xff")
		// A later write inside of the deleted range stays, an earlier one goes.
		if err := errors.Join(txn.Set([]byte("c"), []byte("later")),
			txn.Set([]byte("dd"), []byte("earlier")),
			txn.DeleteRange([]byte("d"), []byte("f"))); err != nil {
			return err
		}
		wantList(t, txn, kv.Range{End: []byte("g")}, "a==a", "c=later", "f==f")
		wantList(t, txn, kv.Range{End: []byte("g"), Reverse: true}, "f==f", "c=later", "a==a")
		// Ranges that hold nothing.
		if err := errors.Join(txn.DeleteRange([]byte("f"), []byte("f")),
			txn.DeleteRange([]byte("g"), []byte("a")), txn.DeleteRange(nil, []byte{})); err != nil {
			return err
		}
		wantList(t, txn, kv.Range{End: []byte("g")}, "a==a", "c=later", "f==f")
		if err := txn.DeleteRange(nil, []byte("c")); err != nil {
			return err
		}
		wantList(t, txn, kv.Range{End: []byte("g")}, "c=later", "f==f")
		if err := txn.DeleteRange([]byte("f"), nil); err != nil {
			return err
		}
		wantList(t, txn, kv.Range{}, "c=later")
		return txn.Set([]byte("g"), []byte("last"))
	})
	view(t, db, "fill", func(r kv.Reader) error {
		wantList(t, r, kv.Range{}, "c=later", "g=last")
		return nil
	})
	update(t, db, "fill", func(txn kv.Txn) error {
		if err := txn.DeleteRange(nil, nil); err != nil {
			return err
		}
		wantList(t, txn, kv.Range{})
		return nil
	})
	view(t, db, "fill", func(r kv.Reader) error {
		wantList(t, r, kv.Range{})
		return nil
	})
}

func scan(t *testing.T, s *suite) {
	db := s.open(t)
	fill(t, db, "a", "b", "ba", "c", "d")
	all := []string{"a==a", "b==b", "ba==ba", "c==c", "d==d"}
	k := func(s string) []byte { return []byte(s) }
	for _, c := range []struct {
		r    kv.Range
		want []string
	}{
		{kv.Range{}, all},
		{kv.Range{Start: k("")}, all},
		{kv.Range{Start: k("b")}, all[1:]},
		{kv.Range{Start: k("b\x00")}, all[2:]},
		{kv.Range{End: k("b")}, all[:1]},
		{kv.Range{End: k("b\x00")}, all[:2]},
		{kv.Range{Start: k("b"), End: k("c")}, all[1:3]},
		{kv.Range{Start: k("b"), End: k("b")}, nil},
		{kv.Range{Start: k("c"), End: k("b")}, nil},
		{kv.Range{End: k("")}, nil},
		{kv.Range{Start: k("e")}, nil},
		{kv.Range{Limit: 1}, all[:1]},
		{kv.Range{Limit: 5}, all},
		{kv.Range{Limit: 6}, all},
		{kv.Range{Start: k("b"), Limit: 2}, all[1:3]},
	} {
		view(t, db, "fill", func(r kv.Reader) error {
			wantList(t, r, c.r, c.want...)
			back := c.r
			back.Reverse = true
			var want []string
			for i := len(c.want) - 1; i >= 0; i-- {
				want = append(want, c.want[i])
			}
			if c.r.Limit > 0 {
				return nil // the other end's pairs: below
			}
			wantList(t, r, back, want...)
			return nil
		})
	}
	view(t, db, "fill", func(r kv.Reader) error {
		wantList(t, r, kv.Range{Reverse: true, Limit: 2}, "d==d", "c==c")
		wantList(t, r, kv.Range{Reverse: true, Limit: 2, End: k("c")}, "ba==ba", "b==b")
		wantList(t, r, kv.Range{Reverse: true, Limit: 9, Start: k("ba"), End: k("d")},
			"c==c", "ba==ba")
		return r.Scan(kv.Range{KeysOnly: true}, func(key, value []byte) error {
			if value != nil {
				t.Errorf("a value of %q in a scan of keys", key)
			}
			return nil
		})
	})
}

func prefix(t *testing.T, s *suite) {
	db := s.open(t)
	fill(t, db, "a", "a\x00", "a\xff", "a\xff\xff", "a\xff\xffz", "b", "\xff", "\xff\x00", "\xff\xff\xff")
	for _, c := range []struct {
		prefix string
		want   []string
	}{
		{"a", []string{"a", "a\x00", "a\xff", "a\xff\xff", "a\xff\xffz"}},
		{"a\xff", []string{"a\xff", "a\xff\xff", "a\xff\xffz"}},
		{"a\xff\xff", []string{"a\xff\xff", "a\xff\xffz"}},
		{"\xff", []string{"\xff", "\xff\x00", "\xff\xff\xff"}},
		{"\xff\xff", []string{"\xff\xff\xff"}},
		{"c", nil},
		{"", []string{"a", "a\x00", "a\xff", "a\xff\xff", "a\xff\xffz", "b", "\xff", "\xff\x00",
			"\xff\xff\xff"}},
	} {
		want := make([]string, 0, len(c.want))
		for _, w := range c.want {
			want = append(want, w+"=="+w)
		}
		view(t, db, "fill", func(r kv.Reader) error {
			wantList(t, r, kv.Prefix([]byte(c.prefix)), want...)
			return nil
		})
	}
}

func scanEnds(t *testing.T, s *suite) {
	db := s.open(t)
	fill(t, db, "a", "b", "c")
	for _, c := range []struct{ give, want error }{{kv.Stop, nil}, {errWanted, errWanted}} {
		check := func(r kv.Reader) error {
			calls := 0
			err := r.Scan(kv.Range{}, func([]byte, []byte) error {
				calls++
				if calls == 2 {
					return c.give
				}
				return nil
			})
			if err != c.want || calls != 2 {
				t.Errorf("Scan whose callback returns %v: %v after %d calls", c.give, err, calls)
			}
			wantList(t, r, kv.Range{}, "a==a", "b==b", "c==c") // the transaction goes on
			return nil
		}
		view(t, db, "fill", check)
		update(t, db, "fill", func(txn kv.Txn) error { return check(txn) })
	}
}

func scanNested(t *testing.T, s *suite) {
	db := s.open(t)
	fill(t, db, "a", "b", "c")
	nested := func(r kv.Reader) error {
		var got []string
		err := r.Scan(kv.Range{}, func(outer, _ []byte) error {
			return r.Scan(kv.Range{Start: outer, Reverse: true}, func(inner, value []byte) error {
				v, err := r.Get(inner)
				got = append(got, fmt.Sprintf("%s%s%s", outer, inner, v))
				return err
			})
		})
		want := []string{"ac=c", "ab=b", "aa=a", "bc=c", "bb=b", "cc=c"}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("nested scans, -want +got:\n%s", d)
		}
		return err
	}
	view(t, db, "fill", nested)
	update(t, db, "fill", func(txn kv.Txn) error { return nested(txn) })
}

// scanWrites writes from inside of a Scan, which goes on over what was there when it began.
func scanWrites(t *testing.T, s *suite) {
	db := s.open(t)
	fill(t, db, "a", "b", "c")
	for _, before := range []bool{false, true} {
		update(t, db, "fill", func(txn kv.Txn) error {
			if before { // the transaction has writes already
				if err := txn.Set([]byte("bb"), []byte("x")); err != nil {
					return err
				}
			}
			seen := ""
			err := txn.Scan(kv.Range{}, func(key, _ []byte) error {
				seen += string(key) + " "
				if err := txn.Delete(key); err != nil {
					return err
				}
				if err := txn.Set(append([]byte("z"), key...), []byte("moved")); err != nil {
					return err
				}
				wantNone(t, txn, string(key))
				return nil
			})
			if err != nil {
				return err
			}
			want, left := "a b c ", []string{"za=moved", "zb=moved", "zc=moved"}
			if before {
				want, left = "a b bb c ", []string{"za=moved", "zb=moved", "zbb=moved", "zc=moved"}
			}
			if seen != want {
				t.Errorf("a scan that deletes saw %q, want %q", seen, want)
			}
			wantList(t, txn, kv.Range{}, left...)
			return txn.DeleteRange(nil, nil)
		})
		fill(t, db, "a", "b", "c")
	}
}

// scanLong scans more pairs than an engine fetches at once.
func scanLong(t *testing.T, s *suite) {
	db := s.open(t)
	const n = 5000
	key := func(i int) []byte { return fmt.Appendf(nil, "%06d", i) }
	update(t, db, "long", func(txn kv.Txn) error {
		for i := range n {
			if err := txn.Set(key(2*i), key(i)); err != nil {
				return err
			}
		}
		return nil
	})
	check := func(r kv.Reader, reverse bool, step, limit, want int) {
		t.Helper()
		got := 0
		err := r.Scan(kv.Range{Reverse: reverse, Limit: limit}, func(k, _ []byte) error {
			i := got
			if reverse {
				i = 2*n/step - 1 - got
			}
			if string(k) != string(key(i*step)) {
				return fmt.Errorf("pair %d has key %s, want %s", got, k, key(i*step))
			}
			got++
			return nil
		})
		if err != nil || got != want {
			t.Errorf("reverse %v: %d pairs, %v, want %d", reverse, got, err, want)
		}
	}
	view(t, db, "long", func(r kv.Reader) error {
		check(r, false, 2, 0, n)
		check(r, true, 2, 0, n)
		check(r, false, 2, n-1, n-1)
		check(r, true, 2, n-1, n-1)
		return nil
	})
	update(t, db, "long", func(txn kv.Txn) error {
		for i := range n {
			if err := txn.Set(key(2*i+1), key(i)); err != nil {
				return err
			}
		}
		check(txn, false, 1, 0, 2*n)
		check(txn, true, 1, 0, 2*n)
		check(txn, false, 1, n+1, n+1)
		return nil
	})
}
