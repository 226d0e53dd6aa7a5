// Package message answers "what is in these bytes?": it reads RFC 5322 and MIME messages as they
// arrive, and writes the few that the server composes itself.
//
// It promises that any input gives a [Message]: there is no such thing as a message that cannot be
// parsed, only parts that are not looked into (beyond a limit, a part is one opaque leaf). Bytes
// are kept, never rewritten: the tree holds offsets into them. A [Parser] takes one pass, in linear
// time and bounded memory, whatever slices the bytes come in. What it composes is always valid:
// CRLF line ends, folded header fields, no header injected by a value.
//
// What must never happen: a panic, an error for the reader of strange mail, time that grows faster
// than the input, two readings of one message that differ by how it was cut into slices.
package message

import "time"

// Span is a run of bytes of the message: offsets from its start, End exclusive.
type Span struct{ Start, End int64 }

// Len is the number of bytes in s.
func (s Span) Len() int64 { return s.End - s.Start }

// Message is what the parser found: its own copy of what the header says, and offsets into the
// bytes for everything else.
type Message struct {
	Size       int64 // of the whole message, in bytes
	HeaderSize int64 // of the header with its closing blank line: where the body begins
	Root       *Part // never nil
	Envelope   Envelope

	MessageID  string    // with its angle brackets, "" when there is none
	InReplyTo  []string  // message identifiers, like MessageID
	References []string  // oldest first; the newest limits.Message.References are kept
	Date       time.Time // the Date field with its zone, zero when absent or unreadable

	Subject     string // decoded UTF-8
	BaseSubject string // RFC 5256 §2.1, of the decoded subject; case kept as it came
	Reply       bool   // RFC 5256 §2.1: the subject says it is a reply or a forward
	// Preview is the beginning of the first text, decoded, white space collapsed, quoted lines
	// and HTML tags removed: at most limits.Message.Preview characters.
	Preview       string
	HasAttachment bool // a part that a reader would list as an attachment

	Received    int      // number of Received fields
	DeliveredTo []string // values of the Delivered-To fields, newest first
	FromCount   int      // number of author addresses, in all From fields together
	Flaws       Flaws    // oddities that matter to policy

	LongLine bool // a line above 998 bytes, RFC 5322 §2.1.1
	BareCR   bool // a CR without its LF
	BareLF   bool // an LF without its CR
	NUL      bool
	EightBit bool // a byte above 127 anywhere
	OpenEnd  bool // does not end in CR LF, and is not empty

	// EightBitHeader is set when the message's own header or one of its parts' holds bytes above
	// 127: to send it on needs SMTPUTF8 (RFC 6531 §3.4), to show it a guess at the charset.
	EightBitHeader bool

	// SurrogateGrowth is what the function of that name gave whoever stored a message with
	// EightBitHeader. The parser and Decode leave it 0.
	SurrogateGrowth int64

	// Header is the header block with its closing blank line, cut at limits.Message.HeaderBytes.
	// Decode leaves it nil.
	Header []byte
}

// Part is a node of the MIME tree.
type Part struct {
	Header Span  // with the closing blank line; empty when the part has no header
	Body   Span  // as encoded; without the line end that belongs to the boundary delimiter
	Lines  int64 // line ends inside Body

	Type, Subtype     string // lower case, "text" and "plain" when nothing was said
	Params            []Param
	ID                string // Content-ID as written
	Description       string // Content-Description as written, unfolded
	Encoding          string // lower case; "7bit" when nothing was said
	Disposition       string // lower case, "" when there is none
	DispositionParams []Param
	Language          []string
	Location          string
	MD5               string

	// Opaque is set when a limit, or an encoding that RFC 2045 §6.4 forbids, stopped the parser
	// from looking inside: the part is then application/octet-stream.
	Opaque bool

	Parts    []*Part   // children of a multipart, at least one; nil otherwise
	Embedded *Embedded // of message/rfc822 and message/global, nil otherwise
}

// Embedded is the message inside a message/rfc822 or message/global part.
type Embedded struct {
	Envelope Envelope
	Root     *Part // its Header and Body are the embedded message's
}

// Param is a parameter of Content-Type or Content-Disposition.
type Param struct {
	Name  string // lower case, without the marks of RFC 2231
	Value string // decoded UTF-8
	// Raw is the value as written, continuations joined (RFC 2231 §7), when it differs from
	// Value; Extended says that it has the form charset'language'percent-encoded.
	Raw      string
	Extended bool
}

// Envelope is what RFC 9051 §7.5.2 calls so: the header fields by which people list messages.
// Text is as written in the header, unfolded; encoded words are not decoded.
type Envelope struct {
	Date      string
	Subject   string
	From      []Address
	Sender    []Address
	ReplyTo   []Address
	To        []Address
	Cc        []Address
	Bcc       []Address
	InReplyTo string
	MessageID string

	// Empty names the fields of text that are there and say nothing: "" in IMAP, where absent
	// ones are NIL.
	Empty EmptyFields
}

// EmptyFields is a set of fields of an Envelope.
type EmptyFields uint8

// The fields that RFC 9051 §7.5.2 tells apart as empty or absent.
const (
	EmptyDate EmptyFields = 1 << iota
	EmptySubject
	EmptyInReplyTo
	EmptyMessageID
)

// Group marks the ends of a group in a list of addresses (RFC 5322 §3.4).
type Group uint8

// Values of Address.Group.
const (
	NoGroup    Group = iota
	GroupStart       // Mailbox holds the group's name
	GroupEnd         // nothing else is set
)

// Address is one entry of an address list.
type Address struct {
	Name    string // display name, decoded UTF-8
	Mailbox string // local part, without quotes
	Host    string // domain as written; "" when the address has none
	Route   string // obsolete source route, RFC 5322 §4.4
	Raw     string // display name as written, when it differs from Name
	Group   Group
}

// Flaws is a set of oddities that make different readers see different things in one message.
// None of them stops the parser; deliver and spam decide what they mean.
type Flaws uint32

// The oddities. Where a field is doubled the first one counts, as RFC 5322 §3.6 allows one only.
const (
	FlawNoFrom            Flaws = 1 << iota // no From field, or none with an address
	FlawDoubleFrom                          // more than one From field
	FlawDoubleField                         // another field doubled that may come once
	FlawSpaceBeforeColon                    // "From : x", RFC 5322 §4.5.8 obsolete
	FlawNoColon                             // a header line that is no field
	FlawNameCharacter                       // a field name with bytes RFC 5322 §2.2 forbids
	FlawBlankFold                           // a continuation line of white space only
	FlawLateFold                            // the header begins with a continuation line
	FlawHeaderLimit                         // fields beyond a limit were not read
	FlawDate                                // a Date that cannot be read, or none
	FlawMessageID                           // a Message-ID that is none
	FlawDoubleContentType                   // Content-Type or its kin doubled in a part
	FlawContentType                         // a Content-Type that cannot be read
	FlawDoubleParam                         // a parameter given twice
	FlawEncodedParam                        // encoded words in a boundary, charset or encoding
	FlawEncoding                            // an unknown or forbidden Content-Transfer-Encoding
	FlawBoundary                            // no boundary, a bad one, or one used twice
	FlawUnclosed                            // a multipart without its closing delimiter
	FlawPartLimit                           // a part was not looked into because of a limit
	FlawAddress                             // an address that cannot be read
	FlawAddressLimit                        // addresses beyond a limit were not kept
)

// Has reports whether any of f is in the set.
func (s Flaws) Has(f Flaws) bool { return s&f != 0 }
