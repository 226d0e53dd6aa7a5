package smtpd

import (
	"context"
	"strconv"
	"strings"
	"time"

	"tram/internal/conn"
	"tram/internal/smtp"
)

// bdat is BDAT, RFC 3030 §2: a chunk of so many octets follows the command at once. Whatever is
// wrong, the chunk must be read, or its content would be taken for commands; where that cannot be
// (no size, or an absurd one) the session ends (P5).
func (x *session) bdat(ctx context.Context, args string) {
	size, last, ok := parseBDAT(args)
	if !ok {
		x.abuse("bad chunk", 501, "BDAT wants a size and perhaps LAST")
		return
	}
	if limit := x.o.Limits.SMTP.MessageSize; limit > 0 && size > farBeyond(limit) {
		abuses.WithLabelValues("bad chunk").Inc()
		x.sayReply(replyTooLarge)
		x.over = true
		return
	}
	if x.tx == nil || len(x.tx.env.Recipients) == 0 {
		x.dropChunk(ctx, size)
		return
	}
	if err := x.readChunk(ctx, size); err != nil {
		x.gone(err)
		return
	}
	x.answerChunk(ctx, size, last)
}

// parseBDAT reads "size [LAST]".
func parseBDAT(args string) (size int64, last, ok bool) {
	number, rest, more := strings.Cut(args, " ")
	if more && !strings.EqualFold(rest, "LAST") {
		return 0, false, false
	}
	// ParseInt takes a sign, the grammar does not.
	if number == "" || number[0] < '0' || number[0] > '9' || len(number) > 20 {
		return 0, false, false
	}
	size, err := strconv.ParseInt(number, 10, 64)
	return size, more, err == nil
}

// dropChunk reads a chunk that belongs to no message.
func (x *session) dropChunk(ctx context.Context, size int64) {
	x.streaming(true)
	err := x.chunk(size, func([]byte) {})
	x.streaming(false)
	if err != nil {
		x.over = true
		return
	}
	x.fail(ctx, 503, smtp.Enhanced{5, 5, 1}, "No valid recipients")
}

// chunk hands size bytes of input to take.
func (x *session) chunk(size int64, take func([]byte)) error {
	for size > 0 {
		p, err := x.c.Peek()
		if err != nil {
			return err
		}
		p = p[:min(int64(len(p)), size)]
		take(p)
		x.c.Discard(len(p))
		size -= int64(len(p))
	}
	return nil
}

// readChunk adds a chunk to the message, or drops it when the message has failed already.
func (x *session) readChunk(ctx context.Context, size int64) error {
	tx := x.tx
	tx.sent += size
	if limit := x.o.Limits.SMTP.MessageSize; limit > 0 && tx.sent > limit && tx.broken.Code == 0 {
		tx.broken = replyTooLarge
		if tx.body != nil {
			tx.body.Abort()
			tx.body = nil
		}
	}
	if tx.broken.Code == 0 && tx.body == nil {
		x.open(ctx)
	}
	x.streaming(true)
	defer x.streaming(false)
	if !tx.until.IsZero() && time.Now().After(tx.until) {
		return conn.ErrTimeout // small chunks that lie ready need no reading, and so no deadline
	}
	return x.chunk(size, func(p []byte) {
		if tx.broken.Code == 0 {
			_, _ = tx.body.Write(p) // it takes all; what is wrong comes out at its end
		}
	})
}

// answerChunk replies to a chunk that was read. After a failure every further chunk fails alike until
// the client gives up or starts anew.
func (x *session) answerChunk(ctx context.Context, size int64, last bool) {
	switch tx := x.tx; {
	case last:
		x.complete(ctx, tx.broken)
	case tx.broken.Code != 0:
		x.sayReply(tx.broken)
		if limit := x.o.Limits.SMTP.MessageSize; tx.sent > farBeyond(limit) {
			x.over = true
		}
	default:
		x.say(250, smtp.Enhanced{2, 0, 0}, "Ok: "+strconv.FormatInt(size, 10)+" octets")
	}
}
