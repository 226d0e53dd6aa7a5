package config

import (
	"bytes"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"tram/internal/limits"
)

// position is a place in a document, both counted from 1.
type position struct{ line, column int }

// positions finds where each dotted key of a document stands; the first of several. What does not
// parse is left out: the decoder has reported it.
func positions(data []byte) map[string]position {
	at := map[string]position{}
	p := unstable.Parser{}
	p.Reset(data)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = note(at, data, "", e) + "."
		case unstable.KeyValue:
			noteValue(at, data, table, e)
		}
	}
	return at
}

func noteValue(at map[string]position, data []byte, prefix string, e *unstable.Node) {
	key := note(at, data, prefix, e)
	if v := e.Value(); v.Kind == unstable.InlineTable {
		for it := v.Children(); it.Next(); {
			noteValue(at, data, key+".", it.Node())
		}
	}
}

// note remembers where e's key and its parents stand and returns the whole key.
func note(at map[string]position, data []byte, prefix string, e *unstable.Node) string {
	key := strings.TrimSuffix(prefix, ".")
	for it := e.Key(); it.Next(); {
		if key != "" {
			key += "."
		}
		key += string(it.Node().Data)
		if _, seen := at[key]; !seen {
			at[key] = place(data, int(it.Node().Raw.Offset))
		}
	}
	return key
}

func place(data []byte, offset int) position {
	before := data[:offset]
	return position{1 + bytes.Count(before, []byte{'\n'}), offset - bytes.LastIndexByte(before, '\n')}
}

// keys lists every key that has a meaning, limits included.
func keys() []string {
	var all []string
	structKeys("", reflect.TypeFor[Config](), func(key string) { all = append(all, key) })
	set := limits.Default()
	for _, r := range set.Table() {
		all = append(all, "limits."+r.Key)
	}
	return all
}

func structKeys(prefix string, t reflect.Type, fn func(key string)) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		if name == "-" || name == "" {
			continue
		}
		fn(prefix + name)
		inner := f.Type
		if inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner.PkgPath() == t.PkgPath() {
			structKeys(prefix+name+".", inner, fn)
		}
	}
}

// nearest returns the known key that key was probably meant to be: the same last part in another
// table, or few edits away. "" when nothing is near.
func nearest(key string, known []string) string {
	best, least := "", 1+len(key)/3
	for _, k := range known {
		d := distance(key, k)
		if lastPart(k) == lastPart(key) {
			d = min(d, 1)
		}
		if d < least || d == least && best == "" {
			best, least = k, d
		}
	}
	return best
}

func lastPart(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
