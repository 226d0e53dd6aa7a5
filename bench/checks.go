package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// checkTests are what the checks of mail from outside are measured with: the messages are signed.
var checkTests = []test{
	{name: "4k", what: "3,000 messages of 4 kB with a DKIM signature, 10 sessions, 10 users",
		run: func(s *Server) (Result, error) { return signedIn(s, smtpLoad{messages: s.count(3000), mix: sizes4k}) }},
	{name: "mix", what: "1,500 with a DKIM signature, 70 % 4 kB, 25 % 50 kB, 5 % 1 MB",
		run: func(s *Server) (Result, error) { return signedIn(s, smtpLoad{messages: s.count(1500), mix: sizesMix}) }},
	{name: "perconn-tls", what: "1,000 of 4 kB with a DKIM signature, a connection with STARTTLS each",
		run: func(s *Server) (Result, error) {
			return signedIn(s, smtpLoad{messages: s.count(1000), mix: sizes4k, perConn: true, startTLS: true})
		}},
	{name: "startup", what: "start until both doors greet; memory 2 s later", starts: true, calm: true, run: startup},
}

// checkRows are what the report compares.
var checkRows = []row{
	{"4k", "delivered_per_s", "4 kB in: delivered/s", false, true},
	{"4k", "ack_p50_ms", "4 kB in: 250 after, median ms", true, false},
	{"4k", "ack_p99_ms", "4 kB in: 250 after, p99 ms", true, false},
	{"4k", "cpu_s_per_1k", "4 kB in: CPU s per 1,000", true, true},
	{"4k", "cpu_settled_s_per_1k", "4 kB in: CPU s per 1,000, index and learning included", true, false},
	{"4k", "full_mib", "4 kB in: memory after it, MiB", true, false},
	{"mix", "delivered_per_s", "mix in: delivered/s", false, true},
	{"mix", "delivered_mb_per_s", "mix in: MB/s", false, false},
	{"mix", "ack_p50_ms", "mix in: 250 after, median ms", true, false},
	{"mix", "ack_p99_ms", "mix in: 250 after, p99 ms", true, false},
	{"mix", "cpu_s_per_1k", "mix in: CPU s per 1,000", true, true},
	{"mix", "cpu_settled_s_per_1k", "mix in: CPU s per 1,000, index and learning included", true, false},
	{"mix", "full_mib", "mix in: memory after it, MiB", true, false},
	{"perconn-tls", "delivered_per_s", "STARTTLS each: delivered/s", false, true},
	{"perconn-tls", "cpu_s_per_1k", "STARTTLS each: CPU s per 1,000", true, true},
	{"startup", "ready_ms", "start until both doors greet, ms", true, false},
	{"startup", "rest_mib", "memory at rest, MiB", true, false},
}

// measureChecks measures Trạm with all checks of mail from outside that need no other program, and
// without them, in turn: the same binary and the same signed messages.
func measureChecks(o options) (*record, error) {
	list, err := checkList(o.tests)
	if err != nil {
		return nil, err
	}
	from, err := newSigner()
	if err != nil {
		return nil, err
	}
	addr, closeNames, err := from.names()
	if err != nil {
		return nil, err
	}
	defer closeNames()
	o.names, o.checks = addr, true
	with, err := openTram(o)
	if err != nil {
		return nil, err
	}
	o.checks = false
	without, err := openTram(o)
	if err != nil {
		return nil, errors.Join(err, with.remove())
	}
	with.Name, without.Name = "with all built-in checks", "checks off"
	with.Settings = append(with.Settings, "it looks at what vouches for a message (SPF, DKIM, ARC, DMARC), at "+
		"its content, at words that all accounts were taught with 400 messages and at what is known of its "+
		"sender, and counts it for reports; no filter outside")
	both := []*Server{with, without}
	for _, s := range both {
		s.signer = from
	}
	rec := newRecord("checks", or(o.rounds, 3), both...)
	err = teach(with, o)
	if err == nil {
		err = rec.measureAll(list, both)
	}
	if o.tests == "" {
		var failed error
		rec.Checks, failed = measureCheckTime(from)
		err = errors.Join(err, failed)
	}
	rec.Minutes = time.Since(rec.When).Minutes()
	return rec, errors.Join(err, with.remove(), without.remove())
}

// checkList are the tests of a list of names, or all.
func checkList(names string) ([]test, error) {
	if names == "" {
		return checkTests, nil
	}
	var list []test
	for name := range strings.SplitSeq(names, ",") {
		found := len(list)
		for _, t := range checkTests {
			if t.name == name {
				list = append(list, t)
			}
		}
		if len(list) == found {
			return nil, fmt.Errorf("there is no test %q of the checks", name)
		}
	}
	return list, nil
}

// signedIn sends a load of signed messages, all of which must reach the INBOX: nobody has a reason to
// turn away what its author's domain vouches for.
func signedIn(s *Server, l smtpLoad) (Result, error) {
	l.signed = s.signer
	r, err := smtpIn(s, l)
	if err == nil {
		r["full_mib"] = s.pss() / 1024
	}
	return r, err
}

// teach teaches a server's words: without lessons nobody looks at any.
func teach(s *Server, o options) (err error) {
	if err := s.up(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.down()) }()
	dir, err := o.guests.folder("tram-lessons-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for kind, list := range map[string][][]byte{"ham": goodLessons(200), "spam": junkLessons(200)} {
		file := filepath.Join(dir, kind)
		var b []byte
		for _, raw := range list {
			b = append(append(append(b, "From lesson@load.test Mon Jan  5 10:00:00 2026\n"...), raw...), '\n')
		}
		if err := os.WriteFile(file, b, 0o644); err != nil {
			return err
		}
		cmd := exec.Command(o.tram, "spam", "learn", "--"+kind, file, "--data", s.life.folder())
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("teach words: %w: %s", err, out)
		}
	}
	return nil
}

// goodLessons are letters of the corpus.
func goodLessons(n int) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		list[i] = letter(i)
	}
	return list
}

func junkLessons(n int) [][]byte {
	var list [][]byte
	for _, m := range vietnameseMail(2, 5*n) {
		if m.junk && len(list) < n {
			list = append(list, fmt.Appendf(nil, "From: %s\r\nSubject: %s\r\nMIME-Version: 1.0\r\n"+
				"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n%s",
				m.text.From, m.text.Subject, strings.ReplaceAll(m.text.Body, "\n", "\r\n")))
		}
	}
	return list
}

// checksSection tells of the checks in Markdown.
func (rec *record) checksSection(b *strings.Builder) {
	fmt.Fprintf(b, "The same signed messages to the same binary, with the checks and without them in turn, medians "+
		"of %d runs, least and\nmost in brackets; ratios below 1 are what the checks cost. Three of four messages are "+
		"signed with Ed25519, the others with\nRSA of 2,048 bits. A run in which one message is not found to be "+
		"genuine (SPF, DKIM and DMARC pass), is greylisted, refused\nor filed as junk fails and has no figures "+
		"here.\n", rec.Rounds)
	rec.table(b, checkRows)
	if c := rec.Checks; c != nil {
		c.section(b)
	}
	rec.details(b)
}
