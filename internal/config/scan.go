package config

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// What happens to a message that a filter did not answer for.
const (
	ScanDefer  = "defer"  // the sender is asked to come again
	ScanAccept = "accept" // it goes on without this filter
)

// What happens to what the virus scanner cannot look into.
const (
	ScanRefuse = "refuse" // the sender is told so
	ScanSign   = "sign"   // it counts against the message
)

// Scan names the filters outside this server that look at messages. Addresses are "host:port", or
// the path of a unix socket.
type Scan struct {
	Enabled bool         `toml:"enabled"`
	Clamd   ScanClamd    `toml:"clamd"`
	Rspamd  ScanRspamd   `toml:"rspamd"`
	Spamd   ScanSpamd    `toml:"spamd"`
	Milters []ScanMilter `toml:"milters"`
}

// ScanClamd is ClamAV's daemon.
type ScanClamd struct {
	Address     string `toml:"address"`
	Timeout     string `toml:"timeout"` // "": limits.scan.timeout, as for the others
	OnFailure   string `toml:"on_failure"`
	Unscannable string `toml:"unscannable"` // bombs, and what is larger than clamd takes
	Encrypted   string `toml:"encrypted"`
}

// ScanRspamd is rspamd's normal or proxy worker.
type ScanRspamd struct {
	Address      string `toml:"address"`
	Timeout      string `toml:"timeout"`
	OnFailure    string `toml:"on_failure"`
	PasswordFile string `toml:"password_file"`
	Obey         bool   `toml:"obey"` // reject and greylist as it says; else its rules only count
}

// ScanSpamd is SpamAssassin's daemon.
type ScanSpamd struct {
	Address   string `toml:"address"`
	Timeout   string `toml:"timeout"`
	OnFailure string `toml:"on_failure"`
	User      string `toml:"user"`
	MaxSize   int64  `toml:"max_size"`
}

// ScanMilter is a program of the milter protocol.
type ScanMilter struct {
	Name      string `toml:"name"`
	Address   string `toml:"address"`
	Timeout   string `toml:"timeout"`
	OnFailure string `toml:"on_failure"` // "": ScanAccept
}

func defaultScan() Scan {
	return Scan{
		Enabled: true,
		Clamd:   ScanClamd{OnFailure: ScanDefer, Unscannable: ScanRefuse, Encrypted: ScanSign},
		Rspamd:  ScanRspamd{OnFailure: ScanAccept, Obey: true},
		Spamd:   ScanSpamd{OnFailure: ScanAccept, MaxSize: 512 << 10},
	}
}

// longestScan is limits.scan.timeout's hard cap: the sender must be answered within a minute.
const longestScan = 50 * time.Second

// ScanTimeout is a filter's own time-out, 0 when it has none.
func ScanTimeout(timeout string) time.Duration {
	d, err := time.ParseDuration(timeout)
	if err != nil {
		return 0
	}
	return d
}

func (v *validator) scan() {
	s := &v.c.Scan
	v.filter("scan.clamd", s.Clamd.Address, s.Clamd.Timeout, s.Clamd.OnFailure)
	v.oneOf("scan.clamd.unscannable", s.Clamd.Unscannable, ScanRefuse, ScanSign)
	v.oneOf("scan.clamd.encrypted", s.Clamd.Encrypted, ScanRefuse, ScanSign)
	v.filter("scan.rspamd", s.Rspamd.Address, s.Rspamd.Timeout, s.Rspamd.OnFailure)
	v.filter("scan.spamd", s.Spamd.Address, s.Spamd.Timeout, s.Spamd.OnFailure)
	if s.Spamd.MaxSize < 1 {
		v.fail("scan.spamd.max_size", "scan.spamd.max_size: %d is not a number of bytes", s.Spamd.MaxSize)
	}
	if strings.ContainsFunc(s.Spamd.User, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		v.fail("scan.spamd.user", "scan.spamd.user: %q is not a user name", s.Spamd.User)
	}
	names := map[string]bool{}
	for i := range s.Milters {
		m := &s.Milters[i]
		if m.OnFailure == "" {
			m.OnFailure = ScanAccept
		}
		if m.Address == "" {
			v.fail("scan.milters", "scan.milters: entry %d needs an address", i+1)
		}
		if m.Name == "" || names[m.Name] {
			v.fail("scan.milters", "scan.milters: entry %d needs a name of its own", i+1)
		}
		names[m.Name] = true
		v.filter("scan.milters", m.Address, m.Timeout, m.OnFailure)
	}
}

