package spam

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"tram/internal/envelope"
	"tram/internal/mailauth"
	"tram/internal/message"
	"tram/internal/smtp"
	"tram/internal/spam/content"
	"tram/internal/spam/sign"
	"tram/internal/spam/words"
)

// Evidence is all that is known of one message, whoever it is for.
type Evidence struct {
	ID string
	// Signs are those that hold for everybody.
	Signs []sign.Sign
	// Report is what the content room found.
	Report *content.Report

	from    smtp.Address // reverse-path
	author  string       // of the From field, lower case; "" when there is not exactly one
	client  netip.Addr   // invalid: a local program
	auth    *mailauth.Results
	parties []party
	text    words.Text
	names   []name // that this message adds to the repute of
	code    bool   // a short message with a code that somebody waits for
	bulk    bool   // written by a program to many
	header  []byte
	env     *envelope.Envelope
}

// Score is the sum of the signs that hold for everybody.
func (ev *Evidence) Score() float64 { return sign.Total(ev.Signs) }

// Source is what Examine looks at.
type Source struct {
	Env  *envelope.Envelope
	Body io.ReaderAt // all of the message
	// Signs are what other rooms found: scanners.
	Signs []sign.Sign
}

// Examine gathers the evidence of a message, once for all of its recipients. It never fails: what
// cannot be found out is left out.
func (j *Judge) Examine(ctx context.Context, s Source) *Evidence {
	env := s.Env
	ev := &Evidence{
		ID: env.ID, from: env.From, auth: env.Auth, env: env,
		Signs: slices.Clone(s.Signs), header: env.Message.Header,
	}
	if env.Client.Addr.IsValid() {
		ev.client = env.Client.Addr.Unmap()
	}
	ev.author = author(env.Message)
	ev.parties = ev.whoSent()
	ev.Report = content.Examine(ctx, s.Body, env.Message, j.contentOptions(ctx))
	ev.Signs = append(ev.Signs, ev.Report.Signs...)
	ev.text = textOf(env.Message, ev.Report)
	ev.code = looksLikeCode(ev.text.Subject, ev.text.Body, env.Message.HasAttachment)
	ev.bulk = looksBulk(env, ev.text.Subject)
	if env.Origin == envelope.Inbound {
		ev.Signs = append(ev.Signs, ev.connection()...)
		ev.Signs = append(ev.Signs, ev.authentication()...)
		if len(j.lists.all) > 0 && ev.outside() {
			ev.Signs = append(ev.Signs, j.askLists(ctx, ev.client, ev.domains(j.o.Limits.LinkDomains))...)
		}
		ev.Signs = append(ev.Signs, j.replayed(ev)...)
	}
	ev.names = j.namesOf(ev)
	ev.Signs = append(ev.Signs, j.repute(ctx, ev, Server, mostServer)...)
	return ev
}

// author is the one address of the From field, lower case.
func author(m *message.Message) string {
	if m.FromCount != 1 {
		return ""
	}
	for _, a := range m.Envelope.From {
		if !a.Is() || a.Group != message.NoGroup {
			continue
		}
		if d, err := smtp.ParseDomain(a.Host); err == nil {
			return strings.ToLower(a.Mailbox) + "@" + d
		}
	}
	return ""
}

// whoSent lists who a message says it is from, and whether that is proved: the author by DMARC or by
// SPF or DKIM in alignment, the reverse-path by SPF. An SPF pass that very many could have proves neither.
func (ev *Evidence) whoSent() []party {
	var out []party
	if ev.author != "" {
		out = append(out, party{ev.author, ev.authorProved()})
	}
	if !ev.from.IsNull() {
		if a := strings.ToLower(ev.from.String()); a != ev.author {
			out = append(out, party{a, ev.auth.Sender(a)})
		}
	}
	return out
}

// authorProved reports whether the author's domain vouches for the message.
func (ev *Evidence) authorProved() bool {
	if ev.auth == nil || ev.author == "" {
		return false
	}
	d := &ev.auth.DMARC
	return ev.auth.Passed() || d.DKIM || d.SPF && !ev.auth.OnlyWide() || ev.auth.Sender(ev.author)
}

