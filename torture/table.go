package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// outcome is one word for what came of it.
func (t *Trial) outcome() string {
	switch {
	case t.Missing != "":
		return "not run"
	case len(t.Missed) > 0:
		return "MISSED"
	}
	return "passed"
}

func (t *Trial) line() string {
	if t.Missing != "" {
		return fmt.Sprintf("%-4s %s: not run: %s", t.ID, t.Name, t.Missing)
	}
	return fmt.Sprintf("%-4s %s: %s, %d rounds in %s, seed %d: %s", t.ID, t.Name, t.outcome(), t.Done,
		t.Took.Round(time.Second), t.Seed, strings.Join(append(t.counts(), t.Notes...), "; "))
}

func (t *Trial) counts() []string {
	if !t.Compared {
		return nil
	}
	return []string{fmt.Sprintf("%d acknowledged, %d unknown, %d lost, %d doubled, %d torn", t.Acked,
		t.Unknown, t.Lost, t.Dup, t.Torn)}
}

// table is the result as Markdown.
func table(done []*Trial) string {
	var b strings.Builder
	b.WriteString(tableHead)
	for _, t := range done {
		b.WriteString(t.row())
	}
	return b.String()
}

const tableHead = "| fault | rounds | acknowledged | lost | doubled | torn | recovery | result | " +
	"figures and target |\n" +
	"| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |\n"

func (t *Trial) row() string {
	name := t.ID + " " + t.Name
	if t.Missing != "" {
		return fmt.Sprintf("| %s | | | | | | | not run | %s |\n", name, t.Missing)
	}
	counts := "| | | | |"
	if t.Compared {
		counts = fmt.Sprintf("| %d | %d | %d | %d |", t.Acked, t.Lost, t.Dup, t.Torn)
	}
	recovery := ""
	if t.Recovery > 0 {
		recovery = fmt.Sprintf("%.2f s", t.Recovery.Seconds())
	}
	text := strings.Join(append(slices.Clone(t.Notes), "target: "+t.Target), "; ")
	return fmt.Sprintf("| %s | %d %s %s | %s | %s |\n", name, t.Done, counts, recovery, t.outcome(), text)
}

// begin and end stand around the part of a document that is written by this program.
const (
	begin = "<!-- written by make torture: begin -->\n"
	end   = "<!-- written by make torture: end -->\n"
)

// fragment is the written part of a document: the rows of what was made, and for what was not made
// this time the rows that old has.
func fragment(done []*Trial, o options, old string) string {
	kernel, _ := exec.Command("uname", "-sr").Output()
	forms := []string{"short", "long", "full"}
	rows := map[string]string{}
	for line := range strings.Lines(old) {
		if id, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " "); ok {
			rows[id] = line
		}
	}
	for _, t := range done {
		rows[t.ID] = t.row()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Each row is of the fault's last run. The newest, in the %s form, was on %s: "+
		"%d cores, %s, %s; the server, its clients and strace share the cores.\n\n%s",
		forms[o.form], time.Now().Format("2006-01-02"), runtime.NumCPU(),
		strings.TrimSpace(string(kernel)), runtime.Version(), tableHead)
	for _, f := range faults() {
		b.WriteString(rows[f.ID])
	}
	b.WriteString("\nNot made here:\n\n| fault | why |\n| --- | --- |\n")
	for _, id := range elsewhere() {
		fmt.Fprintf(&b, "| %s | %s |\n", id, notHere[id])
	}
	return b.String()
}

// insert replaces what stands between the marks of a document by what write makes of it.
func insert(path string, write func(old string) string) error {
	doc, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(doc, []byte(begin))
	old, after, closed := bytes.Cut(rest, []byte(end))
	if !ok || !closed {
		return fmt.Errorf("%s has no line %q and %q", path, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	text := slices.Concat(before, []byte(begin), []byte(write(string(old))), []byte(end), after)
	return os.WriteFile(path, text, 0o644)
}

func listing() string {
	var b strings.Builder
	for _, f := range faults() {
		fmt.Fprintf(&b, "%-4s %s (%d, %d, %d rounds)\n     %s\n", f.ID, f.Name, f.Rounds.Short, f.Rounds.Long,
			f.Rounds.Full, f.Target)
	}
	b.WriteString("\nNot made here:\n")
	for _, id := range elsewhere() {
		fmt.Fprintf(&b, "%-4s %s\n", id, notHere[id])
	}
	return b.String()
}
