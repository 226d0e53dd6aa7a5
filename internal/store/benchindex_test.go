package store

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"tram/internal/blob"
	"tram/internal/message"
)

// benchWords are of both languages; the first ones are drawn more often, as in a text.
var benchWords = [2][]string{
	strings.Fields(`the of and to in is that for it was on with as be by at have are this not but had
		from which or an there were one all their has would what will if can when who more no out said
		report budget schedule office project client order delivery account request update version`),
	strings.Fields(`và của là có không được cho một người trong với các này những đã để khi đến từ về
		như cũng nhưng hay thì làm ra vào sẽ rất còn nhiều phải nên theo tại trên dưới sau trước năm
		tháng ngày giờ chúng tôi bạn anh chị em ông bà công ty hợp đồng báo cáo dự án khách hàng`),
}

// wordyLetter is a message of 2 to 6 kB, English in 7bit or Vietnamese in base64 in turn.
func wordyLetter(n int) []byte {
	rnd := rand.New(rand.NewPCG(42, uint64(n)))
	list := benchWords[n%2]
	var text bytes.Buffer
	for size := 2048 + rnd.IntN(4096); text.Len() < size; {
		f := rnd.Float64()
		text.WriteString(list[int(f*f*float64(len(list)))])
		text.WriteByte(" \n"[min(1, rnd.IntN(12)/11)])
	}
	var m bytes.Buffer
	fmt.Fprintf(&m, "From: Sender <sender%d@load.test>\r\nTo: reader@example.test\r\nSubject: note %d\r\n"+
		"Message-ID: <corpus.%d@load.test>\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: text/plain; charset=utf-8\r\n", n%997, n, n)
	body := bytes.ReplaceAll(text.Bytes(), []byte("\n"), []byte("\r\n"))
	if n%2 == 0 {
		m.WriteString("\r\n")
		m.Write(body)
		return m.Bytes()
	}
	m.WriteString("Content-Transfer-Encoding: base64\r\n\r\n")
	for s := base64.StdEncoding.EncodeToString(body); s != ""; {
		line := s[:min(76, len(s))]
		m.WriteString(line + "\r\n")
		s = s[len(line):]
	}
	return m.Bytes()
}

// BenchmarkIndexText is what the text index costs for each message, behind its delivery.
func BenchmarkIndexText(b *testing.B) {
	benchEngines(b, func(b *testing.B, s *Store) {
		s.indexed = true
		ctx := context.Background()
		b.ReportAllocs()
		var used time.Duration
		done := 0
		for b.Loop() {
			b.StopTimer()
			var bodies []*blob.Pending
			var parsed []*message.Message
			for i := range 1000 {
				body, m := take(b, s, wordyLetter(done+i))
				bodies, parsed = append(bodies, body), append(parsed, m)
			}
			err := s.Account(1).Update(ctx, func(tx *Tx) error {
				for i := range bodies {
					if _, err := tx.Append(AppendOptions{
						Mailboxes: []MailboxID{tx.RoleMailbox(RoleInbox)}, Body: bodies[i], Message: parsed[i],
					}); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			began := cpuTime(b)
			if err := s.IndexText(ctx); err != nil {
				b.Fatal(err)
			}
			if err := s.IndexText(ctx); err != nil {
				b.Fatal(err)
			}
			used += cpuTime(b) - began
			done += 1000
		}
		b.ReportMetric(float64(used)/float64(done), "cpu-ns/email")
	})
}
