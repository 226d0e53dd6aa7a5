package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"mime"
	"strings"
	"time"

	"tram/bench/wire"
)

// What a large mailbox costs to list, to search and to read. Its messages are notes: shorter than
// letters, so that a hundred thousand of them are there soon, and with flags, dates and sizes that a
// search can tell apart.

const (
	notesBox = "Notes"
	bulkyBox = "Bulky"
	// noteBatch is how many notes have the flags and the date of one noteFlags.
	noteBatch = 100
)

// noteFlags are the flags and the date of the note seq and its neighbours, as APPEND has them: one
// batch in ten is unseen, one in twenty flagged, and a thousand batches spread over a thousand days.
func noteFlags(seq int) string {
	batch := seq / noteBatch
	flags := `\Seen`
	if batch%10 == 0 {
		flags = ""
	}
	if batch%20 == 7 {
		flags += ` \Flagged`
	}
	at := time.Date(2024, 1, 1, 12, 0, 0, 0, time.UTC).AddDate(0, 0, batch%1000)
	return fmt.Sprintf("(%s) %q", strings.TrimSpace(flags), at.Format("02-Jan-2006 15:04:05 -0700"))
}

// note is message seq of the notes: 0.6 to 1.1 kB, one in a thousand 9 kB; even ones English, odd ones
// Vietnamese. It has the rare words of letter.
func note(seq int) []byte {
	rnd := rand.New(rand.NewPCG(43, uint64(seq)))
	list := english
	if seq%2 == 1 {
		list = vietnamese
	}
	size := 150 + rnd.IntN(200)
	if seq%1000 == 999 {
		size = 6000
	}
	var subject, text strings.Builder
	words(rnd, list, &subject, 30)
	words(rnd, list, &text, size)
	title := strings.ReplaceAll(strings.TrimSpace(subject.String()), "\r\n", " ")
	for _, r := range rares {
		switch {
		case r.in(seq) && r.where == "body":
			text.WriteString("xx " + r.term + " yy\r\n")
		case r.in(seq) && r.where == "subject":
			title += " " + r.term
		}
	}
	var m bytes.Buffer
	fmt.Fprintf(&m, "From: %s <sender%d@load.test>\r\nTo: reader@example.test\r\nSubject: %s\r\n",
		mime.BEncoding.Encode("utf-8", list[seq%len(list)]), seq%997, mime.BEncoding.Encode("utf-8", title))
	fmt.Fprintf(&m, "Date: Mon, 05 Jan 2026 %02d:%02d:%02d +0700\r\nMessage-ID: <note.%d@load.test>\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n",
		seq/3600%24, seq/60%60, seq%60, seq)
	m.WriteString(base64Lines([]byte(text.String())))
	return m.Bytes()
}

// fillNotes makes the mailbox hold n notes and waits until what the server does with new text in the
// background is done.
func fillNotes(s *Server, n int) (Result, error) {
	cpu, start := s.cpu(), time.Now()
	added, err := fillWith(s, notesBox, n, noteFlags, note)
	if err != nil {
		return nil, err
	}
	r := Result{}
	if added > 0 {
		r["fill_per_s"] = float64(added) / time.Since(start).Seconds()
		r["cpu_s_per_1k"] = (s.cpu() - cpu) / float64(added) * 1000
	}
	_, err = s.quiet(10 * time.Minute)
	return r, err
}

// notes opens the mailbox of n notes on a server that is quiet.
func notes(s *Server, n int) (*wire.IMAP, wire.Box, error) {
	if _, err := fillWith(s, notesBox, n, noteFlags, note); err != nil {
		return nil, wire.Box{}, fmt.Errorf("fill: %w", err)
	}
	if err := s.settled(); err != nil {
		return nil, wire.Box{}, err
	}
	c, err := s.imap(0)
	if err != nil {
		return nil, wire.Box{}, err
	}
	box, err := c.Select(notesBox, "")
	if err != nil {
		c.Close()
	}
	return c, box, err
}

// lists is what mail programs ask of all messages of a mailbox, the first time since the start of the
// server and again.
func lists(s *Server, n int) (Result, error) {
	c, box, err := notes(s, n)
	if err != nil {
		return nil, err
	}
	defer c.Logout()
	r := Result{}
	for _, ask := range []struct{ name, items string }{
		{"flags", "(UID FLAGS)"}, {"flags_again", "(UID FLAGS)"},
		{"envelopes", "(UID ENVELOPE INTERNALDATE RFC822.SIZE)"},
		{"envelopes_again", "(UID ENVELOPE INTERNALDATE RFC822.SIZE)"},
	} {
		w, got, cpu := &stopwatch{r: r, last: time.Now()}, 0, s.cpu()
		err := c.Do(func(wire.Response) { got++ }, "FETCH 1:* "+ask.items)
		if err == nil && got < box.Exists {
			err = fmt.Errorf("%d replies for %d messages", got, box.Exists)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ask.items, err)
		}
		w.lap(ask.name)
		r[ask.name+"_cpu_s"] = s.cpu() - cpu
	}
	return r, nil
}

