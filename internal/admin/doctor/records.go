package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"tram/internal/admin/zone"
	"tram/internal/mailauth"
)

// names of the checks in lines, by kind of record.
var names = map[zone.Kind]string{zone.HostSPF: "spf", zone.MTASTSHost: "mta-sts"}

func nameOf(k zone.Kind) string {
	if n := names[k]; n != "" {
		return n
	}
	return string(k)
}

// records compares what the DNS has under one name and type with what is wanted there.
func (x *exam) records(ctx context.Context, d zone.Domain, want []zone.Record) []Line {
	first := want[0]
	a := x.ask(ctx, first.Name, first.Type)
	line := Line{Check: nameOf(first.Kind), About: strings.TrimSuffix(first.Name, ".")}
	if a.err != nil && !a.none() {
		line.Level, line.Text = Unknown, fmt.Sprintf("could not be asked: %v", a.err)
		line.Do = "see that the zone's name servers answer, then run this again"
		return []Line{line}
	}
	judge := judges[first.Kind]
	judge(x, ctx, &line, d, a, want)
	lines := []Line{line}
	if len(a.odd) > 0 {
		lines = append(lines, Line{Check: line.Check, About: line.About, Level: Warning,
			Text: "name servers disagree: " + strings.Join(a.odd, ", "),
			Do:   "see that all name servers of the zone have its newest form"})
	}
	return lines
}

// judges decide for each kind. The answer has records, or says that there are none.
var judges = map[zone.Kind]func(*exam, context.Context, *Line, zone.Domain, answer, []zone.Record){
	zone.MX: (*exam).judgeMX, zone.SPF: (*exam).judgeSPF, zone.HostSPF: (*exam).judgeSPF,
	zone.DKIM: (*exam).judgeDKIM, zone.DMARC: (*exam).judgeDMARC, zone.MTASTS: (*exam).judgeSTS,
	zone.MTASTSHost: (*exam).judgeAlias, zone.TLSRPT: (*exam).judgeTLSRPT, zone.TLSA: (*exam).judgeTLSA,
	zone.SRV: (*exam).judgeSRV, zone.AutoConfig: (*exam).judgeAlias, zone.AutoDiscover: (*exam).judgeAlias,
	zone.CAA: (*exam).judgeCAA,
}

func (l *Line) say(level Level, text, do string) { l.Level, l.Text, l.Do = level, text, do }

// publish is the advice to put records into the zone.
func publish(want []zone.Record) string {
	var b strings.Builder
	b.WriteString("publish")
	for i, r := range want {
		if i > 0 {
			b.WriteString(" and")
		}
		fmt.Fprintf(&b, " %s %s %s", r.Name, r.Type, r.Data)
	}
	return b.String()
}

func (x *exam) judgeMX(_ context.Context, l *Line, _ zone.Domain, a answer, want []zone.Record) {
	host := strings.ToLower(strings.TrimPrefix(want[0].Data, "10 "))
	ours := slices.ContainsFunc(a.records, func(r string) bool {
		_, to, _ := strings.Cut(r, " ")
		return strings.EqualFold(to, host)
	})
	switch {
	case len(a.records) == 0:
		l.say(Error, "mail for the domain does not find the way here", publish(want))
	case !ours:
		l.say(Error, "mail for the domain goes elsewhere: "+strings.Join(a.records, ", "), publish(want))
	case len(a.records) > 1:
		l.say(Warning, "others take the domain's mail too: "+strings.Join(a.records, ", "),
			"remove those that do not hand it on to this server")
	default:
		l.say(OK, "mail for the domain comes here", "")
	}
}

// texts joins the strings of TXT records, and returns those of a version. It is compared to the letter, as
// receivers do: to them "v=dmarc1" is no DMARC record.
func texts(records []string, version string) []string {
	var all []string
	for _, r := range records {
		t := unquote(r)
		first, _, _ := strings.Cut(t, ";")
		name, value, _ := strings.Cut(first, "=")
		if strings.TrimSpace(name) == "v" && strings.TrimSpace(value) == version {
			all = append(all, t)
		}
	}
	return all
}

// spfTexts are those that are SPF records, RFC 7208 §4.5.
func spfTexts(records []string) []string {
	var all []string
	for _, r := range records {
		t := unquote(r)
		if version, _, _ := strings.Cut(t, " "); strings.EqualFold(version, "v=spf1") {
			all = append(all, t)
		}
	}
	return all
}

