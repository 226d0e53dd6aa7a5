package limits

import "time"

// Spam bounds what is found out about mail that may be unwanted, and what is remembered of it.
type Spam struct {
	LookUps      time.Duration `toml:"look_ups" cap:"20s" why:"all questions to lists about one message; then it is judged without them"`
	Lists        int           `toml:"lists" cap:"50" why:"lists asked about one message"`
	LinkDomains  int           `toml:"link_domains" cap:"50" why:"domains of one message's links that are asked about"`
	HalfLife     time.Duration `toml:"half_life" cap:"8760h" why:"a good or bad name is worth half after it"`
	Pending      int           `toml:"pending" cap:"10000000" why:"facts of each kind kept in memory until they are written; more are not learned"`
	Rules        int           `toml:"rules" cap:"1000000" why:"entries of one person's, domain's or the server's list"`
	Reputation   int           `toml:"reputation" cap:"100000000" why:"names remembered; the longest unseen go first"`
	ForgetAfter  time.Duration `toml:"forget_after" cap:"43800h" why:"names and correspondents not seen again"`
	GreyWait     time.Duration `toml:"grey_wait" cap:"1h" why:"before an unknown sender may come again"`
	GreyRetry    time.Duration `toml:"grey_retry" cap:"168h" why:"within which he must"`
	GreyKept     time.Duration `toml:"grey_kept" cap:"8760h" why:"who came again is let through"`
	GreyRows     int           `toml:"grey_rows" cap:"100000000" why:"senders remembered; with more nobody is asked to come again"`
	Rejects      int           `toml:"rejects" cap:"10000000" why:"refused messages listed; the oldest go first"`
	RejectsKept  time.Duration `toml:"rejects_kept" cap:"2160h" why:"how long they are"`
	RejectHeader int           `toml:"reject_header" cap:"65536" why:"bytes of a refused message's header that are kept"`
	Quarantine   time.Duration `toml:"quarantine" cap:"2160h" why:"then a message goes to its recipient's junk mail"`
	TarpitDelay  time.Duration `toml:"tarpit_delay" cap:"1m" why:"before each reply to a source of bad repute"`
	TarpitAtOnce int           `toml:"tarpit_sessions" cap:"100000" why:"sessions slowed at once; more are served at full speed"`
	ReplayAfter  int           `toml:"replay_recipients" cap:"1000000" why:"recipients of one DKIM signature in an hour, M5"`
	BombDomains  int           `toml:"bomb_domains" cap:"100000" why:"unknown domains that write to one person within the window, O8"`
	BombWindow   time.Duration `toml:"bomb_window" cap:"1h" why:"how quickly a list bomb is noticed"`
	BombQuiet    time.Duration `toml:"bomb_quiet" cap:"24h" why:"without such mail a list bomb is over"`
	HabitFloor   int           `toml:"habit_floor" cap:"1000000" why:"recipients a day that are no sudden change for anybody"`
	HabitFactor  int           `toml:"habit_factor" cap:"10000" why:"times an account's usual day that are one; A17"`
	Suppressed   int           `toml:"suppressed" cap:"10000000" why:"addresses that do not exist elsewhere"`
	SuppressFor  time.Duration `toml:"suppress_for" cap:"8760h" why:"they are not tried again for"`
	LearnBatch   int           `toml:"learn_batch" cap:"100000" why:"changes of one account looked at in one go"`
}

func defaultSpam() Spam {
	const d = 24 * time.Hour
	return Spam{
		LookUps: 2 * time.Second, Lists: 10, LinkDomains: 10, HalfLife: 30 * d, Pending: 100000,
		Rules: 10000, Reputation: 2000000, ForgetAfter: 365 * d, GreyWait: 5 * time.Minute, GreyRetry: 2 * d,
		GreyKept: 35 * d, GreyRows: 1000000, Rejects: 100000, RejectsKept: 14 * d, RejectHeader: 4 * KiB,
		Quarantine: 14 * d, TarpitDelay: 2 * time.Second, TarpitAtOnce: 200, ReplayAfter: 50,
		BombDomains: 20, BombWindow: 2 * time.Minute, BombQuiet: 30 * time.Minute, HabitFloor: 50,
		HabitFactor: 10, Suppressed: 100000, SuppressFor: 30 * d, LearnBatch: 500,
	}
}
