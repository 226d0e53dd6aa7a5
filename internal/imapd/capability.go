package imapd

import (
	"fmt"
	"strings"
)

// extensions are the capabilities of a session that is logged in. Each is whole: see docs/imap.md.
const extensions = "IMAP4rev2 IMAP4rev1 LITERAL+ SASL-IR ID ENABLE LANGUAGE IDLE NAMESPACE UNSELECT CHILDREN NOTIFY" +
	" UIDPLUS MOVE MULTIAPPEND BINARY UTF8=ACCEPT CONDSTORE QRESYNC OBJECTID ESEARCH SEARCHRES" +
	" WITHIN SAVEDATE SEARCH=FUZZY MULTISEARCH" +
	" SORT SORT=DISPLAY THREAD=ORDEREDSUBJECT THREAD=REFERENCES ESORT CONTEXT=SEARCH CONTEXT=SORT PARTIAL" +
	" LIST-EXTENDED LIST-STATUS STATUS=SIZE SPECIAL-USE CREATE-SPECIAL-USE" +
	" ACL RIGHTS=kxte LIST-MYRIGHTS" +
	" METADATA LIST-METADATA FILTERS QUOTA QUOTASET QUOTA=RES-STORAGE QUOTA=RES-MESSAGE PREVIEW REPLACE CATENATE" +
	" UNAUTHENTICATE COMPRESS=DEFLATE INPROGRESS" +
	" UIDONLY UIDBATCHES"

// capabilities lists what the client may use now.
func (s *session) capabilities() string {
	if s.account != nil {
		// RFC 7889 §2: one limit for all mailboxes.
		return fmt.Sprintf("%s APPENDLIMIT=%d%s", extensions, s.srv.o.Limits.AppendSize, s.messageLimits())
	}
	var b strings.Builder
	// RFC 7888 §5: before log-in only short literals go without being asked for.
	b.WriteString("IMAP4rev2 IMAP4rev1 LITERAL- SASL-IR ID ENABLE LANGUAGE")
	if s.c.CanStartTLS() {
		b.WriteString(" STARTTLS")
	}
	mechanisms := s.srv.o.Directory.Mechanisms(s.c.Secure())
	for _, m := range mechanisms {
		b.WriteString(" AUTH=" + m)
	}
	if len(mechanisms) == 0 {
		b.WriteString(" LOGINDISABLED") // RFC 9051 §6.2.3
	}
	return b.String()
}

// capability is CAPABILITY, RFC 9051 §6.1.1.
func (s *session) capability() error {
	if err := s.args(); err != nil {
		return err
	}
	s.untagged("CAPABILITY %s", s.capabilities())
	return nil
}
