package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tram/internal/admin"
	"tram/internal/config"
	"tram/internal/server"
	"tram/internal/trace"
)

func (a *app) check() *cobra.Command {
	var deep bool
	c := a.talks(&cobra.Command{
		Use: "check", Short: "Verify what is stored; exit code 1 when something is wrong",
		Long: `Verifies that everything stored fits together. With --deep every message is read too and
compared with its checksum. The running server does it beside its work; without one the data is
opened for the time of the check.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return a.runCheck(c.Context(), deep) },
	})
	c.Flags().BoolVar(&deep, "deep", false, "read every message")
	return c
}

func (a *app) runCheck(ctx context.Context, deep bool) error {
	c, err := a.configuration()
	if err != nil {
		return err
	}
	findings := []admin.Finding{}
	shown := newProgress(a.errs)
	report := func(f admin.Finding) {
		findings = append(findings, f)
		if !a.json {
			shown.end()
			fmt.Fprintln(a.out, findingText(f))
		}
	}
	client := admin.NewClient(c.AdminSocket())
	defer client.Close()
	err = client.Check(ctx, deep, shown.show, report)
	if errors.Is(err, admin.ErrNoServer) && !errors.Is(err, os.ErrPermission) {
		err = checkOffline(ctx, c, deep, shown.show, report)
	}
	shown.end()
	if err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(findings)
	} else if len(findings) == 0 {
		_, err = fmt.Fprintln(a.out, "Everything is in order.")
	} else {
		fmt.Fprintf(a.errs, "tram: %d findings in %s\n", len(findings), c.Data)
	}
	if len(findings) > 0 {
		return errReported
	}
	return err
}

func findingText(f admin.Finding) string {
	parts := []string{f.Kind}
	for _, p := range []string{f.Account, f.Where} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	text := strings.Join(parts, ", ") + ": " + f.What
	if f.Repairable {
		text += " (repairable)"
	}
	return text
}

// checkOffline checks a data folder that no server runs on.
func checkOffline(ctx context.Context, c *config.Config, deep bool, progress func(admin.Progress),
	report func(admin.Finding)) error {
	if _, err := os.Stat(c.Data); err != nil {
		return fmt.Errorf("there is nothing to check: %w", err)
	}
	s, err := server.Open(ctx, server.Options{Config: *c, Version: fullVersion(), Offline: true})
	if err != nil {
		return err
	}
	return errors.Join(s.Admin.Check(ctx, deep, progress, report), s.Close())
}

func (a *app) trace() *cobra.Command {
	var limit int
	c := a.talks(&cobra.Command{
		Use: "trace MESSAGE-ID|ADDRESS", Short: "Tell what happened to a message, step by step",
		Long: `Tells what happened to a message at each step and why: by its Message-ID, by the id in a
log, a Received field or an SMTP reply, or by an address for all its recent messages.`,
		Args: exactly("MESSAGE-ID|ADDRESS"), ValidArgsFunction: a.addresses,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				events, err := client.Trace(ctx, args[0], limit)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(events)
				}
				return a.printTrace(events, args[0])
			})
		},
	})
	c.Flags().IntVar(&limit, "limit", 1000, "`number` of steps at most")
	return c
}

// printTrace prints one table for each message.
func (a *app) printTrace(events []trace.Event, query string) error {
	if len(events) == 0 {
		return fmt.Errorf("nothing is known of %q", query)
	}
	var order []string
	trails := map[string][]trace.Event{}
	for _, e := range events {
		if trails[e.ID] == nil {
			order = append(order, e.ID)
		}
		trails[e.ID] = append(trails[e.ID], e)
	}
	for i, id := range order {
		if i > 0 {
			fmt.Fprintln(a.out)
		}
		if err := a.printTrail(id, trails[id]); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printTrail(id string, events []trace.Event) error {
	heading := "Message " + id
	for _, e := range events {
		if e.MessageID != "" {
			heading += " <" + strings.Trim(e.MessageID, "<>") + ">"
			break
		}
	}
	fmt.Fprintln(a.out, heading)
	t := table{{"TIME", "STEP", "RESULT", "FROM", "TO", "REMOTE", "WHY"}}
	for _, e := range events {
		result := e.Result
		if e.Code != 0 {
			result = strings.TrimSpace(result + " " + strconv.Itoa(e.Code))
		}
		t.add(when(e.Time), e.Step, result, bare(e.From), bare(e.To), e.Remote, e.Detail)
	}
	return t.print(a.out)
}

// bare takes an address out of its angle brackets; the null sender keeps them.
func bare(address string) string {
	if address == "<>" {
		return address
	}
	return strings.TrimSuffix(strings.TrimPrefix(address, "<"), ">")
}
