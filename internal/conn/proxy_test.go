package conn

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"strings"
	"testing"

	"tram/internal/conn/conntest"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// v2 builds a version 2 header.
func v2(versionCommand, family byte, body ...[]byte) string {
	all := []byte{}
	for _, b := range body {
		all = append(all, b...)
	}
	h := append([]byte{}, proxyV2Signature...)
	h = append(h, versionCommand, family)
	h = binary.BigEndian.AppendUint16(h, uint16(len(all)))
	return string(append(h, all...))
}

func tlv(kind byte, value string) []byte {
	b := binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))
	return append(b, value...)
}

// withCRC appends a CRC32C record to a header for TCP over IPv4.
func withCRC(broken bool) string {
	h := []byte(v2(0x21, 0x11, v4ends, tlv(0x03, "\x00\x00\x00\x00")))
	sum := crc32.Checksum(h, crc32.MakeTable(crc32.Castagnoli))
	if broken {
		sum++
	}
	binary.BigEndian.PutUint32(h[len(h)-4:], sum)
	return string(h)
}

var (
	v4ends = []byte{192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0, 25} // ports 12345, 25
	v6ends = append(append(netip.MustParseAddr("2001:db8::7").AsSlice(),
		netip.MustParseAddr("2001:db8::1").AsSlice()...), 0x30, 0x39, 0, 25)
	mapped = append(append(netip.MustParseAddr("::ffff:192.0.2.7").AsSlice(),
		netip.MustParseAddr("::ffff:198.51.100.1").AsSlice()...), 0x30, 0x39, 0, 25)
)

// TestProxyHeader is P24 for trusted sources. "" as the wanted address means that the connection is
// closed without a word; "self" that the proxy speaks for itself.
func TestProxyHeader(t *testing.T) {
	t.Parallel()
	const four, six = "192.0.2.7:12345 198.51.100.1:25", "[2001:db8::7]:12345 [2001:db8::1]:25"
	table := map[string]struct{ header, want string }{
		"v1 TCP4":            {"PROXY TCP4 192.0.2.7 198.51.100.1 12345 25\r\n", four},
		"v1 TCP6":            {"PROXY TCP6 2001:db8::7 2001:db8::1 12345 25\r\n", six},
		"v1 unknown":         {"PROXY UNKNOWN\r\n", "self"},
		"v1 unknown, long":   {"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", "self"},
		"v1 wrong family":    {"PROXY TCP4 2001:db8::7 2001:db8::1 12345 25\r\n", ""},
		"v1 zone":            {"PROXY TCP6 fe80::1%lo 2001:db8::1 12345 25\r\n", ""},
		"v1 port too large":  {"PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n", ""},
		"v1 port with zero":  {"PROXY TCP4 192.0.2.7 198.51.100.1 012 25\r\n", ""},
		"v1 port with sign":  {"PROXY TCP4 192.0.2.7 198.51.100.1 +12 25\r\n", ""},
		"v1 no port":         {"PROXY TCP4 192.0.2.7 198.51.100.1\r\n", ""},
		"v1 two spaces":      {"PROXY TCP4  192.0.2.7 198.51.100.1 12345 25\r\n", ""},
		"v1 bare LF":         {"PROXY TCP4 192.0.2.7 198.51.100.1 12345 25\n", ""},
		"v1 too long":        {"PROXY UNKNOWN " + strings.Repeat("x", 100) + "\r\n", ""},
		"v1 lower case":      {"proxy TCP4 192.0.2.7 198.51.100.1 12345 25\r\n", ""},
		"v1 any source":      {"PROXY TCP4 0.0.0.0 198.51.100.1 12345 25\r\n", ""},
		"v1 UDP":             {"PROXY UDP4 192.0.2.7 198.51.100.1 12345 25\r\n", ""},
		"v2 TCP4":            {v2(0x21, 0x11, v4ends), four},
		"v2 TCP6":            {v2(0x21, 0x21, v6ends), six},
		"v2 mapped":          {v2(0x21, 0x21, mapped), four},
		"v2 local":           {v2(0x20, 0x00), "self"},
		"v2 local, TCP4":     {v2(0x20, 0x11, v4ends), "self"},
		"v2 unspecified":     {v2(0x21, 0x00, []byte("whatever")), "self"},
		"v2 TLVs":            {v2(0x21, 0x11, v4ends, tlv(0x04, "pad"), tlv(0x05, "")), four},
		"v2 checksum":        {withCRC(false), four},
		"v2 wrong checksum":  {withCRC(true), ""},
		"v2 short checksum":  {v2(0x21, 0x11, v4ends, tlv(0x03, "ab")), ""},
		"v2 torn TLV":        {v2(0x21, 0x11, v4ends, []byte{4, 0}), ""},
		"v2 TLV beyond":      {v2(0x21, 0x11, v4ends, []byte{4, 0, 9, 'x'}), ""},
		"v2 64 KiB":          {v2(0x21, 0x11, v4ends, make([]byte, 65000)), ""},
		"v2 short addresses": {v2(0x21, 0x11, v4ends[:11]), ""},
		"v2 v6 in v4":        {v2(0x21, 0x21, v4ends), ""},
		"v2 version 3":       {v2(0x31, 0x11, v4ends), ""},
		"v2 command 2":       {v2(0x22, 0x11, v4ends), ""},
		"v2 signature":       {"\r\n\r\n\x00\r\nQUIT\r" + v2(0x21, 0x11, v4ends)[12:], ""},
		"none":               {"EHLO client.example and more than sixteen bytes\r\n", ""},
	}
	_, addr := start(t, Options{ProxyNetworks: loopback, Handler: introduceYourself})
	for name, tc := range table {
		for _, wholly := range []bool{true, false} {
			c := dial(t, addr)
			sendInPieces(c, tc.header+"hello\r\n", wholly)
			switch tc.want {
			case "":
				c.wantEnd()
				c.Close()
				continue
			case "self":
				c.want(c.LocalAddr().String() + " " + addr + " hello")
			default:
				c.want(tc.want + " hello")
			}
			if t.Failed() {
				t.Fatalf("in %q", name)
			}
			c.Close()
		}
	}
}

