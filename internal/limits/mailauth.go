package limits

import "time"

// MailAuth bounds what is checked of one message's origin.
type MailAuth struct {
	SPFLookups int           `toml:"spf_lookups" cap:"20" why:"RFC 7208 §4.6.4: 10 terms that ask the DNS"`
	SPFVoids   int           `toml:"spf_voids" cap:"10" why:"RFC 7208 §4.6.4: 2 answers without a record"`
	Signatures int           `toml:"dkim_signatures" cap:"20" why:"RFC 6376 §6.1 lets a verifier bound them"`
	RSAMin     int           `toml:"rsa_min_bits" cap:"4096" why:"RFC 8301 §3.2: 1,024"`
	RSAMax     int           `toml:"rsa_max_bits" cap:"8192" why:"a check grows with the square of the key"`
	KeyRecord  int           `toml:"key_record" cap:"65536" why:"bytes of one key or policy record"`
	ARCSets    int           `toml:"arc_sets" cap:"50" why:"RFC 8617 §5.2: 50"`
	Total      time.Duration `toml:"total" cap:"1m" why:"all look-ups of one message; P25"`
}

func defaultMailAuth() MailAuth {
	return MailAuth{
		SPFLookups: 10, SPFVoids: 2, Signatures: 8, RSAMin: 1024, RSAMax: 4096,
		KeyRecord: 16 * KiB, ARCSets: 50, Total: 20 * time.Second,
	}
}
