package server

import (
	"os"
	"path/filepath"
	"testing"

	"tram/internal/config"
)

// TestScanFilters: what the configuration names is asked, and nothing when it is switched off.
func TestScanFilters(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := config.Default().Scan
	if f, err := scanFilters(c); len(f) != 0 || err != nil {
		t.Errorf("nothing configured: %d, %v", len(f), err)
	}
	c.Clamd.Address, c.Rspamd.Address, c.Spamd.Address = "/c", "h:1", "h:2"
	c.Milters = []config.ScanMilter{{Name: "m", Address: "/m", OnFailure: config.ScanAccept}}
	c.Rspamd.PasswordFile = secret
	if f, err := scanFilters(c); len(f) != 4 || err != nil {
		t.Errorf("all configured: %d, %v", len(f), err)
	}
	c.Rspamd.PasswordFile = secret + ".missing"
	if _, err := scanFilters(c); err == nil {
		t.Error("a password that is not there")
	}
	c.Enabled = false
	if f, err := scanFilters(c); len(f) != 0 || err != nil {
		t.Errorf("switched off: %d, %v", len(f), err)
	}
}
