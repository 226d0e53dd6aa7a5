package plot

import (
	"encoding/xml"
	"io"
	"math"
	"strings"
	"testing"
)

// elements reads svg as XML and counts its elements by name.
func elements(t *testing.T, svg string) map[string]int {
	t.Helper()
	seen := map[string]int{}
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := d.Token()
		if err == io.EOF {
			return seen
		}
		if err != nil {
			t.Fatalf("not well formed: %v\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok {
			seen[e.Name.Local]++
		}
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	points := []Point{{1, 10}, {1000, 200}, {1e6, 3}, {0, 5}, {10, 0}, {10, math.NaN()}, {math.Inf(1), 2}}
	for _, c := range []struct {
		name   string
		lines  Lines
		points int
	}{
		{"log", Lines{Title: "a < b & c", X: "x", Y: "y", Series: []Series{{"one", points}}}, 3},
		{"linear", Lines{LinearY: true, Series: []Series{{"one", points}, {"<two>", points[:1]}}}, 5},
		{"one point", Lines{Series: []Series{{"one", points[:1]}}}, 1},
		{"nothing", Lines{Series: []Series{{"one", nil}}}, 0},
	} {
		svg := c.lines.SVG()
		if got := elements(t, svg)["circle"]; got != c.points {
			t.Errorf("%s: %d points are drawn, want %d", c.name, got, c.points)
		}
		if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
			t.Errorf("%s: a place is no number:\n%s", c.name, svg)
		}
	}
}

func TestBars(t *testing.T) {
	t.Parallel()
	svg := Bars{Title: "ratios", Bars: []Bar{{"faster", 8, 7, 9}, {"slower", 0.4, 0.3, 0.5}, {"unknown", 0, 0, 0},
		{"endless", math.Inf(1), 1, math.Inf(1)}}}.SVG()
	if got := elements(t, svg)["rect"]; got != 3 { // the paper and two bars
		t.Errorf("%d rectangles, want 3", got)
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Errorf("a place is no number:\n%s", svg)
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0.05: "0.05", 20: "20", 1000: "1k", 2500000: "2.5M"} {
		if got := Number(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
}
