package popd

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"tram/internal/conn/conntest"
)

// TestSurrogates: a program that did not say UTF8 is given a form of each message that it can read,
// RFC 6856 §2.1 and RFC 6858, and was told its size to the octet; identifiers are the same for all.
func TestSurrogates(t *testing.T) {
	t.Parallel()
	texts := []string{
		"Subject: plain\r\n\r\nphở\r\n",
		"Subject: Phở\r\nTo: Ngọc <ngọc@example.test>\r\n\r\n.phở\r\nhai\r\nba",
		"X-Món: phở",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment;\r\n" +
			" filename=\"phở.txt\"\r\n\r\nphở\r\n--b--\r\n",
		"Subject: no end\r\n\r\nx",
		strings.Repeat("Received: from phở\r\n", 5) + "Subject: big\r\n\r\n" + strings.Repeat("phở\r\n", 1<<16),
	}
	want := []string{
		texts[0],
		"Subject: =?utf-8?b?UGjhu58=?=\r\nTo: =?utf-8?b?Tmfhu41jIChuZ+G7jWNAZXhhbXBsZS50ZXN0KQ==?=\r\n" +
			" <invalid@internationalized-address.invalid>\r\n\r\n.phở\r\nhai\r\nba\r\n",
		"\r\n",
		strings.Replace(texts[3], "attachment;\r\n filename=\"phở.txt\"", "attachment; filename*=utf-8''ph%E1%BB%9F.txt", 1),
		texts[4] + "\r\n",
		strings.ReplaceAll(texts[5], "Received: from phở\r\n", ""),
	}
	h := build(t, options{measure: true})
	h.put(texts...)
	old, new := h.login(), h.dial()
	new.do("UTF8", "+OK")
	new.do("USER "+testUser, "+OK")
	new.do("PASS "+testPassword, "+OK")

	oldList, newList := old.multi("LIST"), new.multi("LIST")
	uids := old.multi("UIDL")
	if got := new.multi("UIDL"); fmt.Sprint(got) != fmt.Sprint(uids) {
		t.Errorf("identifiers %q and %q", got, uids)
	}
	total := 0
	for i, text := range texts {
		oldLines := strings.Join(old.multi(fmt.Sprint("RETR ", i+1)), "\r\n") + "\r\n"
		if oldLines != want[i] {
			t.Errorf("message %d is %.300q, want %.300q", i+1, oldLines, want[i])
		}
		if told := fmt.Sprint(i+1, " ", len(oldLines)); oldList[i] != told {
			t.Errorf("LIST told %q, %q came", oldList[i], told)
		}
		total += len(oldLines)
		if !strings.HasSuffix(text, "\r\n") {
			text += "\r\n"
		}
		newLines := strings.Join(new.multi(fmt.Sprint("RETR ", i+1)), "\r\n") + "\r\n"
		if newLines != text {
			t.Errorf("with UTF8 message %d is %.300q, want %.300q", i+1, newLines, text)
		}
		if told := fmt.Sprint(i+1, " ", len(newLines)); newList[i] != told {
			t.Errorf("with UTF8 LIST told %q, %q came", newList[i], told)
		}
	}
	old.do("STAT", fmt.Sprintf("+OK %d %d", len(texts), total))
	old.do("LIST 2", "+OK "+oldList[1])
	// RFC 6858 §4: lines are those of the surrogate.
	if got := strings.Join(old.multi("TOP 2 1"), "\r\n"); !strings.HasSuffix(got, ".invalid>\r\n\r\n.phở") {
		t.Errorf("TOP gave %q", got)
	}
	old.do("DELE 2", "+OK")
	old.do("STAT", fmt.Sprintf("+OK %d %d", len(texts)-1, total-len(want[1])))
	old.do("QUIT", "+OK")
	new.do("QUIT", "+OK")
}

// TestUTF8BeforeTLS: what was said before TLS is forgotten (RFC 2595 §4).
func TestUTF8BeforeTLS(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	h.put("Subject: Phở\r\n\r\nx\r\n")
	c := h.dial()
	c.do("UTF8", "+OK")
	c.do("STLS", "+OK")
	_, config := conntest.TLS()
	c.use(tls.Client(c.Conn, config))
	c.do("USER "+testUser, "+OK")
	c.do("PASS "+testPassword, "+OK")
	if got := c.multi("TOP 1 0"); got[0] != "Subject: =?utf-8?b?UGjhu58=?=" {
		t.Errorf("got %q", got)
	}
}
