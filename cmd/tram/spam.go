package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tram/internal/admin"
	"tram/internal/deliver/learn"
	"tram/internal/spam"
)

func (a *app) spam() *cobra.Command {
	c := a.talks(&cobra.Command{Use: "spam", Short: "How mail is judged: reasons, lists, thresholds, learning",
		Args: cobra.ArbitraryArgs, RunE: group})
	c.AddCommand(a.spamExplain(), a.spamRejects(), a.spamLetIn(), a.spamRule("allow"), a.spamRule("deny"),
		a.spamForget(), a.spamList(), a.spamImport(), a.spamPolicy(), a.spamLearn(), a.spamReputation(),
		a.spamSuppressed())
	return c
}

func (a *app) spamExplain() *cobra.Command {
	var lang string
	c := &cobra.Command{
		Use: "explain ID", Short: "Say why a message was judged as it was",
		Long: `Says in a sentence each what spoke for and against a message: by its Message-ID, or by the id in
a log, a Received field or an SMTP reply.`,
		Args: exactly("ID"), ValidArgsFunction: nothing,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				list, err := client.SpamExplain(ctx, args[0], lang)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(list)
				}
				for i, r := range list {
					if i > 0 {
						fmt.Fprintln(a.out)
					}
					if err := a.printReasons(r, lang); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&lang, "lang", spam.English, "`language`: en or vi")
	return c
}

// spamResults are verdicts in the languages of explanations.
var spamResults = map[string][2]string{
	string(spam.Accept):     {"wanted", "thư mong muốn"},
	string(spam.Junk):       {"filed as junk", "chuyển vào thư rác"},
	string(spam.Quarantine): {"held for an administrator", "giữ lại chờ quản trị viên"},
	string(spam.Reject):     {"refused", "bị từ chối"},
	string(spam.ComeAgain):  {"asked to come again", "yêu cầu gửi lại sau"},
}

func (a *app) printReasons(r admin.SpamReason, lang string) error {
	n, heading := 0, "Message %s to %s: %s, score %s of %s\n"
	if lang == spam.Vietnamese {
		n, heading = 1, "Thư %s gửi %s: %s, điểm %s trên %s\n"
	}
	result := spamResults[r.Result][n]
	if result == "" {
		result = r.Result
	}
	fmt.Fprintf(a.out, heading, r.ID, bare(r.To), result, score(r.Score), score(r.Required))
	t := table{}
	for _, s := range r.Reasons {
		text := s.Sentence
		if text == "" {
			text = s.Name
		}
		if s.Detail != "" {
			text += ": " + s.Detail
		}
		t.add("  "+signed(s.Score), s.Name, text)
	}
	return t.print(a.out)
}

func score(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func signed(f float64) string {
	if f > 0 {
		return "+" + score(f)
	}
	return score(f)
}

func (a *app) spamRejects() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "rejects [ADDRESS]", Short: "List what was refused at the door, the latest first",
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.addresses,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				list, err := client.SpamRejects(ctx, strings.Join(args, ""), limit)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(list)
				}
				t := table{{"ID", "TIME", "SCORE", "FROM", "TO", "CLIENT", "SUBJECT"}}
				for _, r := range list {
					from := r.Author
					if from == "" {
						from = r.From
					}
					t.add(r.ID, when(r.Time), score(r.Score), from, strings.Join(r.Recipients, ", "), r.Client,
						cut(printable(r.Subject), 50))
				}
				return a.list(t, "Nothing was refused.", "SCORE")
			})
		},
	}
	c.Flags().IntVar(&limit, "limit", 100, "`number` of messages at most")
	return c
}

// printable takes controls out of what a stranger wrote.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

func (a *app) spamLetIn() *cobra.Command {
	return &cobra.Command{
		Use: "let-in ID", Short: "Allow the sender of a refused message, for those it was for",
		Args: exactly("ID"), ValidArgsFunction: nothing,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				in, err := client.SpamLetIn(ctx, args[0])
				if err != nil {
					return err
				}
				var who []string
				for _, r := range in.Rules {
					who = append(who, r.Value)
				}
				return a.done(in, "%s may write to %s now. Ask the sender to send it again: refused mail is not kept.",
					strings.Join(who, ", "), strings.Join(in.Message.Recipients, ", "))
			})
		},
	}
}

// whose adds the flag that says whose list is meant.
func (a *app) whose(c *cobra.Command, of *string) *cobra.Command {
	c.Flags().StringVar(of, "for", "", "an account's `address` or a domain; without it, the whole server")
	return c
}