// unquote undoes zone.Quote, for data that miekg's parser has printed.
func unquote(data string) string {
	var b strings.Builder
	inside := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			inside = !inside
		case c == '\\' && i+3 < len(data) && digit(data[i+1]) && digit(data[i+2]) && digit(data[i+3]):
			b.WriteByte((data[i+1]-'0')*100 + (data[i+2]-'0')*10 + data[i+3] - '0')
			i += 3
		case c == '\\' && i+1 < len(data):
			i++
			b.WriteByte(data[i])
		case inside:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func (x *exam) judgeSPF(ctx context.Context, l *Line, _ zone.Domain, a answer, want []zone.Record) {
	found := spfTexts(a.records)
	switch {
	case len(found) == 0:
		level := Error
		if want[0].Kind == zone.HostSPF {
			level = Warning
		}
		l.say(level, "nothing says who may send mail of this name", publish(want))
		return
	case len(found) > 1:
		l.say(Error, "there are two SPF records, which counts as none (RFC 7208 §4.5)", "keep one of them")
		return
	case x.SPF == nil || len(x.Server.Addrs) == 0:
		l.say(Unknown, "there is a record: "+found[0], "run this on a machine that knows its public address")
		return
	}
	for _, addr := range x.Server.Addrs {
		r := x.SPF(ctx, addr, x.Server.Hostname, l.About)
		switch r.Status {
		case mailauth.Pass:
		case mailauth.TempError:
			l.say(Unknown, "could not be evaluated: "+r.Reason, "run this again")
			return
		case mailauth.PermError:
			l.say(Error, "the record is broken: "+r.Reason, "publish "+want[0].Data)
			return
		default:
			l.say(Error, fmt.Sprintf("says that %s may not send mail of this name: %s", addr, found[0]),
				"add this server to it, or "+publish(want))
			return
		}
	}
	if slices.ContainsFunc(strings.Fields(strings.ToLower(found[0])), func(term string) bool {
		return term == "+all" || term == "all"
	}) {
		l.say(Error, "lets everybody send mail in your name: "+found[0], "end it with -all")
		return
	}
	l.say(OK, "this server may send mail of this name", "")
}

// tag returns the value of a tag in a tag list, white space taken out.
func tag(record, name string) string {
	for part := range strings.SplitSeq(record, ";") {
		if n, v, ok := strings.Cut(part, "="); ok && strings.TrimSpace(n) == name {
			return strings.Join(strings.Fields(v), "")
		}
	}
	return ""
}

func (x *exam) judgeDKIM(_ context.Context, l *Line, _ zone.Domain, a answer, want []zone.Record) {
	key := tag(want[0].Text, "p")
	if want[0].Idle && !slices.ContainsFunc(a.records, func(r string) bool { return tag(unquote(r), "p") == key }) {
		l.say(Warning, "a key that does not sign now is not published: the next one, or the last one, whose mail may "+
			"still be on its way", publish(want))
		return
	}
	for _, r := range a.records {
		switch found := tag(unquote(r), "p"); {
		case found == key && len(a.records) == 1:
			l.say(OK, "the key of our signatures is published", "")
			return
		case found == key:
			l.say(Error, "the key is there, beside another record: receivers may take the wrong one",
				"remove the other TXT records of this name")
			return
		}
	}
	if len(a.records) > 0 {
		l.say(Error, "another key is published: our signatures do not hold", publish(want))
		return
	}
	l.say(Error, "the key of our signatures is not published: they do not hold", publish(want))
}

func (x *exam) judgeDMARC(_ context.Context, l *Line, _ zone.Domain, a answer, want []zone.Record) {
	found := texts(a.records, "DMARC1")
	switch {
	case len(found) == 0:
		l.say(Error, "nothing says what to do with forged mail; big receivers want it said", publish(want))
	case len(found) > 1:
		l.say(Error, "there are two DMARC records, which counts as none", "keep one of them")
	case tag(found[0], "rua") == "":
		l.say(Warning, "nobody is told of mail in the domain's name",
			"add rua="+tag(want[0].Text, "rua"))
	case tag(found[0], "p") == "none":
		l.say(Warning, "forged mail is only reported, not refused (p=none)",
			`when "tram dmarc" shows no mail of your own that fails, change to p=quarantine, then p=reject`)
	default:
		l.say(OK, "forged mail is refused or put aside (p="+tag(found[0], "p")+")", "")
	}
}

func (x *exam) judgeSTS(ctx context.Context, l *Line, d zone.Domain, a answer, want []zone.Record) {
	found := texts(a.records, "STSv1")
	switch {
	case len(found) == 0:
		l.say(Warning, "senders are not told that TLS is a must", publish(want))
	case len(found) > 1:
		l.say(Error, "there are two MTA-STS records, which counts as none", "keep one of them")
	case tag(found[0], "id") != tag(want[0].Text, "id"):
		l.say(Error, "the id is not that of the policy served: senders keep an old one", publish(want))
	case x.Policy == nil:
		l.say(Unknown, "the policy could not be read", "")
	default:
		if err := x.Policy(ctx, d.Name); err != nil {
			l.say(Error, fmt.Sprintf("senders cannot read the policy: %v", err),
				"see that https://mta-sts."+d.Name+" leads to this server and that it has a certificate for the name")
			return
		}
		l.say(OK, "senders are told that TLS is a must, and can read the policy", "")
	}
}

// judgeAlias is for names that must lead to the server, whether by CNAME or by address, and for SRV.
func (x *exam) judgeAlias(ctx context.Context, l *Line, d zone.Domain, a answer, want []zone.Record) {
	if want[0].Type == "SRV" {
		x.judgeSRV(ctx, l, d, a, want)
		return
	}
	level, lack := Warning, "mail programs that look here find nothing"
	if want[0].Kind == zone.MTASTSHost {
		level, lack = Error, "senders do not find the MTA-STS policy"
	}
	for _, r := range a.records {
		if strings.EqualFold(r, want[0].Data) {
			l.say(OK, "leads to this server", "")
			return
		}
	}
	var unsure error
	for _, addr := range x.Server.Addrs {
		kind := "AAAA"
		if addr.Is4() {
			kind = "A"
		}
		got := x.ask(ctx, want[0].Name, kind)
		if slices.Contains(got.records, addr.String()) {
			l.say(OK, "leads to this server", "")
			return
		}
		if got.err != nil && !got.none() {
			unsure = got.err
		}
	}
	if unsure != nil {
		l.say(Unknown, fmt.Sprintf("could not be asked: %v", unsure), "run this again")
		return
	}
	if len(a.records) > 0 {
		lack = "leads elsewhere: " + strings.Join(a.records, ", ")
	}
	l.say(level, lack, publish(want))
}

func (x *exam) judgeTLSRPT(_ context.Context, l *Line, _ zone.Domain, a answer, want []zone.Record) {
	switch found := texts(a.records, "TLSRPTv1"); {
	case len(found) == 0:
		l.say(Warning, "nobody is told when senders cannot use TLS", publish(want))
	case len(found) > 1:
		l.say(Warning, "there are two TLS-RPT records, which counts as none (RFC 8460 §3)", "keep one of them")
	default:
		l.say(OK, "senders tell when TLS fails", "")
	}
}

func (x *exam) judgeTLSA(_ context.Context, l *Line, _ zone.Domain, a answer, want []zone.Record) {
	fits := 0
	for _, w := range want {
		if slices.ContainsFunc(a.records, func(r string) bool { return strings.EqualFold(r, w.Data) }) {
			fits++
		}
	}
	now := slices.ContainsFunc(a.records, func(r string) bool { return strings.EqualFold(r, want[0].Data) })
	switch {
	case a.unsure != nil:
		l.say(Unknown, fmt.Sprintf("it could not be asked whether the zone is signed: %v", a.unsure),
			"see that the machine's name server answers, and that the zone's DNSSEC is valid")
	case len(a.records) == 0 && !a.signed:
		l.say(OK, "none, and the zone is not signed with DNSSEC: senders use MTA-STS instead", "")
	case len(a.records) == 0:
		l.say(Warning, "the zone is signed, and the server's key could be told in it", publish(want))
	case !a.signed:
		l.say(Warning, "published in a zone without DNSSEC: nobody looks at it", "sign the zone")
	case !now:
		l.say(Error, "none is of the server's key: senders who check refuse to deliver", publish(want))
	case fits < len(want):
		l.say(Warning, "the next key is not published: when it comes into use, senders will refuse to deliver",
			publish(want))
	default:
		l.say(OK, "senders can check the server's key", "")
	}
}

func (x *exam) judgeSRV(_ context.Context, l *Line, _ zone.Domain, a answer, want []zone.Record) {
	port, host := place(want[0].Data)
	for _, r := range a.records {
		if p, h := place(r); p == port && strings.EqualFold(h, host) {
			l.say(OK, "mail programs find the server", "")
			return
		}
	}
	if len(a.records) > 0 {
		l.say(Warning, "mail programs are sent elsewhere: "+strings.Join(a.records, ", "), publish(want))
		return
	}
	l.say(Warning, "mail programs do not find the server by themselves", publish(want))
}

// place is the port and target of SRV data.
func place(data string) (port, host string) {
	if f := strings.Fields(data); len(f) == 4 {
		return f[2], f[3]
	}
	return "", ""
}

func (x *exam) judgeCAA(ctx context.Context, l *Line, _ zone.Domain, a answer, want []zone.Record) {
	// Without records of its own a name has those of the nearest one above it, RFC 8659 §3.
	for name := strings.TrimSuffix(want[0].Name, "."); len(a.records) == 0; {
		_, parent, ok := strings.Cut(name, ".")
		if !ok || !strings.Contains(parent, ".") {
			break
		}
		if name, a = parent, x.ask(ctx, parent, "CAA"); a.err != nil && !a.none() {
			l.say(Unknown, fmt.Sprintf("could not be asked: %v", a.err), "run this again")
			return
		}
	}
	issuers, ours := 0, false
	for _, r := range a.records {
		f := strings.SplitN(r, " ", 3)
		if len(f) != 3 || !strings.EqualFold(f[1], "issue") {
			continue
		}
		issuers++
		name, _, _ := strings.Cut(unquote(f[2]), ";")
		ours = ours || strings.EqualFold(strings.TrimSpace(name), x.Server.Issuer)
	}
	switch {
	case ours && issuers == 1:
		l.say(OK, "the server's certification authority may issue, others may not", "")
		return
	case ours:
		l.say(OK, "the server's certification authority may issue, and those that are named beside it", "")
		return
	case issuers > 0:
		l.say(Error, "the server's certification authority may not issue certificates: the next one will not come",
			publish(want))
		return
	}
	l.say(Warning, "every certification authority may issue certificates for the server", publish(want))
}
