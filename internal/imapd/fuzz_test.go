package imapd

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"tram/internal/imap"
)

// FuzzSession runs whole sessions on arbitrary bytes, against the real store, before and after
// log-in. Whatever they are, the server does not panic, says only what parses as replies of IMAP,
// ends when the input ends, and leaves the mail in order.
func FuzzSession(f *testing.F) {
	for _, s := range []string{
		"a CAPABILITY\r\nb NOOP\r\nc LOGOUT\r\n",
		"a SELECT INBOX\r\nb FETCH 1:* (UID FLAGS BODYSTRUCTURE BODY.PEEK[1]<0.9>)\r\n" +
			"c STORE 1 +FLAGS (\\Deleted x)\r\nd EXPUNGE\r\n",
		"a ENABLE QRESYNC IMAP4rev2\r\nb SELECT INBOX (QRESYNC (1 1 1:5 (1 1)))\r\n" +
			"c UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)\r\n",
		"a APPEND INBOX (\\Seen) {9+}\r\nA: b\r\n\r\nc {3+}\r\nabc\r\nb SELECT INBOX\r\nc MOVE 1 Trash\r\n",
		"a SELECT INBOX\r\nb SEARCH RETURN (SAVE) OR (NOT SEEN) TEXT {3+}\r\nabc\r\nc UID COPY $ INBOX\r\n",
		"a LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (* %) RETURN (STATUS (MESSAGES RECENT SIZE))\r\nb LSUB \"\" %\r\n",
		"a CREATE \"x/&AOE-\" (USE (\\All))\r\nb RENAME x y\r\nc SUBSCRIBE y\r\nd DELETE y\r\ne STATUS x (MAILBOXID)\r\n",
		"a SELECT INBOX\r\nb IDLE\r\nDONE\r\nc FETCH $ BINARY[1]\r\nd STORE * (UNCHANGEDSINCE 1) FLAGS.SILENT \\Seen\r\n",
		"a AUTHENTICATE PLAIN =\r\n*\r\nb STARTTLS\r\nc LOGIN {3+}\r\nabc {0+}\r\n\r\n",
		"a SELECT INBOX\r\nb NOTIFY SET STATUS (selected (MessageNew (uid body[]) MessageExpunge))" +
			" (subtree (a \"b\") (MailboxName)) (inboxes NONE)\r\nc COPY 1:2 INBOX\r\nd CREATE a/b\r\n" +
			"e STORE 1 +FLAGS (\\Deleted)\r\nf EXPUNGE\r\ng IDLE\r\nDONE\r\nh NOTIFY NONE\r\n",
		"a SELECT INBOX\r\nb UID REPLACE 1 Trash CATENATE (TEXT {4+}\r\nA: b URL \";UID=2/;SECTION=HEADER\")\r\n" +
			"c APPEND INBOX CATENATE (UTF8 (~{2+}\r\nab) URL /INBOX/;UID=9)\r\nd FETCH 1:* PREVIEW (LAZY)\r\n",
		"a ENABLE UIDONLY CONDSTORE\r\nb SELECT INBOX\r\nc FETCH 1 UID\r\nd UID STORE 1:3 +FLAGS (\\Deleted $junk)\r\n" +
			"e UID SEARCH RETURN (SAVE) NOT 1\r\nf EXPUNGE\r\ng UID FETCH $ (UID PREVIEW)\r\nh UIDBATCHES 500 1:2\r\n",
		"a ESEARCH IN (personal subtree (a {1+}\r\nb)) RETURN (COUNT RELEVANCY) FUZZY TEXT helo\r\nb SELECT INBOX\r\n" +
			"c ESEARCH RETURN (SAVE) OLDER 5 SAVEDON 1-Feb-2026\r\nd UID ESEARCH IN (selected) FUZZY (SINCE 1-Feb-2026 $)\r\n" +
			"e FETCH 1:* SAVEDATE\r\n",
		"a SELECT INBOX\r\nb SORT RETURN (UPDATE PARTIAL -1:-3) (SUBJECT REVERSE DATE) UTF-8 NOT DELETED\r\n" +
			"c UID THREAD REFERENCES UTF-8 ALL\r\nd STORE 1,3 +FLAGS \\Deleted\r\ne EXPUNGE\r\n" +
			"f UID FETCH 1:* UID (PARTIAL 2:1)\r\ng CANCELUPDATE \"b\"\r\nh THREAD ORDEREDSUBJECT UTF-8 1:2\r\n",
		"a ENABLE METADATA\r\nb SETMETADATA INBOX (/private/comment ~{2+}\r\n\x00x /shared/vendor/a/b NIL" +
			" /private/specialuse \"\\\\Junk\")\r\nc GETMETADATA (MAXSIZE 1 DEPTH infinity) INBOX (/private /shared)\r\n" +
			"d SETMETADATA \"\" (/private/filters/values/x \"OR SEEN FILTER x\")\r\ne SELECT INBOX\r\n" +
			"f SEARCH FILTER x\r\ng LIST \"\" * RETURN (METADATA (/private/comment) STATUS (SIZE))\r\n" +
			"h RENAME INBOX y\r\ni SETQUOTA \"\" (STORAGE 1)\r\n",
		"a LANGUAGE vi \"*\" {2+}\r\nfr\r\nb SELECT INBOX\r\nc LANGUAGE\r\nd UNAUTHENTICATE\r\ne LANGUAGE VI\r\n" +
			"f SELECT INBOX\r\ng LOGIN a b\r\nh COMPRESS DEFLATE\r\n",
		"a SELECT INBOX\r\nb SEARCH RETURN (COUNT UPDATE (UID BODY[HEADER.FIELDS (TO)])) OR UIDAFTER 1 UIDBEFORE 9\r\n" +
			"c APPEND INBOX {1+}\r\nx\r\nd SORT RETURN (UPDATE (FLAGS)) (TO) UTF-8 NOT UIDAFTER 2\r\ne UID EXPUNGE $\r\n" +
			"f SETMETADATA \"\" (/private/comment {1+}\r\na /shared/comment NIL)\r\n",
		"a SETACL INBOX anyone +lr\r\nb SETACL INBOX {1+}\r\nx -lQ\r\nc GETACL INBOX\r\nd LISTRIGHTS INBOX anyone\r\n" +
			"e DELETEACL INBOX anyone\r\nf MYRIGHTS \"Other users/x@example.test/INBOX\"\r\ng SELECT Shared/x\r\n" +
			"h LIST \"Other users/\" (% *) RETURN (MYRIGHTS)\r\ni RENAME Archive Shared\r\nj COPY 1 Shared/y\r\n",
		"a COMPRESS DEFLATE",
		"a GETQUOTAROOT INBOX\r\nb NAMESPACE\r\nc ID (\"x\" NIL)\r\nd CLOSE\r\ne UNSELECT\r\n\x00\r\n\n\r\r\n",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, input string, login bool) {
		h := build(t, options{measure: true})
		h.fill("INBOX", 1, 5)
		nc, err := net.Dial("tcp", h.clear)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if login {
			input = "x LOGIN " + testUser + " " + testPassword + "\r\n" + input
		}
		go func() {
			// An error means that the server ended the session first.
			_, _ = io.WriteString(nc, input)
			_ = nc.(*net.TCPConn).CloseWrite()
		}()
		replies, err := io.ReadAll(io.LimitReader(nc, 8<<20))
		if err != nil && !strings.Contains(err.Error(), "reset") {
			t.Fatalf("after %q: %v", replies[max(0, len(replies)-300):], err)
		}
		checkReplies(t, string(replies))
	})
}

// checkReplies parses everything the server said.
func checkReplies(t *testing.T, replies string) {
	t.Helper()
	d := imap.NewDecoder(imap.NewReader(strings.NewReader(replies)), imap.Limits{
		Line: 4 << 20, Literals: 64 << 20, Quoted: 1 << 20, Depth: 200, Ranges: 1 << 20, Keyword: 1000,
	})
	for d.Next() == nil {
		r := d.Response(nil)
		if err := d.Err(); err != nil {
			t.Fatalf("reply %+v: %v", r, err)
		}
	}
}
