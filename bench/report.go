package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tram/bench/plot"
)

// writeReport writes RESULTS.md and the plots from the records that are kept.
func writeReport(folder string) error {
	var b strings.Builder
	b.WriteString(preface)
	for _, kind := range []string{"peers", "own", "checks", "growth", "spam"} {
		rec, err := readRecord(folder, kind)
		if err != nil {
			return err
		}
		if rec == nil {
			continue
		}
		b.WriteString("\n" + rec.section())
		if err := rec.draw(filepath.Join(folder, "plots")); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(folder, "RESULTS.md"), []byte(b.String()), 0o644)
}

const preface = `# Results

` + "`make bench`, `make bench-peers`, `make bench-growth` and `make bench-spam`" + ` write this file from what they
measured (bench/records).

- Load generator and server share the machine; everything goes over loopback. One server runs at a time, started anew
  for each measurement, after the one before has finished what it does in the background.
- A message counts as delivered when it is in its mailbox. Every run over SMTP reads its messages back, over IMAP or at
  the sink they were relayed to: each must be there once and end in exactly the bytes that were sent. A run that finds
  one lost, doubled or altered fails and has no figures here.
- CPU is the server's user and system time with all its processes and their children, in seconds per 1,000 messages or
  operations. "Index included" counts until the server is quiet again: Trạm indexes text in the background.
- Memory is the proportional set size (PSS) of all processes.
`

// section tells of a record in Markdown.
func (rec *record) section() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s, %s; %.0f minutes.", map[string]string{
		"own": "Trạm alone", "peers": "Beside Postfix and Dovecot", "growth": "How cost grows",
		"spam": "What words tell of junk", "checks": "What the checks cost"}[rec.Kind],
		rec.When.Format("2006-01-02 15:04"), rec.Machine, rec.Minutes)
	if rec.Load > 0 {
		fmt.Fprintf(&b, " Load average just before: %.1f.", rec.Load)
	}
	if rec.Note != "" {
		b.WriteString(" " + rec.Note)
	}
	b.WriteString("\n\n")
	for _, s := range rec.Servers {
		fmt.Fprintf(&b, "- %s: %s\n", s.Name, s.Version)
		for _, line := range s.Settings {
			fmt.Fprintf(&b, "  - %s\n", line)
		}
		if s.Durable != "" {
			fmt.Fprintf(&b, "  - durable at the 250: %s\n", s.Durable)
		}
	}
	b.WriteString("\n")
	switch rec.Kind {
	case "peers":
		rec.compare(&b)
		rec.details(&b)
	case "own":
		rec.details(&b)
	case "checks":
		rec.checksSection(&b)
	case "growth":
		rec.curves(&b)
	case "spam":
		rec.spamSection(&b)
	}
	for _, t := range rec.Tests {
		for _, e := range t.Errors {
			fmt.Fprintf(&b, "\nFailed: %s\n", strings.ReplaceAll(e, "\n", "; "))
		}
	}
	return b.String()
}

// outcome returns the outcome of a test.
func (rec *record) outcome(name string) (outcome, bool) {
	for _, t := range rec.Tests {
		if t.Test == name {
			return t, true
		}
	}
	return outcome{}, false
}

// spread prints a median with the range of its runs.
func (o outcome) spread(server int, key string) string {
	least, median, most, ok := o.stat(server, key)
	switch {
	case !ok:
		return "-"
	case least == most:
		return figure(median)
	}
	return fmt.Sprintf("%s (%s–%s)", figure(median), figure(least), figure(most))
}

func (rec *record) compare(b *strings.Builder) {
	fmt.Fprintf(b, "Medians of %d runs each (1 of syncs, the filling, searches in notes, MOVE and EXPUNGE of 50,000, "+
		"and 10,000 idle connections), least and most in\nbrackets. The ratio is of the medians, above 1 where Trạm "+
		"is better; its brackets hold the ratios of the "+
		"pairs that ran one after the other.\n\n", rec.Rounds)
	for _, group := range groups {
		fmt.Fprintf(b, "![%s](plots/peers-%s.svg)\n", group.title, group.file)
	}
	rec.table(b, rows)
}

