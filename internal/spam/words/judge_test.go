package words

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"tram/internal/kv"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
)

// corpus reads testdata/mail.txt: a line of kind, sender and subject, and a line of text, for each message.
func corpus(t testing.TB) (list []Lesson) {
	t.Helper()
	b, err := os.ReadFile("testdata/mail.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	for i := 0; i+1 < len(all); i += 2 {
		f := strings.Split(all[i], " | ")
		if len(f) != 3 || f[0] != "junk" && f[0] != "good" {
			t.Fatalf("line %d: %q", i+1, all[i])
		}
		list = append(list, Lesson{Text: Text{From: f[1], Subject: f[2], Body: all[i+1]}, Junk: f[0] == "junk",
			ID: fmt.Sprint(i)})
	}
	return list
}

func teach(t testing.TB, c *Classifier, o Owner, list []Lesson) {
	t.Helper()
	if err := c.LearnAll(context.Background(), o, list); err != nil {
		t.Fatal(err)
	}
}

// TestAccuracy: each message of a small corpus is judged by what the others teach.
func TestAccuracy(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	defer db.Close()
	c := open(db, func(l *limits.Words) { l.Least = 5 })
	list := corpus(t)
	teach(t, c, 1, list)
	var junk, caught, good, saved, wrong int
	for _, m := range list {
		if err := c.Forget(context.Background(), 1, m.ID); err != nil {
			t.Fatal(err)
		}
		v := judge(t, c, 1, m.Text)
		teach(t, c, 1, []Lesson{m})
		switch {
		case !v.Known || v.Used == 0:
			t.Errorf("no opinion of %q", m.Text.Subject)
		case m.Junk:
			junk++
			if v.Probability > 0.6 {
				caught++
			}
		default:
			good++
			if v.Probability < 0.4 {
				saved++
			}
			if v.Probability > 0.9 {
				wrong++
				t.Errorf("%q is taken for junk: %v", m.Text.Subject, v)
			}
		}
	}
	t.Logf("%d of %d junk, %d of %d good, %d wrong", caught, junk, saved, good, wrong)
	if caught*10 < junk*8 || saved*10 < good*8 {
		t.Errorf("%d of %d junk found, %d of %d good known", caught, junk, saved, good)
	}
}

// TestDisguisedJunk: junk that was learnt is known again without its marks and in disguise.
func TestDisguisedJunk(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	defer db.Close()
	c := open(db, nil)
	teach(t, c, 1, corpus(t))
	for _, body := range lines(
		"Vay tiền nhanh không thế chấp, giải ngân ngay, liên hệ Zalo",
		"Vay tien nhanh khong the chap, giai ngan ngay, lien he Zalo",
		"V\u200bay ti\u200bền nh\u200banh kh\u200bông th\u200bế chấp, gi\u200bải ng\u200bân ngay, liên hệ Z\u200balo",
		"VAY TIỀN NHANH KHÔNG THẾ CHẤP, GIẢI NGÂN NGAY, LIÊN HỆ ZALO",
		"Ch3ap v1agra 0nline, n0 prescr1ption, cl1ck h3re n0w, l1mited 0ffer",
		"ｃｌｉｃｋ ｈｅｒｅ ｎｏｗ, ｌｉｍｉｔｅｄ ｏｆｆｅｒ, ｎｏ ｐｒｅｓｃｒｉｐｔｉｏｎ, ｆｒｅｅ ｓｈｉｐｐｉｎｇ",
	) {
		if v := judge(t, c, 1, Text{Body: body}); v.Probability < 0.9 {
			t.Errorf("%q: %.3f %v", body, v.Probability, v.Clues)
		}
	}
	for _, body := range lines("Chiều nay phòng mình họp, anh nhớ mang bản gốc hợp đồng và báo cáo.",
		"Hôm nào rảnh gọi điện cho bà nhé, cả nhà nhắc con suốt.",
		"I have attached the draft of the report, the tests pass, please review.") {
		if v := judge(t, c, 1, Text{Body: body}); v.Probability > 0.2 {
			t.Errorf("%q: %.3f %v", body, v.Probability, v.Clues)
		}
	}
}

func TestNoOpinion(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	defer db.Close()
	c := open(db, nil)
	text := corpus(t)[30].Text
	if v := judge(t, c, 1, text); v.Known || v.Probability != 0.5 {
		t.Errorf("untaught: %+v", v)
	}
	for i := range 40 { // junk alone is not enough
		learn(t, c, 1, i, true)
	}
	if v := judge(t, c, 1, note(3)); v.Known || v.Probability != 0.5 {
		t.Errorf("taught junk alone: %+v", v)
	}
	for i := range 19 {
		learn(t, c, 1, 100+i, false)
	}
	if v := judge(t, c, 1, note(3)); v.Known {
		t.Errorf("taught 19 good: %+v", v)
	}
	learn(t, c, 1, 120, false)
	if v := judge(t, c, 1, note(3)); !v.Known || v.Junk != 40+20 || v.Good != 20+20 { // with those lent to all
		t.Errorf("taught 20 good: %+v", v)
	}
	if v := judge(t, c, 1, Text{Body: "nothing of this was ever seen"}); v.Probability != 0.5 || v.Used != 0 {
		t.Errorf("unknown words: %+v", v)
	}
}

