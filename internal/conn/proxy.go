package conn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// The PROXY protocol, versions 1 and 2, as HAProxy's proxy-protocol.txt (2020-03-05) defines it.
// Only connections from Options.ProxyNetworks are read so, and from those the header is required:
// a receiver that guesses whether there is one lets anybody choose his address (ibid. §2).

const (
	proxyV1Max = 107  // bytes of the longest version 1 line, CRLF included, ibid. §2.1
	proxyV2Max = 2048 // bytes after the fixed header; addresses take 216 at most, TLVs the rest
)

var proxyV2Signature = []byte("\r\n\r\n\x00\r\nQUIT\n")

var errProxyHeader = errors.New("bad PROXY header")

// readProxyHeader reads the header and takes over the addresses in it.
func (c *Conn) readProxyHeader() error {
	if d := c.server.o.Limits.ProxyHeader; d > 0 {
		defer c.SetDeadline(c.deadline)
		c.SetDeadline(time.Now().Add(d))
	}
	head, err := c.peekAtLeast(len("PROXY "))
	if err != nil {
		return err
	}
	if bytes.HasPrefix(head, []byte("PROXY ")) {
		return c.readProxyV1()
	}
	return c.readProxyV2()
}

// peekAtLeast returns the buffered input when it is at least n bytes.
func (c *Conn) peekAtLeast(n int) ([]byte, error) {
	for c.Buffered() < n {
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
	return c.in[c.r:c.w], nil
}

func (c *Conn) readProxyV1() error {
	line, err := c.ReadLine(proxyV1Max - 2)
	if err != nil {
		return fmt.Errorf("%w: %w", errProxyHeader, err)
	}
	src, dst, err := parseProxyV1(string(line))
	if err != nil {
		return err
	}
	c.introduced(src, dst)
	return nil
}

// introduced takes over the addresses; zero ones mean that the proxy speaks for itself.
func (c *Conn) introduced(src, dst netip.AddrPort) {
	if src.IsValid() {
		c.remote, c.local = src, dst
	}
}

// parseProxyV1 reads `PROXY TCP4 source destination port port` without its CRLF. UNKNOWN gives zero
// addresses: the connection's own hold.
func parseProxyV1(line string) (src, dst netip.AddrPort, err error) {
	f := strings.Split(line, " ")
	if len(f) >= 2 && f[0] == "PROXY" && f[1] == "UNKNOWN" {
		return src, dst, nil
	}
	if len(f) != 6 || f[0] != "PROXY" || f[1] != "TCP4" && f[1] != "TCP6" {
		return src, dst, fmt.Errorf("%w: not version 1: %q", errProxyHeader, line)
	}
	if src, err = proxyEnd(f[2], f[4], f[1] == "TCP4"); err != nil {
		return src, dst, err
	}
	dst, err = proxyEnd(f[3], f[5], f[1] == "TCP4")
	return src, dst, err
}

func proxyEnd(addr, port string, v4 bool) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Is4() != v4 || a.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("%w: address %q", errProxyHeader, addr)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || port[0] == '0' && port != "0" || port[0] == '+' {
		return netip.AddrPort{}, fmt.Errorf("%w: port %q", errProxyHeader, port)
	}
	return usableEnd(netip.AddrPortFrom(a.Unmap(), uint16(n)))
}

// usableEnd refuses what cannot be one end of a TCP connection.
func usableEnd(a netip.AddrPort) (netip.AddrPort, error) {
	if a.Addr().IsUnspecified() || a.Addr().IsMulticast() {
		return netip.AddrPort{}, fmt.Errorf("%w: address %v", errProxyHeader, a.Addr())
	}
	return a, nil
}

// readProxyV2 reads the 16-byte fixed header and the length it announces.
func (c *Conn) readProxyV2() error {
	head, err := c.peekAtLeast(16)
	if err != nil {
		return fmt.Errorf("%w: %w", errProxyHeader, err)
	}
	if !bytes.HasPrefix(head, proxyV2Signature) {
		return fmt.Errorf("%w: neither version", errProxyHeader)
	}
	n := int(binary.BigEndian.Uint16(head[14:]))
	if n > proxyV2Max {
		return fmt.Errorf("%w: %d bytes announced", errProxyHeader, n)
	}
	all, err := c.peekAtLeast(16 + n)
	if err != nil {
		return fmt.Errorf("%w: %w", errProxyHeader, err)
	}
	src, dst, err := parseProxyV2(all[:16+n])
	if err != nil {
		return err
	}
	c.Discard(16 + n)
	c.introduced(src, dst)
	return nil
}

// parseProxyV2 reads a whole version 2 header. LOCAL (a health check) and families other than TCP
// give zero addresses, as ibid. §2.2 asks.
func parseProxyV2(h []byte) (src, dst netip.AddrPort, err error) {
	version, command, family := h[12]>>4, h[12]&0xF, h[13]
	if version != 2 || command > 1 {
		return src, dst, fmt.Errorf("%w: version and command %#x", errProxyHeader, h[12])
	}
	size := 0
	switch family {
	case 0x11: // TCP over IPv4
		size = 4
	case 0x21: // TCP over IPv6
		size = 16
	}
	body := h[16:]
	if len(body) < 2*size+4 && size > 0 {
		return src, dst, fmt.Errorf("%w: %d bytes of addresses", errProxyHeader, len(body))
	}
	if size == 0 || command == 0 {
		return src, dst, nil
	}
	if err := checkTLVs(h, 16+2*size+4); err != nil {
		return src, dst, err
	}
	ports := body[2*size:]
	if src, err = binaryEnd(body[:size], ports); err != nil {
		return src, dst, err
	}
	dst, err = binaryEnd(body[size:2*size], ports[2:])
	return src, dst, err
}

func binaryEnd(addr, port []byte) (netip.AddrPort, error) {
	a, ok := netip.AddrFromSlice(addr)
	if !ok {
		return netip.AddrPort{}, errProxyHeader
	}
	return usableEnd(netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port)))
}

const tlvCRC32C = 0x03

// checkTLVs walks the type-length-value records from offset at: they must fill the header exactly,
// and a checksum among them must be right (ibid. §2.2.3).
func checkTLVs(h []byte, at int) error {
	for at < len(h) {
		if len(h)-at < 3 {
			return fmt.Errorf("%w: torn TLV", errProxyHeader)
		}
		kind, n := h[at], int(binary.BigEndian.Uint16(h[at+1:]))
		at += 3
		if n > len(h)-at {
			return fmt.Errorf("%w: TLV of %d bytes", errProxyHeader, n)
		}
		if kind == tlvCRC32C && !crcHolds(h, at, n) {
			return fmt.Errorf("%w: checksum", errProxyHeader)
		}
		at += n
	}
	return nil
}

// crcHolds checks the CRC32C whose n bytes stand at h[at:]; it covers h with those bytes zero.
func crcHolds(h []byte, at, n int) bool {
	if n != 4 {
		return false
	}
	zeroed := bytes.Clone(h)
	clear(zeroed[at : at+4])
	return crc32.Checksum(zeroed, crc32.MakeTable(crc32.Castagnoli)) ==
		binary.BigEndian.Uint32(h[at:])
}
