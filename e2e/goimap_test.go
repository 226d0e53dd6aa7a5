package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// goIMAP logs user in with go-imap's client, which reads every reply with a grammar of its own.
func (s *server) goIMAP(user string, o *imapclient.Options) *imapclient.Client {
	s.t.Helper()
	o.TLSConfig = s.tlsConfig()
	c, err := imapclient.DialTLS(s.addr(993), o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	if err := c.Login(user, password).Wait(); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// TestGoIMAP works with two of go-imap's clients on one mailbox: one stays in IDLE and is told what
// the other does.
func TestGoIMAP(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := s.goIMAP(alice, &imapclient.Options{})
	if _, err := c.Enable(imap.CapIMAP4rev2).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Create("Dự án/Trạm", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	inbox, err := c.Select("INBOX", &imap.SelectOptions{CondStore: true}).Wait()
	if err != nil {
		t.Fatal(err)
	}

	told := make(chan string, 100)
	watcher := s.goIMAP(alice, &imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				told <- fmt.Sprintf("exists %d", *d.NumMessages)
			}
		},
		Expunge: func(n uint32) { told <- fmt.Sprintf("expunge %d", n) },
		Fetch: func(m *imapclient.FetchMessageData) {
			if b, err := m.Collect(); err == nil {
				told <- fmt.Sprintf("flags %d %v", b.SeqNum, b.Flags)
			}
		},
	}})
	if _, err := watcher.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	idle, err := watcher.Idle()
	if err != nil {
		t.Fatal(err)
	}
	uid := goAppend(t, c, vietnamese)
	hears(t, told, "exists 1")
	goFlag(t, c, uid)
	hears(t, told, `\Flagged`)
	goRead(t, c, uid, inbox.HighestModSeq)
	moved, err := c.Move(imap.UIDSetNum(uid), "Dự án/Trạm").Wait()
	if err != nil || moved.UIDValidity == 0 || moved.DestUIDs == nil {
		t.Fatalf("MOVE: %+v, %v", moved, err)
	}
	hears(t, told, "expunge 1")
	if err := idle.Close(); err != nil {
		t.Error(err)
	}
	if err := idle.Wait(); err != nil {
		t.Error(err)
	}
	goList(t, c)
	for _, each := range []*imapclient.Client{c, watcher} {
		if err := each.Logout().Wait(); err != nil {
			t.Error(err)
		}
	}
}

// hears waits until the client was told something that contains want.
func hears(t *testing.T, told <-chan string, want string) {
	t.Helper()
	late := time.After(time.Minute)
	var all []string
	for {
		select {
		case got := <-told:
			if strings.Contains(got, want) {
				return
			}
			all = append(all, got)
		case <-late:
			t.Fatalf("was told %q, not %q", all, want)
		}
	}
}

func goAppend(t *testing.T, c *imapclient.Client, text string) imap.UID {
	t.Helper()
	a := c.Append("INBOX", int64(len(text)), &imap.AppendOptions{
		Flags: []imap.Flag{imap.FlagSeen}, Time: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC),
	})
	if _, err := a.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := a.Wait()
	if err != nil || data.UID == 0 {
		t.Fatalf("APPEND: %+v, %v", data, err)
	}
	return data.UID
}

func goFlag(t *testing.T, c *imapclient.Client, uid imap.UID) {
	t.Helper()
	got, err := c.Store(imap.UIDSetNum(uid), &imap.StoreFlags{
		Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagFlagged, "$Forwarded"},
	}, nil).Collect()
	if err != nil || len(got) != 1 || len(got[0].Flags) < 3 {
		t.Fatalf("STORE: %+v, %v", got, err)
	}
}

// goRead fetches all that the client knows to ask for, and finds the message again.
func goRead(t *testing.T, c *imapclient.Client, uid imap.UID, since uint64) {
	t.Helper()
	whole, text := &imap.FetchItemBodySection{Peek: true}, &imap.FetchItemBinarySection{Part: []int{1}, Peek: true}
	got, err := c.Fetch(imap.UIDSetNum(uid), &imap.FetchOptions{
		BodyStructure: &imap.FetchItemBodyStructure{Extended: true}, Envelope: true, Flags: true,
		InternalDate: true, RFC822Size: true, UID: true, ModSeq: true, ChangedSince: since,
		BodySection: []*imap.FetchItemBodySection{whole}, BinarySection: []*imap.FetchItemBinarySection{text},
		BinarySectionSize: []*imap.FetchItemBinarySectionSize{{Part: []int{1}}},
	}).Collect()
	if err != nil || len(got) != 1 {
		t.Fatalf("FETCH: %d messages, %v", len(got), err)
	}
	m := got[0]
	body, _ := strings.CutPrefix(vietnamese[strings.Index(vietnamese, "\r\n\r\n"):], "\r\n\r\n")
	switch {
	case string(m.FindBodySection(whole)) != vietnamese, m.RFC822Size != int64(len(vietnamese)):
		t.Errorf("FETCH gave another message: %q", m.FindBodySection(whole))
	case string(m.FindBinarySection(text)) != body:
		t.Errorf("BINARY gave %q", m.FindBinarySection(text))
	case !strings.EqualFold(m.Envelope.Subject, "Thông báo họp đầu năm") || m.Envelope.From[0].Name != "Nguyễn Văn An":
		t.Errorf("envelope: %+v", m.Envelope)
	case m.BodyStructure.MediaType() != "text/plain" || m.ModSeq <= since || m.UID != uid:
		t.Errorf("structure %v, mod-sequence %d after %d, UID %d", m.BodyStructure.MediaType(), m.ModSeq,
			since, m.UID)
	}
	found, err := c.UIDSearch(&imap.SearchCriteria{
		Text: []string{"đường còn dài"}, Flag: []imap.Flag{imap.FlagFlagged},
		Since: time.Date(2026, 2, 28, 0, 0, 0, 0, time.UTC), Larger: 10,
		Not: []imap.SearchCriteria{{Body: []string{"khác"}}},
	}, &imap.SearchOptions{ReturnCount: true, ReturnAll: true}).Wait()
	if err != nil || found.Count != 1 || len(found.AllUIDs()) != 1 || found.AllUIDs()[0] != uid {
		t.Errorf("SEARCH: %+v, %v", found, err)
	}
}

// goList looks at mailboxes and their numbers in one command.
func goList(t *testing.T, c *imapclient.Client) {
	t.Helper()
	list, err := c.List("", "*", &imap.ListOptions{
		ReturnChildren: true, ReturnSpecialUse: true, ReturnSubscribed: true,
		ReturnStatus: &imap.StatusOptions{NumMessages: true, UIDNext: true, UIDValidity: true,
			NumUnseen: true, NumDeleted: true, Size: true, HighestModSeq: true},
	}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if m.Mailbox != "Dự án/Trạm" {
			continue
		}
		st := m.Status
		if m.Delim != '/' || st == nil || *st.NumMessages != 1 || *st.NumUnseen != 0 ||
			*st.Size != int64(len(vietnamese)) {
			t.Errorf("LIST: %+v, %+v", m, st)
		}
		return
	}
	t.Errorf("the mailbox is not in the list: %+v", list)
}
