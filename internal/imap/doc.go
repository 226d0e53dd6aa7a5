// Package imap answers "what do these IMAP bytes mean, and how is this meaning written?" for
// IMAP4rev2 and IMAP4rev1 (RFC 9051, RFC 3501) and their extensions.
//
// A [Decoder] reads commands (or, for the [Client], responses) from a [Source], one grammar rule
// per method, with a sticky error: a caller reads all arguments and looks at the error once. The
// Append functions write values onto byte slices. Neither keeps state between commands, touches
// storage or knows what a command does.
//
// It promises that whatever the other side sends costs bounded memory and linear time: the length
// of lines, the sum of literals, the depth of parentheses and the number of ranges are bounded by
// [Limits], and a literal that is streamed is never held. What must never happen: that bytes of a
// refused literal are read as a command, or that a number set is expanded into its members.
package imap
