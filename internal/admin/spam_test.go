package admin

import (
	"strings"
	"testing"

	"tram/internal/spam"
	"tram/internal/spam/sign"
	"tram/internal/trace"
)

// TestExplained: each sign in a trace has its sentence, whichever room found it.
func TestExplained(t *testing.T) {
	t.Parallel()
	d := spam.Decision{Score: 9, Required: 5, Signs: []sign.Sign{
		{Name: "CLAMAV_SUSPECT", Score: 3, Detail: "Heuristics.Phishing"}, {Name: "RSPAMD_OWN_RULE", Score: 2.5},
		{Name: "NO_DATE", Score: 1},
	}}
	for language, want := range map[string]string{"en": "ClamAV finds it suspicious", "vi": "ClamAV thấy đáng ngờ"} {
		r, ok := explained(trace.Event{ID: "1", Step: "spam", Detail: d.Record()}, language)
		if !ok || len(r.Reasons) != 3 || !strings.Contains(r.Reasons[0].Sentence, want) {
			t.Fatalf("%s: %+v", language, r)
		}
		for _, reason := range r.Reasons {
			if reason.Sentence == "" {
				t.Errorf("%s: %s has no sentence", language, reason.Name)
			}
		}
	}
}
