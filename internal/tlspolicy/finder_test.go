package tlspolicy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tram/internal/dns"
)

// RFC 8461 §3.3: what is taken for a policy, and what a report calls the rest.
func TestFetch(t *testing.T) {
	t.Parallel()
	good := policyText(ModeEnforce, 86400, "mx.a.test")
	for _, tt := range []struct {
		name   string
		serve  http.HandlerFunc
		cert   *x509.Certificate
		result ResultType
	}{
		{name: "good", serve: text(good)},
		{name: "no charset", serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "TEXT/plain")
			_, _ = w.Write([]byte(good))
		}},
		{name: "a redirect", result: STSFetch, serve: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://mta-sts.b.test/.well-known/mta-sts.txt", http.StatusFound)
		}},
		{name: "not there", result: STSFetch, serve: http.NotFound},
		{name: "HTML", result: STSFetch, serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(good))
		}},
		{name: "no content", result: STSFetch, serve: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }},
		{name: "nonsense", result: STSInvalid, serve: text("hello")},
		{name: "too long", result: STSInvalid, serve: text(good + strings.Repeat("x: y\n", 20000))},
		{name: "cut", result: STSFetch, serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", "10000")
			_, _ = w.Write([]byte(good))
		}},
		{name: "silent", result: STSFetch, serve: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{name: "another name", result: STSWebPKI, serve: text(good), cert: &x509.Certificate{DNSNames: []string{"a.test"}}},
		{name: "expired", result: STSWebPKI, serve: text(good), cert: &x509.Certificate{
			DNSNames: []string{"mta-sts.a.test"}, NotBefore: start.Add(-time.Hour), NotAfter: start.Add(-time.Minute)}},
	} {
		w := newWorld(t, func(o *Options) {
			if tt.name == "silent" {
				o.Limits.Fetch = 50 * time.Millisecond
			}
		})
		if tt.cert != nil {
			w.recertify(tt.cert)
		}
		w.web.serve(tt.serve)
		if got := w.mode("a.test"); (got == ModeEnforce) != (tt.result == "") {
			t.Errorf("%s: mode %q", tt.name, got)
		}
		if got := w.told.results(); tt.result != "" && !slices.Equal(got, []ResultType{tt.result}) || tt.result == "" && got != nil {
			t.Errorf("%s: reported %q", tt.name, got)
		}
	}
}

// A policy host that a stranger's DNS puts into our own network is not spoken to (P25).
func TestFetchFromInside(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"A 127.0.0.1", "A 10.0.0.1", "A 169.254.169.254", "A 0.0.0.0", "AAAA ::1",
		"AAAA ::ffff:127.0.0.1", "AAAA 64:ff9b::7f00:1", "AAAA fd00::1"} {
		w := newWorld(t, func(o *Options) { o.AllowPrivate = false })
		w.dns.Remove("mta-sts.a.test")
		w.dns.Add("mta-sts.a.test. IN " + addr)
		if got := w.mode("a.test"); got != "" || w.web.times() > 0 {
			t.Errorf("%s: mode %q, asked %d times", addr, got, w.web.times())
		}
		if got := w.told.results(); !slices.Equal(got, []ResultType{STSFetch}) {
			t.Errorf("%s: %q", addr, got)
		}
	}
}

