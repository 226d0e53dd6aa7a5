package imapd

import (
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"tram/internal/conn/conntest"
)

// TestIdleSessionsAreSmall bounds what a session costs while it waits, in IDLE or for NOTIFY, the
// client's end of the connection, which is in this process too, included.
func TestIdleSessionsAreSmall(t *testing.T) {
	_, config := conntest.TLS()
	for name, way := range map[string]struct {
		tls   bool
		waits string
		bytes int64
	}{
		"IDLE":           {false, "c IDLE\r\n", 16 << 10},
		"NOTIFY":         {false, "c NOTIFY SET (personal (MessageNew MessageExpunge))\r\n", 16 << 10},
		"IDLE under TLS": {true, "c IDLE\r\n", 40 << 10}, // the client's end has most of it
	} {
		t.Run(name, func(t *testing.T) {
			h := build(t, options{measure: true})
			h.fill("INBOX", 1, 1000)
			dial := func() (net.Conn, error) { return net.Dial("tcp", h.clear) }
			if way.tls {
				dial = func() (net.Conn, error) { return tls.Dial("tcp", h.tls, config) }
			}
			all, stack := idleCost(t, dial, way.waits)
			t.Logf("%d bytes for an idle session, %d of them stack", all, stack)
			if all > way.bytes {
				t.Errorf("an idle session takes %d bytes", all)
			}
			// One that waits deep inside of crypto/tls, or of a command, keeps twice as much.
			if stack > idleStack {
				t.Errorf("an idle session keeps %d bytes of stack", stack)
			}
		})
	}
}

// idleCost opens sessions that wait and returns what each takes.
func idleCost(t *testing.T, dial func() (net.Conn, error), waits string) (all, stack int64) {
	const n = 300
	memory := func() (int64, int64) {
		for range 3 { // pools give up what was used before the last collection; stacks halve in each
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse), int64(m.StackInuse)
	}
	buf := make([]byte, 64<<10)
	open := func() {
		nc, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		commands := "a LOGIN " + testUser + " " + testPassword + "\r\nb SELECT INBOX\r\n" + waits
		if _, err := io.WriteString(nc, commands); err != nil {
			t.Fatal(err)
		}
		for seen := ""; !strings.Contains(seen, "+ idling\r\n") && !strings.Contains(seen, "c OK"); {
			k, err := nc.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			seen += string(buf[:k])
		}
	}
	open()
	before, stackBefore := memory()
	for range n {
		open()
	}
	after, stackAfter := memory()
	return (after - before) / n, (stackAfter - stackBefore) / n
}
