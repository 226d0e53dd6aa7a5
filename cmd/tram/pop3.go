package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tram/internal/admin"
)

// pop3 reads --folders, --policy and --seen.
type pop3 struct {
	folders      []string
	policy, seen string
}

// value is what the flags make of the settings as they stand.
func (p *pop3) value(c *cobra.Command, now admin.POP3) (admin.POP3, error) {
	wrong := func(err error) error { return &usageError{c.CommandPath(), err} }
	if c.Flags().Changed("folders") {
		if now.Folders = p.folders; len(p.folders) == 0 {
			return now, wrong(fmt.Errorf("--folders names none: \"INBOX\" is the usual"))
		}
	}
	if p.policy != "" {
		now.Policy, now.Days = p.policy, 0
		if n, days := strings.CutSuffix(p.policy, "d"); days {
			count, err := strconv.Atoi(n)
			if err != nil || count < 1 {
				return now, wrong(fmt.Errorf("--policy: %q is no number of days, as in 14d", p.policy))
			}
			now.Policy, now.Days = "days", count
		} else if p.policy != "keep" && p.policy != "delete" {
			return now, wrong(fmt.Errorf("--policy: %q is not \"keep\", \"delete\" or days, as in 14d", p.policy))
		}
	}
	switch p.seen {
	case "":
	case "yes", "no":
		now.Seen = p.seen == "yes"
	default:
		return now, wrong(fmt.Errorf("--seen: %q is not \"yes\" or \"no\"", p.seen))
	}
	return now, nil
}

// accountPOP3 shows what POP3 does with an account, or changes what of it is named.
func (a *app) accountPOP3() *cobra.Command {
	var p pop3
	c := &cobra.Command{
		Use:   "pop3 ADDRESS",
		Short: "Show or set what POP3 shows of an account, and what becomes of fetched mail",
		Long: `Show what programs that fetch mail over POP3 see of an account, or set it. What nobody has fetched
always stays, and what goes can be recovered like all deleted mail.`,
		Example: `  tram account pop3 ann@example.com --folders INBOX,Archive
  tram account pop3 ann@example.com --policy 14d --seen yes`,
		Args: exactly("ADDRESS"), ValidArgsFunction: a.addresses,
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := p.value(c, admin.POP3{}); err != nil {
				return err // before anybody is asked
			}
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				account, err := client.Account(ctx, args[0])
				if err != nil {
					return err
				}
				if !c.Flags().Changed("folders") && p.policy == "" && p.seen == "" {
					return a.showPOP3(account)
				}
				wanted, err := p.value(c, account.POP3)
				if err != nil {
					return err
				}
				account, err = client.ChangeAccount(ctx, args[0], admin.AccountChange{POP3: &wanted})
				if err != nil {
					return err
				}
				return a.done(account, "POP3 of %s shows %s; fetched mail %s, and %s.", account.Address,
					strings.Join(account.POP3.Folders, ", "), policyText(account.POP3), seenText(account.POP3))
			})
		},
	}
	c.Flags().StringSliceVar(&p.folders, "folders", nil,
		"`names` of the folders that are shown, with commas between (usually INBOX)")
	c.Flags().StringVar(&p.policy, "policy", "",
		"what becomes of fetched mail: \"keep\", \"delete\", or `days` to keep it, as in 14d")
	c.Flags().StringVar(&p.seen, "seen", "", "whether fetched mail is marked as seen: \"yes\" or \"no\"")
	a.completePOP3(c)
	return c
}

// completePOP3 completes the flags: folders from the running server.
func (a *app) completePOP3(c *cobra.Command) {
	words := func(list ...string) cobra.CompletionFunc {
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return list, cobra.ShellCompDirectiveNoFileComp
		}
	}
	for flag, complete := range map[string]cobra.CompletionFunc{
		"folders": a.folders, "policy": words("keep", "delete", "7d", "14d", "30d"), "seen": words("yes", "no"),
	} {
		if err := c.RegisterFlagCompletionFunc(flag, complete); err != nil {
			fmt.Fprintln(a.errs, err) // a flag that is not there
		}
	}
}

// folders completes the next folder of a list.
func (a *app) folders(c *cobra.Command, args []string, s string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if len(args) == 1 {
		before := s[:strings.LastIndexByte(s, ',')+1]
		a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
			folders, err := client.Folders(ctx, args[0])
			for _, name := range folders {
				names = append(names, before+name)
			}
			return err
		})
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func (a *app) showPOP3(account admin.Account) error {
	if a.json {
		return a.printJSON(account)
	}
	return table{
		{"Folders", strings.Join(account.POP3.Folders, ", ")},
		{"Fetched mail", policyText(account.POP3)},
		{"Marks it as seen", yes(account.POP3.Seen)},
	}.print(a.out)
}

func policyText(p admin.POP3) string {
	switch p.Policy {
	case "delete":
		return "is deleted when the program has it"
	case "days":
		return fmt.Sprintf("is kept for %d days", p.Days)
	}
	return "is kept"
}

func seenText(p admin.POP3) string {
	if p.Seen {
		return "is marked as seen"
	}
	return "is not marked as seen"
}
