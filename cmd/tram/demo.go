package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"tram/internal/admin"
	"tram/internal/config"
	"tram/internal/directory"
	"tram/internal/server"
	"tram/internal/smtp"
)

// The demo's people.
const (
	demoDomain   = "example.test"
	demoPassword = "tram-demo-mail"
)

// demoFlags are the command line of `tram demo`.
type demoFlags struct {
	data, smarthost, dns string
	base                 int
	measure, noChecks    bool
}

func (a *app) demo() *cobra.Command {
	var f demoFlags
	c := &cobra.Command{
		Use: "demo", Short: "Run the whole server on this machine alone, to try it",
		Long: `Runs the whole server on loopback with two accounts and a certificate of its own making.
Nobody outside of this machine can reach it. What it keeps is in the data folder and is still there
the next time.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return a.runDemo(c, f) },
	}
	c.Flags().StringVar(&f.data, "data", demoData, "data `folder`")
	c.Flags().IntVar(&f.base, "port-base", 2000, "ports are `N` + the standard numbers")
	c.Flags().StringVar(&f.smarthost, "smarthost", "", "send mail for other domains through `HOST:PORT`")
	c.Flags().StringVar(&f.dns, "dns", "", "ask the name server at `HOST:PORT`, and send by what it says")
	c.Flags().BoolVar(&f.measure, "measure", false,
		"for load generators: log-in without TLS, no limits per address")
	c.Flags().BoolVar(&f.noChecks, "no-checks", false,
		"take mail from outside unseen: nobody asks who sent it or whether it is junk")
	c.MarkFlagDirname("data")
	return c
}

func (a *app) runDemo(c *cobra.Command, f demoFlags) error {
	o, err := demoOptions(f)
	if err != nil {
		return &usageError{c.CommandPath(), err}
	}
	o.Version, o.Logger = fullVersion(), a.logger(o.Config.Log)
	prepare(o.Logger)
	ctx := c.Context()
	s, err := server.Open(ctx, o)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w with --port-base N", err)
	}
	if err != nil {
		return err
	}
	if err := settle(ctx, s); err != nil {
		return errors.Join(err, s.Close())
	}
	return serveUntil(ctx, s, o.Logger, func() { a.demoScreen(s, f) })
}

// demoOptions turns flags into a configuration that binds loopback alone.
func demoOptions(f demoFlags) (server.Options, error) {
	if f.base < 0 || f.base > 65535-993 {
		return server.Options{}, fmt.Errorf("--port-base %d: ports end at 65535", f.base)
	}
	data, err := filepath.Abs(f.data)
	if err != nil {
		return server.Options{}, fmt.Errorf("--data: %w", err)
	}
	at := func(port int) []string {
		return []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(f.base+port))}
	}
	c := config.Default()
	c.Hostname, c.Data = "mail."+demoDomain, data
	c.Listen = config.Listen{
		SMTP: at(25), Submissions: at(465), Submission: at(587), IMAP: at(143), IMAPS: at(993),
		POP3: at(110), POP3S: at(995),
		HTTP: at(80), HTTPS: at(443),
	}
	c.Certs = config.Certs{Source: config.CertsSelfMade,
		Names: []string{demoDomain, "localhost", "127.0.0.1", "::1"}}
	c.Log.Level = "warn"
	if f.noChecks {
		c.Authentication.Enabled, c.Spam.Enabled, c.Scan.Enabled = false, false, false
		c.Reports.DMARC, c.Reports.TLS, c.Reports.Icons = false, false, false
	}
	o := server.Options{AllowPrivate: true, Measure: f.measure, OutsideWaits: f.dns == "", Decoder: decoder()}
	if f.smarthost != "" {
		c.Smarthost = config.Smarthost{Address: f.smarthost, Security: config.TLSOptional}
	}
	if f.dns != "" {
		server, err := netip.ParseAddrPort(f.dns)
		if err != nil {
			return o, fmt.Errorf("--dns %q is not an address and a port such as 127.0.0.1:53", f.dns)
		}
		c.DNS.Servers = []netip.AddrPort{server}
	}
	o.Config = c
	return o, c.Validate()
}

// settle makes the demo's domain and accounts when they are not there.
func settle(ctx context.Context, s *server.Server) error {
	_, err := s.Directory.Domain(ctx, demoDomain)
	if errors.Is(err, directory.ErrNotFound) {
		_, err = s.Admin.AddDomain(ctx, demoDomain)
	}
	if err != nil {
		return err
	}
	// Side by side: most of it is the hashing of passwords and waiting for the disk.
	var adding errgroup.Group
	for name, full := range map[string]string{"alice": "Alice", "bob": "Bob"} {
		address := smtp.Address{Local: name, Domain: demoDomain}
		if _, err := s.Directory.AccountByAddress(ctx, address); err == nil {
			continue
		}
		adding.Go(func() error {
			_, err := s.Admin.AddAccount(ctx, admin.NewAccount{
				Address: address.String(), Name: full, Password: demoPassword, AllowCommonPassword: true,
			})
			return err
		})
	}
	return adding.Wait()
}

// demoScreen tells a newcomer what there is; its last line is "ready".
func (a *app) demoScreen(s *server.Server, f demoFlags) {
	at := func(door string) string { return s.Addr(door).String() }
	ca := s.Certs.CAFile()
	fmt.Fprintf(a.out, `Trạm %s: a mail server for trying out, on this machine alone.

  receives   smtp://%s
  submission smtp://%s (STARTTLS)   smtps://%s
  mailboxes  imap://%s (STARTTLS)   imaps://%s
             pop3://%s (STARTTLS)   pop3s://%s
  web        http://%s/   https://%s/

  log in as  alice@%s or bob@%s, password %s
  certificate authority  %s
  data       %s

Send a message:
  printf 'From: you@example.net\r\nTo: bob@%s\r\nSubject: Hello\r\n\r\nFirst mail.\r\n' |
    curl -sS smtp://%s --mail-from you@example.net --mail-rcpt bob@%s -T -

Read it:
  curl -sS --cacert %s -u bob@%s:%s 'imaps://%s/INBOX;MAILINDEX=1'

%s
`,
		fullVersion(), at("smtp"), at("submission"), at("submissions"), at("imap"), at("imaps"),
		at("pop3"), at("pop3s"), at("http"), at("https"), demoDomain, demoDomain, demoPassword, ca, f.data,
		demoDomain, at("smtp"), demoDomain, shellQuote(ca), demoDomain, demoPassword, at("imaps"),
		f.outside())
	if f.measure {
		fmt.Fprintln(a.out, "Log-in without TLS is allowed and limits per address are lifted (--measure).")
	}
	if f.noChecks {
		fmt.Fprintln(a.out, "Mail from outside is taken unseen (--no-checks).")
	}
	fmt.Fprintln(a.out, "Ctrl-C ends it.\n\nready")
}

// outside tells what happens to mail for other domains.
func (f demoFlags) outside() string {
	switch {
	case f.smarthost != "":
		return "Mail for other domains leaves through " + f.smarthost + "."
	case f.dns != "":
		return "Mail for other domains goes where the name server at " + f.dns + " says."
	}
	return "Mail for other domains waits in the queue: see `tram queue list`; --smarthost or --dns send it."
}

// shellQuote makes s one word of a shell.
func shellQuote(s string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			r == '/' || r == '.' || r == '-' || r == '_'
	}
	for _, r := range s {
		if !safe(r) {
			return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
		}
	}
	return s
}
