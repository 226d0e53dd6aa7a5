package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"tram/internal/admin"
)

// table is rows of text with aligned columns. The first row is the heading.
type table [][]string

// add appends a row. What others have said may hold anything: it stays on its line and cannot act on
// the terminal.
func (t *table) add(cells ...string) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = harmless(c)
	}
	*t = append(*t, row)
}

// harmless makes text that may be a stranger's fit for a terminal: nothing in it moves the cursor or
// turns the writing round.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// print writes the table; a number column, named by its heading, is aligned to the right.
func (t table) print(w io.Writer, right ...string) error {
	width := make([]int, len(t[0]))
	for _, row := range t {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range t {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if contains(right, t[0][i]) {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
			b.WriteString("  ")
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// list prints rows under their heading or, when there are none, says so on standard error.
func (a *app) list(t table, none string, right ...string) error {
	if len(t) == 1 {
		_, err := fmt.Fprintln(a.errs, none)
		return err
	}
	return t.print(a.out, right...)
}

func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// done prints the outcome of a change: a sentence, or v as JSON.
func (a *app) done(v any, format string, args ...any) error {
	if a.json {
		return a.printJSON(v)
	}
	_, err := fmt.Fprintf(a.out, format+"\n", args...)
	return err
}

// size writes bytes for people: three digits and a binary unit.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 999.5 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	digits := 0
	if v < 9.95 {
		digits = 1
	}
	return fmt.Sprintf("%.*f %ciB", digits, v, units[i])
}

func quotaText(q admin.Quota) string {
	var parts []string
	if q.Bytes > 0 {
		parts = append(parts, size(q.Bytes))
	}
	if q.Messages > 0 {
		parts = append(parts, messages(q.Messages))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func messages(n int64) string {
	if n == 1 {
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}

// when writes a time in the reader's own zone.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// progress shows how far long work has come: a bar on a terminal, a line every tenth elsewhere.
type progress struct {
	w     io.Writer
	bar   bool
	tenth int64
	what  string
	width int // of the bar's line as it stands
}

func newProgress(w io.Writer) *progress { return &progress{w: w, bar: terminal(w), tenth: -1} }

const barWidth = 30

func (p *progress) show(at admin.Progress) {
	if at.Done > at.Total {
		at.Total = 0 // there is more than was thought: no bar is better than a wrong one
	}
	text := fmt.Sprintf("%s: %d", at.What, at.Done)
	tenth := int64(0)
	if at.Total > 0 {
		text = fmt.Sprintf("%s: %d of %d", at.What, at.Done, at.Total)
		tenth = 10 * at.Done / at.Total
	}
	if p.bar {
		full := 0
		if at.Total > 0 {
			full = int(barWidth * at.Done / at.Total)
		}
		line := "[" + strings.Repeat("#", full) + strings.Repeat(" ", barWidth-full) + "] " + text
		p.draw(line)
		return
	}
	if tenth != p.tenth || at.What != p.what {
		p.tenth, p.what = tenth, at.What
		fmt.Fprintln(p.w, text)
	}
}

// draw replaces the bar's line; "" removes it.
func (p *progress) draw(line string) {
	n := utf8.RuneCountInString(line)
	fmt.Fprint(p.w, "\r"+line+strings.Repeat(" ", max(0, p.width-n)))
	if line == "" {
		fmt.Fprint(p.w, "\r")
	}
	p.width = n
}

// end takes the bar away.
func (p *progress) end() {
	if p.bar && p.width > 0 {
		p.draw("")
	}
}
