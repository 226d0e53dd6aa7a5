package spam

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// mmdb writes a database in MaxMind's format, version 2.0: a tree of bits whose nodes are two records of
// three bytes each, sixteen zero bytes, what the records point to, and what is to be known of the file.
type mmdb struct {
	nodes [][2]int // 0: nothing; > 0: a node; < 0: data, one more than its offset
	data  []byte
}

// field writes a value: the type and the length stand in the first bytes.
func (m *mmdb) field(b []byte, kind, size int) []byte {
	first, ext := byte(kind<<5), kind > 7
	if ext {
		first = 0
	}
	more := -1
	if size > 28 {
		more, size = size-29, 29
	}
	b = append(b, first|byte(size))
	if ext {
		b = append(b, byte(kind-7))
	}
	if more >= 0 {
		b = append(b, byte(more))
	}
	return b
}

func (m *mmdb) text(b []byte, s string) []byte { return append(m.field(b, 2, len(s)), s...) }

func (m *mmdb) number(b []byte, kind int, n uint32) []byte {
	return binary.BigEndian.AppendUint32(m.field(b, kind, 4), n)
}

// add puts data at a prefix, which is not inside another one.
func (m *mmdb) add(prefix string, data []byte) {
	p := netip.MustParsePrefix(prefix)
	bits := p.Bits()
	var a [16]byte
	if p.Addr().Is4() { // they are the lowest addresses of the tree
		four := p.Addr().As4()
		copy(a[12:], four[:])
		bits += 96
	} else {
		a = p.Addr().As16()
	}
	if m.nodes == nil {
		m.nodes = make([][2]int, 1)
	}
	at := 0
	for i := range bits {
		bit := a[i/8] >> (7 - i%8) & 1
		if i == bits-1 {
			m.nodes[at][bit] = -len(m.data) - 1
			break
		}
		if m.nodes[at][bit] == 0 {
			m.nodes = append(m.nodes, [2]int{})
			m.nodes[at][bit] = len(m.nodes) - 1
		}
		at = m.nodes[at][bit]
	}
	m.data = append(m.data, data...)
}

// system is what is known of a network; the kind of number 6 is an unsigned one of four bytes.
func (m *mmdb) system(number uint32, name string) []byte {
	b := m.text(m.field(nil, 7, 2), "autonomous_system_number")
	b = m.text(m.number(b, 6, number), "autonomous_system_organization")
	return m.text(b, name)
}

func (m *mmdb) bytes() []byte {
	var b []byte
	for _, n := range m.nodes {
		for _, r := range n {
			switch {
			case r == 0:
				r = len(m.nodes)
			case r < 0:
				r = len(m.nodes) + 16 - r - 1
			}
			b = append(b, byte(r>>16), byte(r>>8), byte(r))
		}
	}
	b = append(append(b, make([]byte, 16)...), m.data...)
	b = append(b, "\xab\xcd\xefMaxMind.com"...)
	b = m.field(b, 7, 8)
	b = m.number(m.text(b, "node_count"), 6, uint32(len(m.nodes)))
	for _, f := range []struct {
		name string
		n    byte
	}{{"record_size", 24}, {"ip_version", 6}, {"binary_format_major_version", 2}, {"binary_format_minor_version", 0}} {
		b = append(m.field(m.text(b, f.name), 5, 1), f.n)
	}
	b = m.number(m.text(b, "build_epoch"), 9, 1_700_000_000)
	b = m.text(m.text(b, "database_type"), "Own-Test")
	return m.field(m.text(b, "languages"), 11, 0)
}

// TestNetworkDatabase: a database of autonomous systems in MaxMind's format is as good as a table.
func TestNetworkDatabase(t *testing.T) {
	t.Parallel()
	m := &mmdb{}
	m.add("192.0.2.0/24", m.system(64500, "Example Net"))
	m.add("198.51.100.128/25", m.system(64501, "  Half "+strings.Repeat("x", 200)))
	m.add("203.0.113.0/24", m.system(0, "Nobody"))
	m.add("2001:db8::/32", m.system(4200000000, "Sixth"))
	whole := m.bytes()
	table, err := ReadNetworkDatabase(bytes.NewReader(whole))
	must(t, err)
	for a, want := range map[string]uint32{
		"192.0.2.7": 64500, "::ffff:192.0.2.255": 64500, "198.51.100.200": 64501, "198.51.100.1": 0, "203.0.113.9": 0,
		"2001:db8:1::1": 4200000000, "2001:db9::1": 0, "10.0.0.1": 0,
	} {
		system, name, ok := table.Find(netip.MustParseAddr(a))
		if system != want || ok != (want != 0) || len(name) > maxNetworkName || strings.TrimSpace(name) != name {
			t.Errorf("%s: %d %q %t, want %d", a, system, name, ok, want)
		}
	}
	if _, _, ok := table.Find(netip.Addr{}); ok {
		t.Error("no address has a system")
	}
	if _, err := readNetworkDatabase(bytes.NewReader(whole), int64(len(whole))); err != nil {
		t.Error(err)
	}
	city := &mmdb{}
	city.add("192.0.2.0/24", city.text(city.text(city.field(nil, 7, 1), "city"), "Hanoi"))
	for name, bad := range map[string][]byte{
		"text": []byte("192.0.2.0/24\t1\tx\n"), "empty": nil, "cut": whole[:len(whole)-60], "cities": city.bytes(),
		"only its end": whole[bytes.Index(whole, []byte("\xab\xcd\xefMax")):],
	} {
		if _, err := ReadNetworkDatabase(bytes.NewReader(bad)); !errors.Is(err, ErrNetworks) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := readNetworkDatabase(bytes.NewReader(whole), int64(len(whole))-1); !errors.Is(err, ErrNetworks) {
		t.Errorf("larger than may be: %v", err)
	}
	// Damage anywhere is no answer or another one, and never the end of the process.
	for i := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0xff
		if table, err := ReadNetworkDatabase(bytes.NewReader(damaged)); err == nil {
			table.Find(netip.MustParseAddr("192.0.2.7"))
			table.Find(netip.MustParseAddr("2001:db8::1"))
		}
	}
}
