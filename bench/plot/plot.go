// Package plot draws what was measured as SVG files that a browser and a code host show: lines over
// logarithmic or linear axes, and bars of ratios. The drawings follow the reader's light or dark
// setting and need nothing but themselves.
//
// It promises well-formed SVG for any finite figures; points that cannot stand on an axis (zero or
// less on a logarithmic one) are left out.
package plot

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Point is one measurement.
type Point struct{ X, Y float64 }

// Series is a line with its name in the legend.
type Series struct {
	Name   string
	Points []Point
}

// Lines is a drawing of series over two axes. The X axis is logarithmic.
type Lines struct {
	Title, X, Y string
	LinearY     bool // else logarithmic
	Series      []Series
}

const (
	width, height            = 720, 440
	left, right, top, bottom = 78, 24, 46, 116
)

// The colours are told apart by people with any colour vision, on white and on black.
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7f7f7f"}

const style = `<style>
text{font:13px system-ui,sans-serif;fill:#24292f}
.title{font-size:16px;font-weight:600}
.grid{stroke:#d0d7de;stroke-width:1}
.axis{stroke:#57606a;stroke-width:1}
.paper{fill:#ffffff}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}
.grid{stroke:#30363d}
.axis{stroke:#8b949e}
.paper{fill:#0d1117}
}
</style>
`

func open(b *strings.Builder, w, h int, title string) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+
		"\n<title>%s</title>\n%s", w, h, w, h, html.EscapeString(title), style)
	fmt.Fprintf(b, `<rect class="paper" width="%d" height="%d" rx="6"/>`+"\n", w, h)
	text(b, float64(w)/2, 26, "middle", "title", title)
}

func text(b *strings.Builder, x, y float64, anchor, class, s string) {
	if class != "" {
		class = fmt.Sprintf(` class="%s"`, class)
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>`+"\n", x, y, anchor, class, html.EscapeString(s))
}

func line(b *strings.Builder, class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(b, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", class, x1, y1, x2, y2)
}

// axis maps values to pixels.
type axis struct {
	least, most float64 // in values
	from, to    float64 // in pixels
	log         bool
}

func (a axis) at(v float64) float64 {
	share := (v - a.least) / (a.most - a.least)
	if a.log {
		share = math.Log(v/a.least) / math.Log(a.most/a.least)
	}
	return a.from + share*(a.to-a.from)
}

// ticks are the values that get a line: 1, 2 and 5 of each power of ten, or the tens alone when that
// would be many.
func (a axis) ticks() []float64 {
	var all []float64
	if !a.log {
		step := math.Pow(10, math.Floor(math.Log10((a.most-a.least)/2)))
		for (a.most-a.least)/step > 8 {
			step *= 2
		}
		for v := math.Ceil(a.least/step) * step; v <= a.most*1.0001; v += step {
			all = append(all, v)
		}
		return all
	}
	parts := []float64{1, 2, 5}
	if a.most/a.least > 1e3 {
		parts = parts[:1]
	}
	for p := math.Pow(10, math.Floor(math.Log10(a.least))); p <= a.most; p *= 10 {
		for _, k := range parts {
			if v := p * k; v >= a.least*0.999 && v <= a.most*1.001 {
				all = append(all, v)
			}
		}
	}
	return all
}

// Number prints v with at most three significant digits, thousands and millions as k and M.
func Number(v float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e6, "M"}, {1e3, "k"}} {
		if v >= u.size {
			return trim(v/u.size) + u.name
		}
	}
	return trim(v)
}

func trim(v float64) string { return fmt.Sprintf("%.3g", v) }

func (l Lines) shown(p Point) bool {
	finite := !math.IsInf(p.X, 0) && !math.IsInf(p.Y, 0) && !math.IsNaN(p.X) && !math.IsNaN(p.Y)
	return finite && p.X > 0 && (l.LinearY || p.Y > 0)
}

// axes fits the axes round the points.
func (l Lines) axes() (x, y axis) {
	x = axis{least: math.Inf(1), most: math.Inf(-1), from: left, to: width - right, log: true}
	y = axis{least: math.Inf(1), most: math.Inf(-1), from: height - bottom, to: top, log: !l.LinearY}
	for _, s := range l.Series {
		for _, p := range s.Points {
			if l.shown(p) {
				x.least, x.most = min(x.least, p.X), max(x.most, p.X)
				y.least, y.most = min(y.least, p.Y), max(y.most, p.Y)
			}
		}
	}
	if x.least > x.most {
		x.least, x.most, y.least, y.most = 1, 10, 1, 10
	}
	if x.least == x.most {
		x.least, x.most = x.least/2, x.most*2
	}
	switch {
	case l.LinearY:
		y.least, y.most = min(0, y.least), max(y.most*1.1, y.least+1e-9)
	default: // whole powers of ten, so that a slope can be read
		y.least = math.Pow(10, math.Floor(math.Log10(y.least)))
		y.most = math.Pow(10, math.Ceil(math.Log10(y.most)+1e-9))
		if y.most <= y.least {
			y.most = y.least * 10
		}
	}
	return x, y
}

// SVG draws.
func (l Lines) SVG() string {
	var b strings.Builder
	open(&b, width, height, l.Title)
	x, y := l.axes()
	for _, v := range x.ticks() {
		line(&b, "grid", x.at(v), y.from, x.at(v), y.to)
		text(&b, x.at(v), y.from+18, "middle", "", Number(v))
	}
	for _, v := range y.ticks() {
		line(&b, "grid", x.from, y.at(v), x.to, y.at(v))
		text(&b, x.from-8, y.at(v)+4, "end", "", Number(v))
	}
	line(&b, "axis", x.from, y.from, x.to, y.from)
	line(&b, "axis", x.from, y.from, x.from, y.to)
	text(&b, (x.from+x.to)/2, y.from+38, "middle", "", l.X)
	fmt.Fprintf(&b, `<text transform="translate(18 %.1f) rotate(-90)" text-anchor="middle">%s</text>`+"\n",
		(y.from+y.to)/2, html.EscapeString(l.Y))
	for i, s := range l.Series {
		l.draw(&b, x, y, s, colours[i%len(colours)])
	}
	legend(&b, l.Series)
	b.WriteString("</svg>\n")
	return b.String()
}

func (l Lines) draw(b *strings.Builder, x, y axis, s Series, colour string) {
	var path []string
	var dots strings.Builder
	for _, p := range s.Points {
		if !l.shown(p) {
			continue
		}
		path = append(path, fmt.Sprintf("%.1f,%.1f", x.at(p.X), y.at(p.Y)))
		fmt.Fprintf(&dots, `<circle cx="%.1f" cy="%.1f" r="4" fill="%s"><title>%s: %s at %s</title></circle>`+"\n",
			x.at(p.X), y.at(p.Y), colour, html.EscapeString(s.Name), trim(p.Y), Number(p.X))
	}
	fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>`+"\n", colour,
		strings.Join(path, " "))
	b.WriteString(dots.String())
}

func legend(b *strings.Builder, all []Series) {
	x, y := float64(left), float64(height-bottom+58)
	for i, s := range all {
		wide := 34 + 7.2*float64(len([]rune(s.Name)))
		if x+wide > width-right && x > left {
			x, y = left, y+18
		}
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="12" height="12" rx="2" fill="%s"/>`+"\n", x, y-10,
			colours[i%len(colours)])
		text(b, x+18, y, "start", "", s.Name)
		x += wide
	}
}
