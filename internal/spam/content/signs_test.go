package content

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the table of signs in docs/content.md")

// TestTableIsDocumented: docs/content.md shows the table as it is.
func TestTableIsDocumented(t *testing.T) {
	t.Parallel()
	const path, begin, end = "../../../docs/content.md", "<!-- signs -->\n", "<!-- end of signs -->\n"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| Sign | Score | Meaning | Nghĩa |\n|---|---|---|---|\n")
	seen := map[string]bool{}
	for _, e := range Table {
		fmt.Fprintf(&table, "| `%s` | %g | %s | %s |\n", e.Name, e.Score, e.English, e.Vietnamese)
		if seen[e.Name] || strings.ToUpper(e.Name) != e.Name || strings.ContainsAny(e.Name, " -") {
			t.Errorf("the name %q", e.Name)
		}
		seen[e.Name] = true
	}
	before, rest, ok := strings.Cut(string(b), begin)
	was, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", path)
	}
	if was == table.String() {
		return
	}
	if !*update {
		t.Fatalf("%s differs from the code: run this test with -update", path)
	}
	if err := os.WriteFile(path, []byte(before+begin+table.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
