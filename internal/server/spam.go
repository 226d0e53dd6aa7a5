package server

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"tram/internal/config"
	"tram/internal/deliver"
	"tram/internal/deliver/learn"
	"tram/internal/directory"
	"tram/internal/envelope"
	"tram/internal/message"
	"tram/internal/queue"
	"tram/internal/smtp"
	"tram/internal/spam"
	"tram/internal/spam/content"
	"tram/internal/spam/unpack"
	"tram/internal/spam/words"
	"tram/internal/store"
)

// openSpam opens the room that judges mail, and what learns from people's acts. It comes before the
// store, which tells the learner of changes.
func (s *Server) openSpam(ctx context.Context) error {
	c := s.o.Config.Spam
	if !c.Enabled {
		return nil
	}
	networks, err := networksOf(c.Networks)
	if err != nil {
		return err
	}
	pepper, err := s.folder.pepper()
	if err != nil {
		return err
	}
	log := s.o.Logger.With("room", "spam")
	s.Spam = spam.New(spam.Options{
		DB: s.DB, Resolver: s.resolver(), Clock: s.o.Clock, Logger: log,
		Limits: s.o.Config.Limits.Spam, Content: s.o.Config.Limits.Content, Networks: networks,
		Words: words.Open(words.Options{
			DB: s.DB, Limits: s.o.Config.Limits.Words, Clock: s.o.Clock, Log: log, Secret: pepper,
		}),
		Config: spamConfig(c), Unpack: s.unpacker(), Own: s.ourselves(),
	})
	s.Learner = learn.New(learn.Options{
		Judge: s.Spam, Directory: s.Directory, Logger: log, Limits: s.o.Config.Limits.Spam,
		Message: s.o.Config.Limits.Message,
	})
	s.onClose(func() error { return s.Spam.Flush(context.WithoutCancel(ctx)) })
	return nil
}

func spamConfig(c config.Spam) spam.Config {
	out := spam.Config{
		Policy:   spam.Policy{Junk: c.Junk, Quarantine: c.Quarantine, Reject: c.Reject},
		Greylist: c.Greylist, Outgoing: c.Outgoing,
	}
	for _, l := range c.Lists {
		list := spam.NameList{Zone: l.Zone, Kind: l.Kind, Test: l.Test, Weight: l.Weight}
		for code, w := range l.Codes {
			if p, err := config.ListCode(code); err == nil { // the configuration was checked
				list.SetCode(p, w)
			}
		}
		out.Lists = append(out.Lists, list)
	}
	return out
}

// networksOf reads the operator's table; nil for "".
func networksOf(path string) (*spam.Networks, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read spam.networks: %w", err)
	}
	defer f.Close()
	read := spam.ReadNetworks
	if strings.EqualFold(filepath.Ext(path), ".mmdb") {
		read = spam.ReadNetworkDatabase
	}
	t, err := read(f)
	if err != nil {
		return nil, fmt.Errorf("read spam.networks %s: %w", path, err)
	}
	return t, nil
}

// spamJobs are the chores of judging.
var spamJobs = []job{
	{"what was learned of senders", 20 * time.Second, 20 * time.Second,
		func(s *Server, ctx context.Context) error { return s.ifSpam(ctx, s.Spam.Flush) }},
	{"learning from people's acts", 5 * time.Second, 10 * time.Second,
		func(s *Server, ctx context.Context) error {
			return s.ifSpam(ctx, func(ctx context.Context) error { return s.Learner.Run(ctx, s.Store) })
		}},
	{"lists in the DNS", time.Second, 5 * time.Minute,
		func(s *Server, ctx context.Context) error {
			return s.ifSpam(ctx, func(ctx context.Context) error { s.Spam.TestLists(ctx); return nil })
		}},
	{"forgetting of senders", 6 * time.Minute, 6 * time.Hour,
		func(s *Server, ctx context.Context) error {
			return s.ifSpam(ctx, func(ctx context.Context) error { return s.Spam.Maintain(ctx) })
		}},
}

func (s *Server) ifSpam(ctx context.Context, fn func(context.Context) error) error {
	if s.Spam == nil {
		return nil
	}
	return fn(ctx)
}