// table lists rows of two servers with their ratios.
func (rec *record) table(b *strings.Builder, rows []row) {
	fmt.Fprintf(b, "\n| work | %s | %s | ratio |\n| --- | ---: | ---: | ---: |\n", rec.Servers[0].Name,
		rec.Servers[1].Name)
	for _, row := range rows {
		o, ok := rec.outcome(row.test)
		if !ok {
			continue
		}
		ratio := "-"
		if least, r, most, ok := o.ratio(row.key, row.less); ok {
			ratio = figure(r)
			if least != most {
				ratio += fmt.Sprintf(" (%s–%s)", figure(least), figure(most))
			}
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", row.label, o.spread(0, row.key), o.spread(1, row.key), ratio)
	}
}

// details lists every figure.
func (rec *record) details(b *strings.Builder) {
	head, rule := "| test | figure |", "| --- | --- |"
	for _, s := range rec.Servers {
		head += " " + s.Name + " |"
		rule += " ---: |"
	}
	fmt.Fprintf(b, "\nAll figures, medians of up to %d runs (least–most):\n\n%s\n%s\n", rec.Rounds, head, rule)
	for _, o := range rec.Tests {
		keys := map[string]bool{}
		for _, runs := range o.Runs {
			for _, r := range runs {
				for k := range r {
					keys[k] = true
				}
			}
		}
		name := fmt.Sprintf("%s: %s", o.Test, o.What)
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			fmt.Fprintf(b, "| %s | %s |", name, k)
			for i := range rec.Servers {
				fmt.Fprintf(b, " %s |", o.spread(i, k))
			}
			b.WriteString("\n")
			name = ""
		}
	}
}

// curves lists every figure of growth by size.
func (rec *record) curves(b *strings.Builder) {
	for _, c := range rec.Curves {
		what := subjects[at(c.Subject)].what
		fmt.Fprintf(b, "\n### By %s\n\n", what)
		for _, d := range drawings {
			if d.subject == c.Subject {
				fmt.Fprintf(b, "![%s](plots/growth-%s.svg)\n", d.title, d.file)
			}
		}
		keys := map[string]bool{}
		head, rule := "| figure |", "| --- |"
		for _, p := range c.Points {
			head += fmt.Sprintf(" %s |", plot.Number(p.X))
			rule += " ---: |"
			for k := range p.Figures {
				keys[k] = true
			}
		}
		fmt.Fprintf(b, "\n%s\n%s\n", head, rule)
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			fmt.Fprintf(b, "| %s |", k)
			for _, p := range c.Points {
				if v, ok := p.Figures[k]; ok {
					fmt.Fprintf(b, " %s |", figure(v))
				} else {
					b.WriteString(" - |")
				}
			}
			b.WriteString("\n")
		}
	}
}

// groups are the plots of ratios, by what a figure is about.
var groups = []struct {
	file, title string
	tests       []string
}{
	{"mail", "Receiving and sending, beside Postfix + Dovecot", []string{"4k", "mix", "1m", "perconn",
		"perconn-tls", "syncs", "relay"}},
	{"imap", "Reading, beside Postfix + Dovecot", []string{"append", "mixed", "pop3", "fill10k", "sync10k", "search10k",
		"lists", "finds", "bulky", "bulk", "sync100k", "search100k"}},
	{"rest", "Waiting and starting, beside Postfix + Dovecot", []string{"idle1k", "idle10k", "login", "startup"}},
}

// draw writes the plots of a record.
func (rec *record) draw(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var failed []error
	write := func(name, svg string) {
		failed = append(failed, os.WriteFile(filepath.Join(dir, name+".svg"), []byte(svg), 0o644))
	}
	if rec.Kind == "peers" {
		for _, g := range groups {
			write("peers-"+g.file, rec.bars(g.title, g.tests).SVG())
		}
	}
	if rec.Spam != nil {
		write("spam-words", rec.Spam.spamPlot().SVG())
	}
	for _, c := range rec.Curves {
		for _, d := range drawings {
			if d.subject != c.Subject {
				continue
			}
			l := plot.Lines{Title: d.title, X: subjects[at(c.Subject)].what, Y: d.y, LinearY: d.linear}
			for _, key := range d.lines {
				s := plot.Series{Name: key[1]}
				for _, p := range c.Points {
					if v, ok := p.Figures[key[0]]; ok {
						s.Points = append(s.Points, plot.Point{X: p.X, Y: v})
					}
				}
				l.Series = append(l.Series, s)
			}
			write("growth-"+d.file, l.SVG())
		}
	}
	return errors.Join(failed...)
}

// bars are the ratios of some tests.
func (rec *record) bars(title string, tests []string) plot.Bars {
	d := plot.Bars{Title: title, X: "times better (right of 1) or worse than Postfix + Dovecot; line: pairs of runs"}
	for _, row := range rows {
		o, ok := rec.outcome(row.test)
		if !row.bar || !ok || !slices.Contains(tests, row.test) {
			continue
		}
		if least, ratio, most, ok := o.ratio(row.key, row.less); ok {
			d.Bars = append(d.Bars, plot.Bar{Name: row.label, Value: ratio, Least: least, Most: most})
		}
	}
	return d
}
