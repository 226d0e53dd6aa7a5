package conn

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// pipe serves one end of an in-memory connection, on the bubble's time, and returns the other.
func pipe(o Options) (net.Conn, *Server, <-chan struct{}) {
	ours, theirs := net.Pipe()
	s := New(o)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeConn(ours)
	}()
	return theirs, s, done
}

func TestDeadlines(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		set  func(c *Conn)
		feed time.Duration // the client sends a byte so often
		end  time.Duration
	}{
		"idle": {func(c *Conn) { c.SetIdle(time.Minute) }, 0, time.Minute},
		"idle, but talks": {func(c *Conn) {
			c.SetIdle(time.Minute)
			c.SetDeadline(time.Now().Add(time.Hour))
		}, 50 * time.Second, time.Hour},
		"absolute": {func(c *Conn) { c.SetDeadline(time.Now().Add(time.Hour)) }, time.Second, time.Hour},
		// 1 byte a second where 2 are wanted: after 30 s of grace and 60 bytes (worth 30 s).
		"too slow": {func(c *Conn) { c.MinRate(2, 30*time.Second) }, time.Second, time.Minute},
		"slow only": {func(c *Conn) {
			c.MinRate(1, 30*time.Second)
			c.SetDeadline(time.Now().Add(time.Hour))
		}, time.Second, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				theirs, _, done := pipe(Options{Handler: func(_ context.Context, c *Conn) {
					tc.set(c)
					for {
						if _, err := c.Peek(); err != nil {
							if err != ErrTimeout {
								t.Errorf("ended with %v", err)
							}
							return
						}
						c.Discard(c.Buffered())
					}
				}})
				stop := make(chan struct{})
				if tc.feed > 0 {
					go func() {
						for {
							select {
							case <-stop:
								return
							case <-time.After(tc.feed):
								theirs.Write([]byte("x"))
							}
						}
					}()
				}
				<-done
				close(stop)
				theirs.Close()
				took := time.Since(begin)
				if took < tc.end-tc.end/16 || took > tc.end+time.Second {
					t.Errorf("ended after %v, want about %v", took, tc.end)
				}
			})
		})
	}
}

func TestWriteStall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		theirs, _, done := pipe(Options{
			WriteStall: 20 * time.Second,
			Handler: func(_ context.Context, c *Conn) {
				c.WriteString("nobody reads this\r\n")
				if err := c.Wait(); err == nil {
					t.Error("wait succeeded")
				}
			},
		})
		<-done
		theirs.Close()
		if took := time.Since(begin); took != 20*time.Second {
			t.Errorf("ended after %v", took)
		}
	})
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var session *Conn
		results := make(chan error)
		theirs, _, done := pipe(Options{Handler: func(_ context.Context, c *Conn) {
			session = c
			c.SetIdle(time.Hour)
			results <- c.Wait()
			results <- c.Wait()
			line, err := c.ReadLine(10)
			if string(line) != "hi" || err != nil {
				t.Errorf("read %q, %v", line, err)
			}
			results <- c.Wait()
			results <- c.Wait()
		}})
		synctest.Wait()
		session.Interrupt()
		if err := <-results; err != ErrInterrupted {
			t.Errorf("interrupted wait: %v", err)
		}
		go theirs.Write([]byte("hi\r\n"))
		if err := <-results; err != nil {
			t.Errorf("the wait after it: %v", err)
		}
		synctest.Wait()
		session.Interrupt()
		if err := <-results; err != ErrInterrupted {
			t.Errorf("second wait: %v", err)
		}
		synctest.Wait()
		theirs.Close()
		if err := <-results; err != io.EOF {
			t.Errorf("end: %v", err)
		}
		<-done
	})
}

// TestInterruptBeforeWait: an interruption is not lost when the session is busy, and the deadline
// it sets does not outlive it.
func TestInterruptBeforeWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		theirs, _, done := pipe(Options{Handler: func(_ context.Context, c *Conn) {
			c.SetIdle(time.Minute)
			c.Interrupt()
			if err := c.Wait(); err != ErrInterrupted {
				t.Errorf("first: %v", err)
			}
			begin := time.Now()
			if err := c.Wait(); err != ErrTimeout || time.Since(begin) < 50*time.Second {
				t.Errorf("second: %v after %v", err, time.Since(begin))
			}
		}})
		<-done
		theirs.Close()
	})
}

// TestDrain is O14: idle sessions end at once with the protocol's word, a busy one finishes its
// command, one that does not is closed, and nobody new comes in.
func TestDrain(t *testing.T) {
	t.Parallel()
	l := testLimits()
	l.Drain = time.Minute
	busy, release, entered := make(chan struct{}), make(chan struct{}), make(chan struct{})
	s, addr := start(t, Options{Limits: l, Handler: func(ctx context.Context, c *Conn) {
		entered <- struct{}{}
		if err := c.Wait(); err == ErrDraining {
			c.WriteString("bye\r\n")
			return
		}
		close(busy)
		<-release
		if line, err := c.ReadLine(10); err == nil {
			c.Write(append(line, "\r\n"...))
		}
		if err := c.Wait(); err == ErrDraining {
			c.WriteString("bye\r\n")
		}
	}})
	worker := dial(t, addr)
	<-entered
	worker.send("work\r\n")
	<-busy
	idle := dial(t, addr)
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	idle.want("bye")
	idle.wantEnd()
	select {
	case err := <-stopped:
		t.Fatalf("shut down with a busy session: %v", err)
	default:
	}
	if late, err := net.Dial("tcp", addr); err == nil {
		late.Close()
		t.Error("a new connection was accepted")
	}
	close(release)
	worker.want("work")
	worker.want("bye")
	worker.wantEnd()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestDrainGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := testLimits()
		l.Drain = 4 * time.Second
		theirs, s, done := pipe(Options{Limits: l, Handler: func(ctx context.Context, c *Conn) {
			_, err := c.Peek() // in the middle of a command
			if err == nil || errors.Is(err, ErrDraining) || ctx.Err() == nil {
				t.Errorf("peek: %v, context: %v", err, ctx.Err())
			}
		}})
		synctest.Wait()
		begin := time.Now()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 4*time.Second {
			t.Errorf("took %v", took)
		}
		<-done
		theirs.Close()
	})
}
