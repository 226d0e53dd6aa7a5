package conn

// codeReader is the reading of a block's own codes, RFC 1951 §3.2.7, as far as it has come.
type codeReader struct {
	nlit, ndist, nclen int
	have               int // lengths that were read
	ofLengths          bool
	lengths            [320]uint8 // those of the code of lengths first, then those of both codes
	clen               huffman
}

// clenOrder is the order in which the lengths of the code of lengths come.
var clenOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// readCodes reads one thing more of a block's codes. more asks for more input.
func (z *inflater) readCodes() (more bool, err error) {
	r := &z.codes.reading
	switch {
	case r.nlit == 0:
		if z.nbits < 14 {
			return true, nil
		}
		r.nlit, r.ndist, r.nclen = 257+z.take(5), 1+z.take(5), 4+z.take(4)
		if r.nlit > 286 || r.ndist > 30 {
			return false, ErrDeflate
		}
		return false, nil
	case !r.ofLengths:
		if z.nbits < 3 {
			return true, nil
		}
		r.lengths[clenOrder[r.have]] = uint8(z.take(3))
		if r.have++; r.have < r.nclen {
			return false, nil
		}
		ok := r.clen.build(r.lengths[:19])
		r.have, r.ofLengths = 0, true
		clear(r.lengths[:])
		if !ok {
			return false, ErrDeflate
		}
		return false, nil
	}
	if more, err = z.readLengths(r); more || err != nil || r.have < r.nlit+r.ndist {
		return more, err
	}
	if r.lengths[endOfBlock] == 0 ||
		!z.codes.lit.build(r.lengths[:r.nlit]) ||
		!z.codes.dist.build(r.lengths[r.nlit:r.nlit+r.ndist]) {
		return false, ErrDeflate
	}
	z.state = codesBody
	return false, nil
}

// readLengths reads the next length, or run of lengths.
func (z *inflater) readLengths(r *codeReader) (more bool, err error) {
	bits, nbits := z.bits, z.nbits
	sym := z.symbol(&r.clen)
	if sym >= 0 && sym < 16 {
		r.lengths[r.have] = uint8(sym)
		r.have++
		return false, nil
	}
	if sym == noneAtAll {
		return false, ErrDeflate
	}
	var length uint8
	var extra uint
	base := 3
	switch sym {
	case 16:
		if r.have == 0 {
			return false, ErrDeflate
		}
		length, extra = r.lengths[r.have-1], 2
	case 17:
		extra = 3
	case 18:
		base, extra = 11, 7
	}
	if sym == tooShort || z.nbits < extra {
		z.bits, z.nbits = bits, nbits // the whole symbol again, when there is more
		return true, nil
	}
	run := base + z.take(extra)
	if r.have+run > r.nlit+r.ndist {
		return false, ErrDeflate
	}
	for range run {
		r.lengths[r.have] = length
		r.have++
	}
	return false, nil
}
