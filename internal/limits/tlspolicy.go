package limits

import "time"

// TLSPolicy bounds what is learnt of how other domains want to be spoken to.
type TLSPolicy struct {
	PolicyBytes int           `toml:"policy_bytes" cap:"1048576" why:"RFC 8461 §3.3: 64 KB of an MTA-STS policy"`
	Fetch       time.Duration `toml:"fetch" cap:"5m" why:"RFC 8461 §3.3: a minute for fetching it"`
	Fetches     int           `toml:"fetches" cap:"1000" why:"policies fetched at the same time"`
	Again       time.Duration `toml:"again" cap:"24h" why:"RFC 8461 §3.3: before a fetch that failed is tried again"`
	Domains     int           `toml:"domains" cap:"10000000" why:"domains whose policy is kept"`
	MX          int           `toml:"mx" cap:"1000" why:"mx lines of a policy"`
	MaxAge      time.Duration `toml:"max_age" cap:"8766h" why:"RFC 8461 §3.2: a year; a longer one is shortened"`
	Refresh     time.Duration `toml:"refresh" cap:"168h" why:"RFC 8461 §10.2: policies are fetched again daily"`
	Unused      time.Duration `toml:"unused" cap:"8766h" why:"policies of domains that got no mail since are not fetched again"`
	TLSA        int           `toml:"tlsa" cap:"1000" why:"TLSA records of an exchanger that are looked at"`
}

func defaultTLSPolicy() TLSPolicy {
	return TLSPolicy{
		PolicyBytes: 64 * KiB, Fetch: time.Minute, Fetches: 32, Again: 5 * time.Minute,
		Domains: 100000, MX: 100, MaxAge: 31557600 * time.Second, Refresh: 24 * time.Hour,
		Unused: 90 * 24 * time.Hour, TLSA: 100,
	}
}
