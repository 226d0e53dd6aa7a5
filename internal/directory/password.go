package directory

import (
	"bytes"
	"context"
	_ "embed" // the list of common passwords
	"fmt"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"

	"tram/internal/smtp"
)

// preparePassword maps a password to the form that is hashed: the OpaqueString profile (RFC 8265
// §4.2) composes letters and makes every kind of space the plain one, so that a password typed on
// another keyboard is the same password. ok is false for what cannot be a password: empty, control
// characters, not UTF-8.
func preparePassword(password string) (prepared string, ok bool) {
	ascii := password != ""
	for i := 0; i < len(password) && ascii; i++ {
		ascii = password[i] >= 0x20 && password[i] < 0x7f
	}
	if ascii {
		return password, true
	}
	prepared, err := precis.OpaqueString.String(password)
	return prepared, err == nil && utf8.ValidString(password)
}

// newSecret checks a new password against the rules and makes what is stored of it. The password
// itself is in no error.
func (d *Directory) newSecret(
	ctx context.Context, password string, owner smtp.Address, allowCommon bool,
) (credentialRecord, error) {
	prepared, ok := preparePassword(password)
	if !ok {
		return credentialRecord{}, fmt.Errorf("it has characters that no keyboard types: %w",
			ErrPassword)
	}
	if n := utf8.RuneCountInString(prepared); n < d.limits.PasswordMin {
		return credentialRecord{}, fmt.Errorf("it has %d characters, at least %d are needed: %w",
			n, d.limits.PasswordMin, ErrPassword)
	}
	if len(prepared) > d.limits.PasswordMax {
		return credentialRecord{}, fmt.Errorf("it has %d bytes, at most %d are allowed: %w",
			len(prepared), d.limits.PasswordMax, ErrPassword)
	}
	if !allowCommon && (isCommon(prepared) || isAbout(prepared, owner)) {
		return credentialRecord{}, fmt.Errorf("it is one that is tried first; "+
			"several words that only you would put together are better: %w", ErrPassword)
	}
	return d.makeSecret(ctx, prepared)
}

//go:embed common.txt
var commonList []byte

// commonWords is the list as a set, made when first needed.
var commonWords = sync.OnceValue(func() map[string]bool {
	words := map[string]bool{}
	for line := range bytes.Lines(commonList) {
		if w := strings.TrimSpace(string(line)); w != "" && w[0] != '#' {
			words[w] = true
		}
	}
	return words
})

// longestMargin is how many digits and signs around a common word do not make it uncommon.
const longestMargin = 8

// isCommon reports whether a password is among those that are tried first: in the list, a listed
// word with digits and signs around it, something short said several times, or a walk along the
// alphabet, the digits or the keyboard. It needs no network (A4).
func isCommon(password string) bool {
	p := strings.ToLower(password)
	words := commonWords()
	if words[p] || distinct(p) < 5 || isWalk(p) {
		return true
	}
	if unit := repeated(p); len(unit) < len(p) && (len(unit) < 8 || words[unit]) {
		return true
	}
	return decorated(p, words)
}

// decorated reports whether a password is a listed word, or one said several times, with up to
// longestMargin digits and signs before and after it.
func decorated(p string, words map[string]bool) bool {
	letter := func(i int) bool { r := rune(p[i]); return r >= utf8.RuneSelf || unicode.IsLetter(r) }
	for from := 0; from <= min(longestMargin, len(p)-4); from++ {
		for to := len(p); to-from >= 4 && from+len(p)-to <= longestMargin; to-- {
			core := repeated(p[from:to])
			if words[core] || words[leet.Replace(core)] || words[p[from:to]] {
				return true
			}
			if letter(to - 1) {
				break
			}
		}
		if letter(from) {
			break
		}
	}
	return false
}

// leet undoes the usual signs for letters.
var leet = strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "7", "t", "@",
	"a", "$", "s", "!", "i")

// isAbout reports whether a password is little more than its owner's address.
func isAbout(password string, owner smtp.Address) bool {
	p := strings.ToLower(password)
	name, _, _ := strings.Cut(owner.Domain, ".")
	for _, word := range []string{owner.String(), owner.Local, owner.Domain, name} {
		word = strings.ToLower(word)
		if len(word) >= 4 && strings.Contains(p, word) && len(p)-len(word) <= longestMargin {
			return true
		}
	}
	return false
}

// repeated returns the shortest string that s is a repetition of, s itself when it is none.
func repeated(s string) string {
	for n := 1; n <= len(s)/2; n++ {
		if len(s)%n == 0 && strings.Repeat(s[:n], len(s)/n) == s {
			return s[:n]
		}
	}
	return s
}

func distinct(s string) int {
	seen := map[rune]bool{}
	for _, r := range s {
		seen[r] = true
	}
	return len(seen)
}

// walks are the paths that fingers know by heart.
const walks = "abcdefghijklmnopqrstuvwxyz 01234567890 qwertyuiop asdfghjkl zxcvbnm " +
	"qwertzuiop yxcvbnm azertyuiop qsdfghjklm 1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p"

// isWalk reports whether all but two steps of a password follow a walk, in either direction, or
// stay where they are.
func isWalk(p string) bool {
	steps, free := 0, 0
	for i := 1; i < len(p); i++ {
		steps++
		pair := p[i-1 : i+1]
		if pair[0] != pair[1] && !strings.Contains(walks, pair) &&
			!strings.Contains(walks, string([]byte{pair[1], pair[0]})) {
			free++
		}
	}
	return steps > 0 && free <= 2
}
