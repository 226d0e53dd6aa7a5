//go:build !race

package imapd

// idleStack is what a session that waits may keep of stack.
const idleStack = 6 << 10
