package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tram/internal/admin"
	"tram/internal/reports"
)

// reportFlags are those of `tram dmarc` and `tram tlsrpt`.
type reportFlags struct {
	since string
	all   bool
}

func (f *reportFlags) on(c *cobra.Command) {
	c.Flags().StringVar(&f.since, "since", "30d", "how far to look back: `days` (30d), weeks (8w) or a date (2026-01-31)")
	c.Flags().BoolVar(&f.all, "all", false, "count reports whose sender could not be verified too")
}

// query is what the flags ask for of a domain.
func (f *reportFlags) query(domain string, now time.Time) (admin.ReportQuery, error) {
	q := admin.ReportQuery{Domain: domain, All: f.all}
	if t, err := time.ParseInLocation("2006-01-02", f.since, time.Local); err == nil {
		q.Days = max(int(now.Sub(t)/(24*time.Hour))+1, 1)
		return q, nil
	}
	text, unit := strings.TrimSuffix(f.since, "d"), 1
	if weeks, ok := strings.CutSuffix(f.since, "w"); ok {
		text, unit = weeks, 7
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 || n > 3650 {
		return q, fmt.Errorf("--since %s is neither days (30d), weeks (8w) nor a date (2026-01-31)", f.since)
	}
	q.Days = n * unit
	return q, nil
}

func (a *app) dmarc() *cobra.Command {
	var f reportFlags
	c := a.talks(&cobra.Command{
		Use: "dmarc [DOMAIN]", Short: "What others report of mail in your domains' names",
		Long: `Sums up the DMARC reports that other servers sent about a domain: who sends mail in its name,
what passes and what fails, and what to do about it. Without a domain: a line for each.`,
		Args: atMostOne("DOMAIN"), ValidArgsFunction: a.domains,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				return eachReport(ctx, a, client, &f, args, client.DMARCReports, a.printDMARC, a.listDMARC)
			})
		},
	})
	f.on(c)
	c.AddCommand(a.oneReport())
	return c
}

func (a *app) tlsrpt() *cobra.Command {
	var f reportFlags
	c := a.talks(&cobra.Command{
		Use: "tlsrpt [DOMAIN]", Short: "What others report of TLS on the way to your domains",
		Long: `Sums up the TLS reports that other servers sent about a domain: whether their mail could be
delivered as its policy (MTA-STS, DANE) asks, and what went wrong. Without a domain: a line for each.`,
		Args: atMostOne("DOMAIN"), ValidArgsFunction: a.domains,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				return eachReport(ctx, a, client, &f, args, client.TLSReports, a.printTLS, a.listTLS)
			})
		},
	})
	f.on(c)
	c.AddCommand(a.oneReport())
	return c
}

// atMostOne wants one argument or none.
func atMostOne(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 1 {
			return fmt.Errorf("unexpected argument %q after %s", args[1], name)
		}
		return nil
	}
}

// eachReport asks for the summary of one domain and prints it, or for those of all and lists them.
func eachReport[S any](ctx context.Context, a *app, client *admin.Client, f *reportFlags, args []string,
	ask func(context.Context, admin.ReportQuery) (S, error), one func(S) error, list func([]S) error,
) error {
	if len(args) == 1 {
		q, err := f.query(args[0], time.Now())
		if err != nil {
			return err
		}
		sum, err := ask(ctx, q)
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(sum)
		}
		return one(sum)
	}
	domains, err := client.Domains(ctx)
	if err != nil {
		return err
	}
	all := []S{}
	for _, d := range domains {
		q, err := f.query(d.Name, time.Now())
		if err != nil {
			return err
		}
		sum, err := ask(ctx, q)
		if err != nil {
			return err
		}
		all = append(all, sum)
	}
	if a.json {
		return a.printJSON(all)
	}
	return list(all)
}

// percent is a part of a whole for people.
func percent(part, whole int64) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}

func reportCount(n int) string {
	if n == 1 {
		return "1 report"
	}
	return fmt.Sprintf("%d reports", n)
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

func (a *app) listDMARC(all []reports.DMARCSummary) error {
	t := table{{"DOMAIN", "REPORTS", "UNVERIFIED", "MESSAGES", "PASSED", "QUARANTINED", "REJECTED", "POLICY"}}
	for _, s := range all {
		t.add(s.Domain, strconv.Itoa(s.Reports), strconv.Itoa(s.Unknown), count(s.Messages),
			percent(s.Passed, s.Messages), count(s.Quarantined), count(s.Rejected), s.Policy.P)
	}
	return a.list(t, "There are no domains.", "REPORTS", "UNVERIFIED", "MESSAGES", "PASSED", "QUARANTINED",
		"REJECTED")
}

// shownMost is how many sources or reports are printed; JSON has all.
const shownMost = 40

func (a *app) printDMARC(s reports.DMARCSummary) error {
	fmt.Fprintf(a.out, "Mail in the name of %s since %s: %s in %s, %s passed.\n", s.Domain,
		when(s.Since), messages(s.Messages), reportCount(s.Reports), percent(s.Passed, s.Messages))
	printAdvice(a.out, s.Advice)
	if len(s.Sources) > 0 {
		fmt.Fprintln(a.out)
		t := table{{"SOURCE", "MESSAGES", "PASSED", "DKIM", "SPF", "QUARANTINED", "REJECTED", "SAID BY", "WHAT TO DO"}}
		for _, src := range s.Sources[:min(len(s.Sources), shownMost)] {
			t.add(address(src.Address), count(src.Messages), count(src.Passed), count(src.DKIM), count(src.SPF),
				count(src.Quarantined), count(src.Rejected), strings.Join(src.Orgs, ", "), src.Advice)
		}
		if err := t.print(a.out, "MESSAGES", "PASSED", "DKIM", "SPF", "QUARANTINED", "REJECTED"); err != nil {
			return err
		}
		a.more(len(s.Sources), "sources")
	}
	return a.printReports(s.List)
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return "others"
	}
	return a.String()
}

