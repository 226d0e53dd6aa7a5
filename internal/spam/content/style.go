package content

import (
	"strconv"
	"strings"
)

// Colours that are none.
const (
	unset   = -1 // nothing was said: what is around it holds
	unclear = -2 // a picture, a gradient, or a word that is not known
)

// style is what matters of the style of an element.
type style struct {
	hidden bool
	size   float64 // of the letters, in pixels; unset when nothing was said
	fg, bg int     // 0xRRGGBB
}

var noStyle = style{size: unset, fg: unset, bg: unset}

// set takes over what other says.
func (s *style) set(other style) {
	s.hidden = s.hidden || other.hidden
	if other.size != unset {
		s.size = other.size
	}
	if other.fg != unset {
		s.fg = other.fg
	}
	if other.bg != unset {
		s.bg = other.bg
	}
}

// unseen reports whether a reader sees nothing of text in this style.
func (s *style) unseen() bool {
	return s.hidden || s.size != unset && s.size <= 1.5 || s.fg >= 0 && s.bg >= 0 && alike(s.fg, s.bg)
}

// alike reports whether two colours cannot be told apart.
func alike(a, b int) bool {
	for shift := 0; shift <= 16; shift += 8 {
		if d := a>>shift&0xff - b>>shift&0xff; d > 10 || d < -10 {
			return false
		}
	}
	return true
}

// parseStyle reads the declarations of a style attribute or of a rule.
func parseStyle(s string) style {
	st := noStyle
	s = strings.ToLower(s)
	var off, away, flat, clipped bool
	for decl := range strings.SplitSeq(s, ";") {
		name, value, ok := strings.Cut(decl, ":")
		if !ok {
			continue
		}
		name = strings.TrimSpace(name)
		value, _, _ = strings.Cut(value, "!")
		value = strings.TrimSpace(value)
		switch name {
		case "display":
			st.hidden = st.hidden || value == "none"
		case "visibility":
			st.hidden = st.hidden || value == "hidden" || value == "collapse"
		case "mso-hide":
			st.hidden = st.hidden || value == "all"
		case "opacity":
			if v, err := strconv.ParseFloat(value, 64); err == nil && v < 0.05 {
				st.hidden = true
			}
		case "font-size":
			st.size = pixels(value)
		case "font":
			for word := range strings.FieldsSeq(value) {
				if word[0] >= '0' && word[0] <= '9' || word[0] == '.' {
					word, _, _ = strings.Cut(word, "/")
					if px := pixels(word); px != unset && strings.TrimLeft(word, "0123456789.") != "" {
						st.size = px
					}
				}
			}
		case "color":
			st.fg = colour(value)
		case "background-color":
			st.bg = colour(value)
		case "background", "background-image":
			st.bg = background(value, st.bg)
		case "position":
			away = value == "absolute" || value == "fixed"
		case "left", "top", "right", "bottom", "margin-left", "margin-top":
			if px := pixels(value); px <= -400 {
				off = true
			}
		case "text-indent":
			st.hidden = st.hidden || pixels(value) <= -400
		case "max-height", "height", "max-width", "width", "line-height":
			flat = flat || name != "line-height" && pixels(value) == 0
		case "overflow":
			clipped = value == "hidden"
		case "clip":
			st.hidden = st.hidden || strings.Contains(value, "rect(0")
		}
	}
	st.hidden = st.hidden || off && (away || strings.Contains(s, "margin-")) || flat && clipped
	return st
}

// background reads a background of several words.
func background(value string, was int) int {
	if strings.Contains(value, "url(") || strings.Contains(value, "gradient") {
		return unclear
	}
	for word := range strings.FieldsSeq(value) {
		if c := colour(word); c >= 0 {
			return c
		}
	}
	return was
}

