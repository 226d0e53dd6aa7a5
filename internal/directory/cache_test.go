package directory

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"tram/internal/kv"
)

// meddler does something in the middle of a View, after a row was read, or makes reading it fail.
type meddler struct {
	kv.Database
	row    []byte
	meddle func()
	fail   error
}

func (m *meddler) View(ctx context.Context, s kv.Scope, fn func(kv.Reader) error) error {
	return m.Database.View(ctx, s, func(r kv.Reader) error { return fn(meddled{r, m}) })
}

type meddled struct {
	kv.Reader
	m *meddler
}

func (r meddled) Get(key []byte) ([]byte, error) {
	if r.m.fail != nil && bytes.Equal(key, r.m.row) {
		return nil, r.m.fail
	}
	v, err := r.Reader.Get(key)
	if meddle := r.m.meddle; meddle != nil && bytes.Equal(key, r.m.row) {
		r.m.meddle = nil
		meddle()
	}
	return v, err
}

// TestChangeInTheMiddleOfALookup proves that what a look-up read just before a change is not
// remembered after it, at whichever row the change comes between.
func TestChangeInTheMiddleOfALookup(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	var db *meddler
	h := open(t, func(o *Options) { db = &meddler{Database: o.DB}; o.DB = db })
	h.domain("example.test")
	alice := h.account("alice@example.test")
	for what, row := range map[string][]byte{"version": key(kindVersion), "account": accountRow(alice.ID)} {
		for _, disabled := range []bool{true, false} {
			if err := h.SetName(ctx, alice.ID, what); err != nil { // forgets what is remembered
				t.Fatal(err)
			}
			db.row = row
			db.meddle = func() {
				if err := h.SetDisabled(ctx, alice.ID, disabled); err != nil {
					t.Error(err)
				}
				if what == "account" {
					if _, err := h.Domains(ctx); err != nil { // notices the new version
						t.Error(err)
					}
				}
			}
			_, _ = h.Resolve(ctx, alice.Address) // either answer is right: the change came meanwhile
			if db.meddle != nil {
				t.Fatalf("%s: nothing was read", what)
			}
			_, err := h.Resolve(ctx, alice.Address)
			if errors.Is(err, ErrDisabled) != disabled {
				t.Errorf("%s: after the change: %v, want disabled %v", what, err, disabled)
			}
		}
	}
}