func (a *app) spamRule(do string) *cobra.Command {
	var of, note string
	short := "Take all mail of an address, a domain or a network, when it is proved to be theirs"
	if do == "deny" {
		short = "Refuse all mail of an address, a domain or a network"
	}
	c := a.whose(&cobra.Command{
		Use: do + " SENDER...", Short: short, Args: atLeast("SENDER"), ValidArgsFunction: nothing,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				var rules admin.SpamRules
				for _, s := range args {
					rules.Rules = append(rules.Rules, admin.SpamRule{Do: do, Value: s, Note: note})
				}
				if err := client.SpamAddRules(ctx, of, rules); err != nil {
					return err
				}
				return a.done(rules, "Added to the list: %s %s.", do, strings.Join(args, ", "))
			})
		},
	}, &of)
	c.Flags().StringVar(&note, "note", "", "`why`, for whoever looks later")
	return c
}

func (a *app) spamForget() *cobra.Command {
	var of string
	return a.whose(&cobra.Command{
		Use: "forget SENDER", Short: "Take a sender off an allow or deny list", Args: exactly("SENDER"),
		ValidArgsFunction: nothing,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				if err := client.SpamRemoveRule(ctx, of, args[0]); err != nil {
					return err
				}
				return a.done(struct{}{}, "%s is on no list there any more.", args[0])
			})
		},
	}, &of)
}

func (a *app) spamList() *cobra.Command {
	var of string
	return a.whose(&cobra.Command{
		Use: "list", Short: "Print an allow and deny list, as \"import\" reads it", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				l, err := client.SpamRules(ctx, of)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(l)
				}
				if len(l.Rules) == 0 {
					fmt.Fprintln(a.errs, "The list is empty.")
				}
				for _, r := range l.Rules {
					line := r.Do + " " + r.Value
					if r.Note != "" {
						line += " # " + printable(r.Note)
					}
					fmt.Fprintln(a.out, line)
				}
				return nil
			})
		},
	}, &of)
}

// importAtOnce keeps a request small.
const importAtOnce = 1000

func (a *app) spamImport() *cobra.Command {
	var of string
	return a.whose(&cobra.Command{
		Use: "import FILE", Short: "Add the entries of a file, or of - for standard input, to a list",
		Args: exactly("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			in := a.in
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("read list: %w", err)
				}
				defer f.Close()
				in = f
			}
			rules, err := spam.ReadRules(in)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				for rest := rules; len(rest) > 0; {
					var some admin.SpamRules
					for _, r := range rest[:min(len(rest), importAtOnce)] {
						do, _, _ := strings.Cut(r.String(), " ")
						some.Rules = append(some.Rules, admin.SpamRule{Do: do, Value: r.Value, Note: r.Note})
					}
					if err := client.SpamAddRules(ctx, of, some); err != nil {
						return err
					}
					rest = rest[len(some.Rules):]
				}
				return a.done(map[string]int{"entries": len(rules)}, "%d entries added.", len(rules))
			})
		},
	}, &of)
}

