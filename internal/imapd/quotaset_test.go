package imapd

import (
	"context"
	"testing"

	"tram/internal/directory"
	"tram/internal/store"
)

// TestSetQuota: an administrator sets quotas of the own domain, and nobody else any (RFC 9208 §4.1.3).
func TestSetQuota(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	ctx := context.Background()
	boss := h.person("boss@example.test")
	h.person("carol@other.test")
	if err := h.dir.SetAdmin(ctx, boss.ID, true); err != nil {
		t.Fatal(err)
	}
	h.fill("INBOX", 1, 2)
	alice := h.loggedIn()
	for command, want := range map[string]string{
		`SETQUOTA "" (STORAGE 1)`:                "NO [NOPERM]",
		`SETQUOTA boss@example.test (STORAGE 1)`: "NO [NOPERM]",
		`GETQUOTA boss@example.test`:             "NO [NONEXISTENT]",
		`SETQUOTA "" STORAGE 1`:                  "BAD",
		`SETQUOTA "" (STORAGE)`:                  "BAD",
		`SETQUOTA "" (STORAGE 1 STORAGE 2)`:      "BAD",
	} {
		alice.say(t, "a %s", command)
		alice.want(t, "a "+want)
	}
	w := h.loggedInAs("boss@example.test")
	for _, c := range []struct{ command, want string }{
		{`SETQUOTA alice@example.test (STORAGE 510 MESSAGE 7)`, "alice@example.test (STORAGE 1 510 MESSAGE 2 7)"},
		{`GETQUOTA Alice@EXAMPLE.test`, "Alice@EXAMPLE.test (STORAGE 1 510 MESSAGE 2 7)"},
		{`SETQUOTA alice@example.test (MESSAGE 2)`, "alice@example.test (MESSAGE 2 2)"},
		{`SETQUOTA "" (message 9)`, `"" (MESSAGE 0 9)`},
	} {
		if got := w.untagged(t, c.command); got != "* QUOTA "+c.want {
			t.Errorf("%s: %q", c.command, got)
		}
	}
	for command, want := range map[string]string{
		`SETQUOTA carol@other.test (MESSAGE 2)`:                     "[NONEXISTENT]",
		`GETQUOTA carol@other.test`:                                 "[NONEXISTENT]",
		`SETQUOTA nobody@example.test (MESSAGE 2)`:                  "[NONEXISTENT]",
		`SETQUOTA nonsense (MESSAGE 2)`:                             "[NONEXISTENT]",
		`SETQUOTA alice@example.test (MESSAGE 0)`:                   "[CANNOT]",
		`SETQUOTA alice@example.test (STORAGE 9223372036854775807)`: "[CANNOT]",
		`SETQUOTA alice@example.test (MAILBOX 5)`:                   "[CANNOT]",
	} {
		w.say(t, "b %s", command)
		w.want(t, "b NO "+want)
	}
	// It holds at once, in the directory as in the store; OVERQUOTA is RFC 9208 §4.3.1.
	alice.say(t, "c APPEND INBOX {15+}\r\nSubject: x\r\n\r\nx")
	alice.want(t, "c NO [OVERQUOTA]")
	alice.say(t, "d STATUS INBOX (DELETED DELETED-STORAGE APPENDLIMIT)")
	alice.want(t, "d OK")
	account, err := h.dir.Account(ctx, h.alice.ID)
	if err != nil || account.Quota != (directory.Quota{Messages: 2}) {
		t.Errorf("the directory has %+v, %v", account.Quota, err)
	}
	w.say(t, "e SETQUOTA alice@example.test ()")
	w.want(t, "e OK")
	if _, quota, err := h.account().Usage(ctx); err != nil || quota != (store.Quota{}) {
		t.Errorf("the store has %+v, %v", quota, err)
	}
}

// TestSetQuotaWithAppPassword: an administrator's app password for mail administers nothing; one that
// names the administration does.
func TestSetQuotaWithAppPassword(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	ctx := context.Background()
	if err := h.dir.SetAdmin(ctx, h.alice.ID, true); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		scopes []directory.Protocol
		want   string
	}{
		{nil, "b NO [NOPERM]"},
		{[]directory.Protocol{directory.IMAP}, "b NO [NOPERM]"},
		{[]directory.Protocol{directory.IMAP, directory.Admin}, "b OK"},
	} {
		_, secret, err := h.dir.AddAppPassword(ctx, h.alice.ID, directory.AppPassword{Scopes: c.scopes})
		if err != nil {
			t.Fatal(err)
		}
		w := h.dialRaw(h.tls)
		w.say(t, `a LOGIN %s "%s"`, testUser, secret)
		w.want(t, "a OK")
		w.say(t, `b SETQUOTA "" (MESSAGE 9)`)
		w.want(t, c.want)
		w.say(t, `c SETMETADATA "" (/shared/comment "x")`)
		w.want(t, "c"+c.want[1:])
	}
}