// bulky reads messages of 4 kB, 50 kB and 1 MB: all of them the first time since the start, and three
// times again.
func bulky(s *Server, n int) (Result, error) {
	_, err := fillWith(s, bulkyBox, n, func(int) string { return "()" }, func(seq int) []byte {
		return parcel("bulky", seq, sizesMix[seq%len(sizesMix)], stranger, s.user(0))
	})
	if err == nil {
		err = s.settled()
	}
	if err != nil {
		return nil, fmt.Errorf("fill: %w", err)
	}
	c, err := s.imap(0)
	if err != nil {
		return nil, err
	}
	defer c.Logout()
	box, err := c.Select(bulkyBox, "")
	if err != nil {
		return nil, err
	}
	r := Result{}
	w := &stopwatch{r: r, last: time.Now()}
	if err := syncBodies(s, c, box.Exists, "bodies", w); err != nil {
		return nil, err
	}
	const passes = 3
	cpu, mb := s.cpu(), 0.0
	for range passes {
		w.last = time.Now()
		if err := syncBodies(s, c, box.Exists, "again", w); err != nil {
			return nil, err
		}
		mb += r["again_mb_per_s"] * r["again_ms"] / 1000
	}
	r["again_cpu_s"] = (s.cpu() - cpu) / passes
	r["bodies_mb_per_cpu_s"] = r["bodies_mb_per_s"] * r["bodies_ms"] / 1000 / max(r["bodies_cpu_s"], 0.005)
	r["again_mb_per_cpu_s"] = mb / passes / max(r["again_cpu_s"], 0.005)
	return r, nil
}

// find is a search of the notes. Its hits are known, but for words that many have (nil).
type find struct {
	name, keys string
	hit        func(seq int) bool
}

// entryFinds are searches by what is known of messages without their text.
func entryFinds() []find {
	day := func(seq int) int { return seq / noteBatch % 1000 }
	return []find{
		{"unseen", "UNSEEN", func(seq int) bool { return seq/noteBatch%10 == 0 }},
		{"flagged", "FLAGGED", func(seq int) bool { return seq/noteBatch%20 == 7 }},
		{"date", "SINCE 10-Jan-2024 BEFORE 20-Jan-2024", func(seq int) bool { return 9 <= day(seq) && day(seq) < 19 }},
		{"size", "LARGER 5000", func(seq int) bool { return seq%1000 == 999 }},
		{"sent", "SENTSINCE 6-Jan-2026", func(int) bool { return false }},
		{"seen_since", "SEEN SINCE 1-Sep-2026 SMALLER 5000", func(seq int) bool {
			return seq/noteBatch%10 != 0 && day(seq) >= 974 && seq%1000 != 999
		}},
	}
}

// textFinds are the searches of the corpus, and some for words that a seventh of the notes have: in
// English, in Vietnamese without its marks, with them, and for two words in a row.
func textFinds() []find {
	var list []find
	for i, q := range rares {
		list = append(list, find{fmt.Sprintf("%d_%s", i+1, strings.ToLower(q.key)), q.key + ` "` + q.term + `"`, q.in})
	}
	return append(list, find{"common", `TEXT "project"`, nil}, find{"bare", `TEXT "dong"`, nil},
		find{"marked", `TEXT "đồng"`, nil}, find{"phrase", `TEXT "hợp đồng"`, nil})
}

// findNotes searches the notes, each search once and then four times more, whose median counts.
func findNotes(s *Server, n int, list []find) (Result, error) {
	c, box, err := notes(s, n)
	if err != nil {
		return nil, err
	}
	defer c.Logout()
	r := Result{}
	for _, q := range list {
		want := -1
		if q.hit != nil {
			want = 0
			for seq := range box.Exists {
				if q.hit(seq) {
					want++
				}
			}
		}
		if err := findOften(s, c, box, q, want, r); err != nil {
			return nil, fmt.Errorf("%s: %w", q.keys, err)
		}
	}
	return r, nil
}

func findOften(s *Server, c *wire.IMAP, box wire.Box, q find, want int, r Result) error {
	const times = 5
	var again latency
	cpu := s.cpu()
	for k := range times {
		// The range keeps the server from answering from what it remembers of the last search.
		command := fmt.Sprintf("UID SEARCH CHARSET UTF-8 UID 1:%d %s", box.UIDNext+k, q.keys)
		start, hits := time.Now(), 0
		err := c.Do(func(resp wire.Response) {
			if bytes.HasPrefix(resp.Text, []byte("* SEARCH")) {
				hits += len(bytes.Fields(resp.Text)) - 2
			}
		}, command)
		if want < 0 {
			want = max(hits, 1)
		}
		if err == nil && hits != want {
			err = fmt.Errorf("%d hits, want %d", hits, want)
		}
		if err != nil {
			return err
		}
		if k == 0 {
			r[q.name+"_first_ms"] = float64(time.Since(start).Microseconds()) / 1000
		} else {
			again.add(time.Since(start))
		}
	}
	again.into(r, q.name)
	r[q.name+"_cpu_ms"] = (s.cpu() - cpu) * 1000 / times
	return nil
}
