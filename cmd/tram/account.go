package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tram/internal/admin"
)

func (a *app) account() *cobra.Command {
	c := a.talks(&cobra.Command{Use: "account", Short: "The people who have mail here",
		Args: cobra.ArbitraryArgs, RunE: group})
	c.AddCommand(a.accountAdd(), a.accountList(), a.accountShow(), a.accountPasswd(),
		a.accountQuota(), a.accountPOP3(), a.accountDisable(), a.accountRemove())
	return c
}

// secret is how a command comes by a password: none given means one is generated.
type secret struct{ stdin, ask bool }

func (s *secret) flags(c *cobra.Command) {
	c.Flags().BoolVar(&s.stdin, "password-stdin", false, "read the password from standard input")
	c.Flags().BoolVar(&s.ask, "password", false, "ask for the password on the terminal")
}

// read returns the password, "" when it is to be generated.
func (s *secret) read(a *app) (string, error) {
	switch {
	case s.stdin:
		line, err := bufio.NewReader(a.in).ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", fmt.Errorf("no password on standard input: %w", errors.Join(err))
		}
		return line, nil
	case s.ask:
		return a.askPassword()
	}
	return "", nil
}

func (a *app) askPassword() (string, error) {
	f, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", errors.New("--password needs a terminal: use --password-stdin")
	}
	var typed [2]string
	for i, prompt := range []string{"Password: ", "Again: "} {
		fmt.Fprint(a.errs, prompt)
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(a.errs)
		if err != nil {
			return "", fmt.Errorf("read password: %w", err)
		}
		typed[i] = string(b)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two passwords differ: nothing was changed")
	}
	if typed[0] == "" {
		return "", errors.New("the password is empty: nothing was changed")
	}
	return typed[0], nil
}

func (a *app) accountAdd() *cobra.Command {
	var s secret
	var q quota
	var n admin.NewAccount
	c := &cobra.Command{
		Use: "add ADDRESS", Short: "Add an account; its password is generated and shown once",
		Args: exactly("ADDRESS"), ValidArgsFunction: nothing,
		RunE: func(c *cobra.Command, args []string) (err error) {
			n.Address = args[0]
			if n.Quota, err = q.value(c, admin.Quota{}); err != nil {
				return err
			}
			if n.Password, err = s.read(a); err != nil {
				return err
			}
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				account, err := client.AddAccount(ctx, n)
				if err != nil {
					return err
				}
				return a.changed(account, "Account %s added.", account.Address)
			})
		},
	}
	s.flags(c)
	q.flags(c)
	c.Flags().StringVar(&n.Name, "name", "", "the person's `name`")
	c.Flags().BoolVar(&n.Admin, "admin", false, "an administrator")
	return c
}

// changed prints an account's change and, once, its generated password.
func (a *app) changed(account admin.Account, format string, args ...any) error {
	if !a.json && account.Password != "" {
		format += "\nPassword: %s (shown this once)"
		args = append(args, account.Password)
	}
	return a.done(account, format, args...)
}

func (a *app) accountList() *cobra.Command {
	return &cobra.Command{
		Use: "list [DOMAIN]", Short: "List the accounts", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: a.domains,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				accounts, err := client.Accounts(ctx, strings.Join(args, ""))
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(accounts)
				}
				t := table{{"ADDRESS", "NAME", "STATE", "MESSAGES", "USED", "QUOTA"}}
				for _, p := range accounts {
					t.add(p.Address, p.Name, state(p), strconv.FormatInt(p.Used.Messages, 10),
						size(p.Used.Bytes), quotaText(p.Quota))
				}
				return a.list(t, "There are no accounts.", "MESSAGES", "USED")
			})
		},
	}
}

func state(p admin.Account) string {
	switch {
	case p.Disabled:
		return "disabled"
	case p.Admin:
		return "admin"
	}
	return "active"
}

func (a *app) accountShow() *cobra.Command {
	return &cobra.Command{
		Use: "show ADDRESS", Short: "Show an account", Args: exactly("ADDRESS"),
		ValidArgsFunction: a.addresses,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				p, err := client.Account(ctx, args[0])
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(p)
				}
				return table{
					{"Address", p.Address}, {"Name", p.Name}, {"State", state(p)},
					{"Administrator", yes(p.Admin)}, {"Added", when(p.Created)},
					{"Used", usedText(p.Used, p.Quota)}, {"Quota", quotaText(p.Quota)},
					{"Recoverable", fmt.Sprintf("%d deleted messages, %s",
						p.Recoverable.Messages, size(p.Recoverable.Bytes))},
				}.print(a.out)
			})
		},
	}
}

func (a *app) accountPasswd() *cobra.Command {
	var s secret
	c := &cobra.Command{
		Use: "passwd ADDRESS", Short: "Set a password, a generated one by default; open sessions end",
		Args: exactly("ADDRESS"), ValidArgsFunction: a.addresses,
		RunE: func(c *cobra.Command, args []string) error {
			password, err := s.read(a)
			if err != nil {
				return err
			}
			return a.change(c, args[0], admin.AccountChange{Password: &password}, "Password of %s set.")
		},
	}
	s.flags(c)
	return c
}

func (a *app) change(c *cobra.Command, address string, ch admin.AccountChange, format string) error {
	return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
		account, err := client.ChangeAccount(ctx, address, ch)
		if err != nil {
			return err
		}
		return a.changed(account, format, account.Address)
	})
}

func (a *app) accountDisable() *cobra.Command {
	var undo bool
	c := &cobra.Command{
		Use: "disable ADDRESS", Short: "Shut an account: no log-in, no mail; what is stored stays",
		Args: exactly("ADDRESS"), ValidArgsFunction: a.addresses,
		RunE: func(c *cobra.Command, args []string) error {
			disabled, format := !undo, "Account %s disabled; its sessions end."
			if undo {
				format = "Account %s enabled."
			}
			return a.change(c, args[0], admin.AccountChange{Disabled: &disabled}, format)
		},
	}
	c.Flags().BoolVar(&undo, "undo", false, "open it again")
	return c
}

func (a *app) accountRemove() *cobra.Command {
	var sure bool
	c := &cobra.Command{
		Use: "rm ADDRESS", Short: "Remove an account with all its mail, for good",
		Args: exactly("ADDRESS"), ValidArgsFunction: a.addresses,
		RunE: func(c *cobra.Command, args []string) error {
			if !sure && !a.confirm("Remove %s with all its mail, for good?", args[0]) {
				return fmt.Errorf("%s was not removed: confirm with --yes", args[0])
			}
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				if err := client.RemoveAccount(ctx, args[0]); err != nil {
					return err
				}
				return a.done(struct{}{}, "Account %s removed.", args[0])
			})
		},
	}
	c.Flags().BoolVar(&sure, "yes", false, "do not ask")
	return c
}

// confirm asks on a terminal; elsewhere the answer is no.
func (a *app) confirm(format string, args ...any) bool {
	if !terminal(a.in) {
		return false
	}
	fmt.Fprintf(a.errs, format+" [y/N] ", args...)
	line, err := bufio.NewReader(a.in).ReadString('\n')
	answer := strings.ToLower(strings.TrimSpace(line))
	return err == nil && (answer == "y" || answer == "yes")
}
