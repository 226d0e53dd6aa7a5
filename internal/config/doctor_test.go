package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDoctor: whom the doctor asks is checked when the file is read, and not when somebody is in trouble.
func TestDoctor(t *testing.T) {
	t.Parallel()
	base := "hostname = \"mail.example.com\"\ndata = \"d\"\n[listen]\nsmtp = [\":25\"]\n[certificates]\n" +
		"source = \"self-made\"\n[doctor]\n"
	dir := t.TempDir()
	for text, want := range map[string]string{
		"":                                      "",
		"lists = []\nprobes = []":               "",
		`lists = ["list.example.net."]`:         "",
		`lists = ["https://list.example.net/"]`: "doctor.lists",
		`lists = ["list"]`:                      "doctor.lists",
		`probes = ["a b.example"]`:              "doctor.probes",
		`probes = ['mail".example']`:            "doctor.probes",
		`time_server = "time.example.net"`:      "",
		`time_server = "2001:db8::1"`:           "",
		`time_server = ""`:                      "",
		`time_server = "time.example.net:123"`:  "doctor.time_server",
	} {
		path := filepath.Join(dir, "tram.toml")
		if err := os.WriteFile(path, []byte(base+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(path)
		switch {
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v", text, err)
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want == "" && strings.HasSuffix(strings.Join(c.Doctor.Lists, " "), "."):
			t.Errorf("lists are %q", c.Doctor.Lists)
		}
	}
}
