package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"tram/internal/admin"
)

func (a *app) domain() *cobra.Command {
	c := a.talks(&cobra.Command{Use: "domain", Short: "The domains the server answers for",
		Args: cobra.ArbitraryArgs, RunE: group})
	c.AddCommand(
		&cobra.Command{
			Use: "add DOMAIN", Short: "Answer for a domain", Args: exactly("DOMAIN"),
			ValidArgsFunction: nothing,
			RunE: func(c *cobra.Command, args []string) error {
				return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
					d, err := client.AddDomain(ctx, args[0])
					if err != nil {
						return err
					}
					return a.done(d, "Domain %s added.", d.Unicode)
				})
			},
		},
		&cobra.Command{
			Use: "list", Short: "List the domains", Args: exactly(),
			RunE: func(c *cobra.Command, _ []string) error {
				return a.ask(c.Context(), a.listDomains)
			},
		},
		a.domainDNS(),
		a.domainQuota(),
		&cobra.Command{
			Use:   "rm DOMAIN",
			Short: "No longer answer for a domain that has no accounts and aliases left",
			Args:  exactly("DOMAIN"), ValidArgsFunction: a.domains,
			RunE: func(c *cobra.Command, args []string) error {
				return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
					if err := client.RemoveDomain(ctx, args[0]); err != nil {
						return err
					}
					return a.done(struct{}{}, "Domain %s removed.", args[0])
				})
			},
		},
	)
	return c
}

func (a *app) listDomains(ctx context.Context, client *admin.Client) error {
	domains, err := client.Domains(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(domains)
	}
	t := table{{"DOMAIN", "ACCOUNTS", "ALIASES", "QUOTA", "ADDED"}}
	for _, d := range domains {
		t.add(d.Unicode, strconv.Itoa(d.Accounts), strconv.Itoa(d.Aliases), quotaText(d.Quota),
			when(d.Created))
	}
	return a.list(t, "There are no domains.", "ACCOUNTS", "ALIASES")
}
