package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"mime"
	"strings"
	"sync"
)

// The texts are made of these words. The rare words below do not occur in them, so that the hits of
// a search are known.
var (
	english = strings.Fields(`the of and to in is that for it was on with as be by at have are this not
		but had from which or an there were one all their has would what will if can when who more no
		out said them some into two time other then its only over new now also after first made such
		about any before most where through many these way much well because work still between under
		last should never system while public point small end put both group however place number
		during again part fact given high large need little without meeting report budget schedule
		office project client order delivery account request update version draft review please
		attached regards thanks morning`)
	vietnamese = strings.Fields(`và của là có không được cho một người trong với các này những đã để khi
		đến từ về như cũng nhưng hay thì làm ra vào sẽ rất còn nhiều phải nên theo tại trên dưới sau
		trước năm tháng ngày giờ chúng tôi bạn anh chị em ông bà công ty hợp đồng báo cáo dự án khách
		hàng lịch họp văn phòng gửi nhận thư điện tử tài liệu đính kèm xin cảm ơn trân trọng kính gửi
		việc thời gian hệ thống phát triển quản lý kế hoạch thành phố đường nước nhà trường`)
)

// rare is a search with known hits: the message seq has it when seq % every == at.
type rare struct {
	key, term, where string
	every, at        int
}

var rares = []rare{
	{"BODY", "zebrafish", "body", 1000, 6},
	{"TEXT", "sầu riêng", "body", 500, 3},
	{"SUBJECT", "overdue", "subject", 250, 12},
	{"SUBJECT", "hóa đơn quý", "subject", 250, 33},
	{"BODY", "quixotically", "", 0, 0},
}

func (r rare) in(seq int) bool { return r.every > 0 && seq%r.every == r.at }

func (r rare) hits(n int) int {
	hits := 0
	for seq := range n {
		if r.in(seq) {
			hits++
		}
	}
	return hits
}

func words(rnd *rand.Rand, list []string, b *strings.Builder, size int) {
	column := 0
	for end := b.Len() + size; b.Len() < end; {
		f := rnd.Float64()
		w := list[int(f*f*float64(len(list)))] // squared: the first words are commoner, as in a text
		b.WriteString(w)
		if column += len(w) + 1; column > 68 {
			b.WriteString("\r\n")
			column = 0
		} else {
			b.WriteByte(' ')
		}
	}
	b.WriteString("\r\n")
}

// letter is message seq of the corpus, 2 to 6 kB: even ones English in 7bit, odd ones Vietnamese in
// base64.
func letter(seq int) []byte {
	rnd := rand.New(rand.NewPCG(42, uint64(seq)))
	list, encoding := english, "7bit"
	if seq%2 == 1 {
		list, encoding = vietnamese, "base64"
	}
	var subject, body strings.Builder
	words(rnd, list, &subject, 30)
	title := strings.ReplaceAll(strings.TrimSpace(subject.String()), "\r\n", " ")
	size := 2048 + rnd.IntN(4096)
	words(rnd, list, &body, size/2)
	for _, r := range rares {
		switch {
		case r.in(seq) && r.where == "body":
			body.WriteString("xx " + r.term + " yy\r\n")
		case r.in(seq) && r.where == "subject":
			title += " " + r.term
		}
	}
	words(rnd, list, &body, size/2)
	text := body.String()
	if encoding == "base64" {
		text = base64Lines([]byte(text))
	}
	var m bytes.Buffer
	fmt.Fprintf(&m, "From: %s <sender%d@load.test>\r\nTo: reader@example.test\r\nSubject: %s\r\n",
		mime.BEncoding.Encode("utf-8", list[seq%len(list)]), seq%997, mime.BEncoding.Encode("utf-8", title))
	fmt.Fprintf(&m, "Date: Mon, 05 Jan 2026 %02d:%02d:%02d +0700\r\nMessage-ID: <corpus.%d@load.test>\r\n",
		seq/3600%24, seq/60%60, seq%60, seq)
	fmt.Fprintf(&m, "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"Content-Transfer-Encoding: %s\r\n\r\n%s", encoding, text)
	return m.Bytes()
}

func base64Lines(b []byte) string {
	s := base64.StdEncoding.EncodeToString(b)
	var out strings.Builder
	for len(s) > 76 {
		out.WriteString(s[:76] + "\r\n")
		s = s[76:]
	}
	return out.String() + s + "\r\n"
}

// The sizes of a load, drawn in turn.
var (
	sizes4k  = []int{4 << 10}
	sizes1m  = []int{1 << 20}
	sizesMix = mixed(map[int]int{4 << 10: 14, 50 << 10: 5, 1 << 20: 1}) // 70, 25 and 5 percent
)

func mixed(weights map[int]int) []int {
	var all []int
	for _, size := range []int{4 << 10, 50 << 10, 1 << 20} {
		for range weights[size] {
			all = append(all, size)
		}
	}
	rand.New(rand.NewPCG(7, 7)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

var bodies sync.Map // size -> ready text, so that the generator spends little CPU

// bodyOf is what follows the fields of parcel: a text, and from 8 kB on a text with an attachment.
func bodyOf(size int) string {
	if b, ok := bodies.Load(size); ok {
		return b.(string)
	}
	const (
		text   = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
		mixed  = "Content-Type: multipart/mixed; boundary=bound\r\n\r\n--bound\r\n"
		attach = "--bound\r\nContent-Type: application/octet-stream\r\n" +
			"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=a.bin\r\n\r\n"
		closing = "\r\n--bound--\r\n"
	)
	rnd := rand.New(rand.NewPCG(9, uint64(size)))
	var b strings.Builder
	if size <= 8<<10 {
		b.WriteString(text)
		words(rnd, english, &b, size)
		b.WriteString(strings.Repeat("x", max(0, size-b.Len())))
		whole := strings.TrimRight(b.String()[:max(size, len(text)+2)-2], "\r\n") + "\r\n"
		bodies.Store(size, whole)
		return whole
	}
	b.WriteString(mixed + text)
	words(rnd, english, &b, 4<<10)
	b.WriteString(attach)
	raw := make([]byte, (size-b.Len()-len(closing))*3/4*76/78)
	for i := range raw {
		raw[i] = byte(rnd.Uint32())
	}
	b.WriteString(strings.TrimRight(base64Lines(raw), "\r\n") + closing)
	bodies.Store(size, b.String())
	return b.String()
}

// parcel is message seq of a load: its id stands in X-Bench-Id.
func parcel(run string, seq, size int, from, to string) []byte {
	head := fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: load %d\r\nX-Bench-Id: %s.%d\r\n"+
		"Message-ID: <%s.%d@load.test>\r\nDate: Mon, 05 Jan 2026 10:00:00 +0700\r\nMIME-Version: 1.0\r\n",
		from, to, seq, run, seq, run, seq)
	return append([]byte(head), bodyOf(max(size-len(head), 64))...)
}
