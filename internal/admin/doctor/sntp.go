package doctor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"tram/internal/clock"
)

// AskTime asks a time server, RFC 5905 §14 (SNTP), how far the clock is ahead of its own; what the way
// takes is halved.
func AskTime(ctx context.Context, dial func(ctx context.Context, network, address string) (net.Conn, error),
	now clock.Clock, server string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := dial(ctx, "udp", net.JoinHostPort(server, "123"))
	if err != nil {
		return 0, fmt.Errorf("ask %s for the time: %w", server, err)
	}
	defer c.Close()
	t := &talk{c: c}
	t.deadline(ctx)
	var b [48]byte
	b[0] = 4<<3 | 3 // version 4, client
	sent := now.Now()
	binary.BigEndian.PutUint64(b[40:], ntpTime(sent))
	ours := binary.BigEndian.Uint64(b[40:])
	if _, err := c.Write(b[:]); err != nil {
		return 0, fmt.Errorf("ask %s for the time: %w", server, err)
	}
	n, err := c.Read(b[:])
	came := now.Now()
	switch {
	case err != nil:
		return 0, fmt.Errorf("ask %s for the time: %w", server, err)
	case n < len(b) || b[0]&7 != 4 || binary.BigEndian.Uint64(b[24:]) != ours:
		return 0, fmt.Errorf("ask %s for the time: %w", server, errNoTime)
	case b[0]>>6 == 3 || b[1] == 0: // not synchronised, or a "kiss of death"
		return 0, fmt.Errorf("ask %s for the time: %w", server, errNoTime)
	}
	received, left := fromNTP(binary.BigEndian.Uint64(b[32:])), fromNTP(binary.BigEndian.Uint64(b[40:]))
	return (sent.Sub(received) + came.Sub(left)) / 2, nil
}

var errNoTime = errors.New("its answer is no time")

// ntpEpoch is 1900 in Unix seconds; the era of 2036 is told from it by the top bit, RFC 5905 §6.
const (
	ntpEpoch = -2208988800
	ntpEra   = 1 << 32
)

func ntpTime(t time.Time) uint64 {
	sec := uint64(t.Unix()-ntpEpoch) % ntpEra
	return sec<<32 | uint64(t.Nanosecond())<<32/1e9
}

func fromNTP(v uint64) time.Time {
	sec := int64(v>>32) + ntpEpoch
	if v>>63 == 0 {
		sec += ntpEra
	}
	return time.Unix(sec, int64(v&(ntpEra-1))*1e9>>32)
}
