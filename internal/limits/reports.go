package limits

import "time"

// Reports bounds the reports that others send about our domains and those that are sent to others.
type Reports struct {
	Packed     int64         `toml:"packed" cap:"52428800" why:"bytes of one received report as it was sent; P9"`
	Unpacked   int64         `toml:"unpacked" cap:"268435456" why:"bytes of one received report; read as a stream; P9"`
	Ratio      int           `toml:"ratio" cap:"1100" why:"unpacked to packed bytes, beyond the first MiB; P9"`
	Files      int           `toml:"zip_files" cap:"100" why:"files in one zip archive; RFC 7489 §7.2.1.1 means one"`
	Depth      int           `toml:"depth" cap:"1000" why:"nested elements or values; the formats have 7; P15"`
	Token      int           `toml:"token" cap:"1048576" why:"bytes of one tag, text or string; P15"`
	Tokens     int           `toml:"tokens" cap:"100000000" why:"tags and texts of one report; P15"`
	Rows       int           `toml:"rows" cap:"100000" why:"kept of one received report; the rest is summed up"`
	Parsing    int           `toml:"parallel" cap:"64" why:"reports read at once: each takes some MiB"`
	Keep       time.Duration `toml:"keep" cap:"17520h" why:"received reports and icons are removed after it"`
	PerDomain  int           `toml:"kept_per_domain" cap:"1000000" why:"reports of one kind; the oldest go first"`
	DomainSize int64         `toml:"kept_bytes_per_domain" cap:"107374182400" why:"the same in bytes"`

	Memory      int           `toml:"counted_in_memory" cap:"1000000" why:"distinct results between two writes, a minute at most"`
	DomainRows  int           `toml:"counted_per_domain" cap:"100000" why:"distinct results of a domain and a day"`
	DayRows     int           `toml:"counted_per_day" cap:"10000000" why:"distinct results of all domains and a day"`
	Days        int           `toml:"days_unsent" cap:"30" why:"a report that could not be sent in these days is given up"`
	Recipients  int           `toml:"recipients" cap:"20" why:"RFC 7489 §6.2 asks for 2 addresses that a domain names"`
	PerRun      int           `toml:"sent_per_run" cap:"10000" why:"reports composed every ten minutes"`
	Spread      time.Duration `toml:"spread" cap:"20h" why:"RFC 8460 §4.1: not everybody writes at midnight"`
	Fetch       time.Duration `toml:"fetch_time" cap:"5m" why:"one request over HTTPS"`
	Certificate int64         `toml:"certificate" cap:"1048576" why:"bytes of a mark certificate with its chain"`
	Icon        int           `toml:"icon" cap:"1048576" why:"bytes of an icon: the BIMI drafts recommend 32 KiB"`
	Icons       int           `toml:"icons_wanted" cap:"100000" why:"domains whose icon is still to be looked up"`
	IconsKept   int           `toml:"icons_kept" cap:"1000000" why:"domains whose icon, or lack of one, is remembered"`
}

func defaultReports() Reports {
	return Reports{
		Packed: 10 * MiB, Unpacked: 64 * MiB, Ratio: 100, Files: 4, Depth: 64, Token: 64 * KiB,
		Tokens: 10000000, Rows: 5000, Parsing: 2, Keep: 180 * 24 * time.Hour, PerDomain: 10000,
		DomainSize: 256 * MiB,
		Memory:     20000, DomainRows: 2000, DayRows: 200000, Days: 3, Recipients: 5, PerRun: 500,
		Spread: 4 * time.Hour, Fetch: 20 * time.Second, Certificate: 256 * KiB, Icon: 32 * KiB,
		Icons: 1000, IconsKept: 20000,
	}
}
