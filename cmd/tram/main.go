// Command tram is the mail server Trạm: it runs it, sets it up and looks after it.
//
// This package is thin: it reads flags, asks [tram/internal/server] for a house or a running one
// through [tram/internal/admin], and prints. Exit codes are 0 for done, 1 for failed and 2 for a
// command line that means nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// version is the release this source becomes; builds from git add the commit.
const version = "0.1.0"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	a := &app{in: in, out: out, errs: errs}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(errs, "tram: %v\nRun %q for help.\n", err, usage.command+" --help")
		return exitUsage
	case errors.Is(err, errReported):
		return exitFailed
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(errs, "tram: interrupted")
		return exitFailed
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Fprintf(errs, "tram: %s\n", line)
	}
	return exitFailed
}

// errReported is a failure that has been told already.
var errReported = errors.New("failed")

// usageError is a command line that means nothing.
type usageError struct {
	command string
	err     error
}

func (u *usageError) Error() string { return u.err.Error() }

// app is what every command works with.
type app struct {
	in         io.Reader
	out, errs  io.Writer
	data, file string // --data, --config
	json       bool
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "tram",
		Short: "A mail server: receives, keeps, serves and sends the mail of your domains",
		Long: `Trạm is a mail server in one program. Try it on this machine with "tram demo"; set up a
real one with "tram setup" and run it with "tram serve". The other commands talk to the running
server.`,
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error { return group(c, args) },
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(a.demo(), a.setup(), a.serve(), a.doctor(), a.domain(), a.dkim(), a.account(),
		a.alias(), a.folder(), a.queue(), a.spam(), a.check(), a.trace(), a.dmarc(), a.tlsrpt(), a.profile(),
		a.version(), a.decode())
	guard(root)
	return root
}

// group is a command that has no meaning without one of its own commands.
func group(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	err := fmt.Errorf("unknown command %q for %q", args[0], c.CommandPath())
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w, did you mean %q?", err, near[0])
	}
	return &usageError{c.CommandPath(), err}
}

// guard makes every command's complaint about flags and arguments a usageError.
func guard(c *cobra.Command) {
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &usageError{c.CommandPath(), err}
	})
	c.SuggestionsMinimumDistance = 2
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := errors.Join(check(c, args), exclusive(c)); err != nil {
				return &usageError{c.CommandPath(), err}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		guard(sub)
	}
}

// exclusive refuses flags of which only one has a meaning.
func exclusive(c *cobra.Command) error {
	pairs := [][2]string{{"password", "password-stdin"}}
	if c.Name() != "setup" { // which writes both
		pairs = append(pairs, [2]string{"data", "config"})
	}
	for _, pair := range pairs {
		a, b := c.Flag(pair[0]), c.Flag(pair[1])
		if a != nil && b != nil && a.Changed && b.Changed {
			return fmt.Errorf("--%s and --%s exclude each other", pair[0], pair[1])
		}
	}
	return nil
}

// exactly wants the named arguments and no others.
func exactly(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return fmt.Errorf("%s is missing", names[len(args)])
		}
		if len(args) > len(names) {
			return fmt.Errorf("unexpected argument %q", args[len(names)])
		}
		return nil
	}
}

// atLeast wants the named arguments; the last may be repeated.
func atLeast(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return fmt.Errorf("%s is missing", names[len(args)])
		}
		return nil
	}
}

func (a *app) version() *cobra.Command {
	c := &cobra.Command{
		Use: "version", Short: "Print the version", Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			v := map[string]string{"version": fullVersion(), "go": runtime.Version(),
				"platform": runtime.GOOS + "/" + runtime.GOARCH}
			if a.json {
				return a.printJSON(v)
			}
			_, err := fmt.Fprintf(a.out, "tram %s (%s, %s)\n", v["version"], v["go"], v["platform"])
			return err
		},
	}
	c.Flags().BoolVar(&a.json, "json", false, "print JSON")
	return c
}

// fullVersion adds the commit, when the build knows it.
func fullVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	commit, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			commit = "+" + s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = ".dirty"
		}
	}
	if commit == "" {
		return version
	}
	return version + commit + dirty
}

// terminal reports whether w is a terminal.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
