// Package content answers "what does the message itself say for or against it?": how it is built, what
// it hides, where its links lead, what its names pretend and what its attachments are. It also knows
// every way in which another program could read the message (see [Readings]).
//
// It promises evidence only, each piece with a name of the table [Table], from the message's own bytes:
// it asks no network and keeps no state. Work is linear in the message and bounded by limits.Content.
// What can run wild, the opening of archives and documents, is done by the room unpack, which the server
// runs in a process of its own.
//
// What must never happen: a file's type taken from its name, a reading that some mail program makes and
// Readings does not, a hostile message that takes the server down.
package content

import (
	"context"
	"io"
	"time"

	"tram/internal/limits"
	"tram/internal/message"
	"tram/internal/spam/sign"
	"tram/internal/spam/unpack"
)

// Options are what is known besides the message.
type Options struct {
	Limits limits.Content // the zero value stands for the defaults
	Now    time.Time      // when it arrived; zero leaves the Date unjudged

	// Own are the domains of this server, Known those that its people write to. Either may be nil. For
	// evidence that depends on the account, see Compare.
	Own, Known *Domains
	// OwnNames reports whether a name, as FoldName gives it, is that of a person of this server. nil knows
	// nobody.
	OwnNames func(folded string) bool
	// Unpack opens a file that holds others: Pool.Unpack of the room unpack. nil opens it here, in this
	// process, within the same bounds of bytes and time.
	Unpack func(ctx context.Context, name string, r io.Reader, size int64) (unpack.Result, error)
}

// Report is what Examine found.
type Report struct {
	Signs []sign.Sign
	Text  string // decoded visible text of all text parts, at most limits.Content.Text bytes
	// Hidden says that Text leaves out what the HTML keeps from the reader's eyes.
	Hidden bool
	Links  []Link
	Files  []File
	// Unscannable names the files that could not be looked into, with the reason: a bomb, a damaged archive,
	// one beyond the limits. Encrypted names those that need a password. The policy for viruses decides
	// about both.
	Unscannable, Encrypted []string
	// Partial is set for a piece of a message (RFC 2046 §5.2.2): nobody sees the whole on its way.
	Partial bool

	senders []message.Address // From, Sender and Reply-To, for Compare
	names   int               // attachments in Files, without what is inside them
}

// Link is an address that the message leads to.
type Link struct {
	URL   string // as written, at most 1,000 bytes
	Host  string // lower-case A-labels; "" where there is none
	Shown string // what the reader sees instead, for links of HTML; at most 200 bytes
}

// Danger says how a file can do harm.
type Danger uint8

// The dangers, from the least.
const (
	Harmless   Danger = iota
	Suspicious        // may hold a program: a document with macros, a page with scripts, an encrypted archive
	Executable        // runs when opened
)

// File is an attachment, or a file inside one.
type File struct {
	Path    string      // its name; of a file inside another "outer.zip/inner.exe"
	Type    unpack.Type // by its content; "" when nothing is known
	Claimed string      // the media type the message gives it, "" inside archives
	Size    int64       // decoded; what the archive says for a file inside one
	Marks   unpack.Marks
	Danger  Danger
	Inside  int // how many archives are around it
}

// Examine looks at a message. r holds the whole of it, m is what the parser made of it. It never fails:
// what cannot be read is evidence, too, or is left out. ctx bounds the opening of attachments only.
func Examine(ctx context.Context, r io.ReaderAt, m *message.Message, o Options) *Report {
	if o.Limits == (limits.Content{}) {
		o.Limits = limits.Default().Content
	}
	ctx, cancel := context.WithTimeout(ctx, manyTroubles*o.Limits.DecodeTime)
	defer cancel()
	x := &examination{ctx: ctx, r: r, m: m, o: o, rep: &Report{}}
	x.header()
	x.parts()
	return x.rep
}

// examination is one run of Examine.
type examination struct {
	ctx context.Context
	r   io.ReaderAt
	m   *message.Message
	o   Options
	rep *Report

	text    []byte
	letters int             // that a reader sees, of all texts
	images  int             // pictures, attached or linked
	hosts   map[string]bool // of links, that were judged
	alt     *alternative    // the forms of a text, when the part is one of them
	locked  string          // an encrypted attachment
	nested  string          // an archive in an archive
}
