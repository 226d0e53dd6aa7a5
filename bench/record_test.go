package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRatioPairsRuns(t *testing.T) {
	t.Parallel()
	o := outcome{Runs: [][]Result{
		{{"rate": 100, "ms": 2}, {"rate": 300, "ms": 4}, nil},
		{{"rate": 50, "ms": 8}, {"rate": 100, "ms": 8}, {"rate": 1, "ms": 1}},
	}}
	for _, c := range []struct {
		key                string
		less               bool
		least, ratio, most float64
	}{
		{"rate", false, 2, 4, 3}, // medians 200 and 50 (of three); the failed run pairs with nothing
		{"ms", true, 2, 8.0 / 3, 4},
	} {
		least, ratio, most, ok := o.ratio(c.key, c.less)
		if !ok || least != c.least || ratio != c.ratio || most != c.most {
			t.Errorf("%s: %v (%v to %v) %v, want %v (%v to %v)", c.key, ratio, least, most, ok, c.ratio, c.least, c.most)
		}
	}
	if _, _, _, ok := o.ratio("none", false); ok {
		t.Error("a figure that nobody has gives a ratio")
	}
}

func TestMiddle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		v    []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{1, 3}, 2}, {[]float64{1, 2, 9}, 2}} {
		if got := middle(c.v); got != c.want {
			t.Errorf("the median of %v is %v, want %v", c.v, got, c.want)
		}
	}
}

// TestReportIsWrittenFromWhatIsKept proves that every plot that the report links is drawn.
func TestReportIsWrittenFromWhatIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	servers := []described{{Name: "one", Durable: "all"}, {Name: "other"}}
	peers := &record{Kind: "peers", When: time.Now(), Rounds: 1, Servers: servers}
	for _, row := range rows {
		run := []Result{{row.key: 2}}
		peers.Tests = append(peers.Tests, outcome{Test: row.test, Runs: [][]Result{run, run}})
	}
	growth := &record{Kind: "growth", Servers: servers[:1]}
	for _, s := range subjects {
		growth.Curves = append(growth.Curves, curve{Subject: s.name, Points: []point{{X: 10, Figures: Result{"mib": 5}}}})
	}
	for _, rec := range []*record{peers, growth} {
		if err := rec.save(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeReport(dir); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "RESULTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	links := 0
	for _, part := range strings.Split(string(b), "](plots/")[1:] {
		name, _, _ := strings.Cut(part, ")")
		links++
		if _, err := os.Stat(filepath.Join(dir, "plots", name)); err != nil {
			t.Errorf("a linked plot is not drawn: %v", err)
		}
	}
	if links != len(groups)+len(drawings) {
		t.Errorf("%d plots are linked, want %d", links, len(groups)+len(drawings))
	}
}

// TestRowsNameTests catches a row whose test was renamed.
func TestRowsNameTests(t *testing.T) {
	t.Parallel()
	for _, row := range rows {
		if _, unknown := chosen(row.test, true); unknown != "" {
			t.Errorf("row %q: there is no test %q", row.label, unknown)
		}
	}
	if _, unknown := chosen("4k,nonsense", false); unknown != "nonsense" {
		t.Errorf("the unknown test is %q", unknown)
	}
}