// textOf is what the classifier reads.
func textOf(m *message.Message, rep *content.Report) words.Text {
	t := words.Text{Subject: m.Subject, Body: rep.Text}
	for _, a := range m.Envelope.From {
		t.From = strings.TrimSpace(t.From + " " + a.Name + " " + a.Mailbox + "@" + a.Host)
		break
	}
	for _, a := range m.Envelope.To {
		t.To = a.Name
		break
	}
	seen := map[string]bool{}
	for _, l := range rep.Links {
		if l.Host != "" && !seen[l.Host] {
			seen[l.Host] = true
			t.Hosts = append(t.Hosts, l.Host)
		}
	}
	for _, f := range rep.Files {
		t.Files = append(t.Files, f.Claimed)
		if i := strings.LastIndexByte(f.Path, '.'); i >= 0 && len(f.Path)-i <= 8 {
			t.Files = append(t.Files, strings.ToLower(f.Path[i:]))
		}
	}
	for _, s := range rep.Signs {
		t.Signs = append(t.Signs, s.Name)
	}
	return t
}

// connection is what the client's address and greeting say.
func (ev *Evidence) connection() []sign.Sign {
	var out []sign.Sign
	add := func(name string, score float64, detail string) {
		out = append(out, sign.Sign{Name: name, Score: score, Detail: clip(detail, 200)})
	}
	if !ev.outside() {
		return nil
	}
	if ev.auth != nil {
		switch ev.auth.IPRev.Status {
		case mailauth.Fail, mailauth.PermError:
			add(signNoReverse, 1, ev.client.String())
		case mailauth.Pass:
			if n := genericName(ev.auth.IPRev.Name, ev.client); n {
				add(signDialUp, 1, ev.auth.IPRev.Name)
			}
		}
	}
	helo := strings.ToLower(strings.TrimSuffix(ev.env.Client.HELO, "."))
	switch a, literal := smtp.LiteralDomain(helo); {
	case literal && a.Unmap() == ev.client:
		add(signHELOLiteral, 0.5, helo)
	case literal:
		add(signHELOFalse, 2, helo)
	case isAddr(helo): // without brackets, RFC 5321 §4.1.3
		add(signHELOFalse, 1.5, helo)
	case !strings.Contains(helo, "."):
		add(signHELOBare, 1, helo)
	case ev.auth != nil && ev.auth.HELO.Status == mailauth.Fail:
		add(signHELOFalse, 2, helo)
	}
	return out
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// genericName reports whether a reverse name is made of its address, as providers name the lines of
// their customers. Mail servers have names of their own.
func genericName(host string, a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	o := a.As4()
	label := strings.ToLower(host)
	n := 0
	for _, part := range o {
		if containsNumber(label, int(part)) {
			n++
		}
	}
	return n == 4
}

// containsNumber looks for n, with or without leading zeros, that no other digit touches.
func containsNumber(s string, n int) bool {
	for i := 0; i < len(s); {
		if s[i] < '0' || s[i] > '9' {
			i++
			continue
		}
		v, k := 0, i
		for ; k < len(s) && s[k] >= '0' && s[k] <= '9' && k-i < 9; k++ {
			v = v*10 + int(s[k]-'0')
		}
		if v == n {
			return true
		}
		i = k
	}
	return false
}

// authentication is what SPF, DKIM, DMARC and ARC say.
func (ev *Evidence) authentication() []sign.Sign {
	a := ev.auth
	if a == nil {
		return nil
	}
	var out []sign.Sign
	add := func(name string, score float64, detail string) {
		out = append(out, sign.Sign{Name: name, Score: score, Detail: clip(detail, 200)})
	}
	switch d := a.DMARC; {
	case d.Status == mailauth.Pass:
		if a.Passed() {
			add(signDMARCPass, -0.5, d.Domain)
		}
	case d.Status == mailauth.Fail && d.ARC:
		add(signARC, 0, d.Domain)
	case d.Status == mailauth.Fail && d.Policy == mailauth.PolicyReject:
		add(signDMARCReject, 5, d.Domain)
	case d.Status == mailauth.Fail && d.Policy == mailauth.PolicyQuarantine:
		add(signDMARCQuarantine, 4, d.Domain)
	case d.Status == mailauth.Fail:
		add(signDMARCFail, 1, d.Domain)
	}
	switch a.SPF.Status {
	case mailauth.Pass:
		// Large providers allow networks of this size and sign all they send: that is not held against them.
		if a.OnlyWide() {
			add(signSPFWide, 1, fmt.Sprintf("%s allows %s", a.SPF.Domain, a.SPF.Range))
		}
	case mailauth.Fail:
		add(signSPFFail, 2, a.SPF.Domain)
	case mailauth.SoftFail:
		add(signSPFSoftFail, 1, a.SPF.Domain)
	}
	valid, broken := "", ""
	for _, d := range a.DKIM {
		switch d.Status {
		case mailauth.Pass:
			valid = d.Domain
		case mailauth.Fail, mailauth.PermError, mailauth.Policy:
			broken = d.Domain
		}
	}
	switch {
	case valid != "":
		add(signDKIM, -0.3, valid)
	case broken != "":
		add(signDKIMBroken, 0.5, broken)
	case a.DMARC.Status == mailauth.None && a.SPF.Status == mailauth.None:
		add(signNoAuth, 1, ev.from.Domain)
	}
	return out
}

// domains are those that lists of domains are asked about: of the sender, the author and the links.
func (ev *Evidence) domains(most int) []string {
	var out []string
	add := func(d string) {
		if _, literal := smtp.LiteralDomain(d); d != "" && !literal && strings.Contains(d, ".") &&
			!isAddr(d) && !slices.Contains(out, d) && len(out) < most {
			out = append(out, d)
		}
	}
	add(ev.from.Domain)
	add(ev.author[strings.LastIndexByte(ev.author, '@')+1:])
	last := ""
	for _, l := range ev.Report.Links {
		if l.Host != last && len(out) < most {
			last = l.Host
			add(registered(l.Host))
		}
	}
	return out
}

// registered is the part of a host name that somebody has registered: lists know that.
func registered(host string) string {
	if d, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return d
	}
	return host
}

