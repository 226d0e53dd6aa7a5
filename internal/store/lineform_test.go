package store

import (
	"maps"
	"slices"
	"testing"
	"time"

	"tram/internal/kv/memkv"
	"tram/internal/limits"
)

func (h *house) lineForms() (forms map[EmailID]LineForm) {
	h.t.Helper()
	h.view(func(tx *Tx) (err error) {
		forms, err = tx.LineForms()
		return err
	})
	return forms
}

func (h *house) wantOpen(when string, want ...EmailID) {
	h.t.Helper()
	got := h.lineForms()
	if ids := slices.Sorted(maps.Keys(got)); !slices.Equal(ids, want) {
		h.t.Errorf("%s: open ends of %v, want %v", when, ids, want)
	}
	for id, f := range got {
		if f != (LineForm{Open: true}) {
			h.t.Errorf("%s: email %d has the form %+v", when, id, f)
		}
	}
}

// TestOpenEnded follows messages without a line end at their end through their lives.
func TestOpenEnded(t *testing.T) {
	t.Parallel()
	h := openHouse(t, memkv.New())
	in := h.inbox()
	h.append(mail(1), in)
	h.wantOpen("nothing open")
	open := h.append("Subject: x\n\nno end", in).Email
	bare := h.append("Subject: x", in).Email
	h.append("", in)
	h.wantOpen("appended", open, bare)

	pairs := h.copy(in, in, 2)
	if len(pairs) != 1 {
		t.Fatalf("copied %v", pairs)
	}
	copied := h.list(in).At(h.list(in).Len() - 1).Email
	h.wantOpen("copied", open, bare, copied)

	h.expunge(in, 2)
	h.wantOpen("recoverable", open, bare, copied)
	h.update(func(tx *Tx) error { return tx.Purge(open) })
	h.wantOpen("purged", bare, copied)
	h.clock.Advance(limits.Default().Storage.Recoverable + time.Hour)
	h.check()
}

// withUTF8 has a header that needs UTF-8; its surrogate has 17 octets more in place of "Phở", and a
// line end.
const (
	withUTF8       = "Subject: Phở\n\nx"
	withUTF8Growth = int64(len("=?utf-8?b?UGjhu58=?=") - len("Phở") + len("\r\n"))
)

// TestSurrogateForms follows messages with UTF-8 in their headers.
func TestSurrogateForms(t *testing.T) {
	t.Parallel()
	h := openHouse(t, memkv.New())
	in := h.inbox()
	h.append(mail(1), in)
	id := h.append(withUTF8, in).Email
	h.copy(in, in, 2)
	copied := h.list(in).At(h.list(in).Len() - 1).Email
	want := LineForm{Open: true, Surrogate: true, Growth: withUTF8Growth}
	if got := h.lineForms(); len(got) != 2 || got[id] != want || got[copied] != want {
		t.Errorf("forms %+v, want %+v for %d and %d", got, want, id, copied)
	}
	h.check()
}

// TestLineFormsOfOldData: rows of a store from before there were any, and rows of another form of
// surrogate, are made anew by a deep repair. Until then the message goes out as it is.
func TestLineFormsOfOldData(t *testing.T) {
	t.Parallel()
	surrogate := LineForm{Open: true, Surrogate: true, Growth: withUTF8Growth}
	tests := map[string]struct {
		text        string
		plant       func(*planter)
		until, want LineForm
	}{
		"no open end": {
			"Subject: x\n\nno end", func(p *planter) { p.first(kindLineForm, p.remove) },
			LineForm{}, LineForm{Open: true},
		},
		"open end alone": {withUTF8, func(p *planter) {
			p.put(lineFormKey(nil, 1, 1), []byte{version1})
		}, LineForm{Open: true}, surrogate},
		"another form": {withUTF8, func(p *planter) {
			p.put(lineFormKey(nil, 1, 1), []byte{version1, 1, 99, 8})
		}, LineForm{Open: true}, surrogate},
		"another growth": {withUTF8, func(p *planter) {
			p.put(lineFormKey(nil, 1, 1), []byte{version1, 1, 1, 8})
		}, LineForm{Open: true, Surrogate: true, Growth: 4}, surrogate},
		"cut short": {withUTF8, func(p *planter) {
			p.put(lineFormKey(nil, 1, 1), []byte{version1, 1})
		}, LineForm{}, surrogate},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := openHouse(t, memkv.New())
			id := h.append(tt.text, h.inbox()).Email
			h.plant(damage{plant: tt.plant})
			if got := h.lineForms()[id]; got != tt.until {
				t.Errorf("before the repair %+v, want %+v", got, tt.until)
			}
			if name == "cut short" {
				h.wantFinding("damaged")
			} else {
				h.wantFinding("line-form")
			}
			if left := h.repair(); len(left) > 0 {
				t.Errorf("not repaired: %+v", left)
			}
			h.open()
			if got := h.lineForms()[id]; got != tt.want {
				t.Errorf("after the repair %+v, want %+v", got, tt.want)
			}
		})
	}
}
