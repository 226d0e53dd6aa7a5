// Package zone answers "which DNS records does a mail domain need?", as values: `tram setup` and
// `tram domain dns` print them, `tram doctor` compares them with what the DNS says.
//
// It promises that a record stands here only if this server does what it announces, and that what is
// printed can be pasted into a zone file. What must never happen: a record that makes strict receivers
// refuse the domain's mail when it is published as printed.
package zone

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// Kind is what a record is for.
type Kind string

// The kinds, in the order in which they are printed.
const (
	Host         Kind = "host"
	MX           Kind = "mx"
	SPF          Kind = "spf"
	HostSPF      Kind = "host spf"
	DKIM         Kind = "dkim"
	DMARC        Kind = "dmarc"
	MTASTS       Kind = "mta-sts"
	MTASTSHost   Kind = "mta-sts host"
	TLSRPT       Kind = "tls-rpt"
	TLSA         Kind = "tlsa"
	SRV          Kind = "srv"
	AutoConfig   Kind = "autoconfig"
	AutoDiscover Kind = "autodiscover"
	CAA          Kind = "caa"
)

// why are the comments above each kind in the zone file.
var why = map[Kind]string{
	Host:    "The server.",
	MX:      "Where mail for the domain goes (RFC 5321).",
	SPF:     "Who may send mail of the domain (SPF, RFC 7208).",
	HostSPF: "The same for the server's own name, which it greets with.",
	DKIM:    "The keys of its signatures (DKIM, RFC 6376 and RFC 8463).",
	DMARC: "What receivers do with mail that only claims to be yours, and whom they tell (DMARC, RFC 9989).\n" +
		"Begin with p=none, read \"tram dmarc\" for some weeks, then p=quarantine and p=reject.",
	MTASTS:     "Senders must use TLS with a valid certificate (MTA-STS, RFC 8461).",
	MTASTSHost: "Where they read that policy.",
	TLSRPT:     "Whom senders tell when TLS fails (TLS-RPT, RFC 8460).",
	TLSA: "The key of the server's certificate (DANE, RFC 7672). Only for a zone that is signed with DNSSEC;\n" +
		"the second one, if there is one, is of the next key: publish both.",
	SRV:          "How mail programs find the server (RFC 6186, RFC 8314).",
	AutoConfig:   "How Thunderbird finds the server.",
	AutoDiscover: "How Outlook finds the server.",
	CAA:          "Who may issue certificates for the server (RFC 8659).",
}

// Key is a DKIM key that is or will be in use.
type Key struct {
	Selector string
	Record   string // of RFC 6376 §3.6.1
	Idle     bool   // it signs nothing: not yet, or no more
}

// Server is what the records say of the machine.
type Server struct {
	Hostname string       // A-labels
	Addrs    []netip.Addr // that the Internet reaches it under; empty: not known
	Issuer   string       // CAA domain of the certification authority; "": not from one
	TLSA     []string     // data of its TLSA records on port 25
	// Closed are services without a door here, by the name of their SRV record: "_pop3".
	Closed map[string]bool
}

// Domain is what the records say of a domain.
type Domain struct {
	Name string // A-labels
	Keys []Key
	// PolicyID is the id of the MTA-STS policy that the server serves for the domain; "": none.
	PolicyID string
	// Reports is whom DMARC and TLS reports go to: the local parts.
	DMARCReports, TLSReports string
}

// TTL is what the records are printed with, in seconds.
const TTL = 3600

// Record is one record. Names are absolute, with their dot.
type Record struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"`
	Type string `json:"type"`
	Data string `json:"data"` // as zone files write it
	// Text is the text of a TXT record, without quotes.
	Text string `json:"text,omitempty"`
	// Idle: mail flows without it now: the key of a signature that is not made yet, or no more.
	Idle bool `json:"idle,omitempty"`
	// Example: the address is not known here, and the data is one.
	Example bool `json:"example,omitempty"`
}

// service is an SRV record of RFC 6186 §3 or RFC 8314 §5.1: the lower priority is tried first.
type service struct {
	name           string
	priority, port int
}

