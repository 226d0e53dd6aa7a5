//go:build !linux

package unpack

import (
	"os/exec"

	"tram/internal/limits"
)

// children says that decoders run in this process here: other systems have no such confinement, and a
// process that may do everything is no better than a goroutine.
const children = false

// confine does nothing.
func confine(limits.Content) (renew func() error, err error) {
	return func() error { return nil }, nil
}

// apart is what confine_linux.go has more of.
func apart(*exec.Cmd) {}
