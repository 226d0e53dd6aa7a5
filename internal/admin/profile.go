package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime/pprof"
	"strconv"
	"time"
)

// maxProfile is the longest that a processor profile may run.
const maxProfile = 10 * time.Minute

// Profiles are the kinds of profile that a running server can give: where its time goes, what its
// memory holds and has held, what its goroutines do.
func Profiles() []string { return []string{"cpu", "heap", "allocs", "goroutine"} }

// apiProfile writes a profile in the form of `go tool pprof`. It answers for as long as it
// measures, on the socket that only the server's own user may open.
func (h *House) apiProfile(w http.ResponseWriter, r *http.Request) {
	kind := r.PathValue("kind")
	seconds, err := number(r, "seconds")
	if err == nil && time.Duration(seconds)*time.Second > maxProfile {
		err = invalid("a profile runs for %v at most", maxProfile)
	}
	if err != nil {
		h.answer(w, r, nil, err)
		return
	}
	if kind == "cpu" {
		h.profileCPU(w, r, time.Duration(seconds)*time.Second)
		return
	}
	p := pprof.Lookup(kind)
	if p == nil {
		h.answer(w, r, nil, &Fault{KindNotFound, "no such profile: " + kind})
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := p.WriteTo(w, 0); err != nil {
		h.o.Logger.Warn("profile was not written", "kind", kind, "err", err)
	}
}

func (h *House) profileCPU(w http.ResponseWriter, r *http.Request, d time.Duration) {
	// The first bytes come when the profile ends: an error can still be told until then.
	if err := pprof.StartCPUProfile(w); err != nil {
		h.answer(w, r, nil, &Fault{KindConflict, "another processor profile is running"})
		return
	}
	defer pprof.StopCPUProfile()
	w.Header().Set("Content-Type", "application/octet-stream")
	timer := h.o.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-r.Context().Done():
	}
}

// Profile writes a profile of the running server; one of the processor takes d.
func (c *Client) Profile(ctx context.Context, kind string, d time.Duration, to io.Writer) error {
	path := "/v1/profile/" + url.PathEscape(kind) + "?seconds=" + strconv.Itoa(int(d.Seconds()))
	answer, err := c.send(ctx, "GET", path, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(to, answer.Body); err != nil {
		return fmt.Errorf("read profile: %w", err)
	}
	return nil
}
