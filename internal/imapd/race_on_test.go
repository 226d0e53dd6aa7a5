//go:build race

package imapd

// idleStack is larger under the race detector, as every frame is.
const idleStack = 12 << 10
