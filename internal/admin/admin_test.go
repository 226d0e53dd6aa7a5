package admin_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tram/internal/admin"
	"tram/internal/config"
	"tram/internal/directory"
	"tram/internal/envelope"
	"tram/internal/kv/memkv"
	"tram/internal/queue"
	"tram/internal/server"
	"tram/internal/smtp"
	"tram/internal/store"
	"tram/internal/trace"
)

// open returns a house on memory and a client that speaks to it over a real socket.
func open(t *testing.T) (*server.Server, *admin.Client) {
	t.Helper()
	c := config.Default()
	c.Hostname, c.Data = "mail.example.com", t.TempDir()
	c.Limits.Auth.ArgonMemoryKiB, c.Limits.Auth.ArgonTime = 64, 1
	s, err := server.Open(t.Context(), server.Options{
		Config: c, DB: memkv.New(), Offline: true, Version: "9.9",
	})
	if err != nil {
		t.Fatal(err)
	}
	socket := c.AdminSocket()
	api, err := s.Admin.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- api.Serve() }()
	client := admin.NewClient(socket)
	t.Cleanup(func() {
		client.Close()
		if err := errors.Join(api.Shutdown(context.Background()), <-ended, s.Close()); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left behind: %v", err)
		}
	})
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", info, err)
	}
	return s, client
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wants checks that err is a Fault of a kind whose sentence has the words.
func wants(t *testing.T, err error, kind, words string) {
	t.Helper()
	var f *admin.Fault
	if !errors.As(err, &f) || f.Kind != kind || !strings.Contains(f.Message, words) {
		t.Errorf("error %#v, want %s with %q", err, kind, words)
	}
}

func addPeople(t *testing.T, c *admin.Client) {
	t.Helper()
	if _, err := c.AddDomain(t.Context(), "Example.COM"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"anna", "bob"} {
		must[admin.Account](t)(c.AddAccount(t.Context(), admin.NewAccount{
			Address: name + "@example.com", Password: "a good long passphrase", Name: name,
		}))
	}
}

func TestDomains(t *testing.T) {
	t.Parallel()
	_, c := open(t)
	if got := must[[]admin.Domain](t)(c.Domains(t.Context())); got == nil || len(got) != 0 {
		t.Errorf("a new house has domains %v (nil is null in JSON)", got)
	}
	addPeople(t, c)
	alias := admin.Alias{Address: "sales@example.com", Targets: []string{"anna@example.com"}}
	if err := c.AddAlias(t.Context(), alias); err != nil {
		t.Fatal(err)
	}
	got := must[[]admin.Domain](t)(c.Domains(t.Context()))
	if len(got) != 1 || got[0].Name != "example.com" || got[0].Accounts != 2 || got[0].Aliases != 1 {
		t.Errorf("domains %+v", got)
	}
	_, err := c.AddDomain(t.Context(), "example.com")
	wants(t, err, admin.KindExists, "example.com")
	wants(t, c.RemoveDomain(t.Context(), "example.com"), admin.KindConflict, "accounts")
	wants(t, c.RemoveDomain(t.Context(), "none.example"), admin.KindNotFound, "none.example")
}