// changed hears from the store of every account that has changed.
func (s *Server) changed(id store.AccountID) {
	if s.Learner != nil {
		s.Learner.Changed(id)
	}
}

// noticeEvery is how often somebody is told of one thing.
const noticeEvery = 24 * time.Hour

// held tells the administrator that what an account sends is being held: once a day for each reason,
// for there may be a thousand such messages.
func (s *Server) held(it queue.Item) {
	if s.Spam == nil || it.Account == 0 {
		return
	}
	reason, _, _ := strings.Cut(it.HeldReason, ":")
	ctx := context.Background()
	tell, err := s.Spam.Once(ctx, fmt.Sprintf("held %d %s", it.Account, reason), noticeEvery)
	if err != nil {
		s.o.Logger.Error("nobody was told of held mail", "id", it.ID, "err", err)
	}
	if !tell {
		return
	}
	who := it.From.Unicode()
	if a, err := s.Directory.Account(ctx, directory.AccountID(it.Account)); err == nil {
		who = a.Address.Unicode()
	}
	s.notify(ctx, notice{
		subject: "Outgoing mail of " + who + " is held / Thư gửi đi của " + who + " đang bị giữ lại",
		text: fmt.Sprintf(`Mail that %[1]s sends is being held:

    %[2]s

Perhaps somebody has stolen the password. Look at the messages with "tram queue list --state held".
If they are what they should be, let them go with "tram queue release"; else drop them, and give the
account another password.

Thư do %[1]s gửi đang bị giữ lại:

    %[2]s

Có thể mật khẩu đã bị đánh cắp. Xem các thư bằng "tram queue list --state held". Nếu đó là thư thật,
hãy cho đi bằng "tram queue release"; nếu không, hãy bỏ chúng và đổi mật khẩu của tài khoản.
`, who, it.HeldReason),
	})
}

// bombed tells a person, and the administrator, that somebody has signed the person up at very many
// places.
func (s *Server) bombed(ctx context.Context, account store.AccountID, to smtp.Address) {
	tell, err := s.Spam.Once(ctx, fmt.Sprintf("bomb %d", account), s.o.Config.Limits.Spam.BombQuiet)
	if err != nil || !tell {
		return
	}
	// The delivery that noticed it must not wait for another one.
	go s.notify(context.WithoutCancel(ctx), notice{to: []smtp.Address{to},
		subject: "Very many sign-ups in your name / Rất nhiều nơi nhận đăng ký bằng tên bạn",
		text: fmt.Sprintf(`Within minutes very many places have begun to write to %[1]s: somebody has signed that
address up everywhere. It is often done to hide one real message, such as a bank's warning or an order
that you did not make. Look for it now.

What these places send is put together in your junk mail, with the keyword %[2]s. Nothing is lost.
Mail from people you write to comes to your inbox as always.

Trong vài phút, rất nhiều nơi cùng gửi thư tới %[1]s: có kẻ đã đăng ký địa chỉ này khắp nơi. Việc này
thường để che giấu một thư quan trọng, chẳng hạn cảnh báo của ngân hàng hay một đơn hàng bạn không đặt.
Hãy tìm thư đó ngay.

Thư của những nơi ấy được gom vào mục thư rác, có nhãn %[2]s. Không thư nào bị mất. Thư của những người
bạn vẫn viết cho vẫn vào hộp thư đến như thường lệ.
`, to.Unicode(), spam.KeywordBomb),
	})
}

// notice is something that people are told by mail. It goes to the administrator, and to those in to.
type notice struct {
	to            []smtp.Address
	subject, text string
}

func (s *Server) notify(ctx context.Context, n notice) {
	if err := s.send(ctx, n); err != nil {
		s.o.Logger.Error("notice was not delivered", "subject", n.subject, "err", err)
	}
}

