package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tram/internal/kv/memkv"
)

// TestIconRoots: a file of authorities that cannot be used is told at the start.
func TestIconRoots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.pem")
	if err := os.WriteFile(garbage, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		filepath.Join(dir, "none.pem"): "read reports.icon_roots", garbage: "holds no certificate",
	} {
		c := loopback(t)
		c.Reports.IconRoots = file
		s, err := Open(t.Context(), Options{Config: c, DB: memkv.New(), Offline: true})
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
	if roots, err := iconRoots(""); roots != nil || err != nil {
		t.Errorf("no file: %v, %v", roots, err)
	}
}
