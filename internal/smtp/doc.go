// Package smtp answers "what do these bytes of mail transfer mean, and how are they said?".
//
// It is a language: addresses and paths, commands and their parameters, replies with enhanced
// status codes, dot-stuffing, and the sending half of the dialogue ([Client]). It keeps no state
// beyond one connection, stores nothing, and decides no policy: who may relay, what is retried and
// whom to tell is for the rooms above.
//
// It promises:
//   - Strictness on input. Addresses follow the grammar of RFC 5321 §4.1.2 and RFC 6531 §3.3 to the
//     letter; a local part is never taken apart, so `a%b`, `a!b` and `"a@b"` are just names. Source
//     routes are refused.
//   - One end of a message: CR LF . CR LF, and nothing like it. A message with a bare CR or a bare LF
//     is read to that end and then refused, so no other server can see a second message in it
//     (CVE-2023-51764, CVE-2023-51765, CVE-2023-51766).
//   - Clean output. What [DotWriter] and [Client] send never holds a bare CR or LF, a reply never a
//     control character, whatever they were given.
//   - Bounds. Every line, reply and parameter that is read has a limit.
//
// It must never happen that a reply is taken for the answer to another command: the client counts
// what it sent, and gives the connection up at the first sign of disorder.
package smtp
