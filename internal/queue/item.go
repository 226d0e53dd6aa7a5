package queue

import (
	"crypto/sha256"
	"time"

	"tram/internal/blob"
	"tram/internal/envelope"
	"tram/internal/smtp"
)

// record is an item as it is stored. Its row:
//
//	version:1
//	flags           bit 0 8-bit, 1 binary, 2 SMTPUTF8, 3 REQUIRETLS, 4 held, 5 sender was warned,
//	                6 BY given, 7 BY returns, 8 BY traces, 9 BY was acted on, 10 to be removed,
//	                11 and its sender told, 12 TLS-Required: No, 13 goes to junk mail, 14 the sender is known,
//	                15 with a content hash
//	body            blob.Ref, 56 octets
//	created         wall milliseconds; started, queue time the delay counts from
//	hold, deadline  wall seconds, 0 for none
//	priority        zigzag
//	account
//	from, origin, Message-ID, RET, ENVID, reason of the hold: strings
//	n, then n legs: destination, due, attempts, done (0 or 1)
//	n, then n recipients: address, NOTIFY, ORCPT, leg, state, attempts, reply, host, time
//	content hash, 32 octets, with its flag only
//
// Numbers are varints, strings have their length before them.
type record struct {
	id      ID
	body    blob.Ref
	content [sha256.Size]byte // by which deliver knows the message again; zero: by its body

	eightBit, binary, utf8, requireTLS bool
	tlsOptional                        bool // RFC 8689 §3
	junk                               bool // for local people, when nobody has released it
	known                              bool // from is the sender's own
	held, warned                       bool
	by                                 envelope.DeliverBy
	bySet, byDone                      bool
	drop, dropTell                     bool // an operator has removed it while it was tried

	created   time.Time
	started   qtime
	holdUntil time.Time
	prio      int
	account   uint64
	from      smtp.Address
	origin    envelope.Origin
	messageID string
	ret       string
	envID     string
	reason    string // of the hold

	legs  []leg
	rcpts []recipient
}

// leg is what an item owes to one destination.
type leg struct {
	dest     string
	due      qtime
	attempts int
	done     bool
}

// recipient is one forward-path and what became of it.
type recipient struct {
	envelope.Recipient
	leg      int
	state    rcptState
	attempts int
	reply    smtp.Reply // the last word; Code 0 for errors that are none of a server
	host     string     // who said it
	tried    time.Time
}

// rcptState is the stored form of State for a recipient.
type rcptState uint8

const (
	waiting rcptState = iota
	delivered
	failed
)

func (r *record) appendBinary(dst []byte) []byte {
	e := encoder{dst}
	e.byte(version)
	e.bits(r.eightBit, r.binary, r.utf8, r.requireTLS, r.held, r.warned,
		r.bySet, r.by.Return, r.by.Trace, r.byDone, r.drop, r.dropTell, r.tlsOptional,
		r.junk, r.known, r.content != [sha256.Size]byte{})
	e.b = r.body.AppendBinary(e.b)
	e.int(r.created.UnixMilli())
	e.int(int64(r.started))
	e.time(r.holdUntil)
	e.time(r.by.Deadline)
	e.int(int64(r.prio))
	e.uint(r.account)
	for _, s := range [...]string{r.from.String(), string(r.origin), r.messageID, r.ret, r.envID,
		r.reason} {
		e.string(s)
	}
	e.uint(uint64(len(r.legs)))
	for i := range r.legs {
		l := &r.legs[i]
		e.string(l.dest)
		e.int(int64(l.due))
		e.uint(uint64(l.attempts))
		e.bits(l.done)
	}
	e.uint(uint64(len(r.rcpts)))
	for i := range r.rcpts {
		r.rcpts[i].append(&e)
	}
	if r.content != [sha256.Size]byte{} {
		e.b = append(e.b, r.content[:]...)
	}
	return e.b
}

func (r *recipient) append(e *encoder) {
	e.string(r.Address.String())
	e.byte(byte(r.Notify))
	e.string(r.ORCPT)
	e.uint(uint64(r.leg))
	e.byte(byte(r.state))
	e.uint(uint64(r.attempts))
	e.uint(uint64(r.reply.Code))
	for _, n := range r.reply.Enhanced {
		e.uint(uint64(n))
	}
	e.string(clip(r.reply.Text(), maxReplyText))
	e.string(r.host)
	e.time(r.tried)
}

