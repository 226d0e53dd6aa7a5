package message

import "strings"

// lookalikes maps letters of other scripts to the Latin letter they cannot be told from in mail
// programs' fonts. Letters with marks are not here: tuấn and tuan are two people.
var lookalikes = strings.NewReplacer(
	// Cyrillic
	"а", "a", "с", "c", "ԁ", "d", "е", "e", "һ", "h", "і", "i", "ј", "j", "к", "k", "ӏ", "l",
	"о", "o", "р", "p", "ԛ", "q", "ѕ", "s", "ѵ", "v", "ԝ", "w", "х", "x", "у", "y",
	// Greek
	"α", "a", "ε", "e", "η", "n", "ι", "i", "κ", "k", "ν", "v", "ο", "o", "ρ", "p", "υ", "u",
	"χ", "x", "γ", "y", "ω", "w",
	// Armenian
	"օ", "o", "ս", "u", "ո", "n", "հ", "h", "զ", "q", "ց", "g",
	// Latin letters that are not what they seem
	"ı", "i", "ɡ", "g", "ɑ", "a", "ɩ", "i",
)

// Skeleton returns what s, in lower case, looks like: letters of other scripts become the Latin ones they
// cannot be told from, after the idea of UTS 39 §4. Two strings with one skeleton look the same. The
// directory keeps skeletons: a change of the table needs a change of what is kept.
func Skeleton(s string) string {
	if isASCII(s) {
		return s
	}
	return lookalikes.Replace(s)
}
