package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tram/internal/admin"
	"tram/internal/trace"
)

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
