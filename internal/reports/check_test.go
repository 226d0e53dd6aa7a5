package reports

import (
	"testing"
	"time"

	"tram/internal/kv"
	"tram/internal/mailauth"
	"tram/internal/reports/bimi"
	"tram/internal/tlspolicy"
)

// checked returns what a check finds.
func (w *world) checked() (found []Finding) {
	w.t.Helper()
	if err := Check(w.t.Context(), w.db, func(f Finding) { found = append(found, f) }); err != nil {
		w.t.Fatal(err)
	}
	return found
}

// busy is a house with rows of every sort, and a report of it.
func busy(t *testing.T) (w *world, l Listed, id reportID) {
	w = newWorld(t, nil)
	w.dns.Add(bankRecord)
	for i := range 2 {
		w.take(letter(t, "a.example", "text/xml", "", reportNumber(i, start)), authentic("a.example"))
	}
	w.take(letter(t, "a.example", "text/xml", "", reportNumber(9, start)), forged("a.example"))
	w.take(letter(t, "a.example", "application/tlsrpt+json", "", fixtureFile(t, "tlsrpt/testdata/01-google.json")),
		authentic("a.example"))
	w.Observe(mail(forger, "192.0.2.66", mailauth.PolicyReject, false), Refused)
	w.Result(session(forger, tlspolicy.Success))
	w.send(start)
	icon := Icon{Indicator: bimi.Indicator{Domain: "bank.example"}, Until: start.Add(time.Hour)}
	if err := w.keepIcon(t.Context(), icon); err != nil {
		t.Fatal(err)
	}
	l = w.dmarcOf("boat.example", false).List[0]
	id, _ = parseID(l.Name)
	return w, l, id
}

