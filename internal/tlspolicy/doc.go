// Package tlspolicy answers "how securely must we talk to that MX?": MTA-STS (RFC 8461) and DANE
// (RFC 7672) of other domains, and what we publish of both for our own.
//
// It promises: a policy that was learnt holds until it expires, whatever an attacker does to the DNS
// or to HTTPS meanwhile; a failure to find out is never taken for "there is no policy" where DNSSEC
// says that there may be one; everything that is fetched, kept and waited for is bounded.
//
// What must never happen: mail goes out in the clear, or to a server that has not proved its name,
// where a policy in force forbids that; a policy is fetched from this machine's own network on a
// stranger's word.
package tlspolicy