// RFC 8461 §5.1, §10.2: an attacker who can strip the DNS and HTTPS does not get rid of a policy that
// was learnt before, as long as it holds; nor does a restart.
func TestNoDowngrade(t *testing.T) {
	t.Parallel()
	attacks := map[string]func(*world){
		"nothing":             func(*world) {},
		"no record":           func(w *world) { w.dns.Remove("_mta-sts.a.test") },
		"record fails":        func(w *world) { w.dns.Fail("_mta-sts.a.test", dns.ErrTemporary) },
		"no such domain":      func(w *world) { w.dns.Fail("_mta-sts.a.test", dns.ErrNoDomain) },
		"two records":         func(w *world) { w.dns.Add(`_mta-sts.a.test. IN TXT "v=STSv1; id=2"`) },
		"nonsense":            func(w *world) { w.newID("-") },
		"new, HTTPS is down":  func(w *world) { w.newID("2"); w.dns.Remove("mta-sts.a.test") },
		"new, 404":            func(w *world) { w.newID("2"); w.web.serve(http.NotFound) },
		"new, nonsense":       func(w *world) { w.newID("2"); w.web.serve(text("version: STSv1\nmode: none\n")) },
		"new, another's name": func(w *world) { w.newID("2"); w.recertify(&x509.Certificate{DNSNames: []string{"evil.test"}}) },
		"a restart": func(w *world) {
			w.db = w.db.Crash()
			w.o.DB = w.db
			w.f = New(w.o)
			w.dns.Remove("_mta-sts.a.test")
		},
	}
	for name, attack := range attacks {
		w := newWorld(t)
		if got := w.mode("a.test"); got != ModeEnforce {
			t.Fatalf("%s: at first %q", name, got)
		}
		attack(w)
		for range 3 {
			w.clock.Advance(9 * 24 * time.Hour)
			if got := w.mode("a.test"); got != ModeEnforce {
				t.Errorf("%s: %q on %v", name, got, w.clock.Now())
			}
			if err := w.f.Refresh(t.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if got := w.mode("a.test"); got != ModeEnforce {
				t.Errorf("%s: %q after the round", name, got)
			}
		}
	}
}

// Everything ends: a policy that cannot be had any more when its time is over.
func TestExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.web.serve(text(policyText(ModeEnforce, 9999999999, "mx.a.test")))
	w.mode("a.test")
	w.dns.Remove("_mta-sts.a.test")
	w.clock.Advance(31557599 * time.Second) // RFC 8461 §3.2: never longer than a year
	if got := w.mode("a.test"); got != ModeEnforce {
		t.Errorf("before its end: %q", got)
	}
	w.clock.Advance(time.Second)
	if got := w.mode("a.test"); got != "" {
		t.Errorf("after its end: %q", got)
	}
	if err := w.f.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := w.f.count(t.Context()); n != 0 || err != nil {
		t.Errorf("%d are kept, %v", n, err)
	}
}

// A clock that is wrong is no way around a policy, and does not make one hold for ever.
func TestClockIsSetBack(t *testing.T) {
	t.Parallel()
	for _, back := range []time.Duration{time.Minute, time.Hour, 25 * time.Hour, 30 * 365 * 24 * time.Hour} {
		w := newWorld(t)
		w.web.serve(text(policyText(ModeEnforce, 31557600, "mx.a.test")))
		w.mode("a.test")
		w.dns.Remove("_mta-sts.a.test")
		w.web.serve(http.NotFound)
		w.clock.Advance(-back)
		for _, after := range []time.Duration{0, 24 * time.Hour, 364 * 24 * time.Hour} {
			if got := w.mode("a.test"); got != ModeEnforce {
				t.Errorf("%v back, %v later: %q", back, after, got)
			}
			if err := w.f.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.clock.Advance(after)
		}
		w.clock.Advance(30 * 24 * time.Hour)
		if got := w.mode("a.test"); got != "" {
			t.Errorf("%v back: %q in the end", back, got)
		}
	}
}

// A new identifier brings a new policy at once; the domain can take it back, over HTTPS alone.
func TestChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mode("a.test")
	if w.mode("a.test"); w.web.times() != 1 {
		t.Errorf("fetched %d times", w.web.times())
	}
	w.web.serve(text(policyText(ModeTesting, 86400, "mx.a.test")))
	if got := w.mode("a.test"); got != ModeEnforce {
		t.Errorf("the same identifier: %q", got)
	}
	w.newID("2")
	if got := w.mode("a.test"); got != ModeTesting {
		t.Errorf("a new identifier: %q", got)
	}
	w.newID("3")
	w.web.serve(text(policyText(ModeNone, 86400, "mx.a.test")))
	if got := w.mode("a.test"); got != "" {
		t.Errorf("taken back: %q", got)
	}
}

// RFC 8461 §3.3: what failed is not asked for again with every message, and is after a while.
func TestFailuresAreRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.web.serve(http.NotFound)
	for range 5 {
		w.mode("a.test")
	}
	if w.web.times() != 1 || len(w.told.results()) != 1 {
		t.Errorf("asked %d times, told %q", w.web.times(), w.told.results())
	}
	w.web.serve(text(policyText(ModeEnforce, 86400, "mx.a.test")))
	w.clock.Advance(5 * time.Minute)
	if got := w.mode("a.test"); got != ModeEnforce {
		t.Errorf("five minutes later: %q", got)
	}
	// What is remembered of failures is bounded.
	w.f.o.Limits.Domains = 1000
	for i := range 1000 {
		w.f.fail(string(rune('a'+i%26))+string(rune(i)), "x.test", errors.New("no"))
	}
	if len(w.f.failed) > 100 {
		t.Errorf("%d failures are remembered", len(w.f.failed))
	}
}

