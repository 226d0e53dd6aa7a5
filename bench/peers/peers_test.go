package peers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigurationIsFilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{Dir: dir, Domain: "example.test", Ports: Ports{SMTP: 1, Submit: 2, IMAP: 3, IMAPS: 4, POP3: 6, Sink: 5}}
	for name, want := range map[string][]string{
		"dovecot.conf": {"base_dir = " + dir + "/run", "port = 3", "port = 4", "port = 6", "listen = 127.0.0.1", "mdbox:"},
		"main.cf":      {"queue_directory = " + dir + "/spool", "relayhost = [127.0.0.1]:5", "inet_interfaces = 127.0.0.1"},
		"master.cf":    {"127.0.0.1:1 inet", "127.0.0.1:2 inet"},
	} {
		to := filepath.Join(dir, name)
		if err := render(name, to, o); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(string(b), w) {
				t.Errorf("%s lacks %q", name, w)
			}
		}
		// The defaults decide what is durable: the comparison must not bend them.
		for _, bent := range []string{"fsync =", "fsync=", "{{", "<no value>"} {
			if strings.Contains(string(b), bent) {
				t.Errorf("%s contains %q", name, bent)
			}
		}
	}
}

func TestAlive(t *testing.T) {
	t.Parallel()
	if alive(os.Getpid()) {
		t.Error("a process of another name counts as a master: a stale pid file could end a stranger")
	}
}
