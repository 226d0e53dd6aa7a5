// Package doctor answers "is this server set up so that mail flows and is believed?": it compares
// what the Internet sees with what the server needs, and says for each thing in one line how it stands
// and what to do.
//
// It promises that a line is "ok" only when it was seen: what could not be asked is "unknown". It
// changes nothing, asks a bounded number of questions, and ends in bounded time. What must never
// happen: advice that makes things worse.
package doctor

import (
	"context"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"tram/internal/admin/zone"
	"tram/internal/clock"
	"tram/internal/dns"
	"tram/internal/mailauth"
)

// Level is how a thing stands.
type Level string

// The levels, from good to bad.
const (
	OK      Level = "ok"
	Warning Level = "warning" // mail flows, and something could be better or will break
	Unknown Level = "unknown" // could not be asked
	Error   Level = "error"   // mail is lost to others, refused or open to abuse
)

// Line is one finding.
type Line struct {
	Check string `json:"check"` // fixed: "mx", "dkim", "ptr", …
	About string `json:"about"` // a name or an address
	Level Level  `json:"level"`
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"` // what to do, when there is something
}

// Resolver is what the doctor asks the DNS with: past the cache, and servers one by one.
type Resolver interface {
	dns.Resolver
	Lookup(ctx context.Context, name, qtype string) (dns.Answer, error)
	Ask(ctx context.Context, server netip.AddrPort, name, qtype string) (dns.Direct, error)
}

// Certificate is one that the server shows.
type Certificate struct {
	Names    []string
	NotAfter time.Time
	SelfMade bool
	Error    string // of the last attempt to get one
}

// Options are what is examined, and by which means. A means that is nil leaves its checks out, and
// says so in an "unknown" line where people would miss it.
type Options struct {
	DNS    Resolver
	Dialer interface {
		DialContext(ctx context.Context, network, address string) (net.Conn, error)
	}
	Clock clock.Clock
	// AuthorityPort is where name servers answer; 0: 53. MailPort is where mail servers do; 0: 25.
	AuthorityPort, MailPort uint16

	Server  zone.Server
	Domains []zone.Domain

	Certificates []Certificate
	Policies     []string // names of hosts beside Server.Hostname that need a certificate
	Free         int64    // bytes on the disk
	Reserve      int64    // below which nothing is accepted
	Full         error    // why no mail is taken now

	Lists  []string // DNS block lists that are asked about the server's addresses
	Probes []string // domains whose exchangers are tried, to see whether port 25 leads outwards
	Door   string   // "host:port" of the server's own port 25; "": it has none
	// Local reports whether a domain is one whose mail is taken; nil: not known.
	Local func(domain string) bool
	// SPF evaluates a domain's record for an address.
	SPF func(ctx context.Context, addr netip.Addr, helo, domain string) mailauth.SPF
	// Policy reads a domain's MTA-STS policy as senders do, and returns the problem with it.
	Policy func(ctx context.Context, domain string) error
	// Time asks a clock elsewhere how far the machine's is ahead of it.
	Time func(ctx context.Context) (time.Duration, error)
}

// perCheck bounds one check, all of its questions together.
const perCheck = 20 * time.Second

// whole bounds an examination: what has not had its turn by then is "unknown". Many domains whose name
// servers are dead would else take an hour.
const whole = 3 * time.Minute

// atOnce bounds the checks that run beside each other.
const atOnce = 8

// check is one thing to look at; it may give several lines.
type check func(*exam, context.Context) []Line

// exam is one run.
type exam struct {
	Options
	servers authorities
}

// Run examines the server and its domains. The lines come in a fixed order.
func Run(ctx context.Context, o Options) []Line {
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.AuthorityPort == 0 {
		o.AuthorityPort = 53
	}
	if o.MailPort == 0 {
		o.MailPort = 25
	}
	x := &exam{Options: o}
	checks := []check{(*exam).relay, (*exam).certificates, (*exam).clock, (*exam).disk}
	if o.DNS == nil {
		return append([]Line{nobodyToAsk(o.Server.Hostname)}, x.all(ctx, checks)...)
	}
	checks = append([]check{
		(*exam).addresses, (*exam).reverse, (*exam).outwards, (*exam).blocked,
	}, checks...)
	// Records of the host are the same for all domains: they are looked at once.
	seen := map[string]bool{}
	for _, d := range o.Domains {
		for _, group := range grouped(zone.Records(o.Server, d)) {
			key := string(group[0].Kind) + " " + group[0].Name
			if group[0].Kind == zone.Host || seen[key] {
				continue
			}
			seen[key] = true
			checks = append(checks, func(x *exam, ctx context.Context) []Line {
				return x.records(ctx, d, group)
			})
		}
	}
	return x.all(ctx, checks)
}

// nobodyToAsk stands for all that the DNS would tell.
func nobodyToAsk(host string) Line {
	return Line{Check: "dns", About: host, Level: Unknown,
		Text: "there is no name server to ask: nothing was looked at that others see of the server and its domains",
		Do:   "run this on a server that has one ([dns] servers, or /etc/resolv.conf)"}
}

// all makes checks, some of them at once, and returns their lines in their order.
func (x *exam) all(ctx context.Context, checks []check) []Line {
	ctx, cancel := context.WithTimeout(ctx, whole)
	defer cancel()
	results := make([][]Line, len(checks))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, c := range checks {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, perCheck)
			defer cancel()
			results[i] = c(x, ctx)
			return nil
		})
	}
	_ = g.Wait() // a check has no error: what fails is a line
	var all []Line
	for _, lines := range results {
		all = append(all, lines...)
	}
	return all
}

// Worst is the worst level of the lines, OK for none.
func Worst(lines []Line) Level {
	order := map[Level]int{OK: 0, Warning: 1, Unknown: 2, Error: 3}
	worst := OK
	for _, l := range lines {
		if order[l.Level] > order[worst] {
			worst = l.Level
		}
	}
	return worst
}

// grouped puts records of one kind, name and type together, in their order.
func grouped(records []zone.Record) [][]zone.Record {
	var groups [][]zone.Record
	at := map[string]int{}
	for _, r := range records {
		key := string(r.Kind) + " " + r.Name + " " + r.Type
		i, ok := at[key]
		if !ok {
			i = len(groups)
			at[key] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], r)
	}
	return groups
}
