// Package sign holds what speaks for or against a message, as every room that looks for it says it:
// a name that does not change, a weight, and what was seen.
//
// It decides nothing: which score is too high is for the spam room to say, with the person's own
// wishes. A sign without a name or a detail that a person understands must never be made.
package sign

// Sign is one piece of evidence.
type Sign struct {
	// Name is fixed, in upper case with underscores: "FORGED_NAME". Lists, reports and exceptions use it.
	Name string
	// Score counts against the message where it is positive, for it where it is negative; some 5 together
	// make junk of it.
	Score float64
	// Detail is what was seen, for people: a host, a file's name. It holds no control characters and at
	// most 200 bytes.
	Detail string
}

// Total is the sum of the scores.
func Total(signs []Sign) float64 {
	var sum float64
	for _, s := range signs {
		sum += s.Score
	}
	return sum
}
