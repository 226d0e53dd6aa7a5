package config

import (
	"net"
	"strings"

	"tram/internal/limits"
)

// TLSPolicy says whose word counts for how mail crosses the Internet.
type TLSPolicy struct {
	MTASTS bool `toml:"mta_sts"` // other domains' MTA-STS policies
	DANE   bool `toml:"dane"`    // other domains' TLSA records
	// Publish is the mode of the MTA-STS policy that is served for our own domains, PublishOff for
	// none.
	Publish string   `toml:"publish"`
	MX      []string `toml:"mx"`      // the exchangers it names; empty: Hostname
	MaxAge  int64    `toml:"max_age"` // seconds that senders keep it
	// NewKeyAfter is after how many days a certificate of ACME gets a new key; 0: never by itself.
	NewKeyAfter int64 `toml:"new_key_after"`
}

// What is published of MTA-STS for our own domains.
const (
	PublishTesting = "testing" // senders only report what would fail
	PublishEnforce = "enforce" // senders do not deliver without verified TLS
	PublishNone    = "none"    // a policy that was published before is taken back
	PublishOff     = "off"     // nothing is served
)

// defaultTLSPolicy begins in testing: a mistake in a policy that is enforced keeps mail away.
func defaultTLSPolicy() TLSPolicy {
	return TLSPolicy{MTASTS: true, DANE: true, Publish: PublishTesting, MaxAge: 7 * 24 * 3600}
}

func (v *validator) tlsPolicy() {
	p := &v.c.TLSPolicy
	modes := []string{PublishTesting, PublishEnforce, PublishNone, PublishOff}
	v.oneOf("tls_policy.publish", p.Publish, modes...)
	for _, mx := range p.MX {
		host := strings.TrimPrefix(mx, "*.")
		if !validHost(host) || !strings.Contains(host, ".") || net.ParseIP(host) != nil {
			v.fail("tls_policy.mx", "tls_policy.mx: %q is not a host name such as mx.example.com or *.example.com", mx)
		}
	}
	longest := int64(limits.Default().TLSPolicy.MaxAge.Seconds())
	if p.MaxAge < 0 || p.MaxAge > longest {
		v.fail("tls_policy.max_age", "tls_policy.max_age: %d is not between 0 and %d seconds", p.MaxAge, longest)
	}
	if p.NewKeyAfter < 0 {
		v.fail("tls_policy.new_key_after", "tls_policy.new_key_after: %d is below 0", p.NewKeyAfter)
	}
}

// tlsPolicyDocument is the part of a written configuration.
const tlsPolicyDocument = `
# How securely mail crosses the Internet; docs/tls.md tells more.
[tls_policy]
# Honour what other domains ask of who delivers to them: their MTA-STS policies and TLSA records. Mail
# waits rather than going over a connection that falls short of that.
{{switched "mta_sts" .TLSPolicy.MTASTS true}}
{{switched "dane" .TLSPolicy.DANE true}}
# The MTA-STS policy of our own domains: "testing" has senders report what would fail, "enforce" keeps
# them from delivering then, "none" takes a policy back, "off" serves nothing. "tram domain dns" prints
# the records that go with it.
{{set "publish" .TLSPolicy.Publish "testing" "enforce"}}
# The exchangers that the policy names; empty: this server alone.
{{list "mx" .TLSPolicy.MX "mail.example.com"}}
# How long senders keep it, in seconds: raise it to 2592000 (a month) once all is well.
{{counted "max_age" .TLSPolicy.MaxAge 604800}}
# Days after which a certificate by ACME gets a new key, once the next key's TLSA record has been in the
# DNS for two days; 0: keys stay, and so do TLSA records.
{{counted "new_key_after" .TLSPolicy.NewKeyAfter 0}}
`
