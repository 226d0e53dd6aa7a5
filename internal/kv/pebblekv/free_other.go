//go:build !linux

package pebblekv

import "github.com/cockroachdb/pebble/v2/vfs"

// nativeSpace asks the operating system about the file system that dir is on.
func nativeSpace(dir string) (Space, error) { return usedSpace(vfs.Default, dir) }
