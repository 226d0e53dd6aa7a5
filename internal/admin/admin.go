// Package admin answers "what can an administrator do?": domains, accounts, aliases, the queue,
// checks and traces as Go functions of [House], and the same over HTTP on a unix socket, which the
// tram command speaks through [Client].
//
// It promises that an operation which takes several steps can be repeated after a crash in the
// middle, and that an error is one sentence for a person. What must never happen: a password in an
// answer other than the one that made it, or in a log; the socket open to another user of the
// machine.
package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"tram/internal/certs"
	"tram/internal/clock"
	"tram/internal/deliver/learn"
	"tram/internal/directory"
	"tram/internal/kv"
	"tram/internal/limits"
	"tram/internal/queue"
	"tram/internal/reports"
	"tram/internal/spam"
	"tram/internal/store"
	"tram/internal/trace"
)

// Options are the rooms a House works on.
type Options struct {
	Directory *directory.Directory
	Store     *store.Store
	Queue     *queue.Queue
	Reports   *reports.Reports // nil: none are kept
	Trace     *trace.Log
	DB        kv.Database
	Certs     *certs.Manager // nil: none are reported
	Clock     clock.Clock
	Rand      io.Reader // of generated passwords; nil: crypto/rand
	Logger    *slog.Logger
	Limits    limits.Set
	Hostname  string
	Version   string
	// Listeners tells where the server listens. nil: nowhere.
	Listeners func() []Listener
	// Ready tells why the server does not take mail, nil when it does.
	Ready func() error
	// Spam judges mail, Learner learns from it; nil: nobody does.
	Spam    *spam.Judge
	Learner *learn.Learner
	// Network is what the Internet sees of the house; nil: nothing is said of it.
	Network Network
}

// House is what an administrator works on.
type House struct {
	o       Options
	started time.Time
}

// New returns a House.
func New(o Options) *House {
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &House{o: o, started: o.Clock.Now()}
}

// Quota bounds what is stored; 0 is no bound.
type Quota struct {
	Bytes    int64 `json:"bytes"`
	Messages int64 `json:"messages"`
}

// Listener is an open door.
type Listener struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

// Certificate is a certificate the server shows.
type Certificate struct {
	Names    []string  `json:"names"`
	Source   string    `json:"source"` // "file", "acme" or "self-made"
	File     string    `json:"file,omitempty"`
	Issuer   string    `json:"issuer"`
	NotAfter time.Time `json:"not_after,omitzero"`
	DaysLeft int       `json:"days_left"`
	Error    string    `json:"error,omitempty"`
}

// Status is how the server does.
type Status struct {
	Hostname     string        `json:"hostname"`
	Version      string        `json:"version"`
	Started      time.Time     `json:"started"`
	Ready        bool          `json:"ready"`
	Problem      string        `json:"problem,omitempty"`
	Listeners    []Listener    `json:"listeners"`
	Certificates []Certificate `json:"certificates"`
	Waiting      int64         `json:"queue_waiting"`
	Held         int64         `json:"queue_held"`
	Oldest       time.Time     `json:"queue_oldest,omitzero"`
	DiskBytes    int64         `json:"disk_bytes"`
	FreeBytes    int64         `json:"free_bytes"`
}

// Status returns how the server does now.
func (h *House) Status(ctx context.Context) (Status, error) {
	s := Status{Hostname: h.o.Hostname, Version: h.o.Version, Started: h.started, Ready: true}
	if h.o.Ready != nil {
		if err := h.o.Ready(); err != nil {
			s.Ready, s.Problem = false, err.Error()
		}
	}
	if h.o.Listeners != nil {
		s.Listeners = h.o.Listeners()
	}
	if h.o.Certs != nil {
		for _, c := range h.o.Certs.Status() {
			s.Certificates = append(s.Certificates, Certificate{
				Names: c.Names, Source: c.Source, File: c.File, Issuer: c.Issuer,
				NotAfter: c.NotAfter, DaysLeft: c.DaysLeft, Error: c.Error,
			})
		}
	}
	q, err := h.o.Queue.Stats(ctx)
	if err != nil {
		return s, fmt.Errorf("read queue: %w", err)
	}
	s.Waiting, s.Held, s.Oldest = q.Waiting, q.Held, q.Oldest
	disk := h.o.DB.Stats()
	s.DiskBytes, s.FreeBytes = disk.DiskBytes, disk.FreeBytes
	return s, nil
}

// Limits lists every limit with its value.
func (h *House) Limits() []limits.Row { return h.o.Limits.Table() }

// Trace tells what happened to a message or an address, oldest event first; limit 0 is 1,000.
func (h *House) Trace(ctx context.Context, query string, limit int) ([]trace.Event, error) {
	events, err := h.o.Trace.Find(ctx, query, limit)
	if events == nil {
		events = []trace.Event{}
	}
	return events, err
}

// Fault is an error for the administrator: Kind is stable for programs, the message for people.
type Fault struct {
	Kind    string `json:"kind"`
	Message string `json:"error"`
}

// Error is the sentence.
func (f *Fault) Error() string { return f.Message }

// Kinds of Fault.
const (
	KindNotFound = "not_found"
	KindExists   = "exists"
	KindInvalid  = "invalid"
	KindConflict = "conflict"
	KindFull     = "full"
	KindInternal = "internal"
)

func invalid(format string, args ...any) error {
	return &Fault{KindInvalid, fmt.Sprintf(format, args...)}
}

// kindOf sorts the rooms' errors; the one table from them to the API.
func kindOf(err error) string {
	for _, row := range []struct {
		err  error
		kind string
	}{
		{directory.ErrNotFound, KindNotFound}, {directory.ErrNoUser, KindNotFound},
		{directory.ErrNotLocal, KindNotFound}, {queue.ErrNotFound, KindNotFound},
		{store.ErrNotFound, KindNotFound}, {kv.ErrNotFound, KindNotFound}, {directory.ErrExists, KindExists},
		{directory.ErrNotEmpty, KindConflict}, {directory.ErrPassword, KindInvalid},
		{directory.ErrLoop, KindInvalid}, {directory.ErrInvalid, KindInvalid},
		{kv.ErrFull, KindFull}, {spam.ErrRule, KindInvalid}, {spam.ErrTooMany, KindConflict},
		{spam.ErrNoRule, KindNotFound}, {spam.ErrNoRefused, KindNotFound}, {spam.ErrNotSuppressed, KindNotFound},
	} {
		if errors.Is(err, row.err) {
			return row.kind
		}
	}
	return KindInternal
}

// fault makes err a Fault. The rooms' errors say what was tried.
func fault(err error) error {
	var f *Fault
	if err == nil || errors.As(err, &f) {
		return err
	}
	return &Fault{kindOf(err), err.Error()}
}
