package imapd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tram/internal/imap"
)

// picture is what a client believes of its mailbox, built from untagged replies alone. Whatever the
// server says that cannot be true of it is an error.
type picture struct {
	kind     clientKind
	messages []believed // by number
	resume   uint64     // the mod-sequence that a QRESYNC client would come back with
	validity string
	wrong    []string
}

// believed is a message; what the server has not said is zero.
type believed struct {
	uid   uint32
	flags string // sorted, without \Recent; "?": not told
}

const untold = "?"

func (p *picture) lie(format string, args ...any) {
	p.wrong = append(p.wrong, fmt.Sprintf(format, args...))
}

// hear takes one untagged reply in.
func (p *picture) hear(r imap.Response) {
	switch r.Name {
	case "EXISTS":
		if int(r.Num) < len(p.messages) {
			p.lie("%d EXISTS, of %d", r.Num, len(p.messages))
			return
		}
		for int(r.Num) > len(p.messages) {
			p.messages = append(p.messages, believed{flags: untold})
		}
	case "EXPUNGE":
		if r.Num == 0 || int(r.Num) > len(p.messages) || p.kind.vanishes() {
			p.lie("%d EXPUNGE, of %d", r.Num, len(p.messages))
			return
		}
		p.messages = slices.Delete(p.messages, int(r.Num)-1, int(r.Num))
	case "VANISHED":
		p.vanished(r.Values)
	case "RECENT":
		if p.kind.rev2 {
			p.lie("RECENT in IMAP4rev2")
		}
	case "FETCH":
		p.fetched(int(r.Num), r.Fetch)
	case "UIDFETCH":
		p.uidFetched(r)
	case "OK":
		if r.Code == "HIGHESTMODSEQ" {
			fmt.Sscan(r.Args, &p.resume)
		}
		if r.Code == "UIDVALIDITY" {
			p.validity = r.Args
		}
	}
}

// vanished removes by UID. One that was never told is among the messages between its neighbours of
// which nothing is known.
func (p *picture) vanished(values []imap.Value) {
	if len(values) == 0 || !p.kind.vanishes() {
		p.lie("VANISHED %v", values)
		return
	}
	earlier := len(values) == 2
	set, ok := imap.ParseNumSet(values[len(values)-1].Text)
	if !ok {
		p.lie("VANISHED %v", values)
	}
	for _, rg := range set.Ranges {
		for uid := rg.Start; uid <= rg.Stop; uid++ {
			if !p.remove(uid, !earlier) && !earlier {
				p.lie("VANISHED %d, which is not there", uid)
			}
		}
	}
}

func (p *picture) remove(uid uint32, unknown bool) bool {
	if p.kind.uidOnly {
		return p.removeAnywhere(uid, unknown)
	}
	candidate := -1
	for i, m := range p.messages {
		switch {
		case m.uid == uid:
			p.messages = slices.Delete(p.messages, i, i+1)
			return true
		case m.uid > uid:
			i = len(p.messages)
		case m.uid != 0:
			candidate = -1 // it is behind this one
		case candidate < 0:
			candidate = i
		}
		if m.uid > uid {
			break
		}
	}
	if candidate < 0 || !unknown {
		return false
	}
	p.messages = slices.Delete(p.messages, candidate, candidate+1)
	return true
}

// removeAnywhere is remove for a client whose messages have no order.
func (p *picture) removeAnywhere(uid uint32, unknown bool) bool {
	i := slices.IndexFunc(p.messages, func(m believed) bool { return m.uid == uid })
	if i < 0 && unknown {
		i = slices.IndexFunc(p.messages, func(m believed) bool { return m.uid == 0 })
	}
	if i < 0 {
		return false
	}
	p.messages = slices.Delete(p.messages, i, i+1)
	return true
}

// fetched takes in what a FETCH reply tells of a message.
func (p *picture) fetched(seq int, f *imap.Fetched) {
	if seq == 0 || seq > len(p.messages) || p.kind.uidOnly {
		p.lie("%d FETCH, of %d", seq, len(p.messages))
		return
	}
	m := &p.messages[seq-1]
	if f.UID != 0 {
		if m.uid != 0 && m.uid != f.UID {
			p.lie("%d FETCH is of UID %d, and of UID %d before", seq, f.UID, m.uid)
		}
		m.uid = f.UID
		if seq > 1 && p.messages[seq-2].uid >= f.UID {
			p.lie("%d FETCH is of UID %d, behind %d", seq, f.UID, p.messages[seq-2].uid)
		}
	}
	if f.HasFlags {
		p.flags(m, f.Flags)
	}
	p.resume = max(p.resume, f.ModSeq)
}

func (p *picture) flags(m *believed, list []string) {
	list = slices.Clone(list)
	slices.Sort(list)
	if i := slices.Index(list, imap.FlagRecent); i >= 0 {
		if p.kind.rev2 {
			p.lie(`\Recent in IMAP4rev2`)
		}
		list = slices.Delete(list, i, i+1)
	}
	m.flags = strings.Join(list, " ")
}

