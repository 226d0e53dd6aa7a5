package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"tram/internal/admin"
	"tram/internal/admin/zone"
	"tram/internal/config"
	"tram/internal/server"
	"tram/internal/smtp"
)

// setup is one run of `tram setup`.
type setup struct {
	hostname, domain, admin string
	data, file              string
	password                secret

	records []zone.Record
	made    admin.Account // with a generated password, if there is one
	kept    bool          // the account was there already
}

func (a *app) setup() *cobra.Command {
	var s setup
	c := &cobra.Command{
		Use: "setup", Short: "Set up a server: configuration, keys, the first account, DNS records",
		Long: `Writes the configuration file, makes the keys and the first account, and prints the DNS
records, the systemd unit and what to do next. It changes nothing outside of the two paths.`,
		Example: "  tram setup --hostname mail.example.com --domain example.com --admin you@example.com",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := s.complete(); err != nil {
				return &usageError{c.CommandPath(), err}
			}
			return a.runSetup(c.Context(), &s)
		},
	}
	f := c.Flags()
	f.StringVar(&s.hostname, "hostname", "", "the server's own full `name`")
	f.StringVar(&s.domain, "domain", "", "the first `domain` to have mail")
	f.StringVar(&s.admin, "admin", "", "`address` of the first account, in that domain")
	f.StringVar(&s.data, "data", "/var/lib/tram", "`folder` for everything the server keeps")
	f.StringVar(&s.file, "config", defaultConfig, "configuration `file` to write")
	s.password.flags(c)
	c.MarkFlagDirname("data")
	c.MarkFlagFilename("config", "toml")
	return c
}

// complete checks the flags and fills in what follows from them.
func (s *setup) complete() error {
	for _, f := range []struct{ name, value, example string }{
		{"--hostname", s.hostname, "mail.example.com"}, {"--domain", s.domain, "example.com"},
		{"--admin", s.admin, "you@example.com"},
	} {
		if f.value == "" {
			return fmt.Errorf("%s is missing, as in %s %s", f.name, f.name, f.example)
		}
	}
	var err error
	if s.domain, err = smtp.ParseDomain(s.domain); err != nil {
		return fmt.Errorf("--domain: %w", err)
	}
	address, err := smtp.ParseAddress(s.admin)
	if err != nil || address.Domain != s.domain {
		return fmt.Errorf("--admin %q is not an address in %s", s.admin, s.domain)
	}
	for _, p := range []*string{&s.data, &s.file} {
		if *p, err = filepath.Abs(*p); err != nil {
			return fmt.Errorf("find path: %w", err)
		}
	}
	return nil
}

func (a *app) runSetup(ctx context.Context, s *setup) error {
	if _, err := os.Stat(s.file); err == nil {
		return fmt.Errorf("%s is there already: edit it, or remove it to set up anew", s.file)
	}
	c := config.Default()
	c.Hostname, c.Data, c.Listen = s.hostname, s.data, config.Standard()
	c.Certs.ACME.Email = s.admin
	if err := c.Validate(); err != nil {
		return err
	}
	password, err := s.password.read(a)
	if err != nil {
		return err
	}
	if err := s.people(ctx, c, password); err != nil {
		return err
	}
	if err := s.write(c); err != nil {
		return err
	}
	return s.print(a.out)
}

// people makes the domain, its signing keys and the account. They may be there from a run that was cut
// short.
func (s *setup) people(ctx context.Context, c config.Config, password string) (err error) {
	house, err := server.Open(ctx, server.Options{Config: c, Version: fullVersion(), Offline: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, house.Close()) }()
	var f *admin.Fault
	_, err = house.Admin.AddDomain(ctx, s.domain)
	if errors.As(err, &f) && f.Kind == admin.KindExists {
		err = nil
	}
	if err != nil {
		return err
	}
	if err := makeKeys(ctx, house.Admin, s.domain); err != nil {
		return err
	}
	if s.records, err = house.Admin.Records(ctx, s.domain); err != nil {
		return err
	}
	s.made, err = house.Admin.AddAccount(ctx, admin.NewAccount{
		Address: s.admin, Password: password, Admin: true,
	})
	if errors.As(err, &f) && f.Kind == admin.KindExists {
		s.kept = true
		s.made, err = house.Admin.Account(ctx, s.admin)
	}
	return err
}

// makeKeys sees to it that a domain has signing keys: one that an earlier build made may have none.
func makeKeys(ctx context.Context, house *admin.House, domain string) error {
	keys, err := house.SigningKeys(ctx, domain)
	if err == nil && len(keys) == 0 {
		_, err = house.SigningDo(ctx, domain, admin.SigningAction{Action: admin.SigningRotate})
	}
	return err
}

// write puts the configuration file in its place, whole or not at all.
func (s *setup) write(c config.Config) error {
	var b bytes.Buffer
	if err := config.Write(&b, c); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.file), 0o755); err != nil {
		return fmt.Errorf("make folder of the configuration: %w", err)
	}
	f, err := os.OpenFile(s.file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("write configuration: %w: run as root, or name another place with --config", err)
	}
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	_, err = f.Write(b.Bytes())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(s.file)
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}
