package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"tram/internal/admin/zone"
	"tram/internal/dns"
)

// addresses sees whether the host's name leads to the machine.
func (x *exam) addresses(ctx context.Context) []Line {
	var lines []Line
	wanted := map[string][]zone.Record{}
	for _, r := range zone.Records(zone.Server{Hostname: x.Server.Hostname, Addrs: x.Server.Addrs}, zone.Domain{}) {
		if r.Kind == zone.Host && !r.Example {
			wanted[r.Type] = append(wanted[r.Type], r)
		}
	}
	if len(wanted) == 0 {
		return []Line{{Check: "host", About: x.Server.Hostname, Level: Unknown,
			Text: "the machine has no public address of its own (it may stand behind a router)",
			Do:   "see that the name leads to your public address and that the router passes the ports on"}}
	}
	for _, kind := range []string{"A", "AAAA"} {
		a := x.ask(ctx, x.Server.Hostname, kind)
		l := Line{Check: "host", About: x.Server.Hostname}
		missing := slices.DeleteFunc(slices.Clone(wanted[kind]), func(r zone.Record) bool {
			return slices.Contains(a.records, r.Data)
		})
		foreign := slices.DeleteFunc(slices.Clone(a.records), func(data string) bool {
			return slices.ContainsFunc(wanted[kind], func(r zone.Record) bool { return r.Data == data })
		})
		switch {
		case a.err != nil && !a.none():
			l.say(Unknown, fmt.Sprintf("could not be asked: %v", a.err), "see that the zone's name servers answer")
		case len(wanted[kind]) == 0 && len(a.records) == 0:
			continue
		case len(foreign) > 0:
			l.say(Error, "the name leads to another machine too: "+strings.Join(foreign, ", "),
				"remove that "+kind+" record, or give this machine the address")
		case len(missing) == len(wanted[kind]):
			l.say(Error, "the name does not lead to this machine", publish(missing))
		case len(missing) > 0:
			l.say(Warning, "the name does not lead to all addresses that mail leaves from", publish(missing))
		default:
			l.say(OK, "the name leads to "+strings.Join(a.records, ", "), "")
		}
		lines = append(lines, l)
	}
	return lines
}

// reverse sees whether each address has a name that leads back to it: many receivers refuse mail
// from one that has none.
func (x *exam) reverse(ctx context.Context) []Line {
	var lines []Line
	for _, addr := range x.Server.Addrs {
		l := Line{Check: "ptr", About: addr.String()}
		do := "have whoever gave you the address set its reverse name to " + x.Server.Hostname
		found, err := x.reverseNames(ctx, addr)
		back := false
		if err == nil {
			back, err = x.leadsBack(ctx, found, addr)
		}
		switch {
		case errors.Is(err, dns.ErrNoDomain) || errors.Is(err, dns.ErrNoRecord):
			l.say(Error, "the address has no reverse name: many servers refuse its mail", do)
		case err != nil:
			l.say(Unknown, fmt.Sprintf("could not be asked: %v", err), "run this again")
		case !back:
			l.say(Error, "its reverse name "+found[0]+" does not lead back to it: many servers refuse its mail", do)
		case !slices.ContainsFunc(found, func(n string) bool { return strings.EqualFold(n, x.Server.Hostname) }):
			l.say(Warning, "its reverse name is "+found[0]+", and the server greets as "+x.Server.Hostname, do)
		default:
			l.say(OK, "its reverse name is "+x.Server.Hostname+" and leads back", "")
		}
		lines = append(lines, l)
	}
	return lines
}

func (x *exam) reverseNames(ctx context.Context, addr netip.Addr) ([]string, error) {
	names, _, err := x.DNS.PTR(ctx, addr)
	if err == nil && len(names) == 0 {
		err = dns.ErrNoRecord
	}
	return names, err
}

// leadsBack reports whether one of the names leads to the address; the error is why that is not known.
func (x *exam) leadsBack(ctx context.Context, names []string, addr netip.Addr) (bool, error) {
	var unsure error
	for _, n := range names[:min(len(names), maxServers)] {
		addrs, _, err := x.DNS.Addrs(ctx, n)
		switch {
		case err == nil && slices.Contains(addrs, addr):
			return true, nil
		case err != nil && !errors.Is(err, dns.ErrNoDomain) && !errors.Is(err, dns.ErrNoRecord):
			unsure = err
		}
	}
	return false, unsure
}

// outwards sees whether port 25 leads to the world: many networks close it.
func (x *exam) outwards(ctx context.Context) []Line {
	l := Line{Check: "port 25", About: "outwards"}
	if x.Dialer == nil || len(x.Probes) == 0 {
		return nil
	}
	var last error
	for _, domain := range x.Probes {
		mx, _, err := x.DNS.MX(ctx, domain)
		if err != nil || len(mx) == 0 {
			last = fmt.Errorf("no exchanger of %s is known: %w", domain, err)
			continue
		}
		banner, err := x.greeting(ctx, net.JoinHostPort(mx[0].Host, strconv.Itoa(int(x.MailPort))))
		if err == nil {
			l.say(OK, "other mail servers can be reached: "+mx[0].Host+" says "+strconv.Quote(banner), "")
			return []Line{l}
		}
		last = err
	}
	if errors.Is(last, dns.ErrTemporary) {
		l.say(Unknown, fmt.Sprintf("could not be tried: %v", last), "see that the machine's name server answers")
		return []Line{l}
	}
	l.say(Error, fmt.Sprintf("no other mail server can be reached: %v", last),
		"ask whoever runs the network to open port 25 outwards, or send through a smarthost")
	return []Line{l}
}