// namesOf lists whose repute a message is part of. A name that anybody can write counts only together
// with the network that it came from: else a forger would use up what its owner has earned.
func (j *Judge) namesOf(ev *Evidence) []name {
	out := j.addrNames(ev.client)
	if ev.auth != nil {
		seen := map[string]bool{}
		for _, d := range ev.auth.DKIM {
			if d.Status == mailauth.Pass && !seen[d.Domain] && len(seen) < 3 {
				seen[d.Domain] = true
				out = append(out, name{nameSigner, d.Domain})
			}
		}
	}
	who := ev.author
	if who == "" && !ev.from.IsNull() {
		who = strings.ToLower(ev.from.String())
	}
	if who == "" {
		return out
	}
	if ev.authorProved() {
		out = append(out, name{nameDomain, who[strings.LastIndexByte(who, '@')+1:]}, name{nameSender, who})
	} else if ev.client.IsValid() {
		out = append(out, name{nameSender, who + " " + network(ev.client).String()})
	}
	return out
}

// addrNames are those of a client's address. A program on this machine has none: it speaks for others.
func (j *Judge) addrNames(a netip.Addr) []name {
	if !a.IsValid() || a.IsLoopback() {
		return nil
	}
	out := []name{{nameAddr, a.String()}, {nameNetwork, network(a).String()}}
	if system, who, ok := j.o.Networks.Find(a); ok {
		out = append(out, name{nameSystem, fmt.Sprintf("AS%d %s", system, who)})
	}
	return out
}

// own are the names that have a repute with one person or domain, not only with the server.
func own(all []name) []name {
	var out []name
	for _, n := range all {
		if n.kind == nameDomain || n.kind == nameSender || n.kind == nameSigner {
			out = append(out, n)
		}
	}
	return out
}

// repute is what the past of a message's names says in one scope.
func (j *Judge) repute(ctx context.Context, ev *Evidence, scope Scope, most float64) []sign.Sign {
	list := ev.names
	if scope != Server {
		list = own(list)
	}
	if len(list) == 0 {
		return nil
	}
	keys := make([]string, len(list))
	for i, n := range list {
		keys[i] = nameKey(scope, n)
	}
	records, err := j.lookUp(ctx, keys)
	if err != nil {
		j.o.Logger.Warn("reputation cannot be read", "err", err)
		return nil
	}
	sum, heaviest, detail := 0.0, 0.0, ""
	for i, r := range records {
		s := r.score() * weights[list[i].kind]
		if scope != Server {
			s *= 2
		}
		sum += s
		if max(s, -s) > heaviest {
			heaviest = max(s, -s)
			detail = fmt.Sprintf("%s: %.0f bad, %.0f good", list[i].text, r.bad, r.good)
		}
	}
	sum = min(max(sum, -most), most)
	if sum > -0.1 && sum < 0.1 {
		return nil
	}
	id := signBadName
	switch {
	case scope == Server && sum < 0:
		id = signGoodName
	case scope != Server && sum < 0:
		id = signOwnGood
	case scope != Server:
		id = signOwnBad
	}
	return []sign.Sign{{Name: id, Score: round(sum), Detail: clip(detail, 200)}}
}

// round keeps scores to a tenth: what people see adds up.
func round(f float64) float64 {
	if f < 0 {
		return -round(-f)
	}
	return float64(int(f*10+0.5)) / 10
}
