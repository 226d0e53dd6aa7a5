package tlspolicy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// OwnPolicy is the MTA-STS policy that this server publishes for a domain of its own.
type OwnPolicy struct {
	Mode   Mode
	MX     []string // names of the exchangers, "*." before one for all just below it
	MaxAge time.Duration
}

// Text is the policy as https://mta-sts.DOMAIN/.well-known/mta-sts.txt serves it, RFC 8461 §3.2.
func (p OwnPolicy) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: STSv1\r\nmode: %s\r\n", p.Mode)
	for _, mx := range p.MX {
		fmt.Fprintf(&b, "mx: %s\r\n", mx)
	}
	fmt.Fprintf(&b, "max_age: %d\r\n", int64(p.MaxAge/time.Second))
	return b.String()
}

// ID identifies this very text: it changes when, and only when, the text does, so that the DNS record
// cannot be forgotten in silence.
func (p OwnPolicy) ID() string {
	sum := sha256.Sum256([]byte(p.Text()))
	return hex.EncodeToString(sum[:16])
}

// TXT is the record to publish at _mta-sts.DOMAIN, RFC 8461 §3.1.
func (p OwnPolicy) TXT() string { return "v=STSv1; id=" + p.ID() + ";" }

// PolicyHost is the host that serves a domain's policy.
func PolicyHost(domain string) string { return "mta-sts." + domain }

// PolicyPath is where it serves it.
const PolicyPath = "/.well-known/mta-sts.txt"
