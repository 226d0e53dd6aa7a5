package reports

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tram/internal/kv"
	"tram/internal/mailauth"
)

const svgIcon = `<svg xmlns="http://www.w3.org/2000/svg" version="1.2" baseProfile="tiny-ps"><title>Bank</title></svg>`

// iconWorld has a web server that serves an icon at example.com, and counts.
func iconWorld(t *testing.T, edit func(*Options)) (w *world, asked *int) {
	t.Helper()
	asked = new(int)
	web := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		*asked++
		if strings.HasSuffix(r.URL.Path, ".svg") {
			rw.Write([]byte(svgIcon))
			return
		}
		http.NotFound(rw, r)
	}))
	t.Cleanup(web.Close)
	number, roots := portOf(t, web)
	w = newWorld(t, func(o *Options) {
		o.Fetch.AllowPrivate, o.Fetch.Port, o.Fetch.Roots = true, number, roots
		if edit != nil {
			edit(o)
		}
	})
	w.dns.Add(`example.com. IN A 127.0.0.1
default._bimi.bank.example. IN TXT "v=BIMI1; l=https://example.com/i.svg"
default._bimi.broken.example. IN TXT "v=BIMI1; l=https://example.com/gone"` + "\n")
	return w, asked
}

// wants lets a message of a domain come.
func (w *world) wants(domain string) {
	e := mail(domain, "192.0.2.7", mailauth.PolicyReject, true)
	e.Auth.DMARC.Organizational = domain
	w.Observe(e, Delivered)
}

func (w *world) icon(domain string) (Icon, bool) {
	w.t.Helper()
	icon, ok, err := w.BIMI(w.t.Context(), domain)
	if err != nil {
		w.t.Fatal(err)
	}
	return icon, ok
}

// TestIcons: a message that passed makes its domain's icon be looked up, by a job, once a day.
func TestIcons(t *testing.T) {
	t.Parallel()
	w, asked := iconWorld(t, nil)
	for range 3 {
		w.wants("bank.example")
	}
	if _, ok := w.icon("bank.example"); ok || *asked != 0 {
		t.Error("an icon was looked up in the way of a delivery")
	}
	look := func() {
		t.Helper()
		if err := w.LookUpIcons(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	look()
	icon, ok := w.icon("bank.example")
	if !ok || string(icon.SVG) != svgIcon || icon.Verified || icon.Reason != "nobody vouches for it" || *asked != 1 {
		t.Errorf("%+v, asked %d times", icon, *asked)
	}
	w.wants("bank.example")
	look()
	w.restart()
	w.wants("bank.example")
	look()
	if *asked != 1 {
		t.Errorf("asked %d times within a day", *asked)
	}
	w.clock.Advance(iconFresh + time.Minute)
	w.wants("bank.example")
	look()
	if *asked != 2 {
		t.Errorf("asked %d times after a day", *asked)
	}
	// A failure leaves what was known, and is told.
	w.dns.Fail("example.com", errors.New("broken"))
	w.clock.Advance(iconFresh + time.Minute)
	w.wants("bank.example")
	look()
	if icon, _ := w.icon("bank.example"); string(icon.SVG) != svgIcon || !strings.Contains(icon.Reason, "fetch icon") {
		t.Errorf("%+v", icon)
	}
	w.wants("broken.example")
	w.wants("none.example")
	look()
	for domain, want := range map[string]string{"broken.example": "fetch icon", "none.example": "publishes no icon"} {
		if icon, ok := w.icon(domain); !ok || icon.SVG != nil || !strings.Contains(icon.Reason, want) {
			t.Errorf("%s: %+v", domain, icon)
		}
	}
}

// TestIconsNotWanted: BIMI is for messages that passed under a policy that is enforced.
func TestIconsNotWanted(t *testing.T) {
	t.Parallel()
	w, _ := iconWorld(t, func(o *Options) { o.Limits.Reports.Icons = 3 })
	for _, p := range []string{mailauth.PolicyNone, ""} {
		w.Observe(mail("bank.example", "192.0.2.7", p, true), Delivered)
	}
	w.Observe(mail("bank.example", "192.0.2.7", mailauth.PolicyReject, false), Delivered)
	testing := mail("bank.example", "192.0.2.7", mailauth.PolicyReject, true)
	testing.Auth.DMARC.Testing = true
	w.Observe(testing, Delivered)
	if n := len(w.icons.take()); n != 0 {
		t.Errorf("%d icons are wanted", n)
	}
	for i := range 10 {
		w.wants(fmt.Sprintf("d%d.example", i))
	}
	if n := len(w.icons.take()); n != 3 {
		t.Errorf("%d icons are wanted, where 3 may be", n)
	}
}

// TestIconRoom: so many are remembered; the one that is due first makes room.
func TestIconRoom(t *testing.T) {
	t.Parallel()
	w, _ := iconWorld(t, func(o *Options) { o.Limits.Reports.IconsKept = 4 })
	for i := range 9 {
		w.clock.Advance(time.Minute)
		w.wants(fmt.Sprintf("d%d.example", i))
		if err := w.LookUpIcons(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	err := w.db.View(t.Context(), scopeIcons, func(r kv.Reader) error {
		n = 0
		return r.Scan(kv.Prefix([]byte{space}), func(_, _ []byte) error { n++; return nil })
	})
	if err != nil || n != 8 { // a row and its place in the order, each
		t.Errorf("%d rows, %v", n, err)
	}
	if _, ok := w.icon("d8.example"); !ok {
		t.Error("the newest is gone")
	}
	if _, ok := w.icon("d0.example"); ok {
		t.Error("the oldest is still there")
	}
}

// TestIconExpires: what a certificate vouched for is not verified when that has run out.
func TestIconExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var icon Icon
	icon.Domain, icon.Verified, icon.Expires = "bank.example", true, start.Add(time.Hour)
	if err := w.keepIcon(t.Context(), icon); err != nil {
		t.Fatal(err)
	}
	if got, _ := w.icon("bank.example"); !got.Verified {
		t.Errorf("%+v", got)
	}
	w.clock.Advance(2 * time.Hour)
	if got, _ := w.icon("bank.example"); got.Verified || got.Reason == "" {
		t.Errorf("%+v", got)
	}
}
