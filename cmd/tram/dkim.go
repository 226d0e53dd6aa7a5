package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tram/internal/admin"
	"tram/internal/admin/zone"
)

func (a *app) dkim() *cobra.Command {
	c := a.talks(&cobra.Command{Use: "dkim", Short: "Keys that sign outgoing mail",
		Args: cobra.ArbitraryArgs, RunE: group})
	c.AddCommand(
		&cobra.Command{
			Use: "list [DOMAIN]", Short: "List the signing keys", Args: cobra.MaximumNArgs(1),
			ValidArgsFunction: a.domains,
			RunE: func(c *cobra.Command, args []string) error {
				return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
					keys, err := client.SigningKeys(ctx, strings.Join(args, ""))
					if err != nil {
						return err
					}
					return a.listKeys(keys)
				})
			},
		},
		&cobra.Command{
			Use: "record DOMAIN", Short: "Show the DNS records of the signing keys",
			Args: exactly("DOMAIN"), ValidArgsFunction: a.domains,
			RunE: func(c *cobra.Command, args []string) error {
				return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
					keys, err := client.SigningKeys(ctx, args[0])
					if err != nil {
						return err
					}
					if a.json {
						return a.printJSON(keys)
					}
					fmt.Fprint(a.out, keyRecords(keys))
					return nil
				})
			},
		},
		&cobra.Command{
			Use: "rotate DOMAIN", Short: "Make the next signing keys now, before it is time",
			Args: exactly("DOMAIN"), ValidArgsFunction: a.domains,
			RunE: func(c *cobra.Command, args []string) error {
				return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
					keys, err := client.SigningDo(ctx, args[0], admin.SigningAction{Action: admin.SigningRotate})
					if err != nil {
						return err
					}
					return a.done(keys, "The next keys of %s wait for their records "+
						"to be put into the DNS:\n\n%s\nThey sign as soon as the server sees the records "+
						"there. Leave the old ones for two weeks more.",
						args[0], keyRecords(waiting(keys)))
				})
			},
		},
		&cobra.Command{
			Use:   "activate DOMAIN [SELECTOR]",
			Short: "Sign with the keys that wait, whatever the DNS shows",
			Args:  cobra.RangeArgs(1, 2), ValidArgsFunction: a.domains,
			RunE: func(c *cobra.Command, args []string) error {
				action := admin.SigningAction{Action: admin.SigningActivate, Selector: strings.Join(args[1:], "")}
				return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
					keys, err := client.SigningDo(ctx, args[0], action)
					if err != nil {
						return err
					}
					if a.json {
						return a.printJSON(keys)
					}
					return a.listKeys(keys)
				})
			},
		},
	)
	return c
}

// waiting are the keys that sign nothing yet.
func waiting(keys []admin.SigningKey) (made []admin.SigningKey) {
	for _, k := range keys {
		if k.State == "made" {
			made = append(made, k)
		}
	}
	return made
}

// listKeys shows keys as a table.
func (a *app) listKeys(keys []admin.SigningKey) error {
	if a.json {
		return a.printJSON(keys)
	}
	t := table{{"DOMAIN", "SELECTOR", "ALGORITHM", "STATE", "SINCE", "IN THE DNS"}}
	for _, k := range keys {
		since := k.Created
		if k.Activated != nil {
			since = *k.Activated
		}
		if k.Retired != nil {
			since = *k.Retired
		}
		shown := "yes"
		switch {
		case k.Asked == nil:
			shown = "not asked yet"
		case !k.Published:
			shown = "no: " + k.Problem
		}
		t.add(k.Domain, k.Selector, k.Algorithm, k.State, since.Local().Format(time.DateOnly), shown)
	}
	return a.list(t, "There are no signing keys.")
}

// keyRecords are the TXT records of keys in zone-file form.
func keyRecords(keys []admin.SigningKey) string {
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "; %s, %s\n%s. 3600 IN TXT %s\n", k.Selector, k.State, k.Name, zone.Quote(k.Record))
	}
	return b.String()
}
