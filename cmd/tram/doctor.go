package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"tram/internal/admin"
	"tram/internal/admin/doctor"
	"tram/internal/admin/zone"
)

func (a *app) domainDNS() *cobra.Command {
	return &cobra.Command{
		Use: "dns DOMAIN", Short: "Print the DNS records a domain needs, as a zone file",
		Args: exactly("DOMAIN"), ValidArgsFunction: a.domains,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				records, err := client.Records(ctx, args[0])
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(records)
				}
				return zone.Write(a.out, records)
			})
		},
	}
}

func (a *app) doctor() *cobra.Command {
	return a.talks(&cobra.Command{
		Use: "doctor [DOMAIN]", Short: "See whether mail flows and is believed, and what to do about it",
		Long: `Compares what the Internet sees with what the server and its domains need: the DNS as its own
name servers answer, reverse names, block lists, port 25 outwards, certificates, the clock, the disk, and
whether strangers can send mail through the server. One line for each, with what to do.

The exit code is 0 when nothing is wrong (warnings may be), 1 otherwise.`,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.domains,
		RunE: func(c *cobra.Command, args []string) error {
			domain := strings.Join(args, "")
			lines, err := a.examine(c.Context(), domain)
			if err != nil {
				return err
			}
			return a.printDoctor(lines)
		},
	})
}

// examine asks the running server. That none runs is a finding of its own; there is nothing then that
// could say what the records should be.
func (a *app) examine(ctx context.Context, domain string) ([]doctor.Line, error) {
	c, err := a.configuration()
	if err != nil {
		return nil, err
	}
	client := admin.NewClient(c.AdminSocket())
	defer client.Close()
	lines, err := client.Examine(ctx, domain)
	if errors.Is(err, admin.ErrNoServer) && !errors.Is(err, os.ErrPermission) {
		return []doctor.Line{{
			Check: "server", About: c.Data, Level: doctor.Error, Text: "the server does not run: no mail is taken",
			Do: fmt.Sprint(noServer(c, err)),
		}}, nil
	}
	if errors.Is(err, admin.ErrNoServer) {
		return nil, noServer(c, err)
	}
	return lines, err
}

// marks stand before the lines, so that the bad ones are seen at once.
var marks = map[doctor.Level]string{
	doctor.OK: "ok     ", doctor.Warning: "warning", doctor.Unknown: "unknown", doctor.Error: "ERROR  ",
}

func (a *app) printDoctor(lines []doctor.Line) error {
	if a.json {
		if err := a.printJSON(lines); err != nil {
			return err
		}
	} else {
		bad := 0
		for _, l := range lines {
			fmt.Fprintf(a.out, "%s  %s %s: %s\n", marks[l.Level], l.Check, harmless(l.About), harmless(l.Text))
			if l.Do != "" {
				fmt.Fprintf(a.out, "         -> %s\n", harmless(l.Do))
			}
			if l.Level != doctor.OK {
				bad++
			}
		}
		fmt.Fprintf(a.out, "%d checks, %d to look at\n", len(lines), bad)
	}
	if worst := doctor.Worst(lines); worst == doctor.Error || worst == doctor.Unknown {
		return errReported
	}
	return nil
}
