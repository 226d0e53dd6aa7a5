package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// tram runs one command line and returns its exit code and output.
func tram(t *testing.T, stdin string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &o, &e)
	return code, o.String(), e.String()
}

// TestExitCodes: 2 for what means nothing, 1 for what failed, each with a sentence.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	none := t.TempDir()
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"version", 0, "tram " + version},
		{"version --json", 0, `"version"`},
		{"", 0, "Available Commands"},
		{"help demo", 0, "--port-base"},
		{"domain", 0, "Available Commands"},
		{"completion bash", 0, "bash completion"},
		{"frob", 2, `unknown command "frob"`},
		{"domian", 2, `did you mean "domain"?`},
		{"domain ad", 2, `did you mean "add"?`},
		{"--frob", 2, "unknown flag: --frob"},
		{"version extra", 2, `unexpected argument "extra"`},
		{"domain add", 2, "DOMAIN is missing"},
		{"alias add a@example.com", 2, "TARGET is missing"},
		{"account add a@b c@d", 2, `unexpected argument "c@d"`},
		{"account add a@b --quota lots", 2, "--quota"},
		{"account add a@b --quota -5", 2, "--quota"},
		{"account passwd a@b --password --password-stdin", 2, "password-stdin"},
		{"account passwd a@b --password --data " + none, 1, "needs a terminal"},
		{"account passwd a@b --password-stdin --data " + none, 1, "no password on standard input"},
		{"account rm a@b --data " + none, 1, "confirm with --yes"},
		{"queue list --limit many", 2, "limit"},
		{"demo --port-base 65000", 2, "ports end at 65535"},
		{"demo --dns nowhere", 2, "--dns"},
		{"demo --smarthost nowhere", 2, "host:port"},
		{"setup", 2, "--hostname is missing, as in --hostname mail.example.com"},
		{"setup --hostname mail.example.com --domain example.com --admin you@other.example", 2,
			"not an address in example.com"},
		{"domain list --data " + none, 1, "no server is running on " + none + ": start it with"},
		{"trace x --data " + none, 1, "no server is running"},
		{"check --data " + none + "/none", 1, "nothing to check"},
		{"domain list --data a --config b", 2, "data"},
		{"serve --config " + none + "/none.toml", 1, "none.toml"},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			code, out, errs := tram(t, "", strings.Fields(c.args)...)
			if code != c.code || !strings.Contains(out+errs, c.says) {
				t.Errorf("code %d, want %d and %q:\n%s%s", code, c.code, c.says, out, errs)
			}
			if code != 0 && (out != "" || !strings.HasPrefix(errs, "tram: ")) {
				t.Errorf("a failure prints %q and %q", out, errs)
			}
			if code == exitUsage && !strings.Contains(errs, "--help") {
				t.Errorf("a usage error does not lead to the help: %q", errs)
			}
		})
	}
}

func TestServeNamesThePlaceOfAnUnknownKey(t *testing.T) {
	t.Parallel()
	path := write(t, "tram.toml", "hostname = \"mail.example.com\"\n[log]\nlevle = \"info\"\n")
	code, _, errs := tram(t, "", "serve", "--config", path)
	want := "tram: " + path + `:3:1: unknown key "log.levle", did you mean "log.level"?` + "\n"
	if code != 1 || errs != want {
		t.Errorf("code %d, says %q, want %q", code, errs, want)
	}
}

// TestInterrupted: a command that a signal cut short says so, not how it was done.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	var out, errs bytes.Buffer
	code := run(ctx, []string{"setup", "--hostname", "mail.example.com", "--domain", "example.com", "--admin",
		"you@example.com", "--data", dir, "--config", dir + "/tram.toml"}, strings.NewReader(""), &out, &errs)
	if code != 1 || errs.String() != "tram: interrupted\n" || out.Len() > 0 {
		t.Errorf("code %d: %s%s", code, &out, &errs)
	}
}
