package imapd

import (
	"time"

	"tram/internal/imap"
	"tram/internal/store"
)

// WITHIN, RFC 5032: keys about how long ago a message came, by the server's clock. Both bounds hold
// to the second, and a message that is exactly so old is found by either (§2).

// older finds the messages that came at the moment k.Number seconds ago or before it.
func (c *compiler) older(k *imap.SearchKey) (store.Filter, error) {
	return store.ReceivedIn{Before: c.ago(k).Add(time.Second)}, nil
}

// younger finds the messages that came at that moment or after it.
func (c *compiler) younger(k *imap.SearchKey) (store.Filter, error) {
	return store.ReceivedIn{Since: c.ago(k)}, nil
}

// ago is the moment that a key counts from, in whole seconds like INTERNALDATE. It is the same for
// all keys of a command, which see one time of the clock.
func (c *compiler) ago(k *imap.SearchKey) time.Time {
	if c.now.IsZero() {
		c.now = c.s.srv.o.Clock.Now()
	}
	return time.Unix(c.now.Unix()-int64(k.Number), 0)
}
