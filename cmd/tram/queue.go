package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"tram/internal/admin"
)

func (a *app) queue() *cobra.Command {
	c := a.talks(&cobra.Command{Use: "queue", Short: "Mail that waits to be sent",
		Args: cobra.ArbitraryArgs, RunE: group})
	var reason string
	var notify bool
	hold := a.queueDo("hold", "Keep items from being sent until released", "held", func() admin.QueueAction {
		return admin.QueueAction{Do: admin.QueueHold, Reason: reason}
	})
	hold.Flags().StringVar(&reason, "reason", "", "`why`, for whoever looks later")
	drop := a.queueDo("drop", "Remove items unsent", "dropped", func() admin.QueueAction {
		return admin.QueueAction{Do: admin.QueueDrop, Notify: notify}
	})
	drop.Flags().BoolVar(&notify, "notify", false, "tell the sender that it failed")
	c.AddCommand(a.queueList(), a.queueShow(),
		a.queueDo("retry", "Try items now", "will be tried now", func() admin.QueueAction {
			return admin.QueueAction{Do: admin.QueueRetry}
		}), hold,
		a.queueDo("release", "Let held items go", "released", func() admin.QueueAction {
			return admin.QueueAction{Do: admin.QueueRelease}
		}), drop)
	return c
}

func (a *app) queueList() *cobra.Command {
	var f admin.QueueFilter
	c := &cobra.Command{
		Use: "list", Short: "List what waits", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				l, err := queuePage(ctx, client, f)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(l.Items)
				}
				return a.printQueue(l)
			})
		},
	}
	c.Flags().StringVar(&f.Sender, "sender", "", "only from senders with this `text` in the address")
	c.Flags().StringVar(&f.Recipient, "recipient", "", "only to recipients with this `text` in the address")
	c.Flags().StringVar(&f.Domain, "domain", "", "only to this `domain`")
	c.Flags().StringVar(&f.State, "state", "", "only in this `state`: waiting, held or running")
	c.Flags().StringVar(&f.After, "after", "", "go on after this `place`: the one that the page before ends with, or an item's id")
	c.Flags().IntVar(&f.Limit, "limit", 100, "`number` of items at most")
	return c
}

// queuePage asks until the page is full or the queue is at its end: the server hands out what it has
// once it has looked at very many items that the filter leaves out.
func queuePage(ctx context.Context, client *admin.Client, f admin.QueueFilter) (admin.QueueList, error) {
	l, err := client.QueueList(ctx, f)
	for err == nil && l.More && len(l.Items) < f.Limit {
		var next admin.QueueList
		f.After, f.Limit = l.Next, f.Limit-len(l.Items)
		if next, err = client.QueueList(ctx, f); err == nil {
			next.Items = append(l.Items, next.Items...)
			f.Limit += len(l.Items)
			l = next
		}
	}
	return l, err
}

func (a *app) printQueue(l admin.QueueList) error {
	t := table{{"ID", "STATE", "SIZE", "SINCE", "NEXT TRY", "FROM", "TO", "LAST ANSWER"}}
	for _, it := range l.Items {
		to, answer := "", it.Reason
		for _, r := range it.Recipients {
			if to == "" {
				to = r.Address
			}
			if answer == "" {
				answer = r.LastReply
			}
		}
		if n := len(it.Recipients); n > 1 {
			to += fmt.Sprintf(" and %d more", n-1)
		}
		t.add(it.ID, it.State, size(it.Size), when(it.Created), when(it.Next), it.From, to,
			cut(answer, 60))
	}
	if err := a.list(t, "The queue is empty.", "SIZE"); err != nil || !l.More {
		return err
	}
	_, err := fmt.Fprintf(a.errs, "There are more: --after %s shows the next ones.\n", l.Next)
	return err
}

// cut shortens s to n characters.
func cut(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

func (a *app) queueShow() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show an item with the state of each recipient", Args: exactly("ID"),
		ValidArgsFunction: nothing,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				it, err := client.QueueShow(ctx, args[0])
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(it)
				}
				return a.printItem(it)
			})
		},
	}
}

func (a *app) printItem(it admin.QueueItem) error {
	facts := table{
		{"ID", it.ID}, {"State", it.State}, {"From", it.From}, {"Message-ID", it.MessageID},
		{"Size", size(it.Size)}, {"Came by", it.Origin}, {"Since", when(it.Created)},
		{"Next try", when(it.Next)}, {"Given up", when(it.Expires)},
	}
	if it.Reason != "" {
		facts.add("Held because", it.Reason)
	}
	if err := facts.print(a.out); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	t := table{{"RECIPIENT", "STATE", "TRIES", "LAST TRY", "NEXT TRY", "HOST", "ANSWER"}}
	for _, r := range it.Recipients {
		t.add(r.Address, r.State, strconv.Itoa(r.Attempts), when(r.LastTried), when(r.Next),
			r.LastHost, r.LastReply)
	}
	return t.print(a.out, "TRIES")
}

// queueDo is a command that does one thing to each of its items; those that fail are told and the
// others done.
func (a *app) queueDo(name, short, done string, action func() admin.QueueAction) *cobra.Command {
	return &cobra.Command{
		Use: name + " ID...", Short: short, Args: atLeast("ID"), ValidArgsFunction: nothing,
		RunE: func(c *cobra.Command, ids []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				failed := 0
				for _, id := range ids {
					if err := client.QueueDo(ctx, id, action()); err != nil {
						if len(ids) == 1 {
							return err
						}
						failed++
						fmt.Fprintf(a.errs, "tram: %v\n", err)
					} else if !a.json {
						fmt.Fprintf(a.out, "Queue item %s: %s.\n", id, done)
					}
				}
				if failed > 0 {
					return errReported
				}
				if a.json {
					return a.printJSON(struct{}{})
				}
				return nil
			})
		},
	}
}