// sendInPieces sends a header at once or byte by byte; the server may have closed before its end.
func sendInPieces(c *client, s string, wholly bool) {
	if wholly {
		c.Write([]byte(s))
		return
	}
	for i := range min(len(s), 300) {
		if _, err := c.Write([]byte(s[i : i+1])); err != nil {
			return
		}
	}
}

func introduceYourself(_ context.Context, c *Conn) {
	line, err := c.ReadLine(100)
	if err == nil {
		fmt.Fprintf(c, "%v %v %s\r\n", c.Remote(), c.Local(), line)
	}
}

// TestProxyFromStrangers is P24 for others: the header is the protocol's bad input and changes no
// address.
func TestProxyFromStrangers(t *testing.T) {
	t.Parallel()
	_, addr := start(t, Options{
		ProxyNetworks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Handler:       introduceYourself,
	})
	c := dial(t, addr)
	header := "PROXY TCP4 127.0.0.9 127.0.0.1 12345 25"
	c.send(header + "\r\n")
	c.want(c.LocalAddr().String() + " " + addr + " " + header)
}

// TestProxyLimits: the limits per address are the client's, not the proxy's.
func TestProxyLimits(t *testing.T) {
	t.Parallel()
	l := testLimits()
	l.PerIP = 1
	_, addr := start(t, Options{
		ProxyNetworks: loopback, Handler: echo, Limits: l, Refuse: refusal,
	})
	for i, want := range []string{"hello", "421 full", "hello"} {
		c := dial(t, addr)
		client := []string{"192.0.2.7", "192.0.2.7", "192.0.2.8"}[i]
		c.send("PROXY TCP4 " + client + " 198.51.100.1 12345 25\r\nhello\r\n")
		c.want(want)
	}
}

// TestProxyThenTLS: the header is in the clear, before the handshake, and may come in one segment
// with its first bytes.
func TestProxyThenTLS(t *testing.T) {
	t.Parallel()
	cfg, _ := conntest.TLS()
	_, addr := start(t, Options{
		ProxyNetworks: loopback, TLS: cfg, Implicit: true, Handler: introduceYourself,
	})
	c := dial(t, addr)
	c.Conn = &prefixed{Conn: c.Conn, prefix: "PROXY TCP4 192.0.2.7 198.51.100.1 12345 25\r\n"}
	c = c.startTLS()
	c.send("hello\r\n")
	c.want("192.0.2.7:12345 198.51.100.1:25 hello")
}

// prefixed puts prefix into the first write's segment.
type prefixed struct {
	net.Conn
	prefix string
}

func (p *prefixed) Write(b []byte) (int, error) {
	n, err := p.Conn.Write(append([]byte(p.prefix), b...))
	n -= len(p.prefix)
	p.prefix = ""
	return n, err
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 198.51.100.1 12345 25\r\n"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(v2(0x21, 0x11, v4ends, tlv(0x04, "pad"))))
	f.Add([]byte(v2(0x21, 0x21, v6ends)))
	f.Add([]byte(withCRC(false)))
	f.Fuzz(func(t *testing.T, in []byte) {
		run(func(c *Conn) {
			err := c.readProxyHeader()
			if err == nil && c.remote.IsValid() &&
				(c.remote.Addr().IsUnspecified() || c.remote.Addr().Is4In6()) {
				t.Fatalf("remote %v", c.remote)
			}
		}, string(in))
	})
}