// greeting connects and reads the first line.
func (x *exam) greeting(ctx context.Context, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, perCheck/4)
	defer cancel()
	c, err := x.Dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	t := &talk{c: c, r: bufio.NewReaderSize(c, 1024)}
	t.deadline(ctx)
	code, text, err := t.reply()
	if err == nil && code != 220 {
		err = fmt.Errorf("%s answers %d %s", address, code, text)
	}
	if err == nil {
		_ = t.write("QUIT\r\n") // nothing depends on it
	}
	return text, err
}

// blocked asks the block lists about the addresses that mail leaves from.
func (x *exam) blocked(ctx context.Context) []Line {
	if len(x.Lists) == 0 {
		return nil
	}
	var lines []Line
	for _, addr := range x.Server.Addrs {
		l := Line{Check: "block list", About: addr.String()}
		var on, silent []string
		for _, list := range x.Lists {
			switch found, _, err := x.DNS.Addrs(ctx, dns.ListName(addr, list)); {
			case slices.ContainsFunc(found, listing):
				on = append(on, list)
			case err == nil, !errors.Is(err, dns.ErrNoDomain) && !errors.Is(err, dns.ErrNoRecord):
				silent = append(silent, list)
			}
		}
		switch {
		case len(on) > 0:
			l.say(Error, "listed by "+strings.Join(on, ", ")+": receivers who ask there refuse your mail",
				"find out why (its web page tells), mend it, then ask to be taken off")
		case len(silent) == len(x.Lists):
			l.say(Unknown, "no list answers", "lists do not answer public resolvers: use one of your own")
		default:
			l.say(OK, fmt.Sprintf("on none of %d lists", len(x.Lists)-len(silent)), "")
		}
		lines = append(lines, l)
	}
	return lines
}

// What a block list answers about an address that is on it, RFC 5782 §2.1; and what big ones answer to
// who may not ask them, such as a public resolver, about any address.
var (
	listings = netip.MustParsePrefix("127.0.0.0/8")
	refusals = netip.MustParsePrefix("127.255.255.0/24")
)

// listing reports whether an answer says that the address is on the list. Any other is no list's: that of
// a resolver, for instance, which has an answer for every name.
func listing(answer netip.Addr) bool { return listings.Contains(answer) && !refusals.Contains(answer) }

// certificates sees whether every name has one that others accept, and for how long.
func (x *exam) certificates(context.Context) []Line {
	var lines []Line
	now := x.Clock.Now()
	for _, name := range append([]string{x.Server.Hostname}, x.Policies...) {
		l := Line{Check: "certificate", About: name}
		var best *Certificate
		for i, c := range x.Certificates {
			if slices.ContainsFunc(c.Names, func(n string) bool { return covers(n, name) }) &&
				(best == nil || c.NotAfter.After(best.NotAfter)) {
				best = &x.Certificates[i]
			}
		}
		switch {
		case best == nil:
			l.say(Error, "no certificate has this name", "see \"certificates\" in the configuration and the log")
		case best.Error != "" && best.NotAfter.IsZero():
			l.say(Error, "no certificate could be had: "+best.Error,
				"see that port 80 or 443 is reachable from outside")
		case !best.NotAfter.After(now):
			l.say(Error, "the certificate has expired on "+day(best.NotAfter), "see the log for why no new one came")
		case best.SelfMade:
			l.say(Warning, "the certificate is the server's own: mail programs warn of it",
				"set certificates.source to \"acme\" or to files")
		case best.NotAfter.Sub(now) < 14*24*time.Hour:
			l.say(Warning, "the certificate expires on "+day(best.NotAfter), "see the log for why no new one came")
		default:
			l.say(OK, "the certificate holds until "+day(best.NotAfter), "")
		}
		lines = append(lines, l)
	}
	return lines
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// covers reports whether a certificate's name is good for a host, RFC 6125 §6.4.3.
func covers(pattern, host string) bool {
	if rest, ok := strings.CutPrefix(pattern, "*."); ok {
		_, parent, ok := strings.Cut(host, ".")
		return ok && strings.EqualFold(parent, rest)
	}
	return strings.EqualFold(pattern, host)
}

// clock sees whether the machine's clock is right: signatures and certificates depend on it.
func (x *exam) clock(ctx context.Context) []Line {
	if x.Time == nil {
		return nil
	}
	l := Line{Check: "clock", About: x.Server.Hostname}
	off, err := x.Time(ctx)
	switch off = off.Round(100 * time.Millisecond); {
	case err != nil:
		l.say(Unknown, fmt.Sprintf("no other clock could be asked: %v", err),
			"see that the machine keeps its clock right (NTP)")
	case off.Abs() > 5*time.Minute:
		l.say(Error, fmt.Sprintf("the clock is off by %v: signatures look expired or not yet valid", off),
			"set it, by NTP")
	case off.Abs() > 5*time.Second:
		l.say(Warning, fmt.Sprintf("the clock is off by %v", off), "set it, by NTP")
	default:
		l.say(OK, "the clock is right", "")
	}
	return []Line{l}
}

// disk sees how far the reserve is.
func (x *exam) disk(context.Context) []Line {
	l := Line{Check: "disk", About: x.Server.Hostname}
	const gib = 1 << 30
	free := fmt.Sprintf("%.1f GiB are free, %.1f are the reserve", float64(x.Free)/gib, float64(x.Reserve)/gib)
	switch {
	case x.Full != nil:
		l.say(Error, fmt.Sprintf("no mail is taken: %v", x.Full), "make room, or give the machine a larger disk")
	case x.Reserve == 0:
		return nil
	case x.Free < 2*x.Reserve:
		l.say(Warning, free+", below which no mail is taken", "make room, or give the machine a larger disk")
	default:
		l.say(OK, free, "")
	}
	return []Line{l}
}
