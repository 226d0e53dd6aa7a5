package e2e

import (
	"os"
	"strings"
	"testing"
)

// TestImapflow runs imapflow, the client of most programs on Node.js: IDLE, COMPRESS where the server
// has it, QRESYNC, MOVE, names that are not ASCII.
func TestImapflow(t *testing.T) {
	t.Parallel()
	node := need(t, "node", "nodejs")
	const dir = "testdata/imapflow"
	if _, err := os.Stat(dir + "/node_modules/imapflow"); err != nil {
		t.Fatalf("imapflow is not installed: npm ci --prefix e2e/%s (make test does): %v", dir, err)
	}
	s := start(t)
	out := run(t, "", node, dir+"/session.mjs", port(s, 993), s.ca(), alice, password)
	compresses := strings.Contains(s.imap(alice).cmd("CAPABILITY"), "COMPRESS=DEFLATE")
	if !strings.Contains(out, "all done") || compresses != strings.Contains(out, "compressed") {
		t.Errorf("COMPRESS offered: %v; the session printed\n%s", compresses, out)
	}
}
