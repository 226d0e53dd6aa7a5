package pgkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// server is a real PostgreSQL on a unix socket in a directory of its own.
type server struct {
	bin, dir string
	cred     *syscall.Credential // PostgreSQL does not run as root
	cmd      *exec.Cmd
	log      bytes.Buffer
	schemas  atomic.Int64
}

// shared is the server of the tests that do it no harm.
var shared struct {
	once sync.Once
	s    *server
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.s != nil {
		shared.s.stop(syscall.SIGQUIT)
		_ = os.RemoveAll(shared.s.dir)
	}
	os.Exit(code)
}

func sharedServer(t testing.TB) *server {
	t.Helper()
	shared.once.Do(func() { shared.s, shared.err = newServer() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.s
}

// ownServer starts a server that a test may do harm to.
func ownServer(t testing.TB) *server {
	t.Helper()
	s, err := newServer()
	if err != nil {
		t.Fatal(err)
	}
	running.Store(s.dir, s)
	t.Cleanup(func() {
		running.Delete(s.dir)
		s.stop(syscall.SIGQUIT)
		_ = os.RemoveAll(s.dir)
	})
	return s
}

func newServer() (*server, error) {
	s := &server{}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) > 0 {
		slices.Sort(found)
		s.bin = filepath.Dir(found[len(found)-1])
	} else if path, err := exec.LookPath("postgres"); err == nil {
		s.bin = filepath.Dir(path)
	} else {
		return nil, errors.New("no PostgreSQL server found: install it, on Debian with " +
			"`apt-get install postgresql` (make test does)")
	}
	var err error
	if s.dir, err = os.MkdirTemp("/tmp", "tram-pg-"); err != nil {
		return nil, err
	}
	if err := s.dropRoot(); err != nil {
		return nil, err
	}
	out, err := s.command("initdb", "-D", filepath.Join(s.dir, "data"), "-U", "tram", "-A", "trust",
		"-E", "UTF8", "--locale=C", "-N").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return s, s.start()
}

// dropRoot chooses somebody to run the server as when the test is run by root.
func (s *server) dropRoot() error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return fmt.Errorf("find a user to run PostgreSQL as: %w", err)
		}
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	s.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(s.dir, uid, gid)
}

func (s *server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, name), args...)
	c.Dir = s.dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred, Pdeathsig: syscall.SIGQUIT}
	return c
}

// start returns when the server answers.
func (s *server) start() error {
	s.cmd = s.command("postgres", "-D", filepath.Join(s.dir, "data"), "-k", s.dir,
		"-c", "listen_addresses=", "-c", "max_connections=300", "-c", "shared_buffers=32MB",
		"-c", "wal_writer_delay=10s", "-c", "wal_writer_flush_after=0")
	s.cmd.Stderr = &s.log
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.url(""))
		if err == nil {
			return conn.Close(ctx)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("postgres does not answer: %w\n%s", err, s.log.String())
		}
	}
}

// stop ends the server: SIGINT orderly, SIGQUIT like a crash.
func (s *server) stop(how syscall.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(how)
	_ = s.cmd.Wait()
	s.cmd = nil
}

// url is the connection string, with more settings of the form "&name=value".
func (s *server) url(more string) string {
	return "postgres:///postgres?user=tram&host=" + s.dir + more
}

// exec runs statements as an operator would.
func (s *server) exec(t testing.TB, statements ...string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.url(""))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, q := range statements {
		if _, err := conn.Exec(ctx, q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

// open returns an empty database in a schema of its own.
func (s *server) open(t testing.TB, url string, o Options) *DB {
	t.Helper()
	if o.Schema == "" {
		o.Schema = fmt.Sprint("t", s.schemas.Add(1))
		s.exec(t, "CREATE SCHEMA "+o.Schema)
	}
	db, err := Open(context.Background(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}