// TestShared: what one account teaches does not reach others until a second one has taught the same; then it
// does, and the account's own lessons outweigh it.
func TestShared(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	defer db.Close()
	c := open(db, nil)
	list := corpus(t)
	junk := Text{Body: "Vay tiền nhanh không thế chấp, giải ngân ngay, liên hệ Zalo"}
	teach(t, c, 1, list)
	if v := judge(t, c, 9, junk); v.Used != 0 {
		t.Errorf("one account decides for another: %+v", v)
	}
	teach(t, c, 2, list)
	if v := judge(t, c, 9, junk); v.Probability < 0.9 || v.Clues[0].Own {
		t.Errorf("two accounts do not help a third: %+v", v)
	}
	for i := range 5 { // a clerk of a bank
		if err := c.Learn(context.Background(), 9, junk, false, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if v := judge(t, c, 9, junk); v.Probability > 0.1 || !v.Clues[0].Own {
		t.Errorf("own lessons do not outweigh the others': %+v", v)
	}
	for _, o := range []Owner{2, 9} {
		if err := c.Remove(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	}
	if v := judge(t, c, 3, junk); v.Used != 0 {
		t.Errorf("what a removed account has taught is still used: %+v", v)
	}
	if all, m := state(t, c, 2); len(all) != 0 || m != (meta{}) {
		t.Errorf("a removed account has %d words", len(all))
	}
}

// TestPoison: one account that calls all good mail junk a thousand times does not spoil it for others.
func TestPoison(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	defer db.Close()
	c := open(db, nil)
	list := corpus(t)
	for o := range Owner(4) {
		teach(t, c, 1+o, list)
	}
	var poison []Lesson
	for i := range 1000 {
		m := list[i%22]
		if m.Junk {
			t.Fatal("the corpus begins with 22 good messages")
		}
		poison = append(poison, Lesson{m.Text, true, fmt.Sprint("poison", i)})
	}
	teach(t, c, 66, poison)
	if _, m := state(t, c, 66); m.lentJunk > 44 || m.junk != 1000 {
		t.Errorf("lent %d of %d", m.lentJunk, m.junk)
	}
	for _, m := range list[:22] {
		if v := judge(t, c, 9, m.Text); v.Probability > 0.5 {
			t.Errorf("%q is spoilt: %.3f %v", m.Text.Subject, v.Probability, v.Clues)
		}
	}
}

// TestOperator: what the operator teaches counts for all at once.
func TestOperator(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	defer db.Close()
	c := open(db, nil)
	list := corpus(t)
	teach(t, c, Shared, list)
	if v := judge(t, c, 5, list[25].Text); v.Probability < Junk {
		t.Errorf("%+v", v)
	}
	if err := c.Forget(context.Background(), Shared, list[25].ID); err != nil {
		t.Fatal(err)
	}
	if _, m := state(t, c, Shared); m.junk != 21 || m.good != 22 {
		t.Errorf("%+v", m)
	}
}

// TestOneClue: a pair and its words are counted once, and learning a message again writes nothing.
func TestOneClue(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	defer db.Close()
	c := open(db, func(l *limits.Words) { l.Least = 1 })
	list := []Lesson{{Text{Body: "free money"}, true, "a"}, {Text{Body: "free lunch"}, false, "b"}}
	teach(t, c, 1, list)
	v := judge(t, c, 1, Text{Body: "free money"})
	if v.Words != 3 || v.Used != 1 || v.Clues[0].Word != "money" || !v.Clues[0].Own {
		t.Errorf("%+v", v)
	}
	_, before := state(t, c, 1)
	teach(t, c, 1, list)
	if _, after := state(t, c, 1); before != after {
		t.Errorf("learnt again: %+v, before %+v", after, before)
	}
}

// TestChance compares the sum with a second way to compute it, in both ranges.
func TestChance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		m    float64
		n    int
		want float64
	}{{1, 1, math.Exp(-1)}, {2, 2, 3 * math.Exp(-2)}, {0, 5, 1}, {5000, 10, 0}, {650, 650, 0.4947842},
		{599, 599, 0.4945663}} {
		if got := chance(c.m, c.n); math.Abs(got-c.want) > 1e-6 {
			t.Errorf("chance(%v, %d) = %.7f, want %.7f", c.m, c.n, got, c.want)
		}
	}
}

// TestLimits: tables and lessons stay within their limits, and what is pruned or faded leaves no debts.
func TestLimits(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	defer db.Close()
	ctx := context.Background()
	c := open(db, func(l *limits.Words) { l.Account, l.Shared, l.Lessons, l.Learnt = 2000, 1000, 10, 50 })
	c.always = true
	for i := range 60 {
		words := make([]string, 100)
		for k := range words {
			words[k] = fmt.Sprintf("w%c%c%c", 'a'+i%26, 'a'+k%26, 'a'+k/26)
		}
		if err := c.Learn(ctx, 1, Text{Body: strings.Join(words, " ")}, true, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	all, m := state(t, c, 1)
	if len(all) > 2000 || m.words > 2000 || m.faded == 0 || m.junk >= 50 {
		t.Errorf("%d words, %+v", len(all), m)
	}
	if _, s := state(t, c, Shared); s.words > 1000 {
		t.Errorf("%d shared words", s.words)
	}
	rows := 0
	err := db.View(ctx, scope, func(r kv.Reader) error {
		return r.Scan(kv.Prefix(rowKey(idRow, 1)), func(_, _ []byte) error { rows++; return nil })
	})
	if err != nil || rows > 10 {
		t.Errorf("%d messages remembered: %v", rows, err)
	}
	for i := range 60 {
		if err := c.Forget(ctx, 1, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []Owner{1, Shared} {
		all, _ := state(t, c, o)
		for h, n := range all {
			if n.junk > 100 || n.who > 100 {
				t.Fatalf("owner %d: %x counts %+v", o, h, n)
			}
		}
	}
}

// TestNoDebts: words that were pruned and then taken back count from zero when they come again, and what was
// taken back leaves no rows.
func TestNoDebts(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	defer db.Close()
	c := open(db, func(l *limits.Words) { l.Account = 8 })
	teach(t, c, 1, []Lesson{{Text{Body: "one two three four five six seven"}, true, "a"}})
	forceCompact(t, c, 1)
	before, _ := state(t, c, 1)
	if err := c.Forget(context.Background(), 1, "a"); err != nil {
		t.Fatal(err)
	}
	teach(t, c, 1, []Lesson{{Text{Body: "one two three four five six seven"}, true, "b"}})
	after, m := state(t, c, 1)
	if len(before) != 7 || len(after) != 13 || m.junk != 1 {
		t.Errorf("%d words before, %d after, %+v", len(before), len(after), m)
	}
	for h, n := range after {
		if n.junk != 1 || n.who != 1 {
			t.Errorf("%x counts %+v", h, n)
		}
	}
	if err := c.Forget(context.Background(), 1, "b"); err != nil {
		t.Fatal(err)
	}
	forceCompact(t, c, 1)
	rows := 0
	err := db.View(context.Background(), scope, func(r kv.Reader) error {
		count := func(_, _ []byte) error { rows++; return nil }
		return errors.Join(r.Scan(kv.Prefix(rowKey(lessonRow, 1)), count), r.Scan(kv.Prefix(rowKey(idRow, 1)), count),
			r.Scan(kv.Prefix(rowKey(tableRow, 1)), count))
	})
	if err != nil || rows != 0 {
		t.Errorf("%d rows are left: %v", rows, err)
	}
}

// TestMemory: tables of many accounts do not stay in memory together, and those that left are read again.
func TestMemory(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	defer db.Close()
	l := limits.Default().Words
	l.Least = 1
	c := Open(Options{DB: db, Limits: l, Memory: 100_000})
	list := corpus(t)
	for o := range Owner(20) {
		teach(t, c, o+1, list)
	}
	for o := range Owner(20) {
		if v := judge(t, c, o+1, list[30].Text); !v.Known || v.Probability < 0.9 {
			t.Errorf("account %d: %+v", o, v)
		}
	}
	c.tables.mu.Lock()
	defer c.tables.mu.Unlock()
	if c.tables.used > 200_000 || len(c.tables.all) > 10 || c.tables.by.Len() != len(c.tables.all) {
		t.Errorf("%d bytes in %d tables", c.tables.used, len(c.tables.all))
	}
}

// TestDamage: rows that are not what was written give an error and no opinion, never a panic.
func TestDamage(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, row := range []byte{keyRow, metaRow, tableRow, lessonRow} {
		for cut := range 12 {
			db := memkv.New()
			c := open(db, nil)
			teach(t, c, 1, corpus(t))
			if row == tableRow {
				forceCompact(t, c, 1)
			}
			err := db.Update(ctx, scope, func(txn kv.Txn) error {
				return txn.Scan(kv.Prefix([]byte{space, room, row}), func(k, v []byte) error {
					return txn.Set(k, v[:len(v)*cut/12])
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			v, err := newView(c).Judge(ctx, 1, Text{Body: "vay tiền"})
			if err == nil || v.Known {
				t.Errorf("row %c cut at %d of 12: %v, %+v", row, cut, err, v)
			}
			db.Close()
		}
	}
}

func BenchmarkJudge20k(b *testing.B) {
	db := memkv.New()
	defer db.Close()
	c := open(db, nil)
	teach(b, c, 1, corpus(b))
	text := Text{Body: long(20_000)}
	teach(b, c, 1, []Lesson{{text, true, "long"}})
	for b.Loop() {
		judge(b, c, 1, text)
	}
}