func (v *validator) filter(key, address, timeout, onFailure string) {
	if address != "" && !filepath.IsAbs(address) && !validAddress(address) {
		v.fail(key+".address", "%s: %q is neither host:port nor the whole path of a unix socket", key, address)
	}
	if timeout != "" {
		if d, err := time.ParseDuration(timeout); err != nil || d <= 0 || d > longestScan {
			v.fail(key+".timeout", "%s: the time-out %q is not a time up to %v, such as \"10s\"",
				key, timeout, longestScan)
		}
	}
	v.oneOf(key+".on_failure", onFailure, ScanDefer, ScanAccept)
}

// switched is set for switches.
func switched(key string, value, def bool) string {
	if value == def {
		return fmt.Sprintf("#%s = %t", key, def)
	}
	return fmt.Sprintf("%s = %t", key, value)
}

// counted is set for numbers.
func counted(key string, value, def int64) string {
	line := key + " = " + strconv.FormatInt(value, 10)
	if value == def {
		return "#" + line
	}
	return line
}

// scanDocument explains [scan]. See docs/scan.md.
const scanDocument = `
[scan]
# Filters outside this server, if you have any; see docs/scan.md. Addresses are "host:port" or the path
# of a unix socket. on_failure is what happens when a filter does not answer: "defer" asks the sender
# to come again, "accept" goes on without it. A time-out replaces limits.scan.timeout.
{{switched "enabled" .Scan.Enabled true}}

# Viruses: ClamAV's daemon. What it finds is refused.
[scan.clamd]
{{set "address" .Scan.Clamd.Address "" "/run/clamav/clamd.ctl"}}
{{set "timeout" .Scan.Clamd.Timeout "" "30s"}}
{{set "on_failure" .Scan.Clamd.OnFailure "defer" ""}}
# What it cannot look into, as bombs and what is too large, and what is encrypted: "refuse" or "sign",
# which counts it against the message.
{{set "unscannable" .Scan.Clamd.Unscannable "refuse" ""}}
{{set "encrypted" .Scan.Clamd.Encrypted "sign" ""}}

# Spam: rspamd. What its rules say counts beside our own; obey also refuses and greylists as it says.
[scan.rspamd]
{{set "address" .Scan.Rspamd.Address "" "127.0.0.1:11333"}}
{{set "timeout" .Scan.Rspamd.Timeout "" "30s"}}
{{set "on_failure" .Scan.Rspamd.OnFailure "accept" ""}}
{{set "password_file" .Scan.Rspamd.PasswordFile "" "rspamd-password"}}
{{switched "obey" .Scan.Rspamd.Obey true}}

# Spam: SpamAssassin's spamd, for messages up to max_size bytes.
[scan.spamd]
{{set "address" .Scan.Spamd.Address "" "127.0.0.1:783"}}
{{set "timeout" .Scan.Spamd.Timeout "" "30s"}}
{{set "on_failure" .Scan.Spamd.OnFailure "accept" ""}}
{{set "user" .Scan.Spamd.User "" "debian-spamd"}}
{{counted "max_size" .Scan.Spamd.MaxSize 524288}}
{{range .Scan.Milters}}
[[scan.milters]]
name = {{str .Name}}
address = {{str .Address}}
{{set "timeout" .Timeout "" "30s"}}
on_failure = {{str .OnFailure}}
{{else}}
# Programs of the milter protocol, asked after the message has come.
#[[scan.milters]]
#name = "opendkim"
#address = "/run/opendkim/opendkim.sock"
#timeout = "30s"
#on_failure = "accept"
{{end}}`