var services = []service{
	{"_submissions", 0, 465}, {"_submission", 10, 587}, {"_imaps", 0, 993}, {"_imap", 10, 143},
	{"_pop3s", 20, 995}, {"_pop3", 30, 110},
}

// Records lists what d needs on s.
func Records(s Server, d Domain) []Record {
	var all []Record
	host, domain := absolute(s.Hostname), absolute(d.Name)
	add := func(k Kind, name, kind, data string) {
		all = append(all, Record{Kind: k, Name: name, Type: kind, Data: data})
	}
	txt := func(k Kind, name, text string) {
		all = append(all, Record{Kind: k, Name: name, Type: "TXT", Data: Quote(text), Text: text})
	}
	all = append(all, addresses(s)...)
	add(MX, domain, "MX", "10 "+host)
	txt(SPF, domain, "v=spf1 mx -all")
	if host != domain {
		txt(HostSPF, host, "v=spf1 a -all")
	}
	for _, k := range d.Keys {
		txt(DKIM, k.Selector+"._domainkey."+domain, k.Record)
		all[len(all)-1].Idle = k.Idle
	}
	txt(DMARC, "_dmarc."+domain, "v=DMARC1; p=none; rua=mailto:"+d.DMARCReports+"@"+d.Name)
	if d.PolicyID != "" {
		txt(MTASTS, "_mta-sts."+domain, "v=STSv1; id="+d.PolicyID+";")
		add(MTASTSHost, "mta-sts."+domain, "CNAME", host)
	}
	txt(TLSRPT, "_smtp._tls."+domain, "v=TLSRPTv1; rua=mailto:"+d.TLSReports+"@"+d.Name)
	for _, data := range s.TLSA {
		add(TLSA, "_25._tcp."+host, "TLSA", data)
	}
	for _, v := range services {
		if !s.Closed[v.name] {
			add(SRV, v.name+"._tcp."+domain, "SRV", fmt.Sprintf("%d 1 %d %s", v.priority, v.port, host))
		}
	}
	add(AutoConfig, "autoconfig."+domain, "CNAME", host)
	add(AutoDiscover, "autodiscover."+domain, "CNAME", host)
	add(AutoDiscover, "_autodiscover._tcp."+domain, "SRV", "0 1 443 "+host)
	if s.Issuer != "" {
		add(CAA, host, "CAA", `0 issue "`+s.Issuer+`"`)
	}
	return all
}

func absolute(name string) string { return strings.TrimSuffix(name, ".") + "." }

// addresses are those of the machine, or examples where it knows none.
func addresses(s Server) []Record {
	addrs, example := s.Addrs, false
	if len(addrs) == 0 {
		addrs = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
		example = true
	}
	var all []Record
	for _, a := range addrs {
		kind := "AAAA"
		if a.Is4() {
			kind = "A"
		}
		all = append(all, Record{
			Kind: Host, Name: absolute(s.Hostname), Type: kind, Data: a.String(), Example: example,
		})
	}
	return all
}

// Write prints records as a zone file, RFC 1035 §5.1, with a comment above each kind.
func Write(w io.Writer, records []Record) error {
	var b strings.Builder
	var last Kind
	for _, r := range records {
		if r.Kind != last {
			last = r.Kind
			for line := range strings.SplitSeq(why[r.Kind], "\n") {
				b.WriteString("; " + line + "\n")
			}
			if r.Example {
				b.WriteString("; This machine sees no public address of its own: put the server's here.\n")
			}
		}
		if r.Example {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s %d IN %s %s\n", r.Name, TTL, r.Type, r.Data)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Quote writes a text as strings of at most 255 bytes, RFC 1035 §3.3.14.
func Quote(text string) string {
	var parts []string
	for len(text) > 255 {
		parts = append(parts, quoted(text[:255]))
		text = text[255:]
	}
	return strings.Join(append(parts, quoted(text)), " ")
}

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func quoted(text string) string { return `"` + escapes.Replace(text) + `"` }
