package content

import (
	"crypto/rand"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"testing"
	"errors"

	"tram/internal/limits"
	"tram/internal/message"
)

func TestYY(t *testing.T) {
	b := make([]byte, 300<<10)
	rand.Read(b)
	e := base64.StdEncoding.EncodeToString(b)
	var lines strings.Builder
	for len(e) > 76 { lines.WriteString(e[:76]+"\r\n"); e = e[76:] }
	lines.WriteString(e+"\r\n")
	for _, p := range []coded{{"b64", "base64", lines.String()}, {"junk", "base64", strings.ReplaceAll(lines.String(), "A\r\n", "A=!\r\nxx")}, {"qp", "quoted-printable", strings.Repeat("<p>words =3D and more words=\r\n a=20\r\n", 10000)}} {
	var worst float64
	type res struct { x float64; n string; d string}
	var all []res
	w := wraps()
	for _, name := range slices.Sorted(maps.Keys(w)) {
		raw := w[name](p)
		r := strings.NewReader(raw)
		m := message.Parse([]byte(raw), limits.Default().Message)
		l := limits.Default().Content
		const top = int64(1)<<40
		was := cpu()
		s := &readings{r: r, m: m, lim: l, yield: func(Reading, error) bool { return true }, left: top, seen: sums{}, apart: sums{}, buf: make([]byte, 32<<10)}
		if err := s.all(); err != nil && !errors.Is(err, errStopped) { t.Log(name, err) }
		x := float64(top-s.left)/float64(len(raw))
		all = append(all, res{x, name, (cpu()-was).String()})
		worst = max(worst, x)
	}
	slices.SortFunc(all, func(a, b res) int { return int(1000*(b.x-a.x)) })
	t.Log(p.how, len(p.body), all[:8])
	}
}
