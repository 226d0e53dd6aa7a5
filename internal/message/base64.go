package message

// What a byte is to a base64 decoder, besides the values 0 to 63.
const (
	base64Bad byte = 0xff // not of the alphabet: skipped, RFC 2045 §6.8
	base64Pad byte = 0xfe // the equals sign
)

// base64Values maps a byte to its value. The alphabet of URLs is none here: readers skip it.
var base64Values = base64Table()

// base64Table fills base64Values with the alphabet of RFC 2045 §6.8.
func base64Table() (t [256]byte) {
	for i := range t {
		t[i] = base64Bad
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range len(alphabet) {
		t[alphabet[i]] = byte(i)
	}
	t['='] = base64Pad
	return t
}

// base64State decodes base64 that comes in pieces. Bytes outside the alphabet are skipped, missing
// padding is assumed, and text after padding is decoded as a new run: concatenated pieces are
// common, and a scanner must see what any reader might.
type base64State struct {
	bits uint32
	n    int // sextets collected, 0 to 3
}

// decode appends what src decodes to.
func (s *base64State) decode(dst, src []byte) []byte { return decodeBase64(s, dst, src) }

// decodeBase64 takes four sextets at a time while they come undisturbed, and single ones where a
// line ends or junk stands between them.
func decodeBase64[T string | []byte](s *base64State, dst []byte, src T) []byte {
	bits, n := s.bits, s.n
	for i := 0; i < len(src); {
		if n == 0 {
			for i+4 <= len(src) {
				a, b := base64Values[src[i]], base64Values[src[i+1]]
				c, d := base64Values[src[i+2]], base64Values[src[i+3]]
				if a|b|c|d > 63 {
					break
				}
				w := uint32(a)<<18 | uint32(b)<<12 | uint32(c)<<6 | uint32(d)
				dst = append(dst, byte(w>>16), byte(w>>8), byte(w))
				i += 4
			}
			if i == len(src) {
				break
			}
		}
		v := base64Values[src[i]]
		i++
		switch v {
		case base64Bad:
		case base64Pad:
			dst = appendSextets(dst, bits, n)
			bits, n = 0, 0
		default:
			bits, n = bits<<6|uint32(v), n+1
			if n == 4 {
				dst = append(dst, byte(bits>>16), byte(bits>>8), byte(bits))
				bits, n = 0, 0
			}
		}
	}
	s.bits, s.n = bits, n
	return dst
}

// finish appends what an unfinished group holds.
func (s *base64State) finish(dst []byte) []byte {
	dst = appendSextets(dst, s.bits, s.n)
	*s = base64State{}
	return dst
}

// appendSextets writes the whole bytes of a group of n sextets; one sextet alone is no byte.
func appendSextets(dst []byte, bits uint32, n int) []byte {
	switch n {
	case 2:
		return append(dst, byte(bits>>4))
	case 3:
		return append(dst, byte(bits>>10), byte(bits>>2))
	}
	return dst
}

// appendBase64 decodes all of s.
func appendBase64[T string | []byte](dst []byte, s T) []byte {
	var st base64State
	return st.finish(decodeBase64(&st, dst, s))
}
