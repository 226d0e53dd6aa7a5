package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tram/internal/admin"
)

func (a *app) profile() *cobra.Command {
	var duration time.Duration
	var output string
	c := &cobra.Command{
		Use:   "profile [cpu|heap|allocs|goroutine]",
		Short: "Write where a running server spends its time or memory, for go tool pprof",
		Long: `Profile asks the running server where its processor time goes (cpu, the default), what its memory
holds (heap) and has held (allocs), or what its goroutines do, and writes a file that
"go tool pprof" reads. The server goes on working meanwhile.`,
		Args: cobra.MaximumNArgs(1), ValidArgs: admin.Profiles(),
		RunE: func(c *cobra.Command, args []string) error {
			kind := "cpu"
			if len(args) == 1 {
				kind = args[0]
			}
			var content bytes.Buffer
			err := a.ask(c.Context(), func(ctx context.Context, client *admin.Client) error {
				return client.Profile(ctx, kind, duration, &content)
			})
			if err != nil {
				return err
			}
			if output == "" {
				output = kind + ".prof"
			}
			if err := os.WriteFile(output, content.Bytes(), 0o600); err != nil {
				return fmt.Errorf("write profile: %w", err)
			}
			fmt.Fprintf(a.out, "%s: %d bytes, read it with: go tool pprof %s\n", output, content.Len(), output)
			return nil
		},
	}
	c.Flags().DurationVar(&duration, "duration", 10*time.Second, "how long to watch the processor")
	c.Flags().StringVarP(&output, "output", "o", "", "`file` to write (default KIND.prof)")
	c.MarkFlagFilename("output", "prof")
	return a.talks(c)
}
