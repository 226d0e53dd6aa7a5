package message

import "time"

// binaryReader reads the stored form. The first thing that does not fit sets bad, and everything
// after it reads as zero.
type binaryReader struct {
	s     string
	last  int64
	depth int
	bad   bool
}

// fail ends the reading: nothing is left to be misread.
func (r *binaryReader) fail() {
	r.s, r.bad = "", true
}

// uint reads a varint of at most 64 bits.
func (r *binaryReader) uint() uint64 {
	var v uint64
	for i := 0; i < len(r.s) && i < 10; i++ {
		c := r.s[i]
		if c < 0x80 {
			if i == 9 && c > 1 {
				break
			}
			r.s = r.s[i+1:]
			return v | uint64(c)<<(7*i)
		}
		v |= uint64(c&0x7f) << (7 * i)
	}
	r.fail()
	return 0
}

// int reads a zigzag varint.
func (r *binaryReader) int() int64 {
	v := r.uint()
	return int64(v>>1) ^ -int64(v&1)
}

// size reads a number of bytes or lines: one that fits an int64 twice over.
func (r *binaryReader) size() int64 {
	v := r.uint()
	if v > 1<<61 {
		r.fail()
		return 0
	}
	return int64(v)
}

// count reads the length of a list whose entries take at least least bytes each.
func (r *binaryReader) count(least int) int {
	n := r.uint()
	if n > uint64(len(r.s)/least) {
		r.fail()
		return 0
	}
	return int(n)
}

// str cuts a string off the input; it shares the memory.
func (r *binaryReader) str() string {
	n := r.count(1)
	s := r.s[:n]
	r.s = r.s[n:]
	return s
}

// strs reads a list of strings, nil when it is empty, as the parser has it.
func (r *binaryReader) strs() []string {
	n := r.count(1)
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = r.str()
	}
	return list
}

// some reads the strings whose flag is set; flags has the first one's lowest.
func (r *binaryReader) some(flags uint64, list ...*string) {
	for i, s := range list {
		if flags&(1<<i) != 0 {
			*s = r.str()
		}
	}
}

// message reads what follows the version.
func (r *binaryReader) message() *Message {
	m := &Message{Size: r.size(), HeaderSize: r.size()}
	f := r.uint()
	m.HasAttachment, m.LongLine, m.BareCR, m.BareLF = f&1 != 0, f&2 != 0, f&4 != 0, f&8 != 0
	m.NUL, m.EightBit, m.EightBitHeader = f&16 != 0, f&32 != 0, f&64 != 0
	m.Reply, m.OpenEnd = f&128 != 0, f&256 != 0
	m.Flaws = Flaws(r.uint())
	m.Received = int(r.size())
	m.FromCount = int(r.size())
	m.Date = r.date()
	m.MessageID = r.str()
	m.InReplyTo = r.strs()
	m.References = r.strs()
	m.Subject = r.str()
	m.BaseSubject = r.str()
	m.Preview = r.str()
	m.DeliveredTo = r.strs()
	r.envelope(&m.Envelope)
	m.Root = r.part()
	return m
}

// date refuses what no Date field can say: time.Time would take it and format nonsense.
func (r *binaryReader) date() time.Time {
	if r.uint() == 0 {
		return time.Time{}
	}
	sec, zone := r.int(), r.int()
	const dayLong, farOff = 24 * 3600, 1 << 40
	if zone < -dayLong || zone > dayLong || sec < -farOff || sec > farOff {
		r.fail()
		return time.Time{}
	}
	if zone == 0 {
		return time.Unix(sec, 0).UTC()
	}
	return time.Unix(sec, 0).In(time.FixedZone("", int(zone)))
}

func (r *binaryReader) envelope(e *Envelope) {
	e.Empty = EmptyFields(r.uint())
	e.Date = r.str()
	e.Subject = r.str()
	for _, list := range [...]*[]Address{&e.From, &e.Sender, &e.ReplyTo, &e.To, &e.Cc, &e.Bcc} {
		if n := r.count(1); n > 0 {
			*list = make([]Address, n)
			for i := range *list {
				(*list)[i] = r.address()
			}
		}
	}
	e.InReplyTo = r.str()
	e.MessageID = r.str()
}

func (r *binaryReader) address() (a Address) {
	f := r.uint()
	a.Group = Group(f >> 5)
	if f>>5 > uint64(GroupEnd) {
		r.fail()
	}
	r.some(f, &a.Name, &a.Mailbox, &a.Host, &a.Route, &a.Raw)
	return a
}

// leastPart is the fewest bytes a stored part has.
const leastPart = 6

// part reads a part and what is in it, down to maxDecodeDepth.
func (r *binaryReader) part() *Part {
	p := &Part{}
	if r.depth++; r.depth > maxDecodeDepth {
		r.fail()
	}
	f := r.uint()
	p.Opaque = f&1 != 0
	r.spans(p)
	r.some(f>>1, &p.Type, &p.Subtype)
	if f&(1<<3) != 0 {
		p.Params = r.params()
	}
	r.some(f>>4, &p.ID, &p.Description, &p.Encoding, &p.Disposition)
	if f&(1<<8) != 0 {
		p.DispositionParams = r.params()
	}
	if f&(1<<9) != 0 {
		p.Language = r.strs()
	}
	r.some(f>>10, &p.Location, &p.MD5)
	if f&(1<<12) != 0 {
		if n := r.count(leastPart); n > 0 {
			p.Parts = make([]*Part, 0, n)
			for range n {
				p.Parts = append(p.Parts, r.part())
			}
		}
	}
	if f&(1<<13) != 0 {
		p.Embedded = &Embedded{}
		r.envelope(&p.Embedded.Envelope)
		p.Embedded.Root = r.part()
	}
	r.depth--
	return p
}

// spans reads where the part is.
func (r *binaryReader) spans(p *Part) {
	p.Header.Start = r.last + r.int()
	p.Header.End = p.Header.Start + r.size()
	p.Body.Start = p.Header.End + r.size()
	p.Body.End = p.Body.Start + r.size()
	p.Lines = r.size()
	r.last = p.Body.Start
	if p.Header.Start < 0 || p.Body.End < p.Header.Start || p.Body.End > 1<<61 {
		r.fail()
		*p = Part{}
	}
}

func (r *binaryReader) params() []Param {
	n := r.count(3)
	if n == 0 {
		return nil
	}
	list := make([]Param, n)
	for i := range list {
		f := r.uint()
		list[i] = Param{Extended: f&1 != 0, Name: r.str(), Value: r.str()}
		if f&2 != 0 {
			list[i].Raw = r.str()
		}
	}
	return list
}
