package queue

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tram/internal/blob"
	"tram/internal/envelope"
	"tram/internal/kv"
	"tram/internal/smtp"
)

func sampleRecord() *record {
	return &record{id: "x", body: blob.Ref{ID: blob.ID{1}, Size: 99, SHA256: [32]byte{2}}, eightBit: true,
		utf8: true, warned: true, bySet: true,
		by:      envelope.DeliverBy{Deadline: start.Add(time.Hour), Return: true},
		created: start, started: qtime(start.UnixMilli()), holdUntil: start.Add(48 * time.Hour), prio: -4,
		account: 77, from: addr("thư@việt.test"), origin: envelope.Submission, messageID: "<a@b>", ret: "FULL",
		envID: "e", reason: "because",
		legs: []leg{{dest: "a.test", due: 5, attempts: 3}, {dest: destLocal, due: -1, done: true}},
		rcpts: []recipient{
			{Recipient: Recipient{Address: addr(`"a b"@a.test`), Notify: envelope.NotifyDelay, ORCPT: "rfc822;x"},
				attempts: 3, reply: smtp.NewReply(451, smtp.Enhanced{4, 7, 1}, "later"), host: "mx", tried: start},
			{Recipient: Recipient{Address: smtp.Address{Local: "postmaster"}}, leg: 1, state: delivered},
		}}
}

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	want := sampleRecord()
	b := want.appendBinary(nil)
	got, err := decodeRecord("x", b)
	if err != nil {
		t.Fatal(err)
	}
	all := cmp.AllowUnexported(record{}, leg{}, recipient{})
	if diff := cmp.Diff(want, got, all); diff != "" {
		t.Error(diff)
	}
	for i := range b { // no prefix of a row is a row
		if _, err := decodeRecord("x", b[:i]); !errors.Is(err, kv.ErrCorrupt) {
			t.Fatalf("%d of %d octets: %v", i, len(b), err)
		}
	}
	if _, err := decodeRecord("x", append(b, 0)); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("an octet too many: %v", err)
	}
	b[0] = version + 1
	if _, err := decodeRecord("x", b); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("another version: %v", err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(sampleRecord().appendBinary(nil))
	hashed := sampleRecord()
	hashed.content = [32]byte{7}
	f.Add(hashed.appendBinary(nil))
	f.Add([]byte{version})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord("x", b)
		if err != nil {
			if !errors.Is(err, kv.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		once := r.appendBinary(nil)
		again, err := decodeRecord("x", once)
		if err != nil {
			t.Fatalf("%x reads as %+v, which is written as %x: %v", b, r, once, err)
		}
		if twice := again.appendBinary(nil); !bytes.Equal(once, twice) {
			t.Fatalf("%x, then %x", once, twice)
		}
		r.closeLegs()
		_ = r.finished()
	})
}

func FuzzRows(f *testing.F) {
	f.Add((&destRow{count: 3, wake: 7, fails: 2, since: 9, last: "x"}).appendBinary(nil))
	f.Add((&sentRow{1, 2, 3, 4, 5}).appendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := decodeDest(b); err == nil {
			if back, err := decodeDest(d.appendBinary(nil)); err != nil || back != d {
				t.Fatalf("%+v, %+v, %v", d, back, err)
			}
		}
		if s, err := decodeSent(b); err == nil {
			if back, err := decodeSent(s.appendBinary(nil)); err != nil || back != s {
				t.Fatalf("%+v, %+v, %v", s, back, err)
			}
		}
		_, _ = decodeCounts(b)
		if until, err := decodeHanding(b); err == nil {
			if back, err := decodeHanding(appendHanding(nil, until)); err != nil || back != until {
				t.Fatalf("%v, %v, %v", until, back, err)
			}
		}
		_, _, _ = parseTimed(b)
		_, _ = parseLeg(0, b)
	})
}

// A queue of a newer version, or one that is damaged, is not opened.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		meta []byte
		want error
	}{{[]byte{version + 1, 4}, kv.ErrNewer}, {[]byte{version, 0}, kv.ErrCorrupt}, {[]byte{version}, kv.ErrCorrupt}} {
		w := newWorld(t)
		err := w.db.Update(t.Context(), metaScope, func(txn kv.Txn) error { return txn.Set(metaKey, tt.meta) })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), w.o); !errors.Is(err, tt.want) {
			t.Errorf("%x: %v", tt.meta, err)
		}
	}
}