// uidFetched takes in a UIDFETCH reply (RFC 9586 §3.3).
func (p *picture) uidFetched(r imap.Response) {
	if !p.kind.uidOnly || len(r.Values) != 1 {
		p.lie("UIDFETCH %v", r.Values)
		return
	}
	i := slices.IndexFunc(p.messages, func(m believed) bool { return m.uid == r.Num })
	if i < 0 { // one of those that are not known: without numbers they have no order
		i = slices.IndexFunc(p.messages, func(m believed) bool { return m.uid == 0 })
		if i < 0 {
			p.lie("UIDFETCH of %d, which is not there", r.Num)
			return
		}
		p.messages[i].uid = r.Num
	}
	list := r.Values[0].List
	for k := 0; k+1 < len(list); k += 2 {
		if list[k].Text != "FLAGS" {
			continue
		}
		var flags []string
		for _, v := range list[k+1].List {
			flags = append(flags, v.Text)
		}
		p.flags(&p.messages[i], flags)
	}
}

// differs compares with the truth; what was not told yet is no difference.
func (p *picture) differs(truth []believed) string {
	if len(p.messages) != len(truth) {
		return fmt.Sprintf("%d messages, of %d", len(p.messages), len(truth))
	}
	for i, m := range p.messages {
		if p.kind.uidOnly && m.uid != 0 {
			i = slices.IndexFunc(truth, func(b believed) bool { return b.uid == m.uid })
			if i < 0 {
				return fmt.Sprintf("UID %d, which is not there", m.uid)
			}
		}
		if m.uid != 0 && m.uid != truth[i].uid || m.flags != untold && m.flags != truth[i].flags {
			return fmt.Sprintf("message %d: %+v, is %+v", i+1, m, truth[i])
		}
	}
	return ""
}

// clientKind is how a client keeps in step.
type clientKind struct {
	name    string
	rev2    bool
	qresync bool
	uidOnly bool
	idle    bool   // it idles when it does nothing
	notify  string // what it asks NOTIFY for
	polls   bool   // it hears of all only when it asks
}

// vanishes reports whether removals are told by UID.
func (k clientKind) vanishes() bool { return k.qresync || k.uidOnly }

// byNumber reports whether the client may use message numbers: they change under one that is told
// of removals at any time.
func (k clientKind) byNumber() bool {
	return !k.uidOnly && !strings.HasPrefix(k.notify, "(selected ")
}

const allEvents = " (MessageNew (flags) MessageExpunge FlagChange))"

var clientKinds = []clientKind{
	{name: "rev1", polls: true},
	{name: "rev2", rev2: true, polls: true},
	{name: "qresync", qresync: true, polls: true},
	{name: "qresync rev2", qresync: true, rev2: true, polls: true},
	{name: "uidonly", uidOnly: true, rev2: true, polls: true},
	{name: "idle", idle: true},
	{name: "idle qresync", idle: true, qresync: true, rev2: true},
	{name: "notify", notify: "(selected" + allEvents},
	{name: "notify qresync", rev2: true, qresync: true, notify: "(selected" + allEvents},
	{name: "notify uidonly", rev2: true, uidOnly: true, notify: "(selected" + allEvents},
	{name: "notify idle", idle: true, notify: "(selected" + allEvents + " (personal (MailboxName))"},
	{name: "notify delayed", polls: true, qresync: true, notify: "(selected-delayed" + allEvents},
	{name: "notify delayed idle", idle: true, notify: "(selected-delayed" + allEvents},
	{name: "notify no flags", polls: true, qresync: true,
		notify: "(selected (MessageNew MessageExpunge))"},
	{name: "notify others", polls: true,
		notify: "(personal (MessageNew MessageExpunge FlagChange))"},
}

// actor is a client of the model.
type actor struct {
	*imap.Client
	picture
	t    testing.TB
	rnd  *rand.Rand
	idle string // the tag of the IDLE that runs
}

// actors opens a client of each kind that the server knows.
func (h *house) actors(seed uint64) []*actor {
	h.t.Helper()
	var all []*actor
	for i, k := range clientKinds {
		c := h.client()
		if k.uidOnly && !c.Has("UIDONLY") {
			continue
		}
		a := &actor{Client: c, t: h.t, rnd: rand.New(rand.NewPCG(seed, uint64(i)))}
		a.kind = k
		for name, on := range map[string]bool{
			"IMAP4REV2": k.rev2, "QRESYNC": k.qresync, "UIDONLY": k.uidOnly,
		} {
			if on {
				do(h.t, c, "ENABLE "+name)
			}
		}
		c.OnUntagged = a.hear
		do(h.t, c, "SELECT INBOX")
		a.learn()
		if k.notify != "" {
			do(h.t, c, "NOTIFY SET "+k.notify)
		}
		all = append(all, a)
	}
	return all
}

// do runs a command, which may fail because of what others did, but not be wrong.
func (a *actor) do(parts ...any) {
	_, err := a.Do(parts...)
	var refused *imap.StatusError
	if err == nil || errors.As(err, &refused) && refused.Name == "NO" {
		return
	}
	a.lie("%v: %v", parts[0], err)
}