// pixels is a length in pixels, about; unset when it cannot be told. Negative lengths are exact enough to be
// far off or not.
func pixels(v string) float64 {
	i := 0
	for i < len(v) && (v[i] >= '0' && v[i] <= '9' || v[i] == '.' || v[i] == '-' && i == 0) {
		i++
	}
	n, err := strconv.ParseFloat(v[:i], 64)
	if err != nil {
		return unset
	}
	switch unit := strings.TrimSpace(v[i:]); {
	case unit == "em", unit == "rem", unit == "ex", unit == "ch":
		n *= 16
	case unit == "pt":
		n *= 1.33
	case unit == "%", unit == "vw", unit == "vh":
		n *= 0.16
	}
	if n == unset {
		return -0.99
	}
	return n
}

// colours are the words that matter: those that backgrounds have.
var colours = map[string]int{
	"white": 0xffffff, "snow": 0xfffafa, "ivory": 0xfffff0, "whitesmoke": 0xf5f5f5, "black": 0, "transparent": unset,
	"inherit": unset, "initial": unset, "red": 0xff0000, "blue": 0x0000ff, "green": 0x008000, "yellow": 0xffff00,
	"gray": 0x808080, "grey": 0x808080, "silver": 0xc0c0c0, "lightgray": 0xd3d3d3, "lightgrey": 0xd3d3d3, "navy": 0x80,
}

// colour reads a colour.
func colour(v string) int {
	v = strings.ToLower(strings.TrimSpace(v))
	if c, ok := colours[v]; ok {
		return c
	}
	if hex, ok := strings.CutPrefix(v, "#"); ok {
		if len(hex) == 3 || len(hex) == 4 {
			hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
		}
		if n, err := strconv.ParseUint(hex[:min(len(hex), 6)], 16, 32); err == nil && len(hex) >= 6 {
			return int(n)
		}
		return unclear
	}
	if args, ok := strings.CutPrefix(v, "rgb"); ok {
		args = strings.Trim(strings.TrimPrefix(args, "a"), "()")
		var c, n int
		for arg := range strings.FieldsFuncSeq(args, func(r rune) bool { return r == ',' || r == ' ' || r == '/' }) {
			f, err := strconv.ParseFloat(strings.TrimSuffix(arg, "%"), 64)
			if err != nil || n == 3 && f > 0.05 {
				break
			}
			if n == 3 {
				return unset // see-through
			}
			c, n = c<<8|int(max(0, min(f, 255))), n+1
		}
		if n == 3 {
			return c
		}
	}
	return unclear
}

// mostRules bounds the rules of a style sheet that are kept.
const mostRules = 500

// parseSheet reads the rules of a style sheet for single classes. Rules inside at-rules are for some screens
// only: they hide the half that is meant for others.
func parseSheet(css string, classes map[string]style) {
	for len(css) > 0 && len(classes) < mostRules {
		open := strings.IndexByte(css, '{')
		if open < 0 {
			return
		}
		selectors := css[:open]
		css = css[open+1:]
		if i := strings.LastIndex(selectors, "*/"); i >= 0 {
			selectors = selectors[i+2:]
		}
		if strings.HasPrefix(strings.TrimSpace(selectors), "@") {
			css = afterBlock(css)
			continue
		}
		end := strings.IndexByte(css, '}')
		if end < 0 {
			end = len(css)
		}
		st := parseStyle(css[:end])
		css = css[min(end+1, len(css)):]
		if st == noStyle {
			continue
		}
		for sel := range strings.SplitSeq(selectors, ",") {
			sel = strings.TrimSpace(sel)
			dot := strings.IndexByte(sel, '.')
			if dot >= 0 && !strings.ContainsAny(sel, " >:[+~#") && len(classes) < mostRules {
				classes[sel[dot+1:]] = st
			}
		}
	}
}

// afterBlock passes the rest of a block with the blocks in it.
func afterBlock(css string) string {
	depth := 1
	for i := 0; i < len(css); i++ {
		switch css[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return css[i+1:]
			}
		}
	}
	return ""
}
