package server

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tram/internal/config"
	"tram/internal/kv/memkv"
)

func TestFolderIsForOneServer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a", "b")
	f, err := openFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder %v, %v", info.Mode(), err)
	}
	_, err = openFolder(path)
	if err == nil || !strings.Contains(err.Error(), "another tram") || !strings.Contains(err.Error(), path) {
		t.Errorf("a second server: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := openFolder(path)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	again.Close()
}

func TestFolderErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := openFolder(filepath.Join(file, "data"))
	if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "name another folder") {
		t.Errorf("a folder in a file: %v", err)
	}
	if got := remedy(fs.ErrPermission, "/d"); !strings.Contains(got, "chown") {
		t.Errorf("no permission: %q", got)
	}
}

func TestPepper(t *testing.T) {
	t.Parallel()
	f := &folder{path: t.TempDir()}
	first, err := f.pepper()
	if err != nil || len(first) != 32 {
		t.Fatal(first, err)
	}
	again, err := f.pepper()
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("the second start reads %x, %v, not %x", again, err, first)
	}
	path := f.join(pepperName)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := f.pepper(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key file others can read: %v", err)
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte("beef\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.pepper(); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("a damaged key file: %v", err)
	}
}

// TestForeignPepper proves that a database refuses the key file of another: every password would be
// wrong.
func TestForeignPepper(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	for range 2 {
		if err := checkPepper(t.Context(), db, []byte("one")); err != nil {
			t.Fatal(err)
		}
	}
	if err := checkPepper(t.Context(), db, []byte("two")); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("another pepper: %v", err)
	}
}

func TestWriteSecretNeverReplaces(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	if err := WriteSecret(path, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := WriteSecret(path, []byte("two")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second write: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "one" {
		t.Errorf("the file holds %q", b)
	}
}

func TestPostgresURL(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte("p@ss/w\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := postgresURL(config.Storage{Postgres: "postgres://tram@db/tram?sslmode=require", PasswordFile: path})
	if want := "postgres://tram:p%40ss%2Fw@db/tram?sslmode=require"; got != want || err != nil {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	got, err = postgresURL(config.Storage{Postgres: "postgres://db/tram"})
	if got != "postgres://db/tram" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestBind(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	socket := filepath.Join(t.TempDir(), "lmtp.sock")
	open := config.Listen{SMTP: []string{"127.0.0.1:0"}, LMTP: []string{socket}}
	doors, err := bind(t.Context(), open, nil)
	if err != nil || len(doors) != 2 {
		t.Fatal(doors, err)
	}
	if _, err := bind(t.Context(), config.Listen{LMTP: []string{socket}}, nil); err == nil ||
		!strings.Contains(err.Error(), "another program serves") {
		t.Errorf("a socket that is served: %v", err)
	}
	for _, d := range doors {
		d.Close()
	}
	// A socket that a dead server left.
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	doors, err = bind(t.Context(), config.Listen{LMTP: []string{socket}}, nil)
	if err != nil {
		t.Fatalf("a socket that nobody serves: %v", err)
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket %v, %v", info.Mode(), err)
	}
	doors[0].Close()

	open = config.Listen{SMTP: []string{"127.0.0.1:0"}, IMAP: []string{taken.Addr().String()}}
	_, err = bind(t.Context(), open, nil)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "another program has the port") ||
		!strings.Contains(err.Error(), "imap") || strings.Contains(err.Error(), "bind:") {
		t.Errorf("a port that is taken: %v", err)
	}
	_, err = bind(t.Context(), config.Listen{SMTP: []string{"192.0.2.77:2525"}}, nil)
	if err == nil || !strings.Contains(err.Error(), "not one of this machine's") {
		t.Errorf("another machine's address: %v", err)
	}
}

// TestGivenListeners: what systemd opened takes the place of the door's addresses.
func TestGivenListeners(t *testing.T) {
	t.Parallel()
	given, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	doors, err := bind(t.Context(), config.Listen{SMTP: []string{"192.0.2.77:25"}},
		map[string][]net.Listener{"smtp": {given}})
	if err != nil {
		t.Fatal(err)
	}
	if len(doors) != 1 || doors[0].Addr().String() != given.Addr().String() {
		t.Errorf("doors %v", doors)
	}
	doors[0].Close()
}
