package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"tram/internal/admin"
	"tram/internal/config"
)

// Where things are when no flag says so.
const (
	defaultConfig = "/etc/tram/tram.toml"
	defaultData   = "/var/lib/tram"
	demoData      = "data/demo"
)

// talks adds the flags of commands that talk to a running server.
func (a *app) talks(c *cobra.Command) *cobra.Command {
	f := c.PersistentFlags()
	f.StringVar(&a.data, "data", "", "data `folder` of the server")
	f.StringVar(&a.file, "config", "", "configuration `file` of the server (default "+defaultConfig+
		", else the demo's data in "+demoData+")")
	f.BoolVar(&a.json, "json", false, "print JSON")
	c.MarkPersistentFlagDirname("data")
	c.MarkPersistentFlagFilename("config", "toml")
	return c
}

// configuration is that of the server meant, with Data and Admin at least.
func (a *app) configuration() (*config.Config, error) {
	if a.data != "" {
		return dataOnly(a.data), nil
	}
	if a.file != "" {
		return config.Load(a.file)
	}
	if _, err := os.Stat(defaultConfig); err == nil {
		return config.Load(defaultConfig)
	}
	if _, err := os.Stat(demoData); err == nil {
		return dataOnly(demoData), nil
	}
	return nil, fmt.Errorf("which server? there is no %s and no %s here: use --data DIR or --config FILE",
		defaultConfig, demoData)
}

func dataOnly(data string) *config.Config {
	c := config.Default()
	c.Data = data
	return &c
}

// ask runs fn with a client of the running server.
func (a *app) ask(ctx context.Context, fn func(context.Context, *admin.Client) error) error {
	c, err := a.configuration()
	if err != nil {
		return err
	}
	client := admin.NewClient(c.AdminSocket())
	defer client.Close()
	err = fn(ctx, client)
	if errors.Is(err, admin.ErrNoServer) {
		return noServer(c, err)
	}
	return err
}

func noServer(c *config.Config, err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("you may not administer the server on %s: run this as its user or as root", c.Data)
	}
	if _, missing := os.Stat(c.Data); errors.Is(missing, os.ErrNotExist) {
		return fmt.Errorf("there is no server here: %s does not exist", c.Data)
	}
	start := fmt.Sprintf("%q or %q", "tram serve", "tram demo --data "+c.Data)
	if c.File != "" {
		start = strconv.Quote("tram serve --config " + c.File)
	}
	return fmt.Errorf("no server is running on %s: start it with %s", c.Data, start)
}

// addresses completes account addresses from the running server.
func (a *app) addresses(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if len(args) == 0 {
		a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
			accounts, err := client.Accounts(ctx, "")
			for _, account := range accounts {
				names = append(names, account.Address)
			}
			return err
		})
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// domains completes domains from the running server.
func (a *app) domains(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if len(args) == 0 {
		a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
			domains, err := client.Domains(ctx)
			for _, d := range domains {
				names = append(names, d.Name)
			}
			return err
		})
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// nothing completes nothing, not even files.
func nothing(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}
