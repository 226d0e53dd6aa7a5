package scan

// The names of the signs that this room gives by itself. A rule of rspamd has its own name after
// "RSPAMD_", one of SpamAssassin after "SPAMASSASSIN_".
const (
	SignSuspect     = "CLAMAV_SUSPECT"
	SignEncrypted   = "CLAMAV_ENCRYPTED"
	SignUnscannable = "CLAMAV_UNSCANNABLE"
	SignAssassin    = "SPAMASSASSIN"
)

// Entry is a row of the table of signs.
type Entry struct {
	Name       string
	Score      float64
	English    string
	Vietnamese string
}

// Table lists them, in the order of the documentation.
var Table = []Entry{
	{SignSuspect, 3, "ClamAV finds it suspicious, though it is no known virus",
		"ClamAV thấy đáng ngờ, tuy không phải vi-rút đã biết"},
	{SignEncrypted, 1.5, "An attachment is encrypted, so that it could not be checked for viruses",
		"Tệp đính kèm được mã hoá nên không kiểm tra vi-rút được"},
	{SignUnscannable, 4, "An attachment could not be checked for viruses",
		"Tệp đính kèm không kiểm tra vi-rút được"},
	{SignAssassin, 0, "SpamAssassin's score, so that 5 is what it calls spam",
		"Điểm của SpamAssassin, quy về 5 là mức nó coi là thư rác"},
}

func scoreOf(name string) float64 {
	for _, e := range Table {
		if e.Name == name {
			return e.Score
		}
	}
	return 0
}
