// Package server answers "how do the rooms make a house?": it opens them in order, hands each what
// it stands on, lets the doors accept, and on the way out closes all in reverse. It is the one
// assembly, shared by `tram serve`, `tram demo` and tests that run a server in their own process.
//
// It promises that nothing is accepted before everything is ready, and that at shutdown what was
// begun is finished or cut within the drain time. What must never happen: two servers on one data
// folder; a door that accepts mail while storage cannot keep it.
package server

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tram/internal/admin"
	"tram/internal/blob"
	"tram/internal/certs"
	"tram/internal/clock"
	"tram/internal/config"
	"tram/internal/conn"
	"tram/internal/deliver"
	"tram/internal/deliver/learn"
	"tram/internal/directory"
	"tram/internal/dns"
	"tram/internal/httpd"
	"tram/internal/kv"
	"tram/internal/kv/pebblekv"
	"tram/internal/queue"
	"tram/internal/reports"
	"tram/internal/scan"
	"tram/internal/smtp"
	"tram/internal/spam"
	"tram/internal/store"
	"tram/internal/tlspolicy"
	"tram/internal/trace"
)

// Options say what to run. Config is required; the rest replaces what production takes.
type Options struct {
	Config  config.Config
	Version string
	Logger  *slog.Logger // nil: nothing is logged

	Clock    clock.Clock  // nil: the machine's
	Rand     io.Reader    // nil: crypto/rand
	DB       kv.Database  // nil: opened as Config says; a given one is not closed
	Resolver dns.Resolver // nil: made of Config.DNS
	Dialer   smtp.Dialer  // of outgoing mail; nil: the network
	// Given are listeners that are open already, by door; see Activated.
	Given map[string][]net.Listener

	// Decoder is the command that opens attachments in a process of its own: unpack.Serve on its
	// standard input and output. Empty: they are opened in this process.
	Decoder []string
	// OutsideWaits keeps mail for other domains in the queue: there is nobody to ask for names.
	OutsideWaits bool
	// Roots are the authorities that other servers' certificates are checked against; nil: the system's.
	Roots *x509.CertPool
	// AllowPrivate lets outgoing mail go to loopback and private addresses.
	AllowPrivate bool
	// RemotePort is where outgoing mail is delivered; 0: 25.
	RemotePort int
	// Measure is for load generators on loopback: log-in without TLS, no limits per address.
	Measure bool
	// Offline opens the house without doors, administration and background work.
	Offline bool
	// Mend, when not nil, has what is damaged repaired before it is opened, and hears of it. It goes
	// with Offline; House.Repair does what is left to do.
	Mend *admin.Mend
	keep string // where Repair keeps files as they were
}

// Server is a house. Its rooms are open from Open to Close, its doors during Run.
type Server struct {
	DB        kv.Database
	Blobs     *blob.Store
	Directory *directory.Directory
	Store     *store.Store
	Trace     *trace.Log
	Queue     *queue.Queue
	Deliver   *deliver.Deliverer
	Certs     *certs.Manager
	Reports   *reports.Reports
	Spam      *spam.Judge    // nil: switched off
	Learner   *learn.Learner // nil: switched off
	Admin     *admin.House

	o           Options
	folder      *folder
	doors       []door
	lines       []line // what serves the line protocols
	http        *httpd.Server
	shared      *conn.Shared
	scanner     *scan.Scanner     // nil: no filters are configured
	names       dns.Resolver      // made when first asked for
	policies    *tlspolicy.Finder // nil: there is nobody to ask for names
	policyHosts []string          // that have certificates; of certifyPolicyHosts
	closers     []func() error    // what Close undoes, in order of opening
	ready       chan struct{}
	draining    atomic.Bool
	// hashesSeen and hashesFreed belong to freeHashes.
	hashesSeen, hashesFreed int64
	fatal                   chan error // the storage has given up
}

