//go:build !linux

package conn

import "syscall"

// hungUp reports whether the peer of a socket has closed it. Behind input that it left it is seen
// only when that has been read.
func hungUp(fd uintptr) bool {
	var b [1]byte
	n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return err == nil && n == 0 || err == syscall.ECONNRESET
}