// send hands a notice to the queue, from nobody: nothing is ever answered to it.
func (s *Server) send(ctx context.Context, n notice) error {
	domain, err := s.Directory.OwnDomain(ctx, s.o.Config.Hostname)
	if err != nil {
		return err
	}
	id, err := message.NewMessageID(s.o.Rand, s.o.Config.Hostname)
	if err != nil {
		return err
	}
	to := n.to
	admin := smtp.Address{Local: "postmaster", Domain: domain}
	if _, err := s.Directory.Resolve(ctx, admin); err == nil {
		to = append(to, admin)
	} else {
		s.o.Logger.Warn("the domain has no postmaster to be told", "domain", domain, "subject", n.subject)
	}
	if len(to) == 0 {
		return nil
	}
	d := message.Draft{
		From:    []message.Address{{Name: "Mail server", Mailbox: "postmaster", Host: s.o.Config.Hostname}},
		Subject: n.subject, Date: s.o.Clock.Now(), MessageID: id, AutoSubmitted: "auto-generated",
		Content: message.Content{Text: n.text}, Rand: s.o.Rand,
	}
	env := &envelope.Envelope{Origin: envelope.Notice, Received: s.o.Clock.Now()}
	for _, a := range to {
		d.To = append(d.To, message.Address{Mailbox: a.Local, Host: smtp.UnicodeDomain(a.Domain)})
		env.Recipients = append(env.Recipients, envelope.Recipient{Address: a, Notify: envelope.NotifyNever})
	}
	body := s.Store.NewBody(ctx)
	if _, err := d.WriteTo(body); err != nil {
		body.Abort()
		return err
	}
	if env.Body, env.Message, err = body.Finish(); err != nil {
		return err
	}
	defer env.Body.Discard()
	return s.Queue.Forward(ctx, env)
}

// failed hears of recipients elsewhere that were refused for good.
func (s *Server) failed(ctx context.Context, origin envelope.Origin, to smtp.Address, reply smtp.Reply) {
	if s.Spam == nil || origin != envelope.Submission || !spam.NoSuchAddress(reply) {
		return
	}
	if err := s.Spam.Suppress(ctx, to, reply.String()); err != nil {
		s.o.Logger.Error("address was not put on the suppression list", "to", to.String(), "err", err)
	}
}

// judging are the parts of a deliverer's options that this file makes.
func (s *Server) judging(o deliver.Options) deliver.Options {
	o.Judge = s.Spam
	if s.Spam != nil {
		o.Bombed = s.bombed
	}
	return o
}

// unpacker opens attachments in processes of their own; nil: they are opened in this one.
func (s *Server) unpacker() func(context.Context, string, io.Reader, int64) (unpack.Result, error) {
	if len(s.o.Decoder) == 0 {
		return nil
	}
	pool := unpack.NewPool(unpack.PoolOptions{Command: s.o.Decoder, Limits: s.o.Config.Limits.Content})
	s.onClose(pool.Close)
	return pool.Unpack
}

const (
	oursKept = time.Minute
	oursMost = 50000 // people whose names are known
)

// ourselves returns what tells our domains and people, read again now and then.
func (s *Server) ourselves() func(context.Context) (*content.Domains, map[string]bool) {
	var mu sync.Mutex
	var domains *content.Domains
	var names map[string]bool
	var read time.Time
	return func(ctx context.Context) (*content.Domains, map[string]bool) {
		mu.Lock()
		defer mu.Unlock()
		if now := s.o.Clock.Now(); domains == nil || now.Sub(read) >= oursKept || now.Before(read) {
			d, n, err := s.readOurselves(ctx)
			if err != nil {
				s.o.Logger.Warn("our own domains are not known to those who judge mail", "err", err)
				return domains, names
			}
			domains, names, read = d, n, now
		}
		return domains, names
	}
}

func (s *Server) readOurselves(ctx context.Context) (*content.Domains, map[string]bool, error) {
	all, err := s.Directory.Domains(ctx)
	if err != nil {
		return nil, nil, err
	}
	var domains []string
	names := map[string]bool{}
	for _, d := range all {
		domains = append(domains, d.Name)
		if len(names) >= oursMost {
			continue
		}
		accounts, err := s.Directory.Accounts(ctx, d.Name)
		if err != nil {
			return nil, nil, err
		}
		for _, a := range accounts {
			if n := content.FoldName(a.Name); n != "" && len(names) < oursMost {
				names[n] = true
			}
		}
	}
	return content.NewDomains(domains...), names, nil
}
