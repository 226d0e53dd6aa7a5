package server

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"tram/internal/spam"
)

// TestNetworksOf: how a table of networks is read goes by its name; one that cannot be read stops the start,
// as the operator believes that it is used.
func TestNetworksOf(t *testing.T) {
	t.Parallel()
	table := filepath.Join(t.TempDir(), "networks.tsv")
	if err := os.WriteFile(table, []byte("192.0.2.0/24\t64500\tExample\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := networksOf(table); err != nil || n == nil {
		t.Errorf("%v, %v", n, err)
	}
	other := filepath.Join(filepath.Dir(table), "networks.MMDB")
	if err := os.Rename(table, other); err != nil {
		t.Fatal(err)
	}
	if _, err := networksOf(other); !errors.Is(err, spam.ErrNetworks) {
		t.Errorf("a table with the name of a database: %v", err)
	}
	if _, err := networksOf(table); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is not there: %v", err)
	}
	if n, err := networksOf(""); err != nil || n != nil {
		t.Errorf("none is named: %v, %v", n, err)
	}
}
