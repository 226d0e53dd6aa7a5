package limits

import "time"

// Words bounds what the classifier of words reads, learns and keeps.
type Words struct {
	Text    int           `toml:"text" cap:"4194304" why:"bytes of a body that words are read from"`
	Tokens  int           `toml:"tokens" cap:"10000" why:"different words and pairs of one message"`
	Account int           `toml:"account_words" cap:"2000000" why:"words kept of an account; 24 bytes each in memory"`
	Shared  int           `toml:"shared_words" cap:"10000000" why:"words kept of all accounts together"`
	Lessons int           `toml:"lessons" cap:"100000" why:"messages of an account that can be taken back; 2 kB each"`
	Learnt  int           `toml:"learnt" cap:"10000000" why:"messages of a kind after which older lessons count half"`
	Lend    int           `toml:"lend" cap:"100000" why:"messages of a kind with which one account teaches the others"`
	Least   int           `toml:"least" cap:"10000" why:"messages of each kind before there is an opinion"`
	Fade    time.Duration `toml:"fade" cap:"87600h" why:"a word not seen for so long counts half when there is no room"`
}

func defaultWords() Words {
	return Words{
		Text: 256 * KiB, Tokens: 2000, Account: 200_000, Shared: 1_000_000, Lessons: 2000, Learnt: 20_000,
		Lend: 200, Least: 20, Fade: 180 * 24 * time.Hour,
	}
}
