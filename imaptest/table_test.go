package imaptest_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tram/mailtest"
)

var limitOf = regexp.MustCompile(`^(APPENDLIMIT|SAVELIMIT|MESSAGELIMIT)=\d+$`)

// advertised is what the server says of itself after log-in.
func advertised(t *testing.T) []string {
	t.Helper()
	c := mailtest.New(t).House("example.test", mailtest.Options{}).Person("alice", 0).IMAP()
	defer c.Logout()
	if _, err := c.Do("CAPABILITY"); err != nil {
		t.Fatal(err)
	}
	var all []string
	for name := range c.Caps {
		if strings.HasPrefix(name, "RIGHTS=") {
			continue // part of ACL, RFC 4314 §2
		}
		if m := limitOf.FindStringSubmatch(name); m != nil {
			name = m[1]
		}
		all = append(all, name)
	}
	return all
}

// TestCapabilityTable holds the column of docs/imap.md that is about this server against the server.
func TestCapabilityTable(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../docs/imap.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(b), "## Beside other servers\n")
	section, _, _ = strings.Cut(section, "\n## ")
	has := advertised(t)
	var listed []string
	for line := range strings.Lines(section) {
		cells := strings.Split(line, " | ")
		if len(cells) != 6 || strings.HasPrefix(line, "| capability") {
			continue
		}
		names, _, _ := strings.Cut(strings.TrimPrefix(cells[0], "| "), " (")
		for name := range strings.SplitSeq(strings.ToUpper(names), ", ") {
			listed = append(listed, name)
			if want := cells[1] == "yes"; want != slices.Contains(has, name) {
				t.Errorf("docs/imap.md says %q of %s", cells[1], name)
			}
		}
	}
	for _, name := range has {
		if !slices.Contains(listed, name) {
			t.Errorf("docs/imap.md does not compare %s", name)
		}
	}
}
