package doctor_test

import (
	"context"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"tram/internal/admin/doctor"
	"tram/internal/clock"
)

// timeServer answers one question with a clock of its own; change spoils the answer.
func timeServer(at time.Time, change func(answer []byte)) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			b := make([]byte, 48)
			if _, err := theirs.Read(b); err != nil {
				return
			}
			copy(b[24:32], b[40:48]) // the time the question left, as it came
			b[0], b[1] = 4<<3|4, 2
			v := uint64(at.Unix()+2208988800)%(1<<32)<<32 | uint64(at.Nanosecond())<<32/1e9
			binary.BigEndian.PutUint64(b[32:], v)
			binary.BigEndian.PutUint64(b[40:], v)
			if change != nil {
				change(b)
			}
			theirs.Write(b)
		}()
		return ours, nil
	}
}

func TestAskTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at  time.Time // what the server's clock says
		off time.Duration
	}{
		{now, 0}, {now.Add(-time.Hour), time.Hour}, {now.Add(1500 * time.Millisecond), -1500 * time.Millisecond},
	} {
		got, err := doctor.AskTime(t.Context(), timeServer(c.at, nil), clock.NewFake(now), "time.example")
		if err != nil || (got-c.off).Abs() > time.Microsecond {
			t.Errorf("clock at %v: %v, %v, want %v", c.at, got, err, c.off)
		}
	}
	later := time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC) // the next era
	if got, err := doctor.AskTime(t.Context(), timeServer(later, nil), clock.NewFake(later), "x"); err != nil || got.Abs() > 1000 {
		t.Errorf("in 2040: %v, %v", got, err)
	}
	for name, change := range map[string]func([]byte){
		"not an answer": func(b []byte) { b[0] = 4<<3 | 3 },
		"to another":    func(b []byte) { b[30]++ },
		"not set":       func(b []byte) { b[0] |= 3 << 6 },
		"kiss of death": func(b []byte) { b[1] = 0 },
	} {
		if off, err := doctor.AskTime(t.Context(), timeServer(now, change), clock.NewFake(now), "x"); err == nil {
			t.Errorf("%s: taken for a time, %v", name, off)
		}
	}
}
