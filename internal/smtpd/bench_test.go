package smtpd

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tram/internal/certs"
	"tram/internal/conn"
	"tram/internal/kv/memkv"
	"tram/internal/kv/pebblekv"
)

// BenchmarkMessage is a 4 kB message over open sessions, MAIL and RCPT pipelined with DATA, into
// storage on disk (ten at a time, sharing syncs) and in memory.
func BenchmarkMessage(b *testing.B) {
	b.Run("disk", func(b *testing.B) {
		db, err := pebblekv.Open(b.TempDir(), pebblekv.Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { db.Close() })
		b.SetParallelism(5)
		benchMessages(b, newHouseOn(b, db))
	})
	b.Run("memory", func(b *testing.B) { benchMessages(b, newHouseOn(b, memkv.New())) })
}

func benchMessages(b *testing.B, h *house) {
	h.limits.SMTP.Transactions = 0
	d := h.open(MX, nil)
	body := text + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 52) + ".\r\n"
	var n atomic.Int64
	people := []string{"alice", "bob", "carol"}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		nc, err := net.Dial("tcp", d.addr.String())
		if err != nil {
			b.Error(err)
			return
		}
		defer nc.Close()
		r := bufio.NewReader(nc)
		expect := func(n int) {
			for range n {
				if line, err := r.ReadSlice('\n'); err != nil || line[0] > '3' {
					b.Errorf("%q, %v", line, err)
				}
			}
		}
		expect(1)
		io.WriteString(nc, "HELO client.test\r\n")
		expect(1)
		for pb.Next() {
			i := n.Add(1)
			fmt.Fprintf(nc, "MAIL FROM:<a@elsewhere.test>\r\nRCPT TO:<%s@example.test>\r\nDATA\r\n",
				people[i%3])
			expect(3)
			io.WriteString(nc, strings.Replace(body, "<1@", fmt.Sprintf("<%d@", i), 1))
			expect(1)
		}
	})
}

// BenchmarkConnection is a connection with a small message each, as senders of little mail make
// them. What the client costs is in it: "bare" is two ends that do nothing but shake hands.
func BenchmarkConnection(b *testing.B) {
	m, err := certs.New(certs.Options{
		SelfMade: &certs.SelfMade{Dir: b.TempDir(), Names: []string{"localhost"}},
	})
	if err != nil {
		b.Fatal(err)
	}
	trusting := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
	b.Run("bare", func(b *testing.B) { benchBare(b, m.TLSConfig(certs.SMTP), trusting) })
	h := newHouseOn(b, memkv.New())
	d := h.open(MX, func(_ *Options, o *conn.Options) { o.TLS = m.TLSConfig(certs.SMTP) })
	b.Run("clear", func(b *testing.B) {
		perConnection(b, func(i int) error { return d.mailOnce(i, nil) })
	})
	b.Run("starttls", func(b *testing.B) {
		perConnection(b, func(i int) error { return d.mailOnce(i, trusting) })
	})
}

// perConnection runs once with the processor time of the whole process as a figure.
func perConnection(b *testing.B, once func(i int) error) {
	b.ReportAllocs()
	before := processorTime()
	for i := 0; b.Loop(); i++ {
		if err := once(i); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processorTime()-before)/float64(b.N), "cpu-ns/op")
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchBare(b *testing.B, server, client *tls.Config) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				c := tls.Server(nc, server)
				_, _ = io.Copy(c, c) // the client hangs up
			}()
		}
	}()
	perConnection(b, func(int) error {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		defer nc.Close()
		c := tls.Client(nc, client)
		if _, err := io.WriteString(c, "x"); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 1))
		return err
	})
}

// mailOnce delivers a message over a connection of its own.
func (d *door) mailOnce(i int, cfg *tls.Config) error {
	nc, err := net.Dial("tcp", d.addr.String())
	if err != nil {
		return err
	}
	defer nc.Close()
	r := bufio.NewReaderSize(nc, 1024)
	say := func(text string, replies int) error {
		if _, err := io.WriteString(nc, text); err != nil {
			return err
		}
		for range replies {
			for {
				line, err := r.ReadSlice('\n')
				if err != nil || line[0] > '3' {
					return fmt.Errorf("to %.40q: %q, %w", text, line, err)
				}
				if line[3] != '-' {
					break
				}
			}
		}
		return nil
	}
	if err := say("", 1); err != nil {
		return err
	}
	if cfg != nil {
		if err := say("EHLO client.test\r\n", 1); err != nil {
			return err
		}
		if err := say("STARTTLS\r\n", 1); err != nil {
			return err
		}
		nc = tls.Client(nc, cfg)
		r = bufio.NewReaderSize(nc, 1024)
	}
	for _, part := range []struct {
		text    string
		replies int
	}{
		{"EHLO client.test\r\n", 1},
		{"MAIL FROM:<a@elsewhere.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n", 3},
		{numbered(i) + ".\r\n", 1},
		{"QUIT\r\n", 1},
	} {
		if err := say(part.text, part.replies); err != nil {
			return err
		}
	}
	return nil
}
