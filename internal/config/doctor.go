package config

import (
	"net"
	"slices"
	"strings"
)

// Doctor says whom `tram doctor` asks about this server.
type Doctor struct {
	Lists      []string `toml:"lists"`       // DNS block lists that are asked about our addresses
	Probes     []string `toml:"probes"`      // domains whose mail servers are tried on port 25
	TimeServer string   `toml:"time_server"` // SNTP; "": no clock is asked
}

func defaultDoctor() Doctor {
	return Doctor{
		Lists:      []string{"zen.spamhaus.org", "bl.spamcop.net", "b.barracudacentral.org"},
		Probes:     []string{"gmail.com", "outlook.com"},
		TimeServer: "pool.ntp.org",
	}
}

func (v *validator) doctor() {
	d := &v.c.Doctor
	for _, l := range []struct {
		key   string
		names []string
	}{{"lists", d.Lists}, {"probes", d.Probes}} {
		for i, name := range l.names {
			l.names[i] = strings.TrimSuffix(name, ".")
			if !validHost(l.names[i]) || !strings.Contains(l.names[i], ".") {
				v.fail("doctor."+l.key, "doctor.%s: %q is not a name such as list.example.net", l.key, name)
			}
		}
	}
	if s := d.TimeServer; s != "" && !validHost(s) && net.ParseIP(s) == nil {
		v.fail("doctor.time_server", "doctor.time_server: %q is neither a host name nor an address", s)
	}
}

// listed is list for a list that has a default.
func listed(key string, values, def []string) string {
	line := key + ` = ["` + strings.Join(values, `", "`) + `"]`
	if len(values) == 0 {
		line = key + " = []"
	}
	if slices.Equal(values, def) {
		return "#" + line
	}
	return line
}

// doctorDocument explains [doctor].
const doctorDocument = `
# Whom "tram doctor" asks: block lists about this server's addresses, domains whose mail servers are
# tried on port 25, and a time server (SNTP).
[doctor]
{{listed "lists" .Doctor.Lists defaultDoctor.Lists}}
{{listed "probes" .Doctor.Probes defaultDoctor.Probes}}
{{set "time_server" .Doctor.TimeServer defaultDoctor.TimeServer ""}}
`
