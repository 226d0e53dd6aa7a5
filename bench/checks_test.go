package main

import (
	"strings"
	"testing"
)

func TestChecksSection(t *testing.T) {
	t.Parallel()
	rec := &record{Kind: "checks", Rounds: 1,
		Servers: []described{{Name: "with all built-in checks"}, {Name: "checks off"}},
		Tests:   []outcome{{Test: "4k", Runs: [][]Result{{{"delivered_per_s": 1500}}, {{"delivered_per_s": 3000}}}}},
		Checks:  &checkTimes{Size: 20_000, Kinds: []checkTime{{What: "a text", Origin: 0.25, Examine: 0.5, Decide: 1}}},
	}
	text := rec.section()
	for _, want := range []string{
		"## What the checks cost", "| 4 kB in: delivered/s | 1500 | 3000 | 0.500 |", "of 20 kB", "| a text | 1.75 | 0.25 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if _, err := checkList("4k,none"); err == nil {
		t.Error("a test that is not there was found")
	}
	if list, err := checkList("mix"); err != nil || len(list) != 1 || list[0].name != "mix" {
		t.Errorf("%v %v", list, err)
	}
}

// TestProved takes only what passed everything: else a server that is not looking at anything would win.
func TestProved(t *testing.T) {
	t.Parallel()
	const all = "Authentication-Results: mail.example.test; spf=pass; dkim=pass; dmarc=pass\r\nX-Spam-Status: No, score=0\r\n"
	for text, want := range map[string]bool{
		all + "\r\nhello": true,
		strings.Replace(all, "dkim=pass", "dkim=fail", 1) + "\r\nhello": false,
		strings.Replace(all, "No,", "Yes,", 1) + "\r\nhello":            false,
		"Subject: x\r\n\r\n" + all:                                      false,
	} {
		if got := proved([]byte(text)); got != want {
			t.Errorf("%v of %q", got, text)
		}
	}
}

// TestSignedLoad is signed message by message, and what it says of its keys is what the DNS has.
func TestSignedLoad(t *testing.T) {
	t.Parallel()
	s, err := newSigner()
	if err != nil {
		t.Fatal(err)
	}
	l := smtpLoad{messages: 2 * rsaEvery, mix: sizes4k}
	if err := s.signAll(l, "r1", func(int) string { return "user1@example.test" }); err != nil {
		t.Fatal(err)
	}
	old := 0
	for seq := range l.messages {
		field := string(s.field(seq))
		if !strings.HasPrefix(field, "DKIM-Signature:") || !strings.HasSuffix(field, "\r\n") {
			t.Errorf("message %d: %q", seq, field)
		}
		if strings.Contains(field, "a=rsa-sha256") {
			old++
		}
	}
	if old != 2 {
		t.Errorf("%d of %d are signed with RSA", old, l.messages)
	}
	if none := (*signer)(nil); none.field(0) != nil || none.signAll(l, "r", nil) != nil {
		t.Error("nobody signs")
	}
}
