package smtpd

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"tram/internal/conn"
)

func plain(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
}

// TestDialogues plays testdata/*.txt. A script begins with `mode: mx|submission|lmtp` and
// `tls: clear starttls tls`, the ways in which it is played, each in a fresh house. Then:
//
//	C: line       is sent with CR LF; several in a row go out in one write
//	C" text"      a quoted Go string, sent as it is
//	S: line       a line of the server's, where * stands for anything
//	X             the server hangs up
//	IN name n     the person has n messages in the INBOX
//	LAST name *   the newest of them is like this, where | is a line end
//	OUT n         the queue has n messages
//
// PLAIN(user) in a client's line stands for the SASL response. The banner is read by the player.
func TestDialogues(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogues: %v", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		head, body := map[string]string{}, []string{}
		for line := range strings.Lines(string(b)) {
			line = strings.TrimRight(line, "\n")
			if k, v, ok := strings.Cut(line, ": "); ok && (k == "mode" || k == "tls") {
				head[k] = v
			}
			body = append(body, line)
		}
		for _, way := range strings.Fields(head["tls"]) {
			t.Run(filepath.Base(f)+"/"+way, func(t *testing.T) {
				t.Parallel()
				play(t, Mode(head["mode"]), way, body)
			})
		}
	}
}

func play(t *testing.T, mode Mode, way string, script []string) {
	h := newHouse(t)
	d := h.open(mode, func(_ *Options, o *conn.Options) { o.Implicit = way == "tls" })
	c := d.dial()
	if way == "tls" {
		c = c.startTLS()
	}
	c.want("220 mx.example.test ")
	if way == "starttls" {
		c.cmd("EHLO client.test", "250")
		c.cmd("STARTTLS", "220")
		c = c.startTLS()
	}
	var pending strings.Builder
	for i, line := range script {
		at := fmt.Sprintf("line %d: %s", i+1, line)
		kind, rest, _ := strings.Cut(line, " ")
		if kind != "C:" && !strings.HasPrefix(kind, `C"`) && pending.Len() > 0 {
			c.send(pending.String())
			pending.Reset()
		}
		if strings.HasPrefix(line, `C"`) {
			s, err := strconv.Unquote(line[1:])
			if err != nil {
				t.Fatalf("%s: %v", at, err)
			}
			pending.WriteString(s)
			continue
		}
		switch kind {
		case "C:":
			pending.WriteString(expand(rest) + "\r\n")
		case "S:":
			got, err := c.r.ReadString('\n')
			if err != nil || !like(rest+"\r\n", got) {
				t.Fatalf("%s\ngot %q, %v", at, got, err)
			}
		case "X":
			c.wantEnd()
		case "IN":
			name, n, _ := strings.Cut(rest, " ")
			if got := len(h.inbox(name)); strconv.Itoa(got) != n {
				t.Fatalf("%s\ngot %d", at, got)
			}
		case "LAST":
			name, want, _ := strings.Cut(rest, " ")
			all := h.inbox(name)
			got := strings.ReplaceAll(all[len(all)-1], "\r\n", "|")
			if !like(want, got) {
				t.Fatalf("%s\ngot %s", at, got)
			}
		case "OUT":
			if sent, _ := h.queue.all(); strconv.Itoa(len(sent)) != rest {
				t.Fatalf("%s\ngot %d", at, len(sent))
			}
		case "", "#", "mode:", "tls:":
		default:
			t.Fatalf("%s: what is that?", at)
		}
	}
}

var saslPlain = regexp.MustCompile(`PLAIN\((.*)\)`)

func expand(line string) string {
	return saslPlain.ReplaceAllStringFunc(line, func(s string) string {
		return plain(saslPlain.FindStringSubmatch(s)[1], password)
	})
}

// like matches with * for anything.
func like(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	return regexp.MustCompile("(?s)^" + strings.Join(parts, ".*") + "$").MatchString(s)
}