// maxReplyText is how much of a server's reply is kept, in octets.
const maxReplyText = 500

// decodeRecord reads an item's row. Errors wrap kv.ErrCorrupt.
func decodeRecord(id ID, b []byte) (*record, error) {
	d := decoder{b: b}
	r := &record{id: id}
	d.version()
	flags := d.uint()
	var hashed bool
	for i, bit := range [...]*bool{&r.eightBit, &r.binary, &r.utf8, &r.requireTLS, &r.held,
		&r.warned, &r.bySet, &r.by.Return, &r.by.Trace, &r.byDone, &r.drop, &r.dropTell,
		&r.tlsOptional, &r.junk, &r.known, &hashed} {
		*bit = flags&(1<<i) != 0
	}
	ref, err := blob.ParseRef(d.bytes(blob.RefSize))
	if err != nil {
		d.fail("body")
	}
	r.body = ref
	r.created = time.UnixMilli(d.int()).UTC()
	r.started = qtime(d.int())
	r.holdUntil = d.time()
	r.by.Deadline = d.time()
	r.prio = int(d.int())
	r.account = d.uint()
	r.from = d.address()
	r.origin = envelope.Origin(d.string())
	for _, s := range [...]*string{&r.messageID, &r.ret, &r.envID, &r.reason} {
		*s = d.string()
	}
	r.legs = make([]leg, d.count())
	for i := range r.legs {
		r.legs[i] = leg{dest: d.string(), due: qtime(d.int()), attempts: d.small(), done: d.uint()&1 != 0}
	}
	r.rcpts = make([]recipient, d.count())
	for i := range r.rcpts {
		r.rcpts[i].decode(&d)
		if r.rcpts[i].leg >= len(r.legs) {
			d.fail("leg")
		}
	}
	if hashed {
		copy(r.content[:], d.bytes(sha256.Size))
	}
	if err := d.done(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *recipient) decode(d *decoder) {
	r.Address = d.address()
	r.Notify = envelope.Notify(d.byte())
	r.ORCPT = d.string()
	r.leg = d.small()
	r.state = rcptState(d.byte())
	r.attempts = d.small()
	r.reply.Code = d.small()
	for i := range r.reply.Enhanced {
		r.reply.Enhanced[i] = d.small()
	}
	if s := d.string(); s != "" {
		r.reply.Lines = []string{s}
	}
	r.host = d.string()
	r.tried = d.time()
	if r.state > failed {
		d.fail("state")
	}
}

// address reads an address in the form of Address.String.
func (d *decoder) address() smtp.Address {
	s := d.string()
	if s == "" {
		return smtp.Address{}
	}
	a, rest, err := smtp.ParsePath("<" + s + ">")
	if err != nil || rest != "" {
		d.fail("address")
	}
	return a
}

// waitingOn calls fn for each recipient of leg i that is not served yet.
func (r *record) waitingOn(i int, fn func(k int, rcpt *recipient)) {
	for k := range r.rcpts {
		if rcpt := &r.rcpts[k]; rcpt.leg == i && rcpt.state == waiting {
			fn(k, rcpt)
		}
	}
}

// legTo returns the index of the open leg to dest, or -1.
func (r *record) legTo(dest string) int {
	for i := range r.legs {
		if r.legs[i].dest == dest && !r.legs[i].done {
			return i
		}
	}
	return -1
}

// finished reports whether every recipient has its fate.
func (r *record) finished() bool {
	for i := range r.legs {
		if !r.legs[i].done {
			return false
		}
	}
	return true
}

// closeLegs marks the legs done whose recipients all have their fate.
func (r *record) closeLegs() {
	open := make([]bool, len(r.legs))
	for i := range r.rcpts {
		if r.rcpts[i].state == waiting {
			open[r.rcpts[i].leg] = true
		}
	}
	for i := range r.legs {
		r.legs[i].done = !open[i]
	}
}

// parked reports whether the item is in the indexes of its destinations.
func (r *record) parked() bool { return !r.held && r.holdUntil.IsZero() }

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
