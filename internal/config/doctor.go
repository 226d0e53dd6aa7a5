package config

import (
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