// TestCheck makes one thing wrong at a time: a check finds it, and after a repair nothing is found.
func TestCheck(t *testing.T) {
	t.Parallel()
	day := dayOf(start)
	for name, c := range map[string]struct {
		damage func(w *world, l Listed, id reportID)
		kind   string // "": nothing is wrong
		kept   int    // rows that are kept aside
	}{
		"nothing": {func(*world, Listed, reportID) {}, "", 0},
		"head":    {func(w *world, l Listed, id reportID) { w.put(l.key(id), []byte{version, '{'}) }, "report", 4},
		"head elsewhere": {func(w *world, l Listed, id reportID) {
			key := l.key(id)
			b, err := encode(l.Received)
			if err != nil {
				w.t.Fatal(err)
			}
			key[len(key)-9]++ // another end
			w.put(key, b)
		}, "report", 1},
		"head's key": {func(w *world, _ Listed, _ reportID) { w.put([]byte{space, rowHead, 'd'}, []byte{1}) }, "report", 1},
		"no head":    {func(w *world, l Listed, id reportID) { w.remove(l.key(id)) }, "report-index", 3},
		"piece":      {func(w *world, _ Listed, id reportID) { w.put(pieceKey(id, 0), []byte{version, 1, 2}) }, "report", 4},
		"no piece":   {func(w *world, _ Listed, id reportID) { w.remove(pieceKey(id, 0)) }, "report", 3},
		"stray piece": {func(w *world, _ Listed, id reportID) { w.put(pieceKey(id+1, 0), []byte{version}) }, "report",
			1},
		"index":     {func(w *world, _ Listed, id reportID) { w.put(indexKey(id), []byte("x")) }, "report-index", 0},
		"no index":  {func(w *world, _ Listed, id reportID) { w.remove(indexKey(id)) }, "report-index", 0},
		"no expiry": {func(w *world, _ Listed, id reportID) { w.remove(expiryKey(start, id)) }, "report-index", 0},
		"expiry": {func(w *world, _ Listed, id reportID) { w.put(expiryKey(start.Add(time.Hour), id), nil) },
			"report-index", 1},
		"tally": {func(w *world, _ Listed, _ reportID) { w.put(tallyKey(DMARC, "boat.example", true), []byte{9}) },
			"report-count", 0},
		"tally, number": {func(w *world, _ Listed, _ reportID) {
			w.put(tallyKey(DMARC, "boat.example", true), []byte("\x01"+`{"reports":7,"bytes":0}`))
		}, "report-count", 0},
		"tally of none": {func(w *world, _ Listed, _ reportID) { w.put(tallyKey(TLS, "x.example", true), []byte{9}) },
			"report-count", 1},
		"day":        {func(w *world, _ Listed, _ reportID) { w.put(dayKey(DMARC, day), []byte{9}) }, "report-count", 1},
		"domain":     {func(w *world, _ Listed, _ reportID) { w.put(domainKey(TLS, day, forger), []byte{9}) }, "report-count", 1},
		"count":      {func(w *world, _ Listed, _ reportID) { w.put(countKey(TLS, day, forger, "x"), []byte{1}) }, "report-count", 1},
		"count, key": {func(w *world, _ Listed, _ reportID) { w.put([]byte{space, rowCounted, 'z'}, nil) }, "report-count", 1},
		"icon":       {func(w *world, _ Listed, _ reportID) { w.put(iconKey("bank.example"), []byte{9}) }, "icon", 2},
		"no renewal": {func(w *world, _ Listed, _ reportID) { w.remove(renewalKey(start.Add(time.Hour), "bank.example")) },
			"icon", 0},
		"renewal": {func(w *world, _ Listed, _ reportID) { w.put(renewalKey(start, "bank.example"), nil) }, "icon", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, l, id := busy(t)
			c.damage(w, l, id)
			before := w.rows()
			found := w.checked()
			if w.rows() != before {
				t.Error("a check has changed something")
			}
			named := false
			for _, f := range found {
				named = named || f.Kind == c.kind && f.Where != "" && f.What != "" && f.Repairable
			}
			if named != (c.kind != "") || c.kind == "" && len(found) > 0 {
				t.Errorf("found %+v", found)
			}
			kept, did := 0, 0
			err := Repair(t.Context(), w.db, RepairOptions{
				Did:  func(Finding) { did++ },
				Left: func(f Finding) { t.Errorf("left: %+v", f) },
				Keep: func(_, _ []byte) error { kept++; return nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			if kept != c.kept || (did > 0) != (c.kind != "") {
				t.Errorf("%d rows were kept, want %d; %d deeds", kept, c.kept, did)
			}
			if again := w.checked(); len(again) > 0 {
				t.Errorf("after a repair: %+v", again)
			}
		})
	}
}

// TestCheckStops: a check that nobody waits for any more ends with an error, not with a clean bill.
func TestCheckStops(t *testing.T) {
	t.Parallel()
	w, _, _ := busy(t)
	broken := &failingDB{Database: w.db, err: kv.ErrClosed}
	if err := Check(t.Context(), broken, func(Finding) {}); err == nil {
		t.Error("a database that is closed is in order")
	}
}

// TestDamagedIcon: an icon whose row is damaged is looked up again.
func TestDamagedIcon(t *testing.T) {
	t.Parallel()
	w, _, _ := busy(t)
	w.put(iconKey("bank.example"), []byte{9})
	if _, known, err := w.BIMI(t.Context(), "bank.example"); known || err != nil {
		t.Errorf("known %v, %v", known, err)
	}
	if err := w.lookUpIcon(t.Context(), "bank.example", ""); err != nil {
		t.Fatal(err)
	}
	if _, known, err := w.BIMI(t.Context(), "bank.example"); !known || err != nil {
		t.Errorf("known %v, %v", known, err)
	}
}

// TestIconsGo: icons that no mail has asked for in a long time are removed, others stay.
func TestIconsGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	keep := func(domain string, until time.Time) {
		icon := Icon{Indicator: bimi.Indicator{Domain: domain}, Until: until}
		if err := w.keepIcon(t.Context(), icon); err != nil {
			t.Fatal(err)
		}
	}
	keep("old.example", start)
	keep("new.example", start)
	keep("broken.example", start)
	w.put(iconKey("broken.example"), []byte{9})
	keep("new.example", start.Add(48*time.Hour))
	w.put(renewalKey(start, "new.example"), nil) // as damage may leave it
	w.clock.Set(start.Add(w.limits.Keep + time.Hour))
	if err := w.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, known, err := w.BIMI(t.Context(), "new.example"); !known || err != nil {
		t.Errorf("known %v, %v", known, err)
	}
	if n := w.rows(); n != 2 {
		t.Errorf("%d rows are left", n)
	}
}
