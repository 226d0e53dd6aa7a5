package main

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"tram/bench/wire"
)

// sampler does something honest again and again and times it, while something dishonest goes on.
type sampler struct {
	latency
	failed atomic.Int64
	first  atomic.Pointer[error] // that it failed with
	stop   func()
}

// sample calls fn every so often until stop is called.
func sample(ctx context.Context, every time.Duration, fn func() error) *sampler {
	s := &sampler{}
	ctx, cancel := context.WithCancel(ctx)
	wait := parallel(ctx, 1, func(ctx context.Context) {
		for pause(ctx, every) {
			start := time.Now()
			if err := fn(); err != nil {
				s.failed.Add(1)
				s.first.CompareAndSwap(nil, &err)
				continue
			}
			s.add(time.Since(start))
		}
	})
	s.stop = func() { cancel(); wait() }
	return s
}

// reason is what the first failure said.
func (s *sampler) reason() string {
	if err := s.first.Load(); err != nil {
		return (*err).Error()
	}
	return ""
}

// judge misses the target when something failed or took longer than most at p99.
func (s *sampler) judge(t *Trial, what string, most time.Duration) {
	t.Note("%s: median %.0f ms, p99 %.0f ms of %d", what, ms(s.p(0.5)), ms(s.p(0.99)), s.count())
	if n := s.failed.Load(); n > 0 {
		t.Miss("%s: %d of %d failed: %s", what, n, int(n)+s.count(), s.reason())
	}
	if s.count() == 0 || s.p(0.99) > most {
		t.Late("%s: p99 %v of %d, wanted at most %v", what, s.p(0.99), s.count(), most)
	}
}

// baseline is what fn takes while nothing else happens.
func baseline(ctx context.Context, fn func() error) (*sampler, error) {
	s := sample(ctx, 5*time.Millisecond, fn)
	pause(ctx, 2*time.Second)
	s.stop()
	if s.count() == 0 {
		return s, fmt.Errorf("nothing works before the fault: %s", s.reason())
	}
	return s, nil
}

// twice is the bound of "p99 at most twice the baseline": below a twentieth of a second two cores
// that server, clients and sampler share measure the scheduler and not the server.
func twice(base *sampler) time.Duration { return max(2*base.p(0.99), 50*time.Millisecond) }

// honestMail is a stranger's delivery from an address that nobody else uses: dial to QUIT.
func (w *World) honestMail(user string, from net.IP) func() error {
	at := w.smtp()
	at.Timeout = 20 * time.Second
	at.Source = func() net.Addr { return &net.TCPAddr{IP: from} }
	msg := wire.Stuff([]byte("Subject: an honest one\r\nMessage-ID: <honest@load.test>\r\n\r\nHello.\r\n"))
	return func() error {
		s, err := wire.DialSMTP(at, "", "")
		if err != nil {
			return err
		}
		defer s.Quit()
		ack, _, err := s.Send("honest@load.test", user, msg)
		if ack != wire.Acked {
			return err
		}
		return nil
	}
}

// honest is the address of honest clients, loopback each of many others.
var honest = net.IPv4(127, 200, 0, 1)

func source(i int) net.IP {
	return net.IPv4(127, byte(1+i/62500%100), byte(1+i/250%250), byte(1+i%250))
}

// dialFrom connects from an address of loopback.
func dialFrom(ctx context.Context, from net.IP, to string) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: from}}
	c, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}