func (a *app) spamPolicy() *cobra.Command {
	var of string
	var junk, quarantine, reject float64
	var reset bool
	c := a.whose(&cobra.Command{
		Use: "policy", Short: "Show or set from which score on mail is junk, held or refused",
		Long: `Without flags it shows the thresholds. 0 switches a consequence off. A person's thresholds go
before those of the domain, and these before the server's, which stand in the configuration.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			change := admin.SpamPolicyChange{Reset: reset}
			for flag, set := range map[string]func(){
				"junk":       func() { change.Set.Junk = &junk },
				"quarantine": func() { change.Set.Quarantine = &quarantine },
				"reject":     func() { change.Set.Reject = &reject },
			} {
				if c.Flags().Changed(flag) {
					set()
				}
			}
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				if reset || change.Set != (spam.PolicyChange{}) {
					if err := client.SpamSetPolicy(ctx, of, change); err != nil {
						return err
					}
				}
				p, err := client.SpamPolicy(ctx, of)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(p)
				}
				return table{
					{"Junk from", level(p.Holds.Junk), origin(p.Set.Junk)},
					{"Held from", level(p.Holds.Quarantine), origin(p.Set.Quarantine)},
					{"Refused from", level(p.Holds.Reject), origin(p.Set.Reject)},
				}.print(a.out)
			})
		},
	}, &of)
	c.Flags().Float64Var(&junk, "junk", 0, "`score` from which on mail goes to the junk mail")
	c.Flags().Float64Var(&quarantine, "quarantine", 0, "`score` from which on it is held for an administrator")
	c.Flags().Float64Var(&reject, "reject", 0, "`score` from which on it is refused")
	c.Flags().BoolVar(&reset, "reset", false, "forget what was set here")
	return c
}

func level(f float64) string {
	if f == 0 {
		return "never"
	}
	return score(f)
}

func origin(set *float64) string {
	if set != nil {
		return "set here"
	}
	return "as above it"
}

func (a *app) spamLearn() *cobra.Command {
	var junk, good bool
	var account string
	c := &cobra.Command{
		Use: "learn --spam|--ham FILE...", Short: "Learn from collected messages, mailboxes or folders of them",
		Long: `Learns from files that hold one message each, from mailboxes in the format of old Unix (mbox),
and from all files of a folder, Maildir included. Learning a message again changes nothing.`,
		Args: atLeast("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			if junk == good {
				return &usageError{c.CommandPath(), fmt.Errorf("one of --spam and --ham is wanted")}
			}
			n := 0
			err := a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				return eachFile(args, func(path string) error {
					f, err := os.Open(path)
					if err != nil {
						return fmt.Errorf("read messages: %w", err)
					}
					defer f.Close()
					return learn.Messages(f, func(raw []byte) error {
						l := admin.SpamLesson{Account: account, Junk: junk, Message: raw}
						if err := client.SpamLearn(ctx, l); err != nil {
							return fmt.Errorf("%s: %w", path, err)
						}
						n++
						return nil
					})
				})
			})
			if err != nil {
				return err
			}
			return a.done(map[string]int{"messages": n}, "Learned from %s.", messages(int64(n)))
		},
	}
	c.Flags().BoolVar(&junk, "spam", false, "they are spam")
	c.Flags().BoolVar(&good, "ham", false, "they are wanted")
	c.Flags().StringVar(&account, "account", "", "only for the person with this `address`; without it, for all")
	return c
}

// eachFile calls fn for the files named, and for all below the folders named.
func eachFile(paths []string, fn func(path string) error) error {
	for _, p := range paths {
		err := filepath.WalkDir(p, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return fmt.Errorf("read messages: %w", err)
			}
			if !d.Type().IsRegular() || path != p && strings.HasPrefix(d.Name(), ".") {
				return nil
			}
			return fn(path)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *app) spamReputation() *cobra.Command {
	var of string
	return a.whose(&cobra.Command{
		Use: "reputation NAME", Short: "Tell how mail of an address, a domain or a network was in the past",
		Args: exactly("NAME"), ValidArgsFunction: nothing,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				list, err := client.SpamReputation(ctx, args[0], of)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(list)
				}
				t := table{{"KIND", "NAME", "WANTED", "SPAM"}}
				for _, r := range list {
					t.add(r.Kind, r.Name, fmt.Sprintf("%.1f", r.Good), fmt.Sprintf("%.1f", r.Bad))
				}
				return a.list(t, "Nothing is known of it.", "WANTED", "SPAM")
			})
		},
	}, &of)
}

func (a *app) spamSuppressed() *cobra.Command {
	var after string
	var limit int
	c := &cobra.Command{Use: "suppressed", Short: "Addresses elsewhere that do not exist and are not tried again",
		Args: cobra.ArbitraryArgs, RunE: group}
	list := &cobra.Command{
		Use: "list", Short: "List them", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				l, err := client.SpamSuppressed(ctx, after, limit)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(l)
				}
				t := table{{"ADDRESS", "SINCE", "UNTIL", "ANSWER"}}
				for _, s := range l {
					t.add(s.Address, when(s.Since), when(s.Until), cut(printable(s.Reason), 70))
				}
				return a.list(t, "There are none.")
			})
		},
	}
	list.Flags().StringVar(&after, "after", "", "go on after this `address`")
	list.Flags().IntVar(&limit, "limit", 100, "`number` of addresses at most")
	c.AddCommand(list, &cobra.Command{
		Use: "remove ADDRESS", Short: "Let mail go there again", Args: exactly("ADDRESS"), ValidArgsFunction: nothing,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				if err := client.SpamUnsuppress(ctx, args[0]); err != nil {
					return err
				}
				return a.done(struct{}{}, "Mail to %s goes out again.", args[0])
			})
		},
	})
	return c
}