// learn asks for what the client does not know.
func (a *actor) learn() {
	first := slices.IndexFunc(a.messages, func(m believed) bool { return m.uid == 0 || m.flags == untold })
	switch {
	case first < 0:
	case a.kind.byNumber():
		a.do(fmt.Sprintf("FETCH %d:* (UID FLAGS)", first+1))
	case first == 0 || a.kind.uidOnly:
		a.do("UID FETCH 1:* (FLAGS)")
	default:
		a.do(fmt.Sprintf("UID FETCH %d:* (FLAGS)", a.messages[first-1].uid+1))
	}
}

// some picks messages: as UIDs, which are known, or as numbers.
func (a *actor) some() (set string, picked []int) {
	for i, m := range a.messages {
		if m.uid != 0 && a.rnd.IntN(len(a.messages)) < 2 {
			picked = append(picked, i)
		}
	}
	if len(picked) == 0 {
		return "UID %s 4000000000", nil
	}
	prefix, numbers := "UID %s ", []string{}
	byNumber := a.kind.byNumber() && a.rnd.IntN(2) == 0
	if byNumber {
		prefix = "%s "
	}
	for _, i := range picked {
		n := uint32(i + 1)
		if !byNumber {
			n = a.messages[i].uid
		}
		numbers = append(numbers, fmt.Sprint(n))
	}
	return prefix + strings.Join(numbers, ","), picked
}

// step does one thing at random.
func (a *actor) step() {
	set, _ := a.some()
	flag := []string{`\Seen`, `\Flagged`, `\Deleted`, `\Deleted`, "$Junk", fmt.Sprintf("k%d", a.rnd.IntN(9))}
	f := flag[a.rnd.IntN(len(flag))]
	sign := []string{"+", "-", ""}[a.rnd.IntN(3)]
	switch a.rnd.IntN(14) {
	case 0, 1, 2, 3:
		a.do(fmt.Sprintf(set+" %sFLAGS (%s)", "STORE", sign, f))
	case 4:
		a.do(fmt.Sprintf(set+" INBOX", "COPY"))
	case 5:
		a.do(fmt.Sprintf(set+" Archive", "MOVE"))
	case 6, 7, 8:
		a.do("APPEND INBOX ("+f+") ", []byte(mail(a.rnd.IntN(60))))
	case 9:
		a.do("EXPUNGE")
	case 10:
		a.do(fmt.Sprintf(set+" (FLAGS BODY[TEXT])", "FETCH"))
	case 11:
		a.do(a.kind.searches() + "SEARCH RETURN (COUNT) UNSEEN")
	case 12:
		a.learn()
	case 13:
		a.comeBack()
	}
}

func (k clientKind) searches() string {
	if k.byNumber() {
		return ""
	}
	return "UID "
}

// comeBack leaves the mailbox and opens it again: with QRESYNC what was known stays known.
func (a *actor) comeBack() {
	if !a.kind.qresync {
		a.do("UNSELECT")
		a.messages = nil
		a.do("SELECT INBOX")
		a.learn()
		return
	}
	a.do("NOOP") // the tagged reply may tell where to come back to, and is not kept here
	a.learn()
	if slices.ContainsFunc(a.messages, func(m believed) bool { return m.uid == 0 }) {
		return // one went while it was asked for: what has no UID cannot be kept
	}
	resume := a.resume
	a.do("UNSELECT")
	// NOTIFY may have told of messages until then, which the client has not looked at.
	a.messages = slices.DeleteFunc(a.messages, func(m believed) bool { return m.uid == 0 })
	// What SELECT tells of removals comes behind EXISTS and counts from what was known before.
	var behind []imap.Response
	exists := uint32(0)
	a.OnUntagged = func(r imap.Response) {
		if r.Name == "EXISTS" {
			exists = r.Num
			return
		}
		behind = append(behind, r)
	}
	a.do(fmt.Sprintf("SELECT INBOX (QRESYNC (%s %d))", a.validity, resume))
	a.OnUntagged = a.hear
	for _, r := range behind {
		if r.Name == "VANISHED" {
			a.hear(r)
		}
	}
	a.hear(imap.Response{Name: "EXISTS", Num: exists})
	for _, r := range behind {
		if r.Name != "VANISHED" {
			a.hear(r)
		}
	}
}

// rest lets the client idle, if that is its way.
func (a *actor) rest() {
	if !a.kind.idle {
		return
	}
	tag, err := a.Idle()
	if err != nil {
		a.lie("IDLE: %v", err)
	}
	a.idle = tag
}

// wake ends IDLE.
func (a *actor) wake() {
	if a.idle == "" {
		return
	}
	if _, err := a.Done(a.idle); err != nil {
		a.lie("DONE: %v", err)
	}
	a.idle = ""
}

// settle brings the client to where it should know all, and compares.
func (a *actor) settle(truth []believed) {
	if a.kind.polls {
		a.do("NOOP")
	}
	for a.differs(truth) != "" && !a.kind.polls && len(a.wrong) == 0 {
		r, err := a.Next() // it comes by itself
		if err != nil {
			a.lie("waiting for news: %v", err)
			break
		}
		a.hear(r)
	}
	if d := a.differs(truth); d != "" {
		a.lie("%s", d)
	}
}
