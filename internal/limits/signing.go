package limits

import "time"

// Signing bounds what our signatures and our return addresses promise, and for how long.
type Signing struct {
	Lifetime time.Duration `toml:"lifetime" cap:"168h" why:"x=: a signed message that somebody sends on is ours for a week; M5"`
	Rotate   time.Duration `toml:"rotate" cap:"17520h" why:"a key signs for half a year"`
	Ahead    time.Duration `toml:"ahead" cap:"2160h" why:"the next key is shown so long before that, to be put into the DNS"`
	Keep     time.Duration `toml:"keep" cap:"2160h" why:"a key that signs no more stays in the DNS for mail on its way"`
	Keys     int           `toml:"keys" cap:"100" why:"of one domain, old ones included"`
	Return   time.Duration `toml:"return_address" cap:"1440h" why:"a bounce of what was forwarded comes within three weeks"`
	Returns  int           `toml:"return_notices" cap:"1000000" why:"notices that reach one sender through return addresses in a day: whoever has mail sent on sees them"`
	Parallel int           `toml:"parallel" cap:"1000" why:"messages signed at the same time, where there are as many processors"`
}

func defaultSigning() Signing {
	return Signing{
		Lifetime: 7 * 24 * time.Hour, Rotate: 180 * 24 * time.Hour, Ahead: 14 * 24 * time.Hour,
		Keep: 14 * 24 * time.Hour, Keys: 20, Return: 21 * 24 * time.Hour,
		Returns: 20, Parallel: 64,
	}
}
