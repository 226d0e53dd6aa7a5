// Package e2e answers "does the binary do what the README says?" with the real program and the
// mail programs and libraries people use: swaks, curl, Postfix, mbsync, mutt, mpop, Python's imaplib
// and poplib, imapflow of Node.js, go-imap's client.
//
// It holds tests only. Each starts its own server on loopback in a folder of its own, on ports of
// its own, and ends what it started. A program that is missing fails the test with the name of the
// package to install: `make test` installs them all.
package e2e
