// Package mailtest answers "does the house as a whole do what it should for people?". A World holds
// a clock, a DNS and a network of its own; a House in it is a whole server, opened as the binary
// opens it, with its doors on free ports of loopback. People act through the real protocols: they
// send by SMTP and look by IMAP.
//
// It promises that nothing leaves the machine, that time moves only when a test moves it, and that
// every house is checked for damage when it ends. What must never happen: a test that depends on how
// fast the machine is, or on what another test does.
package mailtest
