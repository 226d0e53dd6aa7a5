package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReports: what reports say of this server is checked when the file is read.
func TestReports(t *testing.T) {
	t.Parallel()
	base := "hostname = \"mail.example.com\"\ndata = \"d\"\n[listen]\nsmtp = [\":25\"]\n[certificates]\n" +
		"source = \"self-made\"\n[reports]\n"
	dir := t.TempDir()
	for text, want := range map[string]string{
		"":                                   "",
		"dmarc = false\ntls = false":         "",
		`contact = "postmaster@example.com"`: "",
		`contact = "Post <p@example.com>"`:   "reports.contact",
		`contact = "nobody"`:                 "reports.contact",
		`org = "a\nb"`:                       "reports.org",
		`icon_roots = "marks.pem"`:           "",
		`colour = "red"`:                     "reports.colour",
	} {
		path := filepath.Join(dir, "tram.toml")
		if err := os.WriteFile(path, []byte(base+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(path)
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if r := c.Reports.IconRoots; r != "" && r != filepath.Join(dir, "marks.pem") {
			t.Errorf("the file of authorities is %s", r)
		}
	}
	if r := Default().Reports; !r.DMARC || !r.TLS || !r.Icons {
		t.Errorf("%+v", r)
	}
}
