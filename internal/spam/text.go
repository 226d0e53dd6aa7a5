package spam

import (
	"context"
	"fmt"
	"strings"

	"tram/internal/spam/sign"
	"tram/internal/spam/words"
)

// opinions is what a probability is worth, from the surest down. Words alone do not make junk of a
// message: what is sure of itself is wrong now and then, and something else must agree.
var opinions = []struct{ above, score float64 }{
	{0.9999, 4.5}, {words.Junk, 3.5}, {0.99, 2.5}, {0.9, 2}, {0.7, 1},
	{0.3, 0}, {words.Good, -0.5}, {0.01, -2}, {-1, -3},
}

// namedClues is how many words the trace names.
const namedClues = 5

// words is what the classifier says of a message's text, for one person. 0 asks what all have taught.
func (j *Judge) words(ctx context.Context, text words.Text, account uint64) []sign.Sign {
	if j.o.Words == nil {
		return nil
	}
	v, err := j.o.Words.Judge(ctx, words.Owner(account), text)
	if err != nil {
		j.o.Logger.Warn("words cannot be judged", "err", err)
		return nil
	}
	if !v.Known {
		return nil
	}
	score := 0.0
	for _, o := range opinions {
		if v.Probability >= o.above {
			score = o.score
			break
		}
	}
	if score == 0 {
		return nil
	}
	s := sign.Sign{Name: signWordsBad, Score: score}
	if score < 0 {
		s.Name = signWordsGood
	}
	var named []string
	for _, c := range v.Clues {
		if (c.Probability > 0.5) == (score > 0) && len(named) < namedClues {
			named = append(named, c.Word)
		}
	}
	s.Detail = clip(fmt.Sprintf("%.1f %%: %s", 100*v.Probability, strings.Join(named, ", ")), 200)
	return []sign.Sign{s}
}
