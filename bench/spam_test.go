package main

import (
	"reflect"
	"strings"
	"testing"

	spamwords "tram/internal/spam/words"
)

// TestVietnameseMail: the corpus is the same every time, has all genres, and both with and without marks.
func TestVietnameseMail(t *testing.T) {
	t.Parallel()
	all := vietnameseMail(1, 2000)
	if !reflect.DeepEqual(all, vietnameseMail(1, 2000)) {
		t.Error("the same seed gives other messages")
	}
	if reflect.DeepEqual(all[:10], vietnameseMail(2, 10)) {
		t.Error("another seed gives the same messages")
	}
	groups, junk, marked, slots := map[string]int{}, 0, 0, 0
	for _, m := range all {
		groups[m.group]++
		if m.junk {
			junk++
		}
		if m.text.Body != withoutMarks(m.text.Body) {
			marked++
		}
		if strings.ContainsAny(m.text.From+m.text.Subject+m.text.Body, "{}") {
			slots++
		}
	}
	if len(groups) != len(genres) || junk < 500 || junk > 700 || marked < 1200 || marked > 1900 || slots > 0 {
		t.Errorf("%v, %d junk, %d with marks, %d with empty slots", groups, junk, marked, slots)
	}
}

// TestJudgeCorpus: what is counted adds up, on a small corpus.
func TestJudgeCorpus(t *testing.T) {
	t.Parallel()
	v, err := judgeCorpus(vietnameseMail(3, 400), 300)
	if err != nil {
		t.Fatal(err)
	}
	if v.Junk+v.Good != 100*spamSeeds || v.Unknown != 0 || v.Caught > v.Caught90 || v.False > v.False90 ||
		v.Caught90*2 < v.Junk || v.False90*20 > v.Good {
		t.Errorf("%+v", v)
	}
	rec := &record{Kind: "spam", Spam: &spamRecord{Figures: []verdicts{v}}}
	if s := rec.section(); !strings.Contains(s, "| 300 | 500 |") {
		t.Errorf("%s", s)
	}
	if l := rec.Spam.spamPlot(); len(l.Series) != 1 || l.Series[0].Points[0].X != 300 {
		t.Errorf("%+v", l)
	}
	var none verdicts
	none.count(true, spamwords.Verdict{Probability: 0.5})
	if none.Unknown != 1 || none.Junk != 1 || none.Caught != 0 {
		t.Errorf("%+v", none)
	}
}
