package kvtest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"

	"pgregory.net/rapid"

	"tram/internal/kv"
)

// modelState is what a database should hold.
type modelState struct{ want map[string]string }

func (m *modelState) copy() *modelState { return &modelState{want: maps.Clone(m.want)} }

// step is one call in a transaction.
type step struct {
	Op         string
	Key, Other string
	Open       int // bit 0: nil start, bit 1: nil end
	Reverse    bool
	Limit      int
}

// keys are few and close together, so that ranges and keys meet.
var keyGen = rapid.Custom(func(t *rapid.T) string {
	return rapid.StringOfN(rapid.RuneFrom([]rune{'a', 'b', 'c'}), 0, 3, -1).Draw(t, "key") +
		rapid.SampledFrom([]string{"", "\x00", "\xff", "\xff\xff"}).Draw(t, "end")
})

var stepGen = rapid.Custom(func(t *rapid.T) step {
	return step{
		Op: rapid.SampledFrom([]string{
			"set", "set", "set", "delete", "deleteRange", "get", "scan", "scan",
		}).Draw(t, "op"),
		Key: keyGen.Draw(t, "key"), Other: keyGen.Draw(t, "other"),
		Open:    rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3}).Draw(t, "open"),
		Reverse: rapid.Bool().Draw(t, "reverse"), Limit: rapid.IntRange(0, 4).Draw(t, "limit"),
	}
})

func (s step) bounds() (start, end []byte) {
	start, end = []byte(s.Key), []byte(s.Other)
	if s.Open&1 != 0 {
		start = nil
	}
	if s.Open&2 != 0 {
		end = nil
	}
	return start, end
}

func within(key string, start, end []byte) bool {
	return key >= string(start) && (end == nil || key < string(end))
}

// step does s in both and compares.
func (m *modelState) step(txn kv.Txn, s step) error {
	start, end := s.bounds()
	switch s.Op {
	case "set":
		if s.Key == "" {
			if err := txn.Set(nil, nil); !errors.Is(err, kv.ErrEmptyKey) {
				return fmt.Errorf("Set of an empty key: %w", err)
			}
			return nil
		}
		m.want[s.Key] = s.Other
		return txn.Set([]byte(s.Key), []byte(s.Other))
	case "delete":
		delete(m.want, s.Key)
		return txn.Delete([]byte(s.Key))
	case "deleteRange":
		maps.DeleteFunc(m.want, func(k, _ string) bool { return within(k, start, end) })
		return txn.DeleteRange(start, end)
	case "get":
		return m.get(txn, s.Key)
	}
	return m.scan(txn, kv.Range{Start: start, End: end, Reverse: s.Reverse, Limit: s.Limit})
}

func (m *modelState) get(r kv.Reader, key string) error {
	got, err := r.Get([]byte(key))
	want, ok := m.want[key]
	if ok && (err != nil || string(got) != want) || !ok && !errors.Is(err, kv.ErrNotFound) {
		return fmt.Errorf("Get %q: %q, %v, want %q, %v", key, got, err, want, ok)
	}
	return nil
}

func (m *modelState) scan(r kv.Reader, rng kv.Range) error {
	want := []string{}
	for k, v := range m.want {
		if within(k, rng.Start, rng.End) {
			want = append(want, k+"="+v)
		}
	}
	sort.Slice(want, func(i, j int) bool { return keyOf(want[i]) < keyOf(want[j]) })
	if rng.Reverse {
		slices.Reverse(want)
	}
	if rng.Limit > 0 && len(want) > rng.Limit {
		want = want[:rng.Limit]
	}
	got, err := list(r, rng)
	if err != nil {
		return err
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("Scan %+v: %q, want %q", rng, got, want)
	}
	return nil
}

// keyOf returns the key of a "key=value"; keys of the model hold no "=".
func keyOf(pair string) string {
	for i := range len(pair) {
		if pair[i] == '=' {
			return pair[:i]
		}
	}
	return pair
}

// same compares the whole database with the model, both ways.
func (m *modelState) same(r kv.Reader) error {
	for k := range m.want {
		if err := m.get(r, k); err != nil {
			return err
		}
	}
	return errors.Join(m.scan(r, kv.Range{}), m.scan(r, kv.Range{Reverse: true}))
}
