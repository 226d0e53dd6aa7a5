package plot

import (
	"fmt"
	"math"
	"strings"
)

// Bar is a ratio with the range that repeated runs gave.
type Bar struct {
	Name               string
	Value, Least, Most float64
}

// Bars is a drawing of ratios on a logarithmic axis: a bar to the right of 1 is an advantage, one to
// the left a disadvantage, and the thin line is the range of the runs.
type Bars struct {
	Title, X string
	Bars     []Bar
}

// SVG draws.
func (d Bars) SVG() string {
	const names, row = 310, 26
	h := top + row*len(d.Bars) + 62
	x := axis{least: 0.5, most: 2, from: names, to: width - right - 46, log: true}
	for _, bar := range d.Bars {
		for _, v := range []float64{bar.Value, bar.Least, bar.Most} {
			if v > 0 && !math.IsInf(v, 0) {
				x.least, x.most = min(x.least, v), max(x.most, v)
			}
		}
	}
	var b strings.Builder
	open(&b, width, h, d.Title)
	foot := float64(top + row*len(d.Bars))
	for _, v := range x.ticks() {
		line(&b, "grid", x.at(v), top, x.at(v), foot)
		text(&b, x.at(v), foot+18, "middle", "", Number(v)+"×")
	}
	text(&b, (x.from+x.to)/2, foot+42, "middle", "", d.X)
	for i, bar := range d.Bars {
		y := float64(top + row*i)
		text(&b, names-10, y+17, "end", "", bar.Name)
		if !(bar.Value > 0) || math.IsInf(bar.Value, 0) {
			continue
		}
		colour, from, to := colours[0], x.at(1), x.at(bar.Value)
		if to < from {
			colour, from, to = colours[1], to, from
		}
		fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="14" rx="2" fill="%s"/>`+"\n", from, y+5,
			max(to-from, 1), colour)
		end := to
		if bar.Least > 0 && bar.Most > 0 && !math.IsInf(bar.Most, 0) {
			line(&b, "axis", x.at(bar.Least), y+12, x.at(bar.Most), y+12)
			end = max(to, x.at(bar.Most))
		}
		text(&b, end+6, y+17, "start", "", trim(bar.Value)+"×")
	}
	line(&b, "axis", x.at(1), top, x.at(1), foot)
	b.WriteString("</svg>\n")
	return b.String()
}
