package deliver

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"

	"tram/internal/blob"
	"tram/internal/envelope"
	"tram/internal/smtp"
	"tram/internal/store"
	"tram/internal/trace"
)

// parallel is how many accounts of one message are written at once. They share the disk's syncs, so
// a message to ten people takes about as long as one to one.
const parallel = 8

// dedupeKey names a delivery: the same content from the same sender under the same Message-ID is
// the same message, sent again because our reply was lost (RFC 1047). The store keeps it for each
// account by itself.
func dedupeKey(env *envelope.Envelope) []byte {
	content := contentOf(env)
	h := sha256.New()
	for _, s := range []string{env.From.Local, "@", env.From.Domain, "\x00", messageID(env), "\x00"} {
		_, _ = io.WriteString(h, s) // a hash takes everything
	}
	_, _ = h.Write(content[:])
	return h.Sum(nil)[:16]
}

// contentOf is the content by which a message is known again. Of a submission that comes out of our own
// queue it is the body as it was stored: our Received field, which it includes, names the submission.
// Of what was handed over here, it is what it was then.
func contentOf(env *envelope.Envelope) [sha256.Size]byte {
	if env.ContentHash == [sha256.Size]byte{} && env.Body != nil {
		return env.Body.Ref().SHA256
	}
	return env.ContentHash
}

func messageID(env *envelope.Envelope) string {
	if env.Message == nil {
		return ""
	}
	return env.Message.MessageID
}

// file stores the message in each account that has not refused it.
func (r *delivery) file(ctx context.Context) (smtp.Reply, error) {
	var todo []*leg
	for _, l := range r.legs {
		if l.account != 0 && l.reply.Code == 0 {
			todo = append(todo, l)
		}
	}
	if len(todo) == 1 {
		r.fileOne(ctx, todo[0])
		return smtp.Reply{}, nil
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for _, l := range todo {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			r.fileOne(ctx, l)
		})
	}
	wg.Wait()
	return smtp.Reply{}, nil
}

// fileOne is the transaction of one account: the message is there, with its body, or it is not.
func (r *delivery) fileOne(ctx context.Context, l *leg) {
	to := r.env.Recipients[l.by].Address
	if l.verdict.Discard {
		l.reply = r.ok
		r.tell("discarded", to, l.reply, strings.Join(l.verdict.Reasons, "; "))
		return
	}
	var done store.Appended
	var usage store.Usage
	var quota store.Quota
	add := func(tx *store.Tx) error {
		usage, quota = tx.Usage()
		var err error
		done, err = tx.Append(store.AppendOptions{
			Mailboxes: []store.MailboxID{mailbox(tx, l.verdict.Junk)},
			Body:      r.env.Body, Message: r.env.Message,
			Keywords: l.verdict.Keywords, Received: r.env.Received,
			DedupeKey: r.key, DedupeTTL: r.o.Limits.Storage.Dedupe,
		})
		return err
	}
	account := r.o.Store.Account(l.account)
	err := account.Update(ctx, add)
	if errors.Is(err, blob.ErrGone) {
		// Another recipient's transaction has committed the body meanwhile, and this one's snapshot
		// was older than that. A new one sees it.
		err = account.Update(ctx, add)
	}
	if err != nil {
		l.reply = r.unfiled(l, usage, quota, err)
		r.tell("filed", to, l.reply, err.Error())
		return
	}
	l.email, l.duplicate = done.Email, done.Duplicate
	l.reply = r.ok
	if l.verdict.Junk && r.o.Judge != nil {
		r.o.Judge.Filed(uint64(l.account), uint64(done.Email))
	}
	r.tell("filed", to, l.reply, filedAs(done))
}

// mailbox is where the message goes: INBOX, or Junk where there is such a mailbox. The detail of a
// subaddress picks no mailbox: strangers would choose it.
func mailbox(tx *store.Tx, junk bool) store.MailboxID {
	if junk {
		if id := tx.RoleMailbox(store.RoleJunk); id != 0 {
			return id
		}
	}
	return tx.RoleMailbox(store.RoleInbox)
}

func filedAs(done store.Appended) string {
	detail := "email " + strconv.FormatUint(uint64(done.Email), 10)
	if done.Duplicate {
		return detail + ", which was there already"
	}
	return detail
}

// unfiled maps what the store said.
func (r *delivery) unfiled(
	l *leg, u store.Usage, q store.Quota, err error,
) smtp.Reply {
	switch {
	case errors.Is(err, store.ErrOverQuota):
		if reply := overQuota(u, q, r.env.Body.Ref().Size); reply.Code != 0 {
			return reply
		}
		return replyQuota // the domain's
	case errors.Is(err, store.ErrNotFound):
		return replyNoUser // removed since it was resolved
	case errors.Is(err, store.ErrFull):
		return replyFull
	default:
		r.o.Logger.Error("message not filed", "id", r.env.ID, "account", l.account, "error", err)
		return replyTemporary
	}
}

// tell adds what became of a recipient, or of all ways of one, to the message's trace.
func (r *delivery) tell(step string, to smtp.Address, reply smtp.Reply, detail string) {
	result, count := "accepted", deliveredOK
	switch {
	case reply.Temporary():
		result, count = "deferred", deliveredLater
	case reply.Permanent():
		result, count = "refused", deliveredRefused
	}
	count.Inc()
	if r.o.Trace == nil {
		return
	}
	if !reply.OK() {
		detail = strings.TrimSuffix(strings.TrimPrefix(reply.Text()+": "+detail, ": "), ": ")
	}
	r.o.Trace.Add(trace.Event{
		ID: r.env.ID, Step: step, MessageID: messageID(r.env), From: r.env.From.Path(),
		To: to.String(), Result: result, Code: reply.Code, Detail: detail,
	})
}