// Many messages for a domain nobody knows yet fetch its policy once.
func TestFetchesAreJoined(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begun, gate := make(chan bool, 10), make(chan bool)
	w.web.serve(func(rw http.ResponseWriter, r *http.Request) {
		begun <- true
		<-gate
		text(policyText(ModeEnforce, 86400, "mx.a.test"))(rw, r)
	})
	var wg sync.WaitGroup
	ask := func() {
		wg.Go(func() {
			if got := w.mode("a.test"); got != ModeEnforce {
				t.Errorf("mode %q", got)
			}
		})
	}
	ask()
	<-begun
	// One that has no patience goes, and takes nobody along.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.f.STS(ctx, "a.test"); !errors.Is(err, context.Canceled) {
		t.Errorf("without patience: %v", err)
	}
	for range 20 {
		ask()
	}
	close(gate)
	wg.Wait()
	if w.web.times() != 1 {
		t.Errorf("fetched %d times", w.web.times())
	}
}

// When as many are kept as may be, a new policy holds this once and pushes none out.
func TestKeepsSoManyAndNoMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.Domains = 1 })
	if w.mode("a.test") != ModeEnforce || w.mode("b.test") != ModeEnforce {
		t.Error("a policy does not hold")
	}
	if n, err := w.f.count(t.Context()); n != 1 || err != nil {
		t.Errorf("%d are kept, %v", n, err)
	}
	w.dns.Remove("_mta-sts.a.test")
	if w.mode("a.test") != ModeEnforce {
		t.Error("the first was pushed out")
	}
}

// RFC 8461 §10.2: what is in use is fetched again daily, so that it does not run out; what is not, runs
// out in the end.
func TestRefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.web.serve(text(policyText(ModeEnforce, 86400*7, "mx.a.test")))
	w.mode("a.test")
	for day := range 60 {
		w.clock.Advance(24 * time.Hour)
		if err := w.f.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if day == 30 { // the record has gone: the policy is still kept fresh, for HTTPS serves it
			w.dns.Remove("_mta-sts.a.test")
		}
	}
	if n := w.web.times(); n != 61 || w.mode("a.test") != ModeEnforce {
		t.Errorf("fetched %d times, mode %q", n, w.mode("a.test"))
	}
	// Used today; then nobody writes there for a year.
	for range 400 {
		w.clock.Advance(24 * time.Hour)
		if err := w.f.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.web.times(); n > 61+91 {
		t.Errorf("fetched %d times for nobody", n-61)
	}
	if n, err := w.f.count(t.Context()); n != 0 || err != nil {
		t.Errorf("%d are kept, %v", n, err)
	}
}

// A row that is damaged is as good as none; one of a newer version is left alone.
func TestDamagedRow(t *testing.T) {
	t.Parallel()
	for _, row := range []string{"", "\x01", "\x01{", "\x01{}", "\x01{\"text\":[\"version: STSv1\"]}"} {
		w := newWorld(t)
		w.put("a.test", row)
		if got := w.mode("a.test"); got != ModeEnforce {
			t.Errorf("%q: mode %q", row, got)
		}
		w.put("c.test", row)
		if err := w.f.Refresh(t.Context()); err != nil {
			t.Errorf("%q: %v", row, err)
		}
		if n, err := w.f.count(t.Context()); n != 1 || err != nil {
			t.Errorf("%q: %d are kept, %v", row, n, err)
		}
	}
	w := newWorld(t)
	w.put("a.test", "\x02new")
	if _, err := w.f.STS(t.Context(), "a.test"); err == nil {
		t.Error("a row of a newer version was passed over")
	}
	if err := w.f.Refresh(t.Context()); err != nil {
		t.Error(err)
	}
	if n, err := w.f.count(t.Context()); n != 1 || err != nil {
		t.Errorf("%d are kept, %v", n, err)
	}
}

// A round goes over all pages, and is safe to break off.
func TestRefreshOfMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.web.serve(http.NotFound)
	old := &row{ID: "1", Text: []string{"version: STSv1", "mode: enforce", "mx: a.test", "max_age: 1"},
		Fetched: start.Unix(), Used: start.Unix(), Expires: start.Add(time.Second).Unix()}
	const many = 2*page + 7
	for i := range many {
		if err := w.f.save(t.Context(), fmt.Sprintf("d%d.test", i), old); err != nil {
			t.Fatal(err)
		}
	}
	held := *old
	held.Expires = start.Add(time.Hour).Unix()
	if err := w.f.save(t.Context(), "d7.test", &held); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.f.Refresh(ctx); err == nil {
		t.Error("a round that was broken off says that all is well")
	}
	if err := w.f.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := w.f.count(t.Context()); n != 1 || err != nil {
		t.Errorf("%d of %d are kept, %v", n, many, err)
	}
	if w.f.holds(&held) && w.mode("d7.test") != ModeEnforce {
		t.Error("the one that holds has gone")
	}
}
