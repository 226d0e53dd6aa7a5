// Package queue answers "what is owed to others, and when is it tried next?".
//
// # Promises
//
// Submit is one transaction: what it has taken over survives any crash, and is delivered, returned
// to its sender with a reason, or shown to an operator. An outcome and the notice it causes are one
// transaction too. A million messages that wait neither slow a new one nor take memory: work is
// found through indexes, in windows. A destination that is down costs one probe per wait, however
// many messages wait for it; hosts that stall cost the others nothing.
//
// What must never happen: a message is lost; a message is given up early because a clock has jumped
// or the DNS is ill; a notice goes to a stranger, or answers a notice; mail is sent to this server
// itself, or with a bare CR or LF in it. A message can come twice only where SMTP cannot help it
// (RFC 1047): the connection or this process ended between the last octet and the reply. Those are
// counted.
//
// # An item
//
// An item is a message with those it is still owed to, kept in one shard. Per recipient:
//
//	waiting ──attempt──▶ delivered                     2xx
//	   ▲  └─────────────▶ failed, sender is told        5xx, or too old, or dropped
//	   └──── later                                      4xx, no answer
//
// and for the item as a whole:
//
//	submitted ─▶ waiting ◀─▶ running      a session has it in hand (in memory only)
//	     │          │ ▲
//	     ▼          ▼ │
//	   held ◀─ Hold ─ Release             also: account limits, FUTURERELEASE
//	     └──────────┴──▶ gone             every recipient has its fate
//
// The recipients that share a destination (a domain, the smarthost, this house) are a leg, and are
// tried together. A leg waits in the index of its destination, ordered by priority and time. Each
// destination with legs has a wake: when to look at it. That is its earliest leg's time or, while it
// cannot be reached, the time of its next probe, so that its legs need no schedule of their own
// meanwhile; when a probe gets through, all of them flow.
//
// # At work
//
// pass reads the due destinations from the index of wakes and gives them a place in memory (engine).
// dispatch starts sessions for them within the worker slots (slots). A session takes batches of legs
// (feed), connects (route, connect), sends each message to as many recipients as it can (transact,
// job), records what became of them (record), and goes on over the same connection. What time
// brings, notices of delay, expiry and the end of holds, is done beside it (keep). All schedules are
// in queue time (qtime), which a jump of the wall clock moves by one retry at most.
//
// No item is in two hands at a destination: a session has those it took (running) until it has
// released them, and what gives an item up or tells of it claims it first, so that no session takes
// it meanwhile. Operators may change an item at any time; whoever composed a notice of it finds that
// out in the transaction that would send the notice, and begins again (change).
//
// The rows and keys are laid out in layout.go, item.go and txn.go.
package queue
