// Command bench measures a mail server from outside, over loopback: how many messages a second,
// how long an acknowledgement takes, how much CPU and memory the server spends on it. It verifies
// what it measures: every message that was acknowledged is read back over IMAP and compared.
//
//	bench -tram bin/tram                 starts a demo server of its own and runs every test
//	bench -tests 4k,mix -runs 5 …        some tests, five runs each; the medians are printed
//	bench -server FILE -tests 4k …       a server that runs already: FILE is JSON, see server.go
//	bench -markdown bench/RESULTS.md …   writes the table with the machine and the settings
//
// CPU is the server's processes' user and system time, with children, in seconds per 1,000
// messages or operations; the generator's own is not in it. Generator and server share the cores.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
)

type options struct {
	tram, server, tests, markdown, base string
	runs                                int
}

func main() {
	var o options
	flag.StringVar(&o.tram, "tram", "bin/tram", "binary to start")
	flag.StringVar(&o.server, "server", "", "JSON file of a server that runs already")
	flag.StringVar(&o.tests, "tests", strings.Join(standard, ","), "tests to run")
	flag.StringVar(&o.markdown, "markdown", "", "file for the table")
	flag.StringVar(&o.base, "port-base", "21000", "port base of the server that is started")
	flag.IntVar(&o.runs, "runs", 3, "runs of each test")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// standard is the order in which the tests run: mailboxes are filled before they are read.
var standard = []string{
	"startup", "4k", "mix", "perconn-tls", "append", "sync10k", "search10k", "mixed", "relay", "idle1k",
}

// tests are the measurements by name.
var tests = map[string]func(*Server) (Result, error){
	"4k":  func(s *Server) (Result, error) { return smtpIn(s, smtpLoad{messages: 1000, mix: sizes4k}) },
	"mix": func(s *Server) (Result, error) { return smtpIn(s, smtpLoad{messages: 1000, mix: sizesMix}) },
	"1m":  func(s *Server) (Result, error) { return smtpIn(s, smtpLoad{messages: 100, mix: sizes1m}) },
	"perconn": func(s *Server) (Result, error) {
		return smtpIn(s, smtpLoad{messages: 500, mix: sizes4k, perConn: true})
	},
	"perconn-tls": perConnTLS,
	"append":      func(s *Server) (Result, error) { return appendOneByOne(s, 500) },
	"sync10k":     func(s *Server) (Result, error) { return imapSync(s, 10_000) },
	"sync100k":    func(s *Server) (Result, error) { return imapSync(s, 100_000) },
	"search10k":   func(s *Server) (Result, error) { return imapSearch(s, 10_000) },
	"search100k":  func(s *Server) (Result, error) { return imapSearch(s, 100_000) },
	"mixed":       imapMixed,
	"relay":       relay,
	"idle1k":      func(s *Server) (Result, error) { return idle(s, 1000) },
	"idle10k":     func(s *Server) (Result, error) { return idle(s, 10_000) },
	"startup":     startup,
}

func perConnTLS(s *Server) (Result, error) {
	return smtpIn(s, smtpLoad{messages: 500, mix: sizes4k, perConn: true, startTLS: true})
}

func run(o options) error {
	s, err := openServer(o)
	if err != nil {
		return err
	}
	defer s.Stop()
	var done []measured
	for name := range strings.SplitSeq(o.tests, ",") {
		test := tests[name]
		if test == nil {
			return fmt.Errorf("there is no test %q; there are %s", name, strings.Join(standard, ", "))
		}
		m := measured{name: name}
		for range o.runs {
			r, err := test(s)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			line, err := json.Marshal(r)
			if err != nil {
				return err
			}
			fmt.Printf("%-12s %s\n", name, line)
			m.runs = append(m.runs, r)
		}
		done = append(done, m)
	}
	fmt.Println()
	fmt.Print(table(done))
	if o.markdown == "" {
		return nil
	}
	return os.WriteFile(o.markdown, []byte(report(s, done, o)), 0o644)
}
