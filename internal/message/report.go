package message

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
)

// Report is a delivery status notification: multipart/report of RFC 6522 with a text for people, a
// message/delivery-status part (RFC 3464) and what is returned of the message it is about. Its
// envelope must have the null sender (RFC 3464 §2); that is the queue's to see to.
type Report struct {
	From       Address // MAILER-DAEMON or postmaster of the reporting host
	To         Address
	Subject    string
	Date       time.Time
	MessageID  string
	References []string // identifiers of the message it is about
	Text       string   // for people, UTF-8
	Language   []string // of Text

	MTA          string // the reporting host's name
	ReceivedFrom string // the host the message came from, "" when unknown
	EnvelopeID   string // the sender's ENVID, decoded (RFC 3461 §4.4); "" for none
	Arrival      time.Time
	Recipients   []ReportRecipient

	// Original is the message that is returned, HeaderOnly says that its header is enough
	// (RFC 3461 §4.3: RET=HDRS). nil returns nothing.
	Original   io.Reader
	HeaderOnly bool
	EightBit   bool // Original holds bytes above 127

	// UTF8 makes it a report of RFC 6533, for senders that take internationalized mail:
	// addresses in UTF-8, message/global-delivery-status, message/global.
	UTF8 bool
	Rand io.Reader // for the boundary
}

// Action is what happened to a recipient, RFC 3464 §2.3.3.
type Action string

// The actions.
const (
	ActionFailed    Action = "failed"
	ActionDelayed   Action = "delayed"
	ActionDelivered Action = "delivered"
	ActionRelayed   Action = "relayed"
	ActionExpanded  Action = "expanded"
)

// ReportRecipient is the fate of one recipient, RFC 3464 §2.3. Zero values are left out.
type ReportRecipient struct {
	Original   string // ORCPT as "type;address", decoded
	Final      string // the address that was tried
	Action     Action
	Status     string    // enhanced code, "5.1.1" (RFC 3463)
	RemoteMTA  string    // the host that answered
	Diagnostic string    // its reply; lines are joined
	Last       time.Time // of the last attempt
	Until      time.Time // tries go on until then
	LogID      string
}

// WriteTo writes the report as a whole message.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	status, err := r.status()
	if err != nil {
		return 0, fmt.Errorf("compose report: %w", err)
	}
	statusType := "message/delivery-status"
	if r.UTF8 {
		statusType = "message/global-delivery-status"
	}
	parts := []Content{
		{Text: r.Text, Language: r.Language, Description: "Notification"},
		{
			Type: statusType, Body: bytes.NewReader(status), EightBit: r.UTF8,
			Description: "Delivery report",
		},
	}
	if r.Original != nil {
		parts = append(parts, r.returned())
	}
	d := Draft{
		From: []Address{r.From}, To: []Address{r.To}, Subject: r.Subject, Date: r.Date,
		MessageID: r.MessageID, References: r.References, AutoSubmitted: "auto-replied",
		UTF8: r.UTF8, Rand: r.Rand,
		Content: Content{
			Type: "multipart/report", Parts: parts,
			Params: []Param{{Name: "report-type", Value: statusType[len("message/"):]}},
		},
	}
	if len(r.References) > 0 {
		d.InReplyTo = r.References[len(r.References)-1:]
	}
	return d.WriteTo(w)
}

// returned is the third part, RFC 6522 §3 and RFC 6533 §5.
func (r *Report) returned() Content {
	c := Content{Body: r.Original, EightBit: r.EightBit, Description: "Undelivered message"}
	switch {
	case r.HeaderOnly && r.UTF8:
		c.Type = "message/global-headers"
	case r.HeaderOnly:
		c.Type = "text/rfc822-headers"
	case r.UTF8:
		c.Type = "message/global"
	default:
		c.Type = "message/rfc822"
	}
	if r.HeaderOnly {
		c.Description = "Undelivered message header"
		c.Body = &headerOnly{r: bufio.NewReader(r.Original)}
	}
	return c
}

// headerOnly reads up to the blank line, within a bound.
type headerOnly struct {
	r    *bufio.Reader
	line []byte
	read int
	cont bool // line goes on
}

