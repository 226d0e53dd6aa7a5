package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tram/internal/admin"
)

func (a *app) folder() *cobra.Command {
	c := a.talks(&cobra.Command{
		Use: "folder", Short: "Shared folders of a domain, and who may see whose folders",
		Long: `Folders that belong to a domain and not to a person: mail programs show them under "Shared". The
domain's administrators may do everything with them, everybody else what "tram folder share" says.
The same command shares a folder of a person's with colleagues: name the address in the domain's place.`,
		Example: `  tram folder add example.com Orders
  tram folder share example.com Orders anyone read
  tram folder share example.com Orders ann@example.com manage
  tram folder share boss@example.com INBOX ann@example.com write`,
		Args: cobra.ArbitraryArgs, RunE: group,
	})
	c.AddCommand(a.folderAdd(), a.folderList(), a.folderQuota(), a.folderRename(), a.folderRemove(), a.folderShare())
	return c
}

func (a *app) folderAdd() *cobra.Command {
	return &cobra.Command{
		Use: "add DOMAIN NAME", Short: "Make a shared folder; \"/\" in the name stands between levels",
		Args: exactly("DOMAIN", "NAME"), ValidArgsFunction: a.domains,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				f, err := client.AddFolder(ctx, args[0], admin.Folder{Name: args[1]})
				if err != nil {
					return err
				}
				if len(f.Access) == 0 {
					return a.done(f, "Shared folder \"%s\" of %s added. The domain's administrators see it; "+
						"let others: tram folder share %s \"%s\" anyone read", f.Name, args[0], args[0], f.Name)
				}
				return a.done(f, "Shared folder \"%s\" of %s added. Access: %s.", f.Name, args[0], accessText(f))
			})
		},
	}
}

func (a *app) folderList() *cobra.Command {
	return &cobra.Command{
		Use: "list DOMAIN|ADDRESS", Short: "List the shared folders of a domain, or the folders of an account",
		Args: exactly("DOMAIN or ADDRESS"), ValidArgsFunction: a.owners,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				folders, err := client.SharedFolders(ctx, args[0])
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(folders)
				}
				t := table{{"FOLDER", "MESSAGES", "SIZE", "ACCESS"}}
				for _, f := range folders {
					t.add(f.Name, strconv.FormatInt(f.Messages, 10), size(f.Bytes), accessText(f))
				}
				return a.list(t, "There are no shared folders.", "MESSAGES", "SIZE")
			})
		},
	}
}

// accessText says who has access to a folder beside its owner.
func accessText(f admin.Folder) string {
	var parts []string
	for _, x := range f.Access {
		parts = append(parts, x.Who+" "+x.Text())
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}

func (a *app) folderQuota() *cobra.Command {
	show := func(d admin.Domain) quotaOf {
		q := quotaOf{whole: d, name: "the shared folders of " + d.Unicode}
		if d.Folders != nil {
			q.quota, q.used = d.Folders.Quota, d.Folders.Used
		}
		return q
	}
	return a.quotaCommand("DOMAIN", "a domain's shared folders together", a.domains,
		func(ctx context.Context, client *admin.Client, name string) (quotaOf, error) {
			d, err := client.Domain(ctx, name)
			return show(d), err
		},
		func(ctx context.Context, client *admin.Client, name string, q admin.Quota) (quotaOf, error) {
			d, err := client.ChangeDomain(ctx, name, admin.DomainChange{FoldersQuota: &q})
			return show(d), err
		})
}

func (a *app) folderRename() *cobra.Command {
	return &cobra.Command{
		Use: "rename DOMAIN NAME NEW-NAME", Short: "Rename a shared folder, with all below it",
		Args: exactly("DOMAIN", "NAME", "NEW-NAME"), ValidArgsFunction: a.folderNames,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				f, err := client.ChangeFolder(ctx, args[0], admin.FolderChange{Name: args[1], NewName: &args[2]})
				if err != nil {
					return err
				}
				return a.done(f, "Shared folder \"%s\" of %s is called \"%s\" now.", args[1], args[0], f.Name)
			})
		},
	}
}

func (a *app) folderRemove() *cobra.Command {
	var sure bool
	c := &cobra.Command{
		Use: "rm DOMAIN NAME", Short: "Remove a shared folder with its messages",
		Args: exactly("DOMAIN", "NAME"), ValidArgsFunction: a.folderNames,
		RunE: func(c *cobra.Command, args []string) error {
			if !sure && !a.confirm("Remove the shared folder \"%s\" of %s with its messages?", args[1], args[0]) {
				return fmt.Errorf("\"%s\" was not removed: confirm with --yes", args[1])
			}
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				if err := client.RemoveFolder(ctx, args[0], args[1]); err != nil {
					return err
				}
				return a.done(struct{}{}, "Shared folder \"%s\" of %s removed.", args[1], args[0])
			})
		},
	}
	c.Flags().BoolVar(&sure, "yes", false, "do not ask")
	return c
}

func (a *app) folderShare() *cobra.Command {
	var long strings.Builder
	long.WriteString(`Say what somebody may do with a folder: of a domain's shared ones, or of an account's. WHO is an address
of the same domain, or "anyone" for all of it. ACCESS is one of

`)
	for _, w := range admin.AccessWords {
		fmt.Fprintf(&long, "  %-8s %s\n", w.Word, w.Means)
	}
	long.WriteString(`
or letters of RFC 4314, as in lrs. Folders that are made below it later begin with the same access. Who has
read a message is known for each person.`)
	return &cobra.Command{
		Use:   "share DOMAIN|ADDRESS NAME WHO ACCESS",
		Short: "Say who may do what with a folder of a domain or an account", Long: long.String(),
		Args: exactly("DOMAIN or ADDRESS", "NAME", "WHO", "ACCESS"), ValidArgsFunction: a.shareArgs,
		RunE: func(c *cobra.Command, args []string) error {
			change := admin.FolderChange{Name: args[1], Access: &admin.Access{Who: args[2], Rights: args[3]}}
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				f, err := client.ChangeFolder(ctx, args[0], change)
				if err != nil {
					return err
				}
				return a.done(f, "Access to \"%s\" of %s: %s.", f.Name, args[0], accessText(f))
			})
		},
	}
}

// owners completes domains and addresses from the running server.
func (a *app) owners(c *cobra.Command, args []string, s string) ([]string, cobra.ShellCompDirective) {
	names, _ := a.domains(c, args, s)
	more, d := a.addresses(c, args, s)
	return append(names, more...), d
}

// folderNames completes an owner, then one of the folders.
func (a *app) folderNames(c *cobra.Command, args []string, s string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return a.domains(c, args, s)
	}
	var names []string
	a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
		folders, err := client.SharedFolders(ctx, args[0])
		for _, f := range folders {
			names = append(names, f.Name)
		}
		return err
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}

// shareArgs completes what folderShare takes.
func (a *app) shareArgs(c *cobra.Command, args []string, s string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return a.owners(c, args, s)
	case 1:
		return a.folderNames(c, args, s)
	case 2:
		names, d := a.addresses(c, nil, s)
		return append(names, "anyone"), d
	case 3:
		var words []string
		for _, w := range admin.AccessWords {
			words = append(words, w.Word+"\t"+w.Means)
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}
