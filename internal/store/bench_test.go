package store

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tram/internal/blob"
	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/kv/memkv"
	"tram/internal/kv/pebblekv"
	"tram/internal/limits"
	"tram/internal/message"
)

// engines are the databases that benchmarks run on. Pebble is on a file system in memory: what is
// measured is the work, not the disk.
var engines = []struct {
	name string
	open func(b *testing.B) kv.Database
}{
	{"mem", func(*testing.B) kv.Database { return memkv.New() }},
	{"pebble", func(b *testing.B) kv.Database {
		db, err := pebblekv.Open("db", pebblekv.Options{
			FS: vfs.NewMem(), CacheBytes: 256 << 20,
			Limits: limits.Storage{Reserve: 1, ReservePercent: 1, Ballast: 1},
			Free: func() (pebblekv.Space, error) {
				return pebblekv.Space{Endless: true}, nil
			},
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { db.Close() })
		return db
	}},
}

func benchEngines(b *testing.B, run func(b *testing.B, s *Store)) {
	for _, e := range engines {
		b.Run(e.name, func(b *testing.B) {
			db := e.open(b)
			s, err := Open(context.Background(), Options{
				DB: db, Blobs: blob.New(db, blob.Options{}), Clock: clock.System,
			})
			if err != nil {
				b.Fatal(err)
			}
			run(b, s)
		})
	}
}

// letter is a message of about size bytes as people send them.
func letter(n, size int) []byte {
	head := fmt.Sprintf("Return-Path: <alice@example.test>\r\n"+
		"Received: from mail.example.test (mail.example.test [192.0.2.1])\r\n"+
		"\tby mx.example.test (Tram) with ESMTPS id 01J%08d\r\n"+
		"\tfor <bob@example.test>; Sun, 1 Mar 2026 09:00:00 +0700\r\n"+
		"From: Alice Nguyen <alice@example.test>\r\nTo: Bob Tran <bob@example.test>,\r\n"+
		" Carol <carol@example.test>\r\nSubject: Re: report number %d\r\n"+
		"Date: Sun, 1 Mar 2026 09:00:00 +0700\r\nMessage-ID: <%d.letter@example.test>\r\n"+
		"In-Reply-To: <%d.letter@example.test>\r\nReferences: <%d.letter@example.test>\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"Content-Transfer-Encoding: 8bit\r\nX-Mailer: bench\r\n\r\n", n, n/4, n, n-n%4, n-n%4)
	line := "The quarterly figures are attached as agreed, tiếng Việt too, line after line.\r\n"
	return []byte(head + strings.Repeat(line, max(0, (size-len(head))/len(line))))
}

// fill stores n messages of 1 kB in INBOX of account 1, many in a transaction.
func fill(b *testing.B, s *Store, n int) MailboxID {
	b.Helper()
	ctx := context.Background()
	var id MailboxID
	for from := 0; from < n; from += 500 {
		var bodies []*blob.Pending
		var parsed []*message.Message
		for i := from; i < min(n, from+500); i++ {
			p, m := take(b, s, letter(i, 1000))
			bodies, parsed = append(bodies, p), append(parsed, m)
		}
		err := s.Account(1).Update(ctx, func(tx *Tx) error {
			id = tx.RoleMailbox(RoleInbox)
			for i := range bodies {
				if _, err := tx.Append(AppendOptions{
					Mailboxes: []MailboxID{id}, Body: bodies[i], Message: parsed[i],
					Received: time.Unix(1772352000+int64(from+i), 0),
				}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return id
}

func take(b testing.TB, s *Store, text []byte) (*blob.Pending, *message.Message) {
	body := s.NewBody(context.Background())
	if _, err := body.Write(text); err != nil {
		b.Fatal(err)
	}
	p, m, err := body.Finish()
	if err != nil {
		b.Fatal(err)
	}
	return p, m
}

// BenchmarkAppend is one delivery of 4 kB in a transaction of its own. Without whole, body and
// parse are there already.
func BenchmarkAppend(b *testing.B) {
	for _, whole := range []bool{false, true} {
		b.Run(fmt.Sprintf("whole=%t", whole), func(b *testing.B) {
			benchEngines(b, func(b *testing.B, s *Store) { benchAppend(b, s, whole) })
		})
	}
}

func benchAppend(b *testing.B, s *Store, whole bool) {
	const ahead = 1000
	ctx := context.Background()
	id := fill(b, s, 1000)
	b.ReportAllocs()
	var used time.Duration
	var bodies []*blob.Pending
	var parsed []*message.Message
	began := cpuTime(b)
	for n := 0; b.Loop(); n++ {
		if whole {
			bodies, parsed = bodies[:0], parsed[:0]
			body, m := take(b, s, letter(10000+n, 4000))
			bodies, parsed = append(bodies, body), append(parsed, m)
		} else if n%ahead == 0 {
			b.StopTimer()
			used += cpuTime(b) - began
			bodies, parsed = bodies[:0], parsed[:0]
			for i := range ahead {
				body, m := take(b, s, letter(10000+n+i, 4000))
				bodies, parsed = append(bodies, body), append(parsed, m)
			}
			began = cpuTime(b)
			b.StartTimer()
		}
		i := n % len(bodies)
		var key [32]byte
		key[0], key[1], key[2], key[3] = byte(n), byte(n>>8), byte(n>>16), 1
		err := s.Account(1).Update(ctx, func(tx *Tx) error {
			_, err := tx.Append(AppendOptions{
				Mailboxes: []MailboxID{id}, Body: bodies[i], Message: parsed[i],
				DedupeKey: key[:],
			})
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.AckDedupe(ctx, 1, key[:]); err != nil {
			b.Fatal(err)
		}
	}
	used += cpuTime(b) - began
	b.ReportMetric(float64(used)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what the process has used of the processors, the collector and compactions included.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkSetFlags(b *testing.B) {
	benchEngines(b, func(b *testing.B, s *Store) {
		ctx := context.Background()
		id := fill(b, s, 10000)
		b.ReportAllocs()
		began := cpuTime(b)
		for n := 0; b.Loop(); n++ {
			uid := UID(1 + n*37%10000)
			mode := FlagMode(n / 10000 % 2)
			err := s.Account(1).Update(ctx, func(tx *Tx) error {
				_, _, err := tx.SetFlags(id, []UID{uid}, FlagChange{Mode: mode, Flags: Seen})
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N), "cpu-ns/op")
	})
}

const big = 100000

// BenchmarkBig is everything on a mailbox of 100,000 messages.
func BenchmarkBig(b *testing.B) {
	benchEngines(b, func(b *testing.B, s *Store) {
		ctx := context.Background()
		id := fill(b, s, big)
		view := func(b *testing.B, fn func(tx *Tx) error) {
			b.Helper()
			if err := s.Account(1).View(ctx, fn); err != nil {
				b.Fatal(err)
			}
		}
		list := func(tx *Tx) error {
			l, err := tx.List(id)
			if err == nil && l.Len() != big {
				b.Fatalf("%d entries", l.Len())
			}
			return err
		}
		b.Run("list-cold", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.lists.drop(1, id)
				view(b, list)
			}
		})
		b.Run("list-warm", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				view(b, list)
			}
		})
		b.Run("each-email", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				view(b, func(tx *Tx) error {
					l, err := tx.List(id)
					if err != nil {
						return err
					}
					n := 0
					err = tx.EachEmail(l, 0, l.Len(), func(_ Entry, e *Email) error {
						n += len(e.Envelope.For(true))
						return nil
					})
					if n == 0 {
						b.Fatal("nothing read")
					}
					return err
				})
			}
			b.ReportMetric(float64(b.N)*big/b.Elapsed().Seconds(), "rows/s")
		})
		queries(b, view, id)
		b.Run("flag-then-list", func(b *testing.B) {
			n := 0
			for b.Loop() {
				n++
				err := s.Account(1).Update(ctx, func(tx *Tx) error {
					_, _, err := tx.SetFlags(id, []UID{UID(1 + n*7919%big)},
						FlagChange{Flags: Flagged})
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
				view(b, list)
			}
		})
		b.Run("flag-all", func(b *testing.B) {
			uids := make([]UID, big)
			for i := range uids {
				uids[i] = UID(i + 1)
			}
			mode := AddFlags
			for b.Loop() {
				err := s.Account(1).Update(ctx, func(tx *Tx) error {
					_, _, err := tx.SetFlags(id, uids, FlagChange{Mode: mode, Flags: Answered})
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
				mode = RemoveFlags - mode
			}
		})
		b.Run("move-all", func(b *testing.B) {
			from, to := id, MailboxID(0)
			for b.Loop() {
				err := s.Account(1).Update(ctx, func(tx *Tx) error {
					if to == 0 {
						to = tx.RoleMailbox(RoleArchive)
					}
					l, err := tx.List(from)
					if err == nil {
						_, err = tx.Move(from, uidsOf(l), to)
					}
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
				from, to = to, from
			}
			id = from
		})
		b.Run("expunge-half", func(b *testing.B) { benchExpunge(b, s, id) })
	})
}

func benchExpunge(b *testing.B, s *Store, id MailboxID) {
	for b.Loop() {
		err := s.Account(1).Update(context.Background(), func(tx *Tx) error {
			l, err := tx.List(id)
			if err == nil {
				_, err = tx.Expunge(id, uidsOf(l)[:big/2])
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		recoverAll(b, s, id)
		b.StartTimer()
	}
}

func recoverAll(b *testing.B, s *Store, id MailboxID) {
	err := s.Account(1).Update(context.Background(), func(tx *Tx) error {
		gone, err := tx.Recoverable()
		if err != nil {
			return err
		}
		for _, r := range gone {
			if _, err := tx.Recover(r.Email, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

func queries(b *testing.B, view func(*testing.B, func(tx *Tx) error), id MailboxID) {
	for _, q := range []struct {
		name string
		q    Query
	}{
		{"search-flags", Query{Filter: And{Not{HasFlags(Seen)}, Larger(500), Keyword("$Junk")}}},
		{"search-subject", Query{Filter: SubjectText("number 77")}},
		{"search-from", Query{Filter: AddressText{Field: From, Text: "nguyen"}}},
		{"sort-date", Query{Sort: []Comparator{{Key: BySent, Reverse: true}}}},
		{"sort-subject", Query{Sort: []Comparator{{Key: BySubject}}}},
	} {
		q.q.Mailboxes = []MailboxID{id}
		b.Run(q.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				view(b, func(tx *Tx) error {
					_, err := tx.Query(q.q)
					return err
				})
			}
		})
	}
}
