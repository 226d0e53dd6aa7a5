package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tram/internal/admin"
	"tram/internal/limits"
)

// quota reads --quota and --messages.
type quota struct {
	bytes    string
	messages string
	name     string // of what bytes was read from, in complaints
}

func (q *quota) flags(c *cobra.Command) {
	q.name = "--quota"
	c.Flags().StringVar(&q.bytes, "quota", "",
		"`size` of stored mail at most, as in 5G or 500M (default: no bound)")
	q.messagesFlag(c, "(default: no bound)")
}

func (q *quota) messagesFlag(c *cobra.Command, otherwise string) {
	c.Flags().StringVar(&q.messages, "messages", "", "`number` of stored messages at most "+otherwise)
}

// value is what the flags, or a SIZE in their place, make of a quota as it stands.
func (q *quota) value(c *cobra.Command, now admin.Quota) (admin.Quota, error) {
	bytes, err := bound(q.bytes, now.Bytes, parseSize)
	if err != nil {
		return now, &usageError{c.CommandPath(), fmt.Errorf("%s: %w", q.name, err)}
	}
	messages, err := bound(q.messages, now.Messages, parseCount)
	if err != nil {
		return now, &usageError{c.CommandPath(), fmt.Errorf("--messages: %w", err)}
	}
	return admin.Quota{Bytes: bytes, Messages: messages}, nil
}

// bound reads a bound: "none" is 0, and "" leaves it as it is.
func bound(s string, now int64, parse func(string) (int64, error)) (int64, error) {
	switch s {
	case "":
		return now, nil
	case "none":
		return 0, nil
	}
	n, err := parse(s)
	if err == nil && n < 0 {
		err = fmt.Errorf("%s is below 0: \"none\" lifts the bound", s)
	}
	return n, err
}

func parseCount(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", s)
	}
	return n, nil
}

// parseSize reads a size as people write it: 5G, 5g and 5GiB are the same, and 5GB is what disk
// makers mean by it.
func parseSize(s string) (int64, error) {
	number := strings.TrimRight(s, "bBiIkKmMgGtT")
	unit := strings.ToUpper(s[len(number):])
	switch unit {
	case "K", "M", "G", "T", "KIB", "MIB", "GIB", "TIB":
		unit = unit[:1] + "iB"
	case "KB":
		unit = "kB"
	}
	n, err := limits.ParseSize(number + unit)
	if err != nil {
		return 0, fmt.Errorf("%q is no size, which would be as in 500M, 5G or 1.5T", s)
	}
	return n, nil
}

func (a *app) accountQuota() *cobra.Command {
	return a.quotaCommand("ADDRESS", "an account", a.addresses,
		func(ctx context.Context, client *admin.Client, address string) (quotaOf, error) {
			p, err := client.Account(ctx, address)
			return quotaOf{p, p.Address, p.Quota, p.Used}, err
		},
		func(ctx context.Context, client *admin.Client, address string, q admin.Quota) (quotaOf, error) {
			p, err := client.ChangeAccount(ctx, address, admin.AccountChange{Quota: &q})
			return quotaOf{p, p.Address, p.Quota, p.Used}, err
		})
}

func (a *app) domainQuota() *cobra.Command {
	return a.quotaCommand("DOMAIN", "all of a domain's accounts together", a.domains,
		func(ctx context.Context, client *admin.Client, name string) (quotaOf, error) {
			d, err := client.Domain(ctx, name)
			return quotaOf{d, d.Unicode, d.Quota, d.Used}, err
		},
		func(ctx context.Context, client *admin.Client, name string, q admin.Quota) (quotaOf, error) {
			d, err := client.ChangeDomain(ctx, name, admin.DomainChange{Quota: &q})
			return quotaOf{d, d.Unicode, d.Quota, d.Used}, err
		})
}

// quotaOf is an account or a domain as its quota is concerned.
type quotaOf struct {
	whole       any // as JSON shows it
	name        string
	quota, used admin.Quota
}

// quotaCommand shows a quota, or changes what of it is named.
func (a *app) quotaCommand(
	of, what string, complete cobra.CompletionFunc,
	show func(context.Context, *admin.Client, string) (quotaOf, error),
	change func(context.Context, *admin.Client, string, admin.Quota) (quotaOf, error),
) *cobra.Command {
	q := quota{name: "SIZE"}
	c := &cobra.Command{
		Use:   "quota " + of + " [SIZE|none]",
		Short: "Show or set how much " + what + " may store",
		Long: "Show how much " + what + ` may store and does, or set it: SIZE is as in 500M or 5G, "none"
lifts the bound. Mail that is there stays, also over the bound; nothing more comes in then.`,
		Args: oneOrTwo(of),
		ValidArgsFunction: func(c *cobra.Command, args []string, s string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []string{"none", "1G", "5G", "10G", "50G"}, cobra.ShellCompDirectiveNoFileComp
			}
			return complete(c, args, s)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if q.bytes = ""; len(args) == 2 {
				q.bytes = args[1]
			}
			if _, err := q.value(c, admin.Quota{}); err != nil {
				return err // before anybody is asked
			}
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				now, err := show(ctx, client, args[0])
				if err != nil {
					return err
				}
				if len(args) == 1 && q.messages == "" {
					return a.showQuota(now)
				}
				wanted, err := q.value(c, now.quota)
				if err != nil {
					return err
				}
				if now, err = change(ctx, client, args[0], wanted); err != nil {
					return err
				}
				return a.done(now.whole, "Quota of %s: %s.%s", now.name, quotaText(now.quota), now.warning())
			})
		},
	}
	q.messagesFlag(c, "or \"none\"")
	return c
}

func oneOrTwo(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 2 {
			return nil
		}
		if len(args) > 2 {
			return fmt.Errorf("unexpected argument %q", args[2])
		}
		return exactly(name)(c, args)
	}
}

func (a *app) showQuota(q quotaOf) error {
	if a.json {
		return a.printJSON(q.whole)
	}
	return table{
		{"Quota", quotaText(q.quota)},
		{"Used", usedText(q.used, q.quota)},
	}.print(a.out)
}

// usedText says what is in use and, where there is a bound, how full that makes it.
func usedText(used, q admin.Quota) string {
	text := size(used.Bytes) + ", " + messages(used.Messages)
	if full, bounded := fullness(used, q); bounded {
		text += fmt.Sprintf(" (%d %% full)", full)
	}
	return text
}

// fullness is the use in percent of the nearer bound.
func fullness(used, q admin.Quota) (percent int, bounded bool) {
	for _, p := range [][2]int64{{used.Bytes, q.Bytes}, {used.Messages, q.Messages}} {
		if p[1] > 0 {
			percent, bounded = max(percent, int(float64(p[0])/float64(p[1])*100)), true
		}
	}
	return percent, bounded
}

// warning tells of a bound that is reached already.
func (q quotaOf) warning() string {
	if full, _ := fullness(q.used, q.quota); full < 100 {
		return ""
	}
	return fmt.Sprintf("\nIn use: %s. Nothing more comes in until some of it is deleted.",
		usedText(q.used, admin.Quota{}))
}
