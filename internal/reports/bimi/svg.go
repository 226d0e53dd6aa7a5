package bimi

import (
	"bytes"
	"compress/gzip"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"tram/internal/limits"
)

// ErrSVG says that a picture is not of the profile that icons must have.
var ErrSVG = errors.New("picture is not an SVG Tiny PS icon")

// elements are those of SVG Tiny 1.2 that the profile SVG Tiny Portable/Secure leaves in: nothing that
// acts, moves, sounds, or brings other documents.
var elements = map[string]bool{
	"svg": true, "title": true, "desc": true, "metadata": true, "defs": true, "g": true, "path": true,
	"rect": true, "circle": true, "ellipse": true, "line": true, "polyline": true, "polygon": true,
	"text": true, "textArea": true, "tspan": true, "tbreak": true, "use": true, "solidColor": true,
	"linearGradient": true, "radialGradient": true, "stop": true,
}

// namespaces that elements may have.
const (
	svgSpace   = "http://www.w3.org/2000/svg"
	xlinkSpace = "http://www.w3.org/1999/xlink"
)

// CheckSVG returns the picture, unpacked if it was packed, or what keeps it from being shown: it must
// be small, well-formed, of the base profile "tiny-ps", with a title, and made of nothing but shapes
// and references into itself.
func CheckSVG(b []byte, l limits.Reports) ([]byte, error) {
	if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err == nil {
			b, err = io.ReadAll(io.LimitReader(z, int64(l.Icon)+1))
		}
		if err != nil {
			return nil, fmt.Errorf("%w: it cannot be unpacked", ErrSVG)
		}
	}
	if len(b) > l.Icon {
		return nil, fmt.Errorf("%w: it is larger than %d bytes", ErrSVG, l.Icon)
	}
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("%w: it is not UTF-8", ErrSVG)
	}
	c := svgCheck{depth: l.Depth}
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = c.token(t)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSVG, err)
		}
	}
	if !c.root || !c.title {
		return nil, fmt.Errorf("%w: it has no title", ErrSVG)
	}
	if err := c.repeats(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSVG, err)
	}
	return b, nil
}

// usesMost is how often a picture may repeat parts of itself.
const usesMost = 64

type svgCheck struct {
	open        int
	depth       int
	root, title bool

	ids    [][]string      // of the open elements
	used   []string        // what use elements show again
	nested map[string]bool // ids of elements with a use inside of them
}

// repeats refuses what is small to send and endless to draw: parts that repeat parts that repeat parts.
func (c *svgCheck) repeats() error {
	if len(c.used) > usesMost {
		return fmt.Errorf("it repeats parts more than %d times", usesMost)
	}
	for _, id := range c.used {
		if c.nested[id] {
			return errors.New("it repeats a part that repeats another")
		}
	}
	return nil
}

func (c *svgCheck) token(t xml.Token) error {
	switch t := t.(type) {
	case xml.Directive:
		return errors.New("it has a document type declaration")
	case xml.ProcInst:
		if t.Target != "xml" {
			return errors.New("it has a processing instruction")
		}
	case xml.EndElement:
		c.open--
		c.ids = c.ids[:c.open]
	case xml.StartElement:
		c.open++
		c.ids = append(c.ids, namesOf(t))
		if t.Name.Local == "use" {
			c.uses(t)
		}
		if c.open > c.depth {
			return fmt.Errorf("it is nested deeper than %d", c.depth)
		}
		return c.element(t)
	}
	return nil
}

// uses notes a use element, and which elements it is part of.
func (c *svgCheck) uses(e xml.StartElement) {
	if c.nested == nil {
		c.nested = map[string]bool{}
	}
	for _, names := range c.ids {
		for _, id := range names {
			c.nested[id] = true
		}
	}
	for _, a := range e.Attr {
		if a.Name.Local == "href" {
			c.used = append(c.used, strings.TrimPrefix(strings.TrimSpace(a.Value), "#"))
		}
	}
}

// namesOf are what an element is referred to by: "id" or "xml:id".
func namesOf(e xml.StartElement) (names []string) {
	for _, a := range e.Attr {
		if a.Name.Local == "id" {
			names = append(names, strings.TrimSpace(a.Value))
		}
	}
	return names
}

func (c *svgCheck) element(e xml.StartElement) error {
	if e.Name.Space != svgSpace || !elements[e.Name.Local] {
		return fmt.Errorf("it has an element %.40q", e.Name.Local)
	}
	if c.open == 1 {
		if c.root || e.Name.Local != "svg" {
			return errors.New("its root is not svg")
		}
		c.root = true
		if attribute(e, "baseProfile") != "tiny-ps" || attribute(e, "version") != "1.2" {
			return errors.New("it does not have version 1.2 and baseProfile tiny-ps")
		}
	} else if e.Name.Local == "svg" {
		return errors.New("it has an svg inside of it")
	}
	c.title = c.title || c.open == 2 && e.Name.Local == "title"
	for _, a := range e.Attr {
		if err := checkAttribute(a); err != nil {
			return err
		}
	}
	return nil
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// checkAttribute refuses what acts (on…), what changes what a name means (xml:base), and every
// reference but those to something inside ("#name", "url(#name)").
func checkAttribute(a xml.Attr) error {
	name, value := strings.ToLower(a.Name.Local), strings.ToLower(strings.TrimSpace(a.Value))
	switch {
	case strings.HasPrefix(name, "on"), name == "base" && a.Name.Space != "":
		return fmt.Errorf("it has an attribute %.40q", a.Name.Local)
	case a.Name.Space == "xmlns" || name == "xmlns" && a.Name.Space == "":
		return nil
	case name == "href", a.Name.Space == xlinkSpace:
		if name == "href" && !strings.HasPrefix(value, "#") {
			return errors.New("it refers to something outside")
		}
	case strings.Contains(value, "javascript:"), strings.Contains(value, "@import"),
		strings.Contains(value, "expression("), strings.ContainsRune(value, '\\'):
		return fmt.Errorf("it has a forbidden value of %.40q", a.Name.Local)
	}
	for rest := value; ; {
		_, after, found := strings.Cut(rest, "url(")
		if !found {
			return nil
		}
		rest = strings.TrimLeft(after, " \t\r\n'\"")
		if !strings.HasPrefix(rest, "#") {
			return errors.New("it refers to something outside")
		}
	}
}