func printAdvice(w io.Writer, advice []string) {
	for _, line := range advice {
		fmt.Fprintln(w, harmless(line))
	}
}

func (a *app) more(n int, what string) {
	if n > shownMost {
		fmt.Fprintf(a.errs, "%d more %s are in the output of --json.\n", n-shownMost, what)
	}
}

// printReports lists the reports that a summary is made of.
func (a *app) printReports(list []reports.Listed) error {
	if len(list) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	t := table{{"REPORT", "FROM", "UNTIL", "BY", "SENDER", "VERIFIED", "TOTAL", "GOOD"}}
	for _, l := range list[:min(len(list), shownMost)] {
		t.add(l.Name, when(l.Begin), when(l.End), l.Org, l.Sender, yes(l.Known), count(l.Total), count(l.Good))
	}
	if err := t.print(a.out, "TOTAL", "GOOD"); err != nil {
		return err
	}
	a.more(len(list), "reports")
	return nil
}

func (a *app) listTLS(all []reports.TLSSummary) error {
	t := table{{"DOMAIN", "REPORTS", "UNVERIFIED", "SUCCESSES", "FAILURES"}}
	for _, s := range all {
		t.add(s.Domain, strconv.Itoa(s.Reports), strconv.Itoa(s.Unknown), count(s.Successes), count(s.Failures))
	}
	return a.list(t, "There are no domains.", "REPORTS", "UNVERIFIED", "SUCCESSES", "FAILURES")
}

func (a *app) printTLS(s reports.TLSSummary) error {
	fmt.Fprintf(a.out, "TLS on the way to %s since %s: %d sessions as the policy asks, %d not, in %s.\n",
		s.Domain, when(s.Since), s.Successes, s.Failures, reportCount(s.Reports))
	printAdvice(a.out, s.Advice)
	if len(s.Details) > 0 {
		fmt.Fprintln(a.out)
		t := table{{"WHAT", "POLICY", "MX", "SESSIONS", "SAID BY", "CODE", "WHAT TO DO"}}
		for _, d := range s.Details[:min(len(s.Details), shownMost)] {
			t.add(d.Type, d.Policy, d.MX, count(d.Sessions), strings.Join(d.Orgs, ", "), cut(d.Code, 40), d.Advice)
		}
		if err := t.print(a.out, "SESSIONS"); err != nil {
			return err
		}
		a.more(len(s.Details), "ways")
	}
	return a.printReports(s.List)
}

func (a *app) oneReport() *cobra.Command {
	return &cobra.Command{
		Use: "report REPORT", Short: "Show one received report", Args: exactly("REPORT"),
		ValidArgsFunction: nothing,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				w, err := client.Report(ctx, args[0])
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(w)
				}
				return a.printReport(w)
			})
		},
	}
}

func (a *app) printReport(w reports.Whole) error {
	t := table{{"", ""}}
	t.add("Report", w.Name)
	t.add("About", w.Domain)
	t.add("By", w.Org)
	t.add("Its identifier", w.ID)
	t.add("Sender", w.Sender+", verified: "+yes(w.Known))
	t.add("From", when(w.Begin))
	t.add("Until", when(w.End))
	t.add("Received", when(w.Received.Received))
	if d := w.DMARC; d != nil {
		t.add("Contact", d.Email)
		p := d.Policy
		t.add("Policy", fmt.Sprintf("%s: p=%s sp=%s np=%s adkim=%s aspf=%s", p.Domain, p.P, p.SP, p.NP, p.ADKIM,
			p.ASPF))
		for _, e := range d.Errors {
			t.add("Error", e)
		}
		if d.Left > 0 {
			t.add("Left out", fmt.Sprintf("%d rows with %d messages", d.Left, d.LeftMessages))
		}
	}
	if err := table(t[1:]).print(a.out); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	if w.Kind == reports.TLS {
		return a.printPolicies(w)
	}
	rows := table{{"SOURCE", "MESSAGES", "DISPOSITION", "DKIM", "SPF", "FROM", "ENVELOPE", "REASON"}}
	for _, r := range w.Records {
		reason := ""
		for _, why := range r.Reasons {
			reason += why.Type + " " + why.Comment + " "
		}
		rows.add(address(r.Source), count(r.Count), r.Disposition, r.DKIM, r.SPF, r.HeaderFrom, r.EnvelopeFrom, reason)
	}
	return rows.print(a.out, "MESSAGES")
}

func (a *app) printPolicies(w reports.Whole) error {
	t := table{{"POLICY", "DOMAIN", "SESSIONS", "WHAT", "MX", "ADDRESS", "CODE"}}
	for _, p := range w.Policies {
		t.add(p.Policy.Type, p.Policy.Domain, count(p.Summary.Successes), "success", "", "", "")
		for _, f := range p.Failures {
			t.add(p.Policy.Type, p.Policy.Domain, count(f.Count), f.Type, f.MX, f.ReceivingIP, cut(f.Code, 60))
		}
	}
	return t.print(a.out, "SESSIONS")
}
