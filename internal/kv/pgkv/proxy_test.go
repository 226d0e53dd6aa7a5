package pgkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"tram/internal/kv"
)

// proxy stands between a DB and its server and cuts connections at a chosen point.
type proxy struct {
	listener net.Listener
	server   string
	cut      atomic.Int32 // one of the points below, for the next that comes by
}

const (
	cutNothing       = iota
	cutRequest       // the client's next bytes are not passed on
	cutCommitRequest // the client's next bytes, which are its commit, are not passed on
	cutCommitReply   // the server commits, and the client does not hear of it
)

// newProxy returns a proxy to s and the connection string to use it.
func newProxy(t testing.TB, s *server) (*proxy, string) {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p := &proxy{listener: l, server: filepath.Join(s.dir, ".s.PGSQL.5432")}
	go p.serve()
	return p, "postgres:///postgres?user=tram&host=" + dir
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		var once sync.Once
		end := func() { once.Do(func() { _ = client.Close(); _ = server.Close() }) }
		go p.pass(client, server, end, func([]byte) bool {
			return p.cut.CompareAndSwap(cutRequest, cutNothing) ||
				p.cut.CompareAndSwap(cutCommitRequest, cutNothing)
		})
		go p.pass(server, client, end, func(b []byte) bool {
			return bytes.Contains(b, []byte("COMMIT\x00")) &&
				p.cut.CompareAndSwap(cutCommitReply, cutNothing)
		})
	}
}

func (p *proxy) pass(from, to net.Conn, end func(), cut func([]byte) bool) {
	defer end()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil || cut(b[:n]) {
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// TestLostConnection cuts the connection before the commit, with the commit, and with the answer to
// it. Each increment happens exactly once.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	p, url := newProxy(t, s)
	db := s.open(t, url, Options{Conns: 2})
	ctx := context.Background()
	for i, point := range []int32{
		cutNothing, cutRequest, cutCommitRequest, cutCommitReply, cutCommitReply, cutRequest, cutNothing,
	} {
		runs := 0
		err := db.Update(ctx, "s", func(txn kv.Txn) error {
			runs++
			if runs == 1 && point == cutRequest {
				p.cut.Store(point)
			}
			v, err := txn.Get([]byte("n"))
			if err != nil && !errors.Is(err, kv.ErrNotFound) {
				return fmt.Errorf("read: %w", err)
			}
			if runs == 1 && point != cutRequest {
				p.cut.Store(point)
			}
			return txn.Set([]byte("n"), append(v[:len(v):len(v)], 'x'))
		})
		if err != nil {
			t.Errorf("cut %d: %v", point, err)
		}
		want := 1
		if point == cutRequest || point == cutCommitRequest {
			want = 2
		}
		if runs != want || p.cut.Load() != cutNothing {
			t.Errorf("cut %d: the function ran %d times, want %d; left to cut: %d",
				point, runs, want, p.cut.Load())
		}
		p.cut.Store(cutNothing)
		err = db.View(ctx, "s", func(r kv.Reader) error {
			v, err := r.Get([]byte("n"))
			if len(v) != i+1 {
				t.Errorf("after cut %d: %d increments, want %d", point, len(v), i+1)
			}
			return err
		})
		if err != nil {
			t.Errorf("View after cut %d: %v", point, err)
		}
	}
	if db.Stats().Retries < 3 {
		t.Errorf("%d retries were counted, want 3", db.Stats().Retries)
	}
	// Stages are blind writes, which may be made twice.
	p.cut.Store(cutRequest)
	if err := db.Stage(ctx, kv.Pair{Key: []byte("staged")}); err != nil {
		t.Errorf("Stage on a connection that is lost: %v", err)
	}
}

// TestOwnErrorAfterServerError: a function that hides an error of the server commits nothing.
func TestOwnErrorAfterServerError(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	db := s.open(t, s.url(""), Options{Conns: 2})
	err := db.Update(context.Background(), "s", func(t kv.Txn) error {
		_ = t.(*txn).query(func(pgx.Rows) error { return nil }, "SELECT 1/0")
		return t.Set([]byte("k"), nil)
	})
	if err == nil {
		t.Error("a transaction in which the server has failed was committed")
	}
	err = db.View(context.Background(), "s", func(r kv.Reader) error {
		_, err := r.Get([]byte("k"))
		return err
	})
	if !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("Get of what was not committed: %v, want ErrNotFound", err)
	}
}
