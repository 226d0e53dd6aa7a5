package imaptest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Message is one of an mbox file.
type Message struct {
	Received time.Time
	Text     string // with CRLF line ends
}

// The dates that follow the sender on a From line, as programs write them.
var fromDates = []string{"Mon Jan _2 15:04:05 2006 -0700", "Mon Jan _2 15:04:05 2006"}

// fromLine reports whether a line begins a message, and when that came.
func fromLine(l string) (time.Time, bool) {
	rest, ok := strings.CutPrefix(l, "From ")
	_, date, sender := strings.Cut(rest, " ")
	if !ok || !sender {
		return time.Time{}, false
	}
	for _, layout := range fromDates {
		if t, err := time.Parse(layout, strings.TrimSpace(date)); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// readMbox reads the messages of the script at path: those of its own mbox file or else of the
// folder's default.mbox.
func readMbox(path string) ([]Message, error) {
	b, err := os.ReadFile(path + ".mbox")
	if os.IsNotExist(err) {
		b, err = os.ReadFile(filepath.Join(filepath.Dir(path), "default.mbox"))
	}
	if os.IsNotExist(err) {
		return nil, nil // a script that appends nothing needs none
	}
	if err != nil {
		return nil, fmt.Errorf("read mbox: %w", err)
	}
	return splitMbox(string(b))
}

// splitMbox divides an mbox file. The empty line before the next From line belongs to the message
// before it, as the scripts expect.
func splitMbox(text string) ([]Message, error) {
	var all []Message
	for l := range strings.Lines(text) {
		if t, ok := fromLine(strings.TrimRight(l, "\r\n")); ok {
			all = append(all, Message{Received: t})
			continue
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("mbox begins with %.80q", l)
		}
		all[len(all)-1].Text += strings.TrimRight(l, "\r\n") + "\r\n"
	}
	return all, nil
}
