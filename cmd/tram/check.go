package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"tram/internal/admin"
	"tram/internal/config"
	"tram/internal/server"
)

// checkFlags are those of the command check.
type checkFlags struct{ deep, repair bool }

func (a *app) check() *cobra.Command {
	var f checkFlags
	c := a.talks(&cobra.Command{
		Use: "check", Short: "Verify what is stored, and repair it; exit code 1 when something is wrong",
		Long: `Verifies that everything stored fits together, and prints a line for each thing that does
not. With --deep it also reads every file of the database and every message, compares them with their
checksums, and makes again what was derived from them to compare. The running server does it beside
its work; without one the data is opened for the time of the check.

With --repair, what is found is put right: the server must be stopped. Every message whose bytes are
intact stays readable; what is dropped is kept in a folder "damaged-..." within the data folder. What
cannot be repaired, a message whose bytes are lost, is named.

Exit codes: 0 everything is in order, 1 something is wrong (or still wrong after a repair) or the
check could not be made, 2 the command line means nothing.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if f.repair {
				return a.runRepair(c.Context())
			}
			return a.runCheck(c.Context(), f.deep)
		},
	})
	c.Flags().BoolVar(&f.deep, "deep", false, "read every message and every file of the database")
	c.Flags().BoolVar(&f.repair, "repair", false, "put right what is wrong; no server may be running")
	return c
}

func (a *app) runCheck(ctx context.Context, deep bool) error {
	c, err := a.configuration()
	if err != nil {
		return err
	}
	findings := []admin.Finding{}
	shown := newProgress(a.errs)
	report := func(f admin.Finding) {
		findings = append(findings, f)
		if !a.json {
			shown.end()
			fmt.Fprintln(a.out, findingText(f))
		}
	}
	client := admin.NewClient(c.AdminSocket())
	defer client.Close()
	err = client.Check(ctx, deep, shown.show, report)
	if errors.Is(err, admin.ErrNoServer) && !errors.Is(err, os.ErrPermission) {
		err = checkOffline(ctx, c, deep, shown.show, report)
	}
	shown.end()
	if err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(findings)
	} else if len(findings) == 0 {
		_, err = fmt.Fprintln(a.out, "Everything is in order.")
	} else {
		fmt.Fprintf(a.errs, "tram: %d findings in %s\n", len(findings), c.Data)
		if repairable(findings) {
			fmt.Fprintln(a.errs, "tram: stop the server, make a copy of the folder if you can, and run "+
				"tram check --repair")
		}
	}
	if len(findings) > 0 {
		return errReported
	}
	return err
}

func repairable(findings []admin.Finding) bool {
	for _, f := range findings {
		if f.Repairable {
			return true
		}
	}
	return false
}

func findingText(f admin.Finding) string {
	text := placeText(f) + ": " + f.What
	if f.Repairable {
		text += " (repairable)"
	}
	return text
}

func placeText(f admin.Finding) string {
	parts := []string{f.Kind}
	for _, p := range []string{f.Account, f.Where} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ", ")
}

// somethingThere refuses a folder in which a check would make a database of its own.
func somethingThere(c *config.Config) error {
	path := c.Data
	if c.Storage.Postgres == "" {
		path = filepath.Join(c.Data, server.DBName)
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("there is nothing to check: %w", err)
	}
	return nil
}

// checkOffline checks a data folder that no server runs on.
func checkOffline(ctx context.Context, c *config.Config, deep bool, progress func(admin.Progress),
	report func(admin.Finding)) error {
	if err := somethingThere(c); err != nil {
		return err
	}
	s, err := server.Open(ctx, server.Options{Config: *c, Version: fullVersion(), Offline: true})
	if err != nil {
		return err
	}
	return errors.Join(s.Admin.Check(ctx, deep, progress, report), s.Close())
}

// repairReport is what a repair prints as JSON.
type repairReport struct {
	Found []admin.Finding `json:"found"`
	Done  []admin.Finding `json:"done"`
	Left  []admin.Finding `json:"left"`
	Kept  string          `json:"kept,omitempty"` // folder of what was dropped
}

func (a *app) runRepair(ctx context.Context) error {
	c, err := a.configuration()
	if err != nil {
		return err
	}
	if err := somethingThere(c); err != nil {
		return err
	}
	r := repairReport{Found: []admin.Finding{}, Done: []admin.Finding{}, Left: []admin.Finding{}}
	shown := newProgress(a.errs)
	into := func(list *[]admin.Finding, word string) func(admin.Finding) {
		return func(f admin.Finding) {
			f.Repairable = f.Repairable && word == "found"
			*list = append(*list, f)
			if !a.json {
				shown.end()
				fmt.Fprintf(a.out, "%s: %s: %s\n", word, placeText(f), f.What)
			}
		}
	}
	o := server.Options{Config: *c, Version: fullVersion()}
	r.Kept, err = server.Repair(ctx, o, admin.Mend{
		Found: into(&r.Found, "found"), Did: into(&r.Done, "done"), Left: into(&r.Left, "left"),
		Progress: shown.show,
	})
	shown.end()
	if err != nil {
		return err
	}
	return a.printRepair(r)
}

func (a *app) printRepair(r repairReport) error {
	switch {
	case a.json:
		if err := a.printJSON(r); err != nil {
			return err
		}
	case len(r.Left) > 0:
		fmt.Fprintf(a.out, "Repaired but for %d findings, which are named above.\n", len(r.Left))
	case len(r.Found)+len(r.Done) > 0:
		fmt.Fprintln(a.out, "Repaired. Everything is in order.")
	default:
		fmt.Fprintln(a.out, "Everything is in order, nothing was changed.")
	}
	if r.Kept != "" && !a.json {
		fmt.Fprintf(a.out, "What was dropped or replaced is kept in %s.\n", r.Kept)
	}
	if len(r.Left) > 0 {
		return errReported
	}
	return nil
}
