package treap

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestAgainstMap compares every version of a treap with a map of its time.
func TestAgainstMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			tree *Map[int]
			want map[string]int
		}
		var versions []version
		now := version{nil, map[string]int{}}
		key := rapid.StringMatching(`[ab\x00]{0,4}`)
		for i := range rapid.IntRange(1, 60).Draw(t, "writes") {
			want := maps.Clone(now.want)
			k := key.Draw(t, "key")
			switch rapid.IntRange(0, 5).Draw(t, "op") {
			case 0:
				delete(want, k)
				now = version{now.tree.Delete([]byte(k)), want}
			case 1:
				end := key.Draw(t, "end")
				maps.DeleteFunc(want, func(w string, _ int) bool { return w >= k && w < end })
				now = version{now.tree.DeleteRange([]byte(k), []byte(end)), want}
			case 2:
				maps.DeleteFunc(want, func(w string, _ int) bool { return w >= k })
				now = version{now.tree.DeleteRange([]byte(k), nil), want}
			default:
				want[k] = i
				now = version{now.tree.Set([]byte(k), i), want}
			}
			versions = append(versions, now)
		}
		lo, hi := key.Draw(t, "lo"), key.Draw(t, "hi")
		for _, v := range versions {
			var wantKeys []string
			for k, i := range v.want {
				if n := v.tree.Get([]byte(k)); n == nil || n.Value != i {
					t.Fatalf("key %q: %v, want %d", k, n, i)
				}
				if k >= lo && k < hi {
					wantKeys = append(wantKeys, k)
				}
			}
			slices.Sort(wantKeys)
			var got []string
			v.tree.Ascend([]byte(lo), []byte(hi), func(n *Map[int]) bool {
				got = append(got, string(n.Key))
				return true
			})
			if !slices.Equal(got, wantKeys) {
				t.Fatalf("Ascend from %q to %q: %q, want %q", lo, hi, got, wantKeys)
			}
			got = nil
			v.tree.Descend([]byte(lo), []byte(hi), func(n *Map[int]) bool {
				got = append(got, string(n.Key))
				return true
			})
			slices.Reverse(got)
			if !slices.Equal(got, wantKeys) {
				t.Fatalf("Descend from %q to %q: %q, want %q", lo, hi, got, wantKeys)
			}
		}
	})
}