// returnedHeader bounds the header that is returned.
const returnedHeader = 256 << 10

// Read implements io.Reader. A line longer than the buffer comes in pieces, of which only the first
// may be the blank line.
func (h *headerOnly) Read(p []byte) (int, error) {
	if len(h.line) == 0 {
		line, err := h.r.ReadSlice('\n')
		if len(line) == 0 && err != nil {
			return 0, err
		}
		if !h.cont && len(bytes.TrimRight(line, "\r\n")) == 0 || h.read > returnedHeader {
			return 0, io.EOF
		}
		h.cont = err == bufio.ErrBufferFull
		h.line = line
		h.read += len(line)
	}
	n := copy(p, h.line)
	h.line = h.line[n:]
	return n, nil
}

// status writes the body of the second part: groups of fields with blank lines between them.
func (r *Report) status() ([]byte, error) {
	f := FieldWriter{UTF8: r.UTF8}
	if r.EnvelopeID != "" {
		f.Words("Original-Envelope-Id", r.ascii(r.EnvelopeID))
	}
	f.Words("Reporting-MTA", "dns; "+r.ascii(asciiHost(r.MTA)))
	if r.ReceivedFrom != "" {
		f.Words("Received-From-MTA", "dns; "+r.ascii(asciiHost(r.ReceivedFrom)))
	}
	if !r.Arrival.IsZero() {
		f.Date("Arrival-Date", r.Arrival)
	}
	for i := range r.Recipients {
		f.b = append(f.b, '\r', '\n')
		r.recipient(&f, &r.Recipients[i])
	}
	return f.Bytes()
}

// recipient writes the fields of one recipient, RFC 3464 §2.3, in the order the RFC has them.
func (r *Report) recipient(f *FieldWriter, rc *ReportRecipient) {
	if typ, addr, ok := strings.Cut(rc.Original, ";"); ok {
		f.Words("Original-Recipient", r.address(trim(typ), trim(addr)))
	}
	f.Words("Final-Recipient", r.address("rfc822", rc.Final))
	f.Words("Action", string(rc.Action))
	f.Words("Status", rc.Status)
	if rc.RemoteMTA != "" {
		f.Words("Remote-MTA", "dns; "+r.ascii(asciiHost(rc.RemoteMTA)))
	}
	if rc.Diagnostic != "" {
		f.Words("Diagnostic-Code", "smtp; "+splitLong(r.ascii(rc.Diagnostic)))
	}
	if !rc.Last.IsZero() {
		f.Date("Last-Attempt-Date", rc.Last)
	}
	if !rc.Until.IsZero() {
		f.Date("Will-Retry-Until", rc.Until)
	}
	if rc.LogID != "" {
		f.Words("Final-Log-ID", r.ascii(rc.LogID))
	}
}

// ascii makes a free-text value fit the report: question marks stand for what it cannot show.
func (r *Report) ascii(s string) string {
	if r.UTF8 || isASCII(s) {
		return s
	}
	return strings.Map(func(c rune) rune {
		if c >= 0x80 {
			return '?'
		}
		return c
	}, s)
}

// address writes an address with its type. One that needs UTF-8 has the type utf-8, RFC 6533 §3,
// and in a 7-bit report the escapes of utf-8-addr-xtext.
func (r *Report) address(typ, addr string) string {
	if isASCII(addr) {
		return typ + ";" + addr
	}
	addr = strings.ToValidUTF8(addr, "\ufffd")
	if r.UTF8 {
		return "utf-8;" + addr
	}
	var b strings.Builder
	b.WriteString("utf-8;")
	for _, c := range addr {
		if c <= ' ' || c >= 0x7f || c == '+' || c == '=' || c == '\\' {
			fmt.Fprintf(&b, `\x{%02X}`, c)
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// splitLong puts spaces into words that would not fit a line; a remote reply may hold any.
func splitLong(s string) string {
	const longest = 400
	var b strings.Builder
	for word := range strings.FieldsSeq(s) {
		for len(word) > longest {
			b.WriteString(strings.ToValidUTF8(word[:longest], "") + " ")
			word = word[longest:]
		}
		b.WriteString(strings.ToValidUTF8(word, "") + " ")
	}
	return trim(b.String())
}