// Open builds the house: it takes the data folder, binds every listener and opens the rooms. Nothing
// is accepted yet. Its errors are sentences for the operator.
func Open(ctx context.Context, o Options) (*Server, error) {
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, ready: make(chan struct{}), fatal: make(chan error, 1)}
	if err := s.open(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// open is the order in which a house comes to be.
func (s *Server) open(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		s.openFolder, s.openDoors, s.openStorage, s.openCerts, s.openPeople, s.importKeys, s.openSpam, s.openMail,
		s.openReports, s.openScan, s.openPolicies, s.openMovers, s.openAdmin, s.hang,
	} {
		opened := s.DB != nil
		err := step(ctx)
		if opened && s.o.Mend == nil && errors.Is(err, kv.ErrCorrupt) {
			return pebblekv.Advise(err, repairCommand)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// repairCommand is what puts right what is damaged in the database and its rows.
const repairCommand = "tram check --repair"

// onClose notes what Close has to undo.
func (s *Server) onClose(fn func() error) { s.closers = append(s.closers, fn) }

func (s *Server) openFolder(context.Context) error {
	f, err := openFolder(s.o.Config.Data)
	if err != nil {
		return err
	}
	s.folder = f
	s.onClose(f.Close)
	return nil
}

func (s *Server) openDoors(ctx context.Context) error {
	if s.o.Offline {
		return nil
	}
	doors, err := bind(ctx, s.o.Config.Listen, s.o.Given)
	if err != nil {
		return err
	}
	s.doors = doors
	for _, d := range doors {
		s.onClose(func() error { d.Close(); return nil }) // closed by its server already, as a rule
	}
	return nil
}

func (s *Server) openStorage(ctx context.Context) error {
	s.DB = s.o.DB
	if s.DB == nil {
		if err := s.mendStorage(); err != nil {
			return err
		}
		db, err := s.folder.openDB(ctx, s.o.Config, s.o.Logger, s.giveUp)
		if err != nil {
			return err
		}
		s.DB = db
		s.onClose(db.Close)
	}
	s.Blobs = blob.New(s.DB, blob.Options{
		Clock: s.o.Clock, Rand: s.o.Rand, Grace: s.o.Config.Limits.Storage.BlobGrace,
		Long: longBodies(cgroupMemory(ownGroups, groups)),
	})
	s.Trace = trace.Open(trace.Options{
		DB: s.DB, Clock: s.o.Clock, Logger: s.o.Logger.With("room", "trace"),
		Retention: s.o.Config.Limits.Storage.Trace,
	})
	s.onClose(s.Trace.Close)
	return nil
}

// giveUp ends Run: storage that failed a sync promises nothing any more.
func (s *Server) giveUp(err error) {
	select {
	case s.fatal <- err:
	default:
	}
}

func (s *Server) openCerts(context.Context) error {
	if s.o.Offline {
		return nil
	}
	o, err := s.certOptions()
	if err != nil {
		return err
	}
	m, err := certs.New(o)
	if err != nil {
		return fmt.Errorf("open certificates: %w", err)
	}
	s.Certs = m
	return nil
}

func (s *Server) openPeople(ctx context.Context) error {
	pepper, err := s.folder.pepper()
	if err != nil {
		return err
	}
	if err := checkPepper(ctx, s.DB, pepper); err != nil {
		return err
	}
	if err := s.mendDirectory(ctx); err != nil {
		return err
	}
	o := directory.Options{
		DB: s.DB, Clock: s.o.Clock, Rand: s.o.Rand, Pepper: pepper,
		Limits: s.o.Config.Limits.Auth, Signing: s.o.Config.Limits.Signing,
		Logger:  s.o.Logger.With("room", "directory"),
		Measure: s.o.Measure,
	}
	if s.Certs != nil {
		o.ServerCertificate = s.Certs.ServerCertificate
	}
	d, err := directory.Open(ctx, o)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	s.Directory = d
	s.onClose(d.Close)
	return nil
}

func (s *Server) openMail(ctx context.Context) error {
	st, err := store.Open(ctx, store.Options{
		DB: s.DB, Blobs: s.Blobs, Clock: s.o.Clock,
		Logger: s.o.Logger.With("room", "store"), Limits: s.o.Config.Limits.Storage,
		Message: s.o.Config.Limits.Message, Changed: s.changed,
	})
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	s.Store = st
	s.onClose(st.Close)
	return nil
}

// postponed is the forwarder of a deliverer that is made before the queue it forwards to: the one
// circle of the house.
type postponed struct{ *queue.Queue }

func (s *Server) openMovers(ctx context.Context) error {
	c := s.o.Config
	forwarder := &postponed{}
	s.Deliver = deliver.New(s.judging(deliver.Options{
		Store: s.Store, Directory: s.Directory, Clock: s.o.Clock,
		Logger: s.o.Logger.With("room", "deliver"), Trace: s.Trace, Forwarder: forwarder,
		Hostname: c.Hostname, Limits: c.Limits, Rand: s.o.Rand, Full: s.DB.Full,
		Desk: s.Reports, Observe: s.observe, Scan: s.scanner, Origins: s.origins(),
	}))
	smarthost, err := smarthostOf(c.Smarthost)
	if err != nil {
		return err
	}
	o := queue.Options{
		DB: s.DB, Blobs: s.Blobs, Clock: s.o.Clock, Rand: s.o.Rand,
		Logger: s.o.Logger.With("room", "queue"), Resolver: s.resolver(), Dialer: s.dialer(),
		Local: s.Deliver, Smarthost: smarthost, Hostname: c.Hostname, Limits: s.queueLimits(),
		Client: c.Limits.Client, Message: c.Limits.Message, Hops: c.Limits.SMTP.Hops,
		Trace: s.Trace, AllowPrivate: s.o.AllowPrivate, Port: s.o.RemotePort,
		Policies: s.policies, TLSReports: s.tlsReports(), TLS: s.clientTLS(),
		Drain: c.Limits.Conn.Drain, Held: s.held, Failed: s.failed,
		Keys: s.signingKeys, Sender: s.Directory.ReturnSender, Signing: c.Limits.Signing,
	}
	if err := s.mendQueue(ctx, o); err != nil {
		return err
	}
	s.Queue, err = queue.Open(ctx, o)
	if err != nil {
		return fmt.Errorf("open queue: %w", err)
	}
	forwarder.Queue = s.Queue
	return nil
}

// resolver is the one of the house: its rooms share what it remembers. nil: there is nobody to ask.
func (s *Server) resolver() dns.Resolver {
	switch {
	case s.o.Resolver != nil:
		return s.o.Resolver
	case s.o.OutsideWaits:
		return nil
	case s.names != nil:
		return s.names
	}
	s.names = dns.New(dns.Options{
		Servers: s.o.Config.DNS.Servers, Trusted: s.o.Config.DNS.Trusted, Clock: s.o.Clock,
		Limits: s.o.Config.Limits.DNS, Logger: s.o.Logger.With("room", "dns"),
	})
	return s.names
}

func (s *Server) dialer() smtp.Dialer {
	if s.o.Dialer != nil {
		return s.o.Dialer
	}
	return &net.Dialer{}
}

func smarthostOf(c config.Smarthost) (queue.Smarthost, error) {
	if c.Address == "" {
		return queue.Smarthost{}, nil
	}
	secret, err := config.Secret(c.PasswordFile)
	if err != nil {
		return queue.Smarthost{}, fmt.Errorf("smarthost: %w", err)
	}
	modes := map[string]queue.TLSMode{
		config.TLSStart: queue.TLSRequired, config.TLSImplicit: queue.TLSImplicit,
		config.TLSOptional: queue.TLSOpportunistic, config.TLSNone: queue.TLSNone,
	}
	return queue.Smarthost{Host: c.Address, User: c.User, Password: secret, TLS: modes[c.Security]}, nil
}

func (s *Server) openAdmin(context.Context) error {
	s.Admin = admin.New(admin.Options{
		Directory: s.Directory, Store: s.Store, Queue: s.Queue, Reports: s.Reports, Trace: s.Trace, DB: s.DB,
		Certs: s.Certs, Clock: s.o.Clock, Rand: s.o.Rand, Logger: s.o.Logger.With("room", "admin"),
		Limits: s.o.Config.Limits, Hostname: s.o.Config.Hostname, Version: s.o.Version,
		Listeners: s.Listeners, Ready: s.Problem, Spam: s.Spam, Learner: s.Learner, Network: network{s},
	})
	return nil
}

// Problem tells why the house does not take mail now, nil when it does.
func (s *Server) Problem() error {
	select {
	case <-s.ready:
	default:
		return errors.New("starting")
	}
	if s.draining.Load() {
		return errors.New("shutting down")
	}
	if err := s.DB.Full(); err != nil {
		return fmt.Errorf("not accepting mail: %w", err)
	}
	return nil
}

// Ready is closed when every listener accepts.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Reload reads certificate files again.
func (s *Server) Reload(ctx context.Context) error {
	if err := s.Certs.Reload(ctx); err != nil {
		return fmt.Errorf("reload certificates: %w", err)
	}
	return nil
}

// drainMore is what a drain may take beyond limits.Conn.Drain, for closing the rooms.
const drainMore = 500 * time.Millisecond

// Run lets the doors accept until ctx is done or storage has failed, then drains: no new session,
// running ones finish or are cut after limits.Conn.Drain. The rooms stay open until Close.
func (s *Server) Run(ctx context.Context) error {
	api, err := s.Admin.Listen(s.o.Config.AdminSocket())
	if err != nil {
		return err
	}
	// Workers end when the drain begins: the queue takes no new work while sessions finish.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var workers sync.WaitGroup
	failed := make(chan error, len(s.doors)+len(jobs)+len(reportJobs)+len(policyJobs)+len(spamJobs)+4)
	start := func(what string, fn func() error) {
		workers.Go(func() {
			if err := fn(); err != nil && work.Err() == nil {
				failed <- fmt.Errorf("%s: %w", what, err)
			}
		})
	}
	start("administration", api.Serve)
	start("queue", func() error { return s.Queue.Run(work) })
	start("certificates", func() error { return s.Certs.Run(work) })
	start("filters", func() error { return s.greetFilters(work) })
	for _, j := range slices.Concat(jobs, policyJobs, reportJobs, spamJobs) {
		start(j.name, func() error { return s.repeat(work, j) })
	}
	for _, d := range s.doors {
		start(d.name, s.server(d))
	}
	close(s.ready)
	select {
	case <-ctx.Done():
	case err = <-failed:
	case err = <-s.fatal:
	}
	stop()
	s.drain(context.WithoutCancel(ctx))
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainMore)
	defer cancel()
	err = errors.Join(err, api.Shutdown(end))
	workers.Wait()
	return err
}

// drain shuts all doors at once.
func (s *Server) drain(ctx context.Context) {
	s.draining.Store(true)
	ctx, cancel := context.WithTimeout(ctx, s.o.Config.Limits.Conn.Drain+drainMore)
	defer cancel()
	var wait sync.WaitGroup
	wait.Go(func() { s.logDrain("http", s.http.Shutdown(ctx)) })
	for _, l := range s.lines {
		wait.Go(func() { s.logDrain(l.name, l.Shutdown(ctx)) })
	}
	wait.Wait()
}

func (s *Server) logDrain(name string, err error) {
	if err != nil {
		s.o.Logger.Warn("door did not drain in time", "door", name, "err", err)
	}
}

// Close closes the rooms, the last opened first. Run has returned or was never called.
func (s *Server) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}
