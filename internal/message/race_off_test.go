//go:build !race

package message

// What race_on_test.go changes.
const (
	slower  = 1
	smaller = 1
)
