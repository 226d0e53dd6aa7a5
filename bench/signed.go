package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"tram/internal/dns"
	"tram/internal/mailauth/dkim"
)

// signer is the domain that the load comes from: its keys, and what the DNS says of it.
type signer struct {
	keys   []dkim.Key // Ed25519 and RSA
	fields []string   // of the load that is being sent
}

// rsaEvery is how often a message is signed with RSA; the others are signed with Ed25519. Of mail at
// large more is signed with RSA, whose signatures are the cheaper ones to check.
const rsaEvery = 4

func newSigner() (*signer, error) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	old, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	_, domain, _ := strings.Cut(stranger, "@")
	return &signer{keys: []dkim.Key{
		{Domain: domain, Selector: "ed", Signer: ed}, {Domain: domain, Selector: "rsa", Signer: old},
	}}, nil
}

// zone is what the DNS says: the client is the domain's, by its name and by its SPF record, and the
// domain wants forgeries refused.
func (s *signer) zone() (string, error) {
	domain := s.keys[0].Domain
	var b strings.Builder
	fmt.Fprintf(&b, "%[1]s. IN MX 10 %[1]s.\n%[1]s. IN A 127.0.0.1\n%[1]s. IN A %[2]s\n"+
		"1.0.0.127.in-addr.arpa. IN PTR %[1]s.\n10.2.0.192.in-addr.arpa. IN PTR %[1]s.\n"+
		"%[1]s. IN TXT \"v=spf1 ip4:127.0.0.1 ip4:%[2]s -all\"\n"+
		"_dmarc.%[1]s. IN TXT \"v=DMARC1; p=reject\"\n", domain, strangerAddr)
	for _, k := range s.keys {
		text, err := dkim.Record(k.Signer.Public())
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s._domainkey.%s. IN TXT", k.Selector, domain)
		for len(text) > 0 { // in strings of 255 bytes at most
			n := min(len(text), 255)
			fmt.Fprintf(&b, " %q", text[:n])
			text = text[n:]
		}
		b.WriteString("\n")
	}
	return b.String(), nil
}

// names runs a name server on loopback that answers from memory.
func (s *signer) names() (netip.AddrPort, func(), error) {
	zone, err := s.zone()
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	return dns.NewFake(zone).Listen()
}

// sign returns the DKIM-Signature field of message seq.
func (s *signer) sign(seq int, raw []byte) (string, error) {
	split := dkim.NewSplitter(64 << 10)
	if _, err := split.Write(raw); err != nil {
		return "", err
	}
	header, sum := split.End()
	key := s.keys[0]
	if seq%rsaEvery == 0 {
		key = s.keys[1]
	}
	return dkim.Sign(header, sum, key, dkim.SignOptions{Now: time.Now()})
}

// signAll signs a load. A nil signer does nothing.
func (s *signer) signAll(l smtpLoad, run string, rcpt func(seq int) string) error {
	if s == nil {
		return nil
	}
	s.fields = make([]string, l.messages)
	for seq := range s.fields {
		var err error
		raw := parcel(run, seq, l.mix[seq%len(l.mix)], stranger, rcpt(seq))
		if s.fields[seq], err = s.sign(seq, raw); err != nil {
			return err
		}
	}
	return nil
}

// field is the signature of a message; none of a nil signer.
func (s *signer) field(seq int) []byte {
	if s == nil {
		return nil
	}
	return []byte(s.fields[seq])
}

// proved reports whether the server says that a message is its author's, by everything that there is.
func proved(raw []byte) bool {
	head, _, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	for _, result := range []string{"spf=pass", "dkim=pass", "dmarc=pass", "X-Spam-Status: No"} {
		if !bytes.Contains(head, []byte(result)) {
			return false
		}
	}
	return true
}
