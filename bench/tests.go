package main

import (
	"crypto/tls"
	"strings"
)

// A test is a piece of work that is measured on one server.
type test struct {
	name string
	what string // the work in words
	// once: it leaves something that a second run would find, or costs more time than repeats are worth.
	once bool
	// large: only with -large, for the time or the memory that it takes.
	large bool
	// calm: it leaves no work behind that the server does later.
	calm bool
	// own: it is of what the peer has not, or takes many minutes for, and is not done beside it.
	own bool
	// starts: it starts the server itself.
	starts bool
	run    func(*Server) (Result, error)
}

// tests are all of them in the order in which they run: mailboxes are filled before they are read,
// and the large ones come last.
var tests = []test{
	{name: "startup", what: "start until both doors greet; memory 2 s later", starts: true, calm: true, run: startup},
	{name: "login", what: "IMAP over TLS: the first log-in of 10 users, then 300 more", calm: true,
		run: func(s *Server) (Result, error) { return logins(s, s.count(300)) }},
	{name: "4k", what: "3,000 messages of 4 kB, 10 sessions, 10 users", run: func(s *Server) (Result, error) {
		return smtpIn(s, smtpLoad{messages: s.count(3000), mix: sizes4k})
	}},
	{name: "mix", what: "1,500 messages, 70 % 4 kB, 25 % 50 kB, 5 % 1 MB", run: func(s *Server) (Result, error) {
		return smtpIn(s, smtpLoad{messages: s.count(1500), mix: sizesMix})
	}},
	{name: "1m", what: "100 messages of 1 MB, 10 sessions, 10 users", run: func(s *Server) (Result, error) {
		return smtpIn(s, smtpLoad{messages: s.count(100), mix: sizes1m})
	}},
	{name: "perconn", what: "1,000 of 4 kB, a connection each", run: func(s *Server) (Result, error) {
		return smtpIn(s, smtpLoad{messages: s.count(1000), mix: sizes4k, perConn: true})
	}},
	{name: "perconn-tls", what: "1,000 of 4 kB, a connection with STARTTLS each",
		run: func(s *Server) (Result, error) {
			return smtpIn(s, smtpLoad{messages: s.count(1000), mix: sizes4k, perConn: true, startTLS: true})
		}},
	{name: "perconn-x25519", what: "the same with X25519 alone, as programs agree on that know no ML-KEM",
		run: func(s *Server) (Result, error) {
			return smtpIn(s, smtpLoad{messages: s.count(1000), mix: sizes4k, perConn: true, startTLS: true,
				curves: []tls.CurveID{tls.X25519}})
		}},
	{name: "relay", what: "2,000 of 4 kB submitted with AUTH over STARTTLS, to 20 domains elsewhere",
		run: func(s *Server) (Result, error) { return relay(s, s.count(2000)) }},
	{name: "syncs", what: "1,000 of 4 kB, 10 sessions, with the calls to sync counted by strace", starts: true,
		once: true, run: func(s *Server) (Result, error) {
			return countSyncs(s, smtpLoad{messages: s.count(1000), mix: sizes4k})
		}},
	{name: "syncs64", what: "4,000 of 4 kB, 64 sessions, with the calls to sync counted by strace", starts: true,
		once: true, run: func(s *Server) (Result, error) {
			return countSyncs(s, smtpLoad{messages: s.count(4000), mix: sizes4k, sessions: 64})
		}},
	{name: "append", what: "2,000 APPENDs one by one over 4 connections into one mailbox",
		run: func(s *Server) (Result, error) { return appendOneByOne(s, s.count(2000)) }},
	{name: "noop", what: "10 mail programs that only ask whether there is news, 3,000 times each", calm: true,
		run: func(s *Server) (Result, error) { return noops(s, s.count(3000)) }},
	{name: "mixed", what: "10 mail programs for 8 s, 300 messages each", run: imapMixed},
	{name: "pop3", what: "10 POP3 clients, 200 messages each, RETR one by one, again and again", calm: true,
		run: func(s *Server) (Result, error) { return pop3Retr(s, 200, s.count(15)) }},
	{name: "idle1k", what: "1,000 TLS connections in IDLE, then a message to each user", calm: true,
		run: func(s *Server) (Result, error) { return idle(s, s.count(1000)) }},
	{name: "fill10k", what: "10,000 letters by MULTIAPPEND, until indexed", calm: true, once: true,
		run: func(s *Server) (Result, error) { return fillCorpus(s, 10_000) }},
	{name: "sync10k", what: "first and next synchronisation of 10,000 messages",
		run: func(s *Server) (Result, error) { return imapSync(s, 10_000) }},
	{name: "search10k", what: "five searches twice in 10,000 messages, index caught up", calm: true,
		run: func(s *Server) (Result, error) { return imapSearch(s, 10_000, 2) }},
	{name: "notes", what: "100,000 notes of 0.6 to 1.1 kB by MULTIAPPEND", calm: true, once: true,
		run: func(s *Server) (Result, error) { return fillNotes(s, 100_000) }},
	{name: "lists", what: "FETCH 1:* of flags, then of envelopes, of 100,000 notes, first and again", calm: true,
		run: func(s *Server) (Result, error) { return lists(s, 100_000) }},
	{name: "finds", what: "searches in 100,000 notes by flags, dates and size, five times each", calm: true,
		once: true, run: func(s *Server) (Result, error) { return findNotes(s, 100_000, entryFinds()) }},
	{name: "texts", what: "searches in 100,000 notes by text, five times each, index caught up", calm: true, own: true,
		once: true, run: func(s *Server) (Result, error) { return findNotes(s, 100_000, textFinds()) }},
	{name: "bulky", what: "bodies of 2,000 messages, 70 % 4 kB, 25 % 50 kB, 5 % 1 MB, first and three times again",
		calm: true, run: func(s *Server) (Result, error) { return bulky(s, s.count(2000)) }},
	{name: "bulk", what: "MOVE of 50,000 notes, STORE and EXPUNGE of them, beside two other clients", once: true,
		run: func(s *Server) (Result, error) { return bulk(s, 100_000) }},
	{name: "mailboxes", what: "LIST of 99,000 mailboxes of one account, in trees of ten levels", calm: true,
		once: true, own: true, run: func(s *Server) (Result, error) { return mailboxes(s, 99_000) }},
	{name: "fill100k", what: "100,000 letters by MULTIAPPEND, until indexed", calm: true, once: true, large: true,
		run: func(s *Server) (Result, error) { return fillCorpus(s, 100_000) }},
	{name: "sync100k", what: "the same synchronisation of 100,000 messages", large: true,
		run: func(s *Server) (Result, error) { return imapSync(s, 100_000) }},
	{name: "search100k", what: "the same searches once in 100,000 messages", calm: true, large: true,
		run: func(s *Server) (Result, error) { return imapSearch(s, 100_000, 1) }},
	{name: "idle10k", what: "10,000 TLS connections in IDLE, then a message to each user", calm: true, once: true,
		large: true,
		run:   func(s *Server) (Result, error) { return idle(s, s.count(10_000)) }},
}

// chosen returns the tests of a list of names, or all, or all that are not large.
func chosen(names string, large bool) ([]test, string) {
	var list []test
	if names == "" {
		for _, t := range tests {
			if large || !t.large {
				list = append(list, t)
			}
		}
		return list, ""
	}
	for name := range strings.SplitSeq(names, ",") {
		found := false
		for _, t := range tests {
			if t.name == name {
				list, found = append(list, t), true
			}
		}
		if !found {
			return nil, name
		}
	}
	return list, ""
}
