package pgkv

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"

	"tram/internal/kv"
	"tram/internal/kv/kvtest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	kvtest.Run(t, func(t *testing.T) kv.Database { return s.open(t, s.url(""), Options{Conns: 4}) })
}

// TestCrash runs the parts of the suite that pull the plug, on a server that dies without writing
// out what it holds.
func TestCrash(t *testing.T) {
	t.Parallel()
	kvtest.Run(t, func(t *testing.T) kv.Database {
		s := ownServer(t)
		return s.open(t, s.url(""), Options{Conns: 4, Schema: "public"})
	}, kvtest.Only("durable", "stageOrder"),
		kvtest.WithCrash(func(t testing.TB, db kv.Database) kv.Database {
			old := db.(*DB)
			dir := old.updates.Config().ConnConfig.Host
			s := crashed(t, dir)
			return s.open(t, s.url(""), Options{Schema: "public"})
		}))
}

// running holds the servers that crashed finds by their directory.
var running sync.Map

func crashed(t testing.TB, dir string) *server {
	t.Helper()
	v, ok := running.Load(dir)
	if !ok {
		t.Fatal("no server in ", dir)
	}
	s := v.(*server)
	s.stop(syscall.SIGQUIT)
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSettings: a server that would lose acknowledged mail is refused by name of the setting.
func TestSettings(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	try := func(url, want string) {
		t.Helper()
		db, err := Open(context.Background(), url, Options{})
		if err == nil {
			_ = db.Close()
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("Open: %v, want %q", err, want)
		}
	}
	try(s.url(""), "")
	try(s.url("&synchronous_commit=off"), "synchronous_commit = off")
	for _, name := range []string{"fsync", "full_page_writes"} {
		s.stop(syscall.SIGINT)
		conf := s.command("sh")
		conf.Path, conf.Args = "/bin/sh", []string{"sh", "-c", "echo " + name + "=off >> data/postgresql.conf"}
		if err := conf.Run(); err != nil {
			t.Fatal(err)
		}
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
		try(s.url(""), name+" = off")
		s.exec(t, "ALTER SYSTEM SET "+name+" = on", "SELECT pg_reload_conf()")
		s.stop(syscall.SIGINT)
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
	}
	try(s.url(""), "")
	s.exec(t, "UPDATE tram_meta SET version = 9")
	if _, err := Open(context.Background(), s.url(""), Options{}); !errors.Is(err, kv.ErrNewer) {
		t.Errorf("Open of version 9: %v, want ErrNewer", err)
	}
	if _, err := Open(context.Background(), "postgres://%", Options{}); err == nil {
		t.Error("Open with a connection string that is none: no error")
	}
}

// TestTwoMachines: two DBs on one server are serialised by it, not by anything in the process.
func TestTwoMachines(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	a := s.open(t, s.url(""), Options{Conns: 4})
	b := s.open(t, s.url(""), Options{Conns: 4, Schema: a.opts.Schema})
	const each = 40
	var wg sync.WaitGroup
	for _, db := range []*DB{a, b, a, b} {
		wg.Go(func() {
			for range each {
				err := db.Update(context.Background(), "s", func(txn kv.Txn) error {
					v, err := txn.Get([]byte("n"))
					if err != nil && !errors.Is(err, kv.ErrNotFound) {
						return err
					}
					return txn.Set([]byte("n"), append(v[:len(v):len(v)], 'x'))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	err := a.View(context.Background(), "s", func(r kv.Reader) error {
		v, err := r.Get([]byte("n"))
		if len(v) != 4*each {
			t.Errorf("%d of %d increments were kept", len(v), 4*each)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestDeadlock: two scopes that write the same keys in opposite order wait for each other at the
// server, which ends one of them; it is run again.
func TestDeadlock(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	db := s.open(t, s.url(""), Options{Conns: 4})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 15 {
				err := db.Update(context.Background(), kv.Scope(fmt.Sprint(w)), func(txn kv.Txn) error {
					first, second := "x", "y"
					if w%2 == 1 { // a deleted range goes to the server before the written rows
						first, second = second, first
					}
					return errors.Join(txn.DeleteRange([]byte(first), []byte(first+"\x00")),
						txn.Set([]byte(second), fmt.Append(nil, i)))
				})
				if err != nil {
					t.Errorf("scope %d: %v", w, err)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkUpdate(b *testing.B) {
	s := sharedServer(b)
	db := s.open(b, s.url(""), Options{})
	body := make([]byte, 4000)
	var n, scopes int64
	var mu sync.Mutex
	b.SetParallelism(8)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		mu.Lock()
		scopes++
		scope := kv.Scope(fmt.Sprint("account/", scopes))
		mu.Unlock()
		for pb.Next() {
			mu.Lock()
			n++
			i := n
			mu.Unlock()
			err := db.Update(context.Background(), scope, func(txn kv.Txn) error {
				for k := range 7 {
					if err := txn.Set(fmt.Appendf(nil, "s%s/%d/%d", scope, i, k), []byte("row")); err != nil {
						return err
					}
				}
				return txn.Set(fmt.Appendf(nil, "b%d", i), body)
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
