package ledger

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tram/bench/wire"
)

// TestJournal: what many clients entered at once is in the file, and a ledger made of the file alone
// expects the same.
func TestJournal(t *testing.T) {
	t.Parallel()
	s := Server{Users: []string{"a@x.test", "b@x.test"}, Outside: "out.test"}
	l := New(s, 7)
	path := filepath.Join(t.TempDir(), "journal")
	if err := l.Record(path); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			p := l.message("")
			if i%4 == 3 {
				p = l.outside("a@x.test")
			}
			if i%5 > 0 { // the others were sent and the client heard nothing more
				l.enter(p.token, []wire.Ack{wire.Acked, wire.Unknown, wire.Refused}[i%3])
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := Load(s, path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(l.entries, got.entries, cmp.AllowUnexported(entry{})); d != "" {
		t.Errorf("the journal differs:\n%s", d)
	}
	if err := l.Record(path); err == nil {
		t.Error("a journal was overwritten")
	}
}

// TestJournalDamaged: a line that is none is told with its place.
func TestJournalDamaged(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"acked 1.1\n", "sent 1.1 a 5 abc\n", "\n", "sent 1.1 a b c\n", "lost 1.1\n"} {
		path := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(Server{}, path); err == nil || !strings.Contains(err.Error(), "journal:1: ") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestArrived counts what reached the next hop: once, twice, with other bytes, of somebody else.
func TestArrived(t *testing.T) {
	t.Parallel()
	l := New(Server{Users: []string{"a@x.test"}, Outside: "out.test"}, 7)
	whole, twice, torn, never := l.outside("a@x.test"), l.outside("a@x.test"), l.outside("a@x.test"), l.outside("a@x.test")
	for _, p := range []parcel{whole, twice, torn, never} {
		l.enter(p.token, wire.Acked)
	}
	trace := []byte("Received: from here\r\n")
	l.Arrived(append(trace, whole.body...))
	l.Arrived(twice.body)
	l.Arrived(twice.body)
	l.Arrived(bytes.Replace(torn.body, []byte("\r\n\r\n"), []byte("\r\n\r\nx"), 1))
	l.Arrived([]byte("Subject: a notice\r\n\r\n"))
	if l.Waiting() != 1 {
		t.Errorf("%d wait", l.Waiting())
	}
	l.server.Users = nil // nobody to read
	r, err := l.Compare()
	if err != nil {
		t.Fatal(err)
	}
	want := Report{Acked: 4, Lost: []string{never.token}, Torn: []string{torn.token}, Twice: []string{twice.token}}
	if d := cmp.Diff(want, r); d != "" {
		t.Error(d)
	}
	if r.Err() == nil {
		t.Error("the report is without fault")
	}
}
