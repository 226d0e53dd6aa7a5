package limits

import "time"

// Scan bounds what is asked of filters outside this server, and what they may answer.
type Scan struct {
	Timeout     time.Duration `toml:"timeout" cap:"50s" why:"all filters for one message: the sender waits (O15)"`
	Failures    int           `toml:"failures" cap:"1000" why:"in a row; then a filter is left alone for a while (O15)"`
	Pause       time.Duration `toml:"pause" cap:"10m" why:"then one message tries it again (O15)"`
	Connections int           `toml:"connections" cap:"1000" why:"to one filter at the same time; clamd has 10 threads"`
	MilterIdle  time.Duration `toml:"milter_idle" cap:"1m" why:"a milter's connection is kept for the client's next message"`
	MilterMails int           `toml:"milter_messages" cap:"10000" why:"of one client over one connection to a milter"`
	Answer      int           `toml:"answer" cap:"16777216" why:"bytes of one answer"`
	Signs       int           `toml:"signs" cap:"10000" why:"rules of one filter that are kept of one message"`
	Fields      int           `toml:"fields" cap:"1000" why:"header fields that one milter may add"`
	FieldBytes  int           `toml:"field_bytes" cap:"1048576" why:"of all of them together"`
}

func defaultScan() Scan {
	return Scan{
		Timeout: 30 * time.Second, Failures: 5, Pause: 15 * time.Second, Connections: 10,
		MilterIdle: 5 * time.Second, MilterMails: 100,
		Answer: MiB, Signs: 100, Fields: 20, FieldBytes: 64 * KiB,
	}
}
