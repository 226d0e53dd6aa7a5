package imapd

import (
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestIdleSessionsAreSmall bounds what a session costs while it waits in IDLE, the client's end of
// the connection, which is in this process too, included.
func TestIdleSessionsAreSmall(t *testing.T) {
	h := build(t, options{measure: true})
	h.fill("INBOX", 1, 1000)
	const n = 300
	memory := func() uint64 {
		runtime.GC()
		runtime.GC() // pools give up what was used before the last collection
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	buf := make([]byte, 64<<10)
	open := func() {
		nc, err := net.Dial("tcp", h.clear)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		commands := "a LOGIN " + testUser + " " + testPassword + "\r\nb SELECT INBOX\r\nc IDLE\r\n"
		if _, err := io.WriteString(nc, commands); err != nil {
			t.Fatal(err)
		}
		for seen := ""; !strings.Contains(seen, "+ idling\r\n"); {
			k, err := nc.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			seen += string(buf[:k])
		}
	}
	open()
	before := memory()
	for range n {
		open()
	}
	each := int64(memory()-before) / n
	t.Logf("%d bytes for an idle session", each)
	if each > 16<<10 {
		t.Errorf("an idle session takes %d bytes", each)
	}
}