// TestDomainQuota proves that a domain's quota reaches the store, that a domain removed and added
// again begins without one, and that a bound below nothing is refused.
func TestDomainQuota(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	addPeople(t, c)
	stored := func() store.Quota {
		t.Helper()
		_, q, err := s.Store.DomainUsage(t.Context(), "example.com")
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	q := admin.Quota{Bytes: 5 << 30, Messages: 7}
	got := must[admin.Domain](t)(c.ChangeDomain(t.Context(), "EXAMPLE.com", admin.DomainChange{Quota: &q}))
	if got.Quota != q || got.Accounts != 2 || stored() != store.Quota(q) {
		t.Errorf("changed to %+v, the store has %+v", got, stored())
	}
	if got := must[admin.Domain](t)(c.Domain(t.Context(), "example.com")); got.Quota != q {
		t.Errorf("Domain = %+v", got)
	}
	if got := must[admin.Domain](t)(c.ChangeDomain(t.Context(), "example.com", admin.DomainChange{})); got.Quota != q {
		t.Errorf("no change made it %+v", got)
	}
	less := admin.Quota{Messages: -1}
	_, err := c.ChangeDomain(t.Context(), "example.com", admin.DomainChange{Quota: &less})
	wants(t, err, admin.KindInvalid, "not below 0")
	_, err = c.ChangeAccount(t.Context(), "anna@example.com", admin.AccountChange{Quota: &less})
	wants(t, err, admin.KindInvalid, "not below 0")
	_, err = c.AddAccount(t.Context(), admin.NewAccount{Address: "d@example.com", Quota: admin.Quota{Bytes: -5}})
	wants(t, err, admin.KindInvalid, "not below 0")
	_, err = c.ChangeDomain(t.Context(), "none.example", admin.DomainChange{Quota: &q})
	wants(t, err, admin.KindNotFound, "none.example")
	_, err = c.Domain(t.Context(), "none.example")
	wants(t, err, admin.KindNotFound, "none.example")
	for _, name := range []string{"anna", "bob"} {
		if err := c.RemoveAccount(t.Context(), name+"@example.com"); err != nil {
			t.Fatal(err)
		}
	}
	annotations := store.ModSeq(1)
	err = s.Store.UpdateDomainAnnotations(t.Context(), "example.com", func(a *store.Annotations) error {
		return a.Set([]store.AnnotationChange{{Name: "/shared/comment", Value: []byte("x")}})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.RemoveDomain(t.Context(), "EXAMPLE.com"); err != nil {
		t.Fatal(err)
	}
	err = s.Store.ViewDomainAnnotations(t.Context(), "example.com", func(a *store.Annotations) (err error) {
		annotations, err = a.At()
		return err
	})
	if err != nil || annotations != 0 {
		t.Errorf("annotations of a removed domain: changed at %d, %v", annotations, err)
	}
	again := must[admin.Domain](t)(c.AddDomain(t.Context(), "example.com"))
	if again.Quota != (admin.Quota{}) || stored() != (store.Quota{}) {
		t.Errorf("added again: %+v, the store has %+v", again, stored())
	}
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	addPeople(t, c)
	made := must[admin.Account](t)(c.AddAccount(t.Context(), admin.NewAccount{
		Address: "Chi@example.com", Admin: true, Quota: admin.Quota{Bytes: 1 << 30, Messages: 10},
	}))
	if !regexp.MustCompile(`^([a-z2-9]{5}-){3}[a-z2-9]{5}$`).MatchString(made.Password) {
		t.Errorf("generated password %q", made.Password)
	}
	logIn := func(user, password string) error {
		_, err := s.Directory.Authenticate(t.Context(), directory.Attempt{
			Protocol: directory.IMAP, User: user, Password: password,
		})
		return err
	}
	if err := logIn("chi@example.com", made.Password); err != nil {
		t.Errorf("log-in with the generated password: %v", err)
	}
	shown := must[admin.Account](t)(c.Account(t.Context(), "CHI@example.com"))
	if shown.Password != "" || !shown.Admin || shown.Quota != made.Quota || shown.Used != (admin.Quota{}) {
		t.Errorf("shown %+v", shown)
	}
	_, quota, err := s.Store.Account(1).Usage(t.Context())
	if err != nil || quota.Bytes != 0 {
		t.Errorf("quota of an account without one: %v, %v", quota, err)
	}

	empty := ""
	changed := must[admin.Account](t)(c.ChangeAccount(t.Context(), "chi@example.com", admin.AccountChange{
		Password: &empty, Quota: &admin.Quota{Bytes: 5},
	}))
	if changed.Password == made.Password || changed.Quota.Bytes != 5 {
		t.Errorf("changed %+v", changed)
	}
	if logIn("chi@example.com", made.Password) == nil || logIn("chi@example.com", changed.Password) != nil {
		t.Error("the new password is not the one that works")
	}
	yes := true
	must[admin.Account](t)(c.ChangeAccount(t.Context(), "chi@example.com", admin.AccountChange{Disabled: &yes}))
	if logIn("chi@example.com", changed.Password) == nil {
		t.Error("a disabled account logs in")
	}
	if err := c.RemoveAccount(t.Context(), "chi@example.com"); err != nil {
		t.Fatal(err)
	}
	_, err = c.Account(t.Context(), "chi@example.com")
	wants(t, err, admin.KindNotFound, "there is no account chi@example.com")
	if got := must[[]admin.Account](t)(c.Accounts(t.Context(), "example.com")); len(got) != 2 {
		t.Errorf("left %+v", got)
	}
}

func TestAccountFaults(t *testing.T) {
	t.Parallel()
	_, c := open(t)
	addPeople(t, c)
	add := func(address, password string) error {
		_, err := c.AddAccount(t.Context(), admin.NewAccount{Address: address, Password: password})
		return err
	}
	wants(t, add("anna@example.com", "a good long passphrase"), admin.KindExists, "anna@example.com")
	wants(t, add("x@other.example", "a good long passphrase"), admin.KindNotFound, "tram domain add other.example")
	wants(t, add("no address", ""), admin.KindInvalid, "is not an address")
	wants(t, add("dora@example.com", "short"), admin.KindInvalid, "password")
	wants(t, c.RemoveAccount(t.Context(), "dora@example.com"), admin.KindNotFound, "dora@example.com")
}

func TestAliases(t *testing.T) {
	t.Parallel()
	_, c := open(t)
	addPeople(t, c)
	a := admin.Alias{Address: "@example.com",
		Targets: []string{"anna@example.com", "x@other.example", "anna@example.com"}}
	if err := c.AddAlias(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	got := must[[]admin.Alias](t)(c.Aliases(t.Context(), "example.com"))
	if len(got) != 1 || got[0].Address != "@example.com" ||
		!cmp.Equal(got[0].Targets, []string{"anna@example.com", "x@other.example"}) {
		t.Errorf("aliases %+v", got)
	}
	wants(t, c.AddAlias(t.Context(), admin.Alias{Address: "a@example.com"}), admin.KindInvalid, "no target")
	odd := admin.Alias{Address: "a@example.com", Targets: []string{"?"}}
	wants(t, c.AddAlias(t.Context(), odd), admin.KindInvalid, `"?"`)
	wants(t, c.RemoveAlias(t.Context(), "none@example.com"), admin.KindNotFound, "none@example.com")
	if err := c.RemoveAlias(t.Context(), "@example.com"); err != nil {
		t.Error(err)
	}
}

func submit(t *testing.T, s *server.Server, to string) string {
	t.Helper()
	w := s.Blobs.Create(t.Context())
	if _, err := io.WriteString(w, "Subject: x\r\n\r\nx\r\n"); err != nil {
		t.Fatal(err)
	}
	body, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	from := must[smtp.Address](t)(smtp.ParseAddress("anna@example.com"))
	rcpt := must[smtp.Address](t)(smtp.ParseAddress(to))
	id, err := s.Queue.Submit(t.Context(), queue.Submission{
		From: from, Recipients: []queue.Recipient{{Address: rcpt}}, Body: body,
		Origin: envelope.Submission, MessageID: "<m@example.com>",
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(id)
}

func TestQueue(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	first, second := submit(t, s, "x@one.example"), submit(t, s, "y@two.example")
	l := must[admin.QueueList](t)(c.QueueList(t.Context(), admin.QueueFilter{Domain: "two.example"}))
	if len(l.Items) != 1 || l.Items[0].ID != second || l.Items[0].Recipients[0].Address != "y@two.example" {
		t.Errorf("list %+v", l)
	}
	l = must[admin.QueueList](t)(c.QueueList(t.Context(), admin.QueueFilter{Limit: 1}))
	if len(l.Items) != 1 || !l.More {
		t.Errorf("first page %+v", l)
	}
	do := func(id, what string) error {
		return c.QueueDo(t.Context(), id, admin.QueueAction{Do: what, Reason: "because"})
	}
	if err := do(first, admin.QueueHold); err != nil {
		t.Fatal(err)
	}
	it := must[admin.QueueItem](t)(c.QueueShow(t.Context(), first))
	if it.State != "held" || it.Reason != "because" || it.From != "anna@example.com" || !it.Next.IsZero() {
		t.Errorf("held item %+v", it)
	}
	for _, what := range []string{admin.QueueRelease, admin.QueueRetry, admin.QueueDrop} {
		if err := do(first, what); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := c.QueueShow(t.Context(), first)
	wants(t, err, admin.KindNotFound, first)
	wants(t, do(first, admin.QueueRetry), admin.KindNotFound, first)
	wants(t, do(second, "eat"), admin.KindInvalid, "eat")
	_, err = c.QueueList(t.Context(), admin.QueueFilter{State: "odd"})
	wants(t, err, admin.KindInvalid, "odd")
}

func TestTrace(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	if got := must[[]trace.Event](t)(c.Trace(t.Context(), "none", 0)); got == nil || len(got) != 0 {
		t.Errorf("nothing found is %#v (nil is null in JSON)", got)
	}
	want := trace.Event{Time: time.Unix(1e9, 5).UTC(), ID: "t1", Step: "received",
		MessageID: "<a&b@c>", To: "bob@example.com", Code: 250}
	s.Trace.Add(want)
	for _, q := range []string{"<a&b@c>", "BOB@example.com", "t1"} {
		if diff := cmp.Diff([]trace.Event{want}, must[[]trace.Event](t)(c.Trace(t.Context(), q, 0))); diff != "" {
			t.Errorf("Trace(%q): %s", q, diff)
		}
	}
}

func TestCheckStreams(t *testing.T) {
	t.Parallel()
	_, c := open(t)
	addPeople(t, c)
	findings := 0
	err := c.Check(t.Context(), true, func(admin.Progress) {}, func(f admin.Finding) {
		findings++
		t.Errorf("finding %+v", f)
	})
	if err != nil || findings > 0 {
		t.Errorf("check of a new house: %v", err)
	}
}

// TestCheckFindsOrphans: mail of an account that the directory does not know.
func TestCheckFindsOrphans(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	addPeople(t, c)
	bob := smtp.Address{Local: "bob", Domain: "example.com"}
	account := must[directory.Account](t)(s.Directory.AccountByAddress(t.Context(), bob))
	if err := s.Directory.RemoveAccount(t.Context(), account.ID); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	err := c.Check(t.Context(), false, func(admin.Progress) {}, func(f admin.Finding) {
		kinds = append(kinds, f.Kind)
	})
	if err != nil || !cmp.Equal(kinds, []string{"orphan"}) {
		t.Errorf("found %q, %v", kinds, err)
	}
}

func TestStatusAndLimits(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	submit(t, s, "x@one.example")
	got := must[admin.Status](t)(c.Status(t.Context()))
	if got.Hostname != "mail.example.com" || got.Version != "9.9" || got.Waiting != 1 ||
		got.Ready || got.Problem == "" {
		t.Errorf("status %+v", got)
	}
	if rows := s.Admin.Limits(); len(rows) < 100 {
		t.Errorf("%d limits", len(rows))
	}
}

func TestRequestsThatMeanNothing(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	h := s.Admin.Handler()
	for _, c := range []struct {
		method, path, body string
		code               int
		says               string
	}{
		{"GET", "/v1/none", "", 404, "no such operation"},
		{"PUT", "/v1/domains", "", 404, "no such operation: PUT"},
		{"POST", "/v1/domains", `{"nam":"x"}`, 422, "nam"},
		{"POST", "/v1/domains", `{`, 422, "not understood"},
		{"POST", "/v1/domains", `{"name":"` + strings.Repeat("x", 2<<20) + `"}`, 422, "too large"},
		{"GET", "/v1/queue?limit=-1", "", 422, "limit"},
	} {
		r, err := http.NewRequest(c.method, "http://tram"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		w := &recorder{header: http.Header{}}
		h.ServeHTTP(w, r)
		if w.code != c.code || !strings.Contains(w.text.String(), c.says) {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.code, w.text.String())
		}
	}
}

type recorder struct {
	header http.Header
	code   int
	text   strings.Builder
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(code int)        { r.code = code }
func (r *recorder) Write(p []byte) (int, error) { return r.text.Write(p) }

func TestClientWithoutServer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "admin.sock")
	_, err := admin.NewClient(path).Status(t.Context())
	if !errors.Is(err, admin.ErrNoServer) {
		t.Errorf("no socket: %v", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := admin.NewClient(path).Status(t.Context()); !errors.Is(err, admin.ErrNoServer) {
		t.Errorf("a socket that a dead server left: %v", err)
	}
}

// TestCheckThatIsCutShort: an answer without an end is no clean bill.
func TestCheckThatIsCutShort(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"progress":{"done":1,"total":2,"what":"rows"}}`+"\n")
	})}
	go srv.Serve(l)
	defer srv.Close()
	seen := int64(0)
	err = admin.NewClient(path).Check(t.Context(), false,
		func(p admin.Progress) { seen = p.Done }, func(admin.Finding) {})
	if err == nil || !strings.Contains(err.Error(), "cut short") || seen != 1 {
		t.Errorf("Check = %v after %d", err, seen)
	}
}

func TestPasswordsDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		seen[must[string](t)(admin.Password(repeatable(len(seen))))] = true
	}
	if len(seen) != 100 {
		t.Errorf("%d different passwords of 100", len(seen))
	}
	if _, err := admin.Password(strings.NewReader("short")); err == nil {
		t.Error("a password of too little randomness")
	}
}

// repeatable is a source of bytes that depend on n.
type repeatable int

func (n repeatable) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(int(n) >> (i % 2 * 5))
	}
	return len(p), nil
}

// TestPOP3 sets what POP3 shows. A folder stays shown when it is renamed, and is left out when it is
// deleted; what makes no sense changes nothing.
func TestPOP3(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	addPeople(t, c)
	const anna = "anna@example.com"
	shows := func(when string, want admin.POP3) {
		t.Helper()
		if got := must[admin.Account](t)(c.Account(t.Context(), anna)).POP3; !cmp.Equal(got, want) {
			t.Errorf("%s: %+v, want %+v", when, got, want)
		}
	}
	shows("at first", admin.POP3{Folders: []string{"INBOX"}, Policy: "keep"})
	id := store.AccountID(must[admin.Account](t)(c.Account(t.Context(), anna)).ID)
	folder := func(fn func(tx *store.Tx) error) {
		t.Helper()
		if err := s.Store.Account(id).Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	var lists store.MailboxID
	folder(func(tx *store.Tx) error {
		m, err := tx.CreateMailbox("Lists", store.CreateOptions{})
		if err == nil {
			lists = m.ID
		}
		return err
	})
	set := admin.POP3{Folders: []string{"INBOX", "Lists", "INBOX"}, Policy: "days", Days: 9, Seen: true}
	if _, err := c.ChangeAccount(t.Context(), anna, admin.AccountChange{POP3: &set}); err != nil {
		t.Fatal(err)
	}
	shows("set", admin.POP3{Folders: []string{"INBOX", "Lists"}, Policy: "days", Days: 9, Seen: true})
	folder(func(tx *store.Tx) error { return tx.RenameMailbox(lists, "Old lists") })
	shows("renamed", admin.POP3{Folders: []string{"INBOX", "Old lists"}, Policy: "days", Days: 9, Seen: true})
	for words, wrong := range map[string]admin.POP3{
		"no policy":      {Policy: "eat"},
		"from 1 to 3650": {Policy: "days"},
		"days belong":    {Policy: "keep", Days: 3},
		"50":             {Policy: "keep", Folders: make([]string, 51)},
	} {
		_, err := c.ChangeAccount(t.Context(), anna, admin.AccountChange{POP3: &wrong})
		wants(t, err, admin.KindInvalid, words)
	}
	none := admin.POP3{Policy: "keep", Folders: []string{"Nowhere"}}
	_, err := c.ChangeAccount(t.Context(), anna, admin.AccountChange{POP3: &none})
	wants(t, err, admin.KindNotFound, "no folder")
	shows("after what was wrong", admin.POP3{Folders: []string{"INBOX", "Old lists"}, Policy: "days", Days: 9, Seen: true})
	folder(func(tx *store.Tx) error { return tx.DeleteMailbox(lists) })
	shows("deleted", admin.POP3{Folders: []string{"INBOX"}, Policy: "days", Days: 9, Seen: true})
	usual := admin.POP3{Folders: []string{"INBOX"}, Policy: "keep"}
	if _, err := c.ChangeAccount(t.Context(), anna, admin.AccountChange{POP3: &usual}); err != nil {
		t.Fatal(err)
	}
	shows("as at first", usual)
	if names := must[[]string](t)(c.Folders(t.Context(), anna)); len(names) == 0 || names[0] != "INBOX" {
		t.Errorf("folders %q", names)
	}
}
