package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"tram/internal/admin"
)

func (a *app) alias() *cobra.Command {
	c := a.talks(&cobra.Command{Use: "alias", Short: "Addresses that lead to other addresses",
		Args: cobra.ArbitraryArgs, RunE: group})
	c.AddCommand(
		&cobra.Command{
			Use:   "add ADDRESS TARGET...",
			Short: "Send mail for an address (or @DOMAIN: all that is left of it) to others",
			Args:  atLeast("ADDRESS", "TARGET"), ValidArgsFunction: nothing,
			RunE: func(c *cobra.Command, args []string) error {
				alias := admin.Alias{Address: args[0], Targets: targets(args[1:])}
				return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
					if err := client.AddAlias(ctx, alias); err != nil {
						return err
					}
					return a.done(alias, "Alias %s added: %s.", alias.Address,
						strings.Join(alias.Targets, ", "))
				})
			},
		},
		&cobra.Command{
			Use: "list [DOMAIN]", Short: "List the aliases", Args: cobra.MaximumNArgs(1),
			ValidArgsFunction: a.domains,
			RunE: func(c *cobra.Command, args []string) error {
				return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
					aliases, err := client.Aliases(ctx, strings.Join(args, ""))
					if err != nil {
						return err
					}
					if a.json {
						return a.printJSON(aliases)
					}
					t := table{{"ADDRESS", "TARGETS"}}
					for _, alias := range aliases {
						t.add(alias.Address, strings.Join(alias.Targets, ", "))
					}
					return a.list(t, "There are no aliases.")
				})
			},
		},
		&cobra.Command{
			Use: "rm ADDRESS", Short: "Remove an alias", Args: exactly("ADDRESS"),
			ValidArgsFunction: nothing,
			RunE: func(c *cobra.Command, args []string) error {
				return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
					if err := client.RemoveAlias(ctx, args[0]); err != nil {
						return err
					}
					return a.done(struct{}{}, "Alias %s removed.", args[0])
				})
			},
		},
	)
	return c
}

// targets takes addresses apart that were given with commas, as people write them. A comma within
// quotes is part of an address.
func targets(args []string) (all []string) {
	for _, arg := range args {
		quoted, escaped := false, false
		all = append(all, strings.FieldsFunc(arg, func(r rune) bool {
			switch {
			case escaped:
				escaped = false
				return false
			case r == '"':
				quoted = !quoted
			case r == '\\':
				escaped = quoted
			}
			return !quoted && (r == ',' || r == ' ')
		})...)
	}
	return all
}
