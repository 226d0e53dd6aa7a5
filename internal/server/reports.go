package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"tram/internal/deliver"
	"tram/internal/envelope"
	"tram/internal/queue"
	"tram/internal/reports"
	"tram/internal/reports/fetch"
)

// openReports opens the room that reads, counts and sends reports. What it sends goes to the queue,
// which is opened later.
func (s *Server) openReports(context.Context) error {
	c := s.o.Config.Reports
	roots, err := iconRoots(c.IconRoots)
	if err != nil {
		return err
	}
	s.Reports = reports.New(reports.Options{
		DB: s.DB, Blobs: s.Blobs, Directory: s.Directory, Resolver: s.resolver(), Queue: reportQueue{s},
		Clock: s.o.Clock, Rand: s.o.Rand, Logger: s.o.Logger.With("room", "reports"),
		Limits: s.o.Config.Limits, Hostname: s.o.Config.Hostname, Org: c.Org, Contact: c.Contact,
		SendDMARC: c.DMARC, SendTLS: c.TLS, LookUpIcons: c.Icons, Marks: roots,
		Fetch: fetch.Options{Dialer: s.dialer(), AllowPrivate: s.o.AllowPrivate, Roots: s.o.Roots},
	})
	s.onClose(s.Reports.Close)
	return nil
}

// iconRoots reads the authorities that may vouch for icons.
func iconRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read reports.icon_roots: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reports.icon_roots: %s holds no certificate", file)
	}
	return roots, nil
}

// reportQueue is the queue as reports use it.
type reportQueue struct{ s *Server }

// Forward implements reports.Queue.
func (q reportQueue) Forward(ctx context.Context, env *envelope.Envelope) error {
	return q.s.Queue.Forward(ctx, env)
}

// Holds implements reports.Queue.
func (q reportQueue) Holds(ctx context.Context, id string) (bool, error) {
	_, err := q.s.Queue.Show(ctx, queue.ID(id))
	if errors.Is(err, queue.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// observe counts what became of a message.
func (s *Server) observe(env *envelope.Envelope, fate deliver.Fate) {
	switch fate {
	case deliver.FateRefused:
		s.Reports.Observe(env, reports.Refused)
	case deliver.FateJunked:
		s.Reports.Observe(env, reports.Junked)
	default:
		s.Reports.Observe(env, reports.Delivered)
	}
}

// reportJobs are the chores of reports. What was counted is written at least once a minute.
var reportJobs = []job{
	{"counts for reports", 30 * time.Second, 30 * time.Second,
		func(s *Server, ctx context.Context) error { return s.Reports.Flush(ctx) }},
	{"reports to others", 2 * time.Minute, 10 * time.Minute,
		func(s *Server, ctx context.Context) error { return s.Reports.Send(ctx) }},
	{"icons", 20 * time.Second, 20 * time.Second,
		func(s *Server, ctx context.Context) error { return s.Reports.LookUpIcons(ctx) }},
	{"expiry of reports", 6 * time.Minute, time.Hour,
		func(s *Server, ctx context.Context) error { return s.Reports.Expire(ctx) }},
}
