//go:build race

package message

// Under the race detector everything takes many times as long: bombs are a tenth of the size, and
// have ten times the time.
const (
	slower  = 10
	smaller = 10
)
