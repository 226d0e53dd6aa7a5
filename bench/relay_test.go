package main

import (
	"testing"

	"tram/bench/wire"
)

// TestSinkTellsAlteredMail sends the sink a message as it left, one with another byte, and one twice.
func TestSinkTellsAlteredMail(t *testing.T) {
	t.Parallel()
	k, err := openSink("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	load := outgoing{smtpLoad{messages: 3, mix: sizes4k}, "run"}
	k.expect = load.text
	c, err := wire.DialSMTP(wire.Target{Addr: k.listener.Addr().String()}, "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const from = "user1@example.test"
	for _, seq := range []int{0, 1, 1} {
		msg := append([]byte("Received: by a server\r\n"), parcel("run", seq, 4<<10, from, load.rcpt(seq))...)
		if _, _, err := c.Send(from, load.rcpt(seq), wire.Stuff(msg)); err != nil {
			t.Fatal(err)
		}
	}
	if k.altered != 0 || k.count() != 3 {
		t.Errorf("%d of %d are said to be altered, want 0 of 3", k.altered, k.count())
	}
	r := Result{}
	if err := load.check(k, map[int]sent{0: {}, 1: {}, 2: {}}, r); err == nil || r["lost"] != 1 || r["doubled"] != 1 {
		t.Errorf("lost %v, doubled %v, error %v: want 1, 1 and an error", r["lost"], r["doubled"], err)
	}
	msg := parcel("run", 2, 4<<10, from, load.rcpt(2))
	msg[len(msg)-20] ^= 1
	if _, _, err := c.Send(from, load.rcpt(2), wire.Stuff(msg)); err != nil {
		t.Fatal(err)
	}
	if k.altered != 1 {
		t.Errorf("%d are said to be altered, want the one with a flipped bit", k.altered)
	}
}
