package admin

import (
	"context"
	"time"

	"tram/internal/queue"
)

// QueueItem is a message that waits.
type QueueItem struct {
	ID         string           `json:"id"`
	From       string           `json:"from"` // "<>" for notices
	State      string           `json:"state"`
	Reason     string           `json:"reason,omitempty"` // why it is held
	Size       int64            `json:"size"`
	Origin     string           `json:"origin"`
	MessageID  string           `json:"message_id,omitempty"`
	Created    time.Time        `json:"created"`
	Next       time.Time        `json:"next,omitzero"`
	Expires    time.Time        `json:"expires,omitzero"`
	Recipients []QueueRecipient `json:"recipients"`
}

// QueueRecipient is one recipient of a QueueItem.
type QueueRecipient struct {
	Address   string    `json:"address"`
	State     string    `json:"state"`
	Attempts  int       `json:"attempts"`
	Next      time.Time `json:"next,omitzero"`
	LastTried time.Time `json:"last_tried,omitzero"`
	LastHost  string    `json:"last_host,omitempty"`
	LastReply string    `json:"last_reply,omitempty"`
}

// QueueFilter selects items; see queue.Filter.
type QueueFilter struct {
	Sender    string
	Recipient string
	Domain    string
	State     string
	After     string
	Limit     int
}

// QueueList is a page of the queue.
type QueueList struct {
	Items []QueueItem `json:"items"`
	More  bool        `json:"more"`           // there are items after the last
	Next  string      `json:"next,omitempty"` // the After that shows them
}

// QueueList lists what waits, the oldest first.
func (h *House) QueueList(ctx context.Context, f QueueFilter) (QueueList, error) {
	switch queue.State(f.State) {
	case "", queue.StateWaiting, queue.StateHeld, queue.StateRunning:
	default:
		return QueueList{}, invalid("queue state %q is none of waiting, held, running", f.State)
	}
	items, next, err := h.o.Queue.List(ctx, queue.Filter{
		Sender: f.Sender, Recipient: f.Recipient, Domain: f.Domain, State: queue.State(f.State),
		After: f.After, Limit: f.Limit,
	})
	if err != nil {
		return QueueList{}, fault(err)
	}
	list := QueueList{Items: make([]QueueItem, len(items)), More: next != "", Next: next}
	for i, it := range items {
		list.Items[i] = showItem(it)
	}
	return list, nil
}

func showItem(it queue.Item) QueueItem {
	q := QueueItem{
		ID: string(it.ID), From: it.From.Unicode(), State: string(it.State), Reason: it.HeldReason,
		Size: it.Size, Origin: string(it.Origin), MessageID: it.MessageID, Created: it.Created,
		Next: it.Next, Expires: it.Expires,
	}
	if it.From.IsNull() {
		q.From = "<>"
	}
	for _, r := range it.Recipients {
		q.Recipients = append(q.Recipients, QueueRecipient{
			Address: r.Address.Unicode(), State: string(r.State), Attempts: r.Attempts, Next: r.Next,
			LastTried: r.LastTried, LastHost: r.LastHost, LastReply: r.LastReply,
		})
	}
	return q
}

// QueueShow returns one item.
func (h *House) QueueShow(ctx context.Context, id string) (QueueItem, error) {
	it, err := h.o.Queue.Show(ctx, queue.ID(id))
	if err != nil {
		return QueueItem{}, fault(err)
	}
	return showItem(it), nil
}

// What QueueDo does to an item.
const (
	QueueRetry   = "retry"
	QueueHold    = "hold"
	QueueRelease = "release"
	QueueDrop    = "drop"
)

// QueueAction says what to do to an item.
type QueueAction struct {
	Do     string `json:"do"`
	Reason string `json:"reason,omitempty"` // of a hold
	Notify bool   `json:"notify,omitempty"` // of a drop: the sender gets a failure notice
}

// QueueDo retries an item now, holds it, releases it or drops it.
func (h *House) QueueDo(ctx context.Context, id string, a QueueAction) error {
	var err error
	switch q, item := h.o.Queue, queue.ID(id); a.Do {
	case QueueRetry:
		err = q.Retry(ctx, item)
	case QueueHold:
		err = q.Hold(ctx, item, a.Reason)
	case QueueRelease:
		err = q.Release(ctx, item)
	case QueueDrop:
		err = q.Drop(ctx, item, a.Notify)
	default:
		return invalid("%q is none of retry, hold, release, drop", a.Do)
	}
	if err != nil {
		return fault(err)
	}
	h.o.Logger.Info("queue item changed", "id", id, "do", a.Do)
	return nil
}
