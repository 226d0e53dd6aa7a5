package spam

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"
)

// Networks tells whose network an address is in, from a table that the operator gives: lines of
// prefix, number of the autonomous system and its name, with tabs between them, or a database in MaxMind's
// format.
type Networks struct {
	four, six []networkRow
	db        *maxminddb.Reader // instead of rows
}

type networkRow struct {
	prefix netip.Prefix
	system uint32
	name   string
}

// Bounds of the table: the whole routing table of the Internet fits.
const (
	maxNetworks    = 2_000_000
	maxNetworkLine = 1000
	maxNetworkName = 60
)

// ErrNetworks marks a table that cannot be read; the error that wraps it names the line.
var ErrNetworks = errors.New("table of networks is not understood")

// ReadNetworks reads a table. Empty lines and such that begin with # are left out.
func ReadNetworks(in io.Reader) (*Networks, error) {
	t := &Networks{}
	names := map[string]string{} // each name once in memory
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxNetworkLine)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.SplitN(line, "\t", 3)
		p, err := netip.ParsePrefix(fields[0])
		if err != nil || len(fields) < 2 {
			return nil, fmt.Errorf("%w: line %d is not prefix, tab, number, tab, name", ErrNetworks, n)
		}
		system, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(fields[1]), "AS"), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %q is no number", ErrNetworks, n, fields[1])
		}
		row := networkRow{prefix: p.Masked(), system: uint32(system)}
		if len(fields) == 3 {
			name := clip(strings.TrimSpace(fields[2]), maxNetworkName)
			if names[name] == "" {
				names[name] = strings.Clone(name)
			}
			row.name = names[name]
		}
		if p.Addr().Is4() {
			t.four = append(t.four, row)
		} else {
			t.six = append(t.six, row)
		}
		if len(t.four)+len(t.six) > maxNetworks {
			return nil, fmt.Errorf("%w: more than %d lines", ErrNetworks, maxNetworks)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNetworks, err)
	}
	for _, rows := range [][]networkRow{t.four, t.six} {
		slices.SortFunc(rows, func(a, b networkRow) int {
			return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), a.prefix.Bits()-b.prefix.Bits())
		})
	}
	return t, nil
}

// maxNested is how many networks inside each other are looked through.
const maxNested = 64

// Find tells the system that an address belongs to: the narrowest network of the table that holds it.
func (t *Networks) Find(a netip.Addr) (system uint32, name string, ok bool) {
	if t == nil || !a.IsValid() {
		return 0, "", false
	}
	a = a.Unmap()
	if t.db != nil {
		return t.findInDatabase(a)
	}
	rows := t.four
	if a.Is6() {
		rows = t.six
	}
	i, _ := slices.BinarySearchFunc(rows, a, func(r networkRow, a netip.Addr) int {
		if r.prefix.Addr().Compare(a) <= 0 {
			return -1
		}
		return 1
	})
	for n := 0; i > 0 && n < maxNested; n++ {
		i--
		if rows[i].prefix.Contains(a) {
			return rows[i].system, rows[i].name, true
		}
	}
	return 0, "", false
}
