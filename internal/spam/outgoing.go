package spam

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"

	"tram/internal/envelope"
	"tram/internal/kv"
	"tram/internal/spam/content"
	"tram/internal/spam/sign"
)

// habits are how much each account sends. A row: version:1, the first day:4, today:4, recipients
// today:4, the usual recipients of a day on which it sends as float32:4.
type habits struct {
	mu   sync.Mutex
	seen map[uint64]*habit
}

type habit struct {
	first, day uint32
	today      uint32
	usual      float64
	dirty      bool
}

const (
	habitsKept = 100000
	habitSize  = 1 + 4*4
	// habitDays is how long an account must be known before anything can be a sudden change; the
	// limit of new recipients a day holds before that.
	habitDays = 7
	// habitShare is what one day counts in the usual: the last 30 days or so are remembered.
	habitShare = 1.0 / 15
)

func (h *habit) encode() []byte {
	b := []byte{version}
	for _, n := range [...]uint32{h.first, h.day, h.today, math.Float32bits(float32(h.usual))} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

func decodeHabit(b []byte) (*habit, error) {
	if len(b) != habitSize || b[0] != version {
		return nil, fmt.Errorf("habit row %x: %w", b, kv.ErrCorrupt)
	}
	n := func(i int) uint32 { return binary.BigEndian.Uint32(b[1+4*i:]) }
	return &habit{first: n(0), day: n(1), today: n(2), usual: float64(math.Float32frombits(n(3)))}, nil
}

// turn begins another day.
func (h *habit) turn(day uint32) {
	if day == h.day {
		return
	}
	if h.today > 0 {
		share := habitShare
		if h.usual == 0 {
			share = 1
		}
		// One wild day must not make wild days usual.
		counted := float64(h.today)
		if h.usual > 0 {
			counted = min(counted, 3*h.usual+10)
		}
		h.usual += (counted - h.usual) * share
	}
	h.day, h.today = day, 0
}

// Outgoing judges what an account of ours sends, and returns why it is to be held, "" if it is not. found
// are the signs of the filters outside this server. It also learns whom the account writes to.
func (j *Judge) Outgoing(
	ctx context.Context, env *envelope.Envelope, body io.ReaderAt, found []sign.Sign,
) (string, error) {
	if env.Account == 0 {
		return "", nil
	}
	if h, err := j.sudden(ctx, env); h != "" || err != nil {
		return h, err
	}
	var to []string
	for _, r := range env.Recipients {
		to = append(to, r.Address.String())
	}
	if j.o.Config.Outgoing > 0 {
		rep := content.Examine(ctx, body, env.Message, j.contentOptions(ctx))
		signs := slices.Concat(found, rep.Signs, j.words(ctx, textOf(env.Message, rep), 0))
		if score := sign.Total(signs); score >= j.o.Config.Outgoing {
			var why []string
			for _, s := range signs {
				if s.Score > 0 {
					why = append(why, s.Name)
				}
			}
			return fmt.Sprintf("looks like spam: score %.1f (%s)", score, clip(strings.Join(why, ", "), 200)), nil
		}
	}
	j.WroteTo(env.Account, to...)
	return "", nil
}

// sudden counts the recipients of a submission, and says when they are far more than usual.
func (j *Judge) sudden(ctx context.Context, env *envelope.Envelope) (string, error) {
	today := days(j.o.Clock.Now())
	h, err := j.habit(ctx, env.Account, today)
	if err != nil {
		return "", err
	}
	j.habits.mu.Lock()
	defer j.habits.mu.Unlock()
	h.turn(today)
	h.today += uint32(len(env.Recipients))
	h.dirty = true
	most := max(float64(j.o.Limits.HabitFloor), float64(j.o.Limits.HabitFactor)*h.usual)
	if today-h.first >= habitDays && float64(h.today) > most {
		return fmt.Sprintf("sudden change: %d recipients today, usual are %.0f", h.today, h.usual), nil
	}
	return "", nil
}

// habit returns that of an account.
func (j *Judge) habit(ctx context.Context, account uint64, today uint32) (*habit, error) {
	s := &j.habits
	s.mu.Lock()
	h := s.seen[account]
	s.mu.Unlock()
	if h != nil {
		return h, nil
	}
	h = &habit{first: today, day: today}
	err := j.o.DB.View(ctx, scopeFacts, func(r kv.Reader) error {
		b, err := r.Get(accountKey(habitSub, account))
		if err != nil {
			return err
		}
		h, err = decodeHabit(b)
		return err
	})
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return nil, fmt.Errorf("read habits: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.seen[account]; known != nil {
		return known, nil
	}
	if s.seen == nil {
		s.seen = map[uint64]*habit{}
	}
	if len(s.seen) >= habitsKept {
		for k, old := range s.seen {
			if !old.dirty {
				delete(s.seen, k)
			}
		}
	}
	s.seen[account] = h
	return h, nil
}

func (j *Judge) flushHabits(ctx context.Context) error {
	s := &j.habits
	s.mu.Lock()
	var rows []row
	for account, h := range s.seen {
		if h.dirty {
			h.dirty = false
			rows = append(rows, row{accountKey(habitSub, account), h.encode()})
		}
	}
	s.mu.Unlock()
	if err := j.write(ctx, "habits", rows); err != nil {
		return fmt.Errorf("write habits: %w", err)
	}
	return nil
}

// contentOptions are what the content room is told.
func (j *Judge) contentOptions(ctx context.Context) content.Options {
	o := content.Options{Limits: j.o.Content, Now: j.o.Clock.Now(), Unpack: j.o.Unpack}
	if j.o.Own != nil {
		domains, names := j.o.Own(ctx)
		o.Own, o.OwnNames = domains, func(folded string) bool { return names[folded] }
	}
	return o
}
