// Package imaptest answers "does the server speak IMAP as scripts of others expect it?". It reads the
// script format of Dovecot's ImapTest, runs a script over connections that are given, and reports
// each place where the server answered otherwise.
//
// A script is a file of a header, "key: value" lines up to the first empty one, and commands:
//
//	capabilities: MOVE UIDPLUS   run only where the server has them
//	connections: 2               each command then begins with the number of its connection
//	state: created               nonauth, auth, created, appended or selected (as by default)
//	messages: 3                  how many messages of the mbox file to append, "all" by default
//	ignore_extra_untagged: no    no untagged reply beside those that are listed
//	user 2: $user2               the second connection is another person's
//
//	1 ok select $mailbox         a command and its answer: ok, no, bad or "" for any
//	* $n exists                  an untagged reply that must come, in any order
//	! 1 expunge                  one that must not
//	? 2 fetch (flags ())         one that may
//	1 append $mailbox {{{        or: the command first; its literal, up to }}}, has CRLF line ends;
//	...                          ~{{{ begins one whose bytes are as they stand
//	}}}
//	1 ok [appenduid $v $uid]     and then its answer, of which this is the beginning
//
// $name is kept when it is first matched and must be the same from then on; $1 is where the message
// that was the first when the command began now stands; $$ is a dollar sign. A list may begin with
// directives: $!unordered, $!unordered=2 for pairs in any order, $!noextra, $!ignore=x, $!ban=x.
// LIST, STATUS and FETCH have those that fit by default.
//
// An "append" without a message appends the next one of the script's mbox file, or of default.mbox.
//
// What must never happen: a script that is taken for passed although nothing of it was run.
package imaptest
