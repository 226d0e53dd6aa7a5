package spam

import (
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"
)

// maxNetworkFile bounds a database: MaxMind's has ten megabytes. All of it is in memory, as a file that is
// written to while it is mapped would end the process.
const maxNetworkFile = 128 << 20

// systemRecord is what databases of autonomous systems have for a network; GeoLite2-ASN, GeoIP2-ISP and
// DB-IP's agree upon these names.
type systemRecord struct {
	System uint32 `maxminddb:"autonomous_system_number"`
	Name   string `maxminddb:"autonomous_system_organization"`
}

// ReadNetworkDatabase reads a table in MaxMind's format (.mmdb). One of something else, like cities, is an
// error: nothing would ever be found in it.
func ReadNetworkDatabase(in io.Reader) (*Networks, error) {
	return readNetworkDatabase(in, maxNetworkFile)
}

func readNetworkDatabase(in io.Reader, most int64) (*Networks, error) {
	b, err := io.ReadAll(io.LimitReader(in, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrNetworks, err)
	case int64(len(b)) > most:
		return nil, fmt.Errorf("%w: more than %d bytes", ErrNetworks, most)
	}
	db, err := maxminddb.OpenBytes(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNetworks, err)
	}
	const looked = 1000 // some networks have no system, but not so many together
	n := 0
	for network := range db.Networks() {
		var r systemRecord
		if err := network.Decode(&r); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNetworks, err)
		}
		if r.System != 0 {
			return &Networks{db: db}, nil
		}
		if n++; n == looked {
			break
		}
	}
	return nil, fmt.Errorf("%w: a database of %q tells no autonomous systems", ErrNetworks,
		clip(db.Metadata.DatabaseType, maxNetworkName))
}

// findInDatabase is Find for such a table. Damage in the middle of it is found when an address leads
// there; then nobody knows whose that address is, as without a table.
func (t *Networks) findInDatabase(a netip.Addr) (system uint32, name string, ok bool) {
	var r systemRecord
	if err := t.db.Lookup(a).Decode(&r); err != nil || r.System == 0 {
		return 0, "", false
	}
	return r.System, clip(strings.ToValidUTF8(strings.TrimSpace(r.Name), ""), maxNetworkName), true
}
