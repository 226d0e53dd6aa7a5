package main

import (
	"os"

	"github.com/spf13/cobra"

	"tram/internal/spam/unpack"
)

// decode is what the server starts to open attachments: the same program in a process that gives up files,
// connections and most memory before it reads the first byte of one. It speaks a protocol of its own and is
// of no use to people.
func (a *app) decode() *cobra.Command {
	return &cobra.Command{
		Use: "decode", Short: "Open attachments for a running server", Hidden: true, Args: exactly(),
		RunE: func(*cobra.Command, []string) error { return unpack.Serve(a.in, a.out) },
	}
}

// decoder is the command line by which this program starts itself as a decoder, nil when it cannot be told.
func decoder() []string {
	self := "/proc/self/exe" // this very file, also when an update has put another one in its place
	if _, err := os.Stat(self); err != nil {
		if self, err = os.Executable(); err != nil {
			return nil
		}
	}
	return []string{self, "decode"}
}
