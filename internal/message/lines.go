package message

import "bytes"

// maxLine is the longest line RFC 5322 §2.1.1 allows, without its line end.
const maxLine = 998

// newline takes note of the line end at b[i], b being at offset p.off and before the byte before
// it. It returns the length of the line without its line end.
func (p *Parser) newline(b []byte, i int, before byte) int64 {
	if i > 0 {
		before = b[i-1]
	}
	end := p.off + int64(i)
	content := end - p.lineStart
	p.eol = 1
	if before == '\r' && content > 0 {
		p.pairs++
		p.eol = 2
		content--
	}
	if content > maxLine {
		p.msg.LongLine = true
	}
	p.lines++
	p.lineStart = end + 1
	return content
}

// readHeader collects header lines up to the blank line or a delimiter, and returns how many bytes
// it took.
func (p *Parser) readHeader(b []byte, before byte) int {
	pos := 0
	for pos < len(b) {
		if n := p.delimiterAt(b, pos); n > 0 {
			p.collect(b[:pos])
			return p.take(b, pos, n)
		}
		i := bytes.IndexByte(b[pos:], '\n')
		if i < 0 {
			break
		}
		pos += i + 1
		if p.newline(b, pos-1, before) == 0 {
			p.collect(b[:pos])
			p.off += int64(pos)
			p.endHeader(p.off)
			return pos
		}
	}
	p.collect(b)
	p.off += int64(len(b))
	return len(b)
}

// collect keeps header bytes, within the limits.
func (p *Parser) collect(b []byte) {
	room := min(p.lim.HeaderBytes-len(p.hdr), p.budget)
	if len(b) > room {
		b = b[:max(room, 0)]
		p.cut = true
	}
	p.budget -= len(b)
	p.hdr = append(p.hdr, b...)
}

// readBody passes over a body up to a delimiter, and returns how many bytes it took.
func (p *Parser) readBody(b []byte, before byte) int {
	pos := 0
	for pos < len(b) {
		if n := p.delimiterAt(b, pos); n > 0 {
			p.preview.take(b[:pos])
			return p.take(b, pos, n)
		}
		pos = p.skim(b, pos, before)
	}
	p.preview.take(b)
	p.off += int64(len(b))
	return len(b)
}

// skim goes from line end to line end, up to a line that may be a delimiter or to the end of b.
// This is where the bytes of large messages go through: its cost is that of bytes.IndexByte.
func (p *Parser) skim(b []byte, pos int, before byte) int {
	start := p.lineStart - p.off // of the current line, relative to b
	var lines, pairs int64
	var longest int64
	for {
		i := bytes.IndexByte(b[pos:], '\n')
		if i < 0 {
			pos = len(b)
			break
		}
		pos += i + 1
		end := int64(pos)
		content := end - 1 - start
		p.eol = 1
		if content > 0 && (pos > 1 && b[pos-2] == '\r' || pos == 1 && before == '\r') {
			pairs++
			p.eol = 2
			content--
		}
		longest = max(longest, content)
		lines++
		start = end
		if p.watch > 0 && pos < len(b) && b[pos] == '-' {
			break
		}
	}
	if longest > maxLine {
		p.msg.LongLine = true
	}
	p.lines += lines
	p.pairs += pairs
	p.lineStart = p.off + start
	return pos
}

// delimiterAt reports whether a line begins at b[pos] that is a delimiter, or may be one when more
// of it has come: its length so far, or 0.
func (p *Parser) delimiterAt(b []byte, pos int) int {
	if p.watch == 0 || b[pos] != '-' || p.off+int64(pos) != p.lineStart {
		return 0
	}
	b = b[pos:]
	if len(b) > 1 && b[1] != '-' {
		return 0
	}
	line := b[:min(len(b), p.longest)]
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i+1]
	} else if !p.ended {
		if len(b) < p.longest {
			p.matched = held
			return len(b)
		}
		return 0
	}
	if !p.match(line) {
		return 0
	}
	return len(line)
}

// held is the value of Parser.matched while a line is too short to tell.
const held = -1

// take handles the n bytes of a delimiter, or the beginning of one, that stand at b[pos:]. It
// returns how many bytes of b are done with.
func (p *Parser) take(b []byte, pos, n int) int {
	p.off += int64(pos)
	line := b[pos : pos+n]
	if p.matched == held {
		p.hold = append(p.hold, line...)
	} else {
		p.delimit(line)
	}
	return pos + n
}

// resume goes on with a line of which earlier slices brought the beginning, until it can be told
// what it is. It returns how many bytes of b it took.
func (p *Parser) resume(b []byte) int {
	n := min(len(b), p.longest-len(p.hold))
	i := bytes.IndexByte(b[:n], '\n')
	if i >= 0 {
		n = i + 1
	}
	p.hold = append(p.hold, b[:n]...)
	line := p.hold
	if i < 0 && line[min(1, len(line)-1)] == '-' && len(line) < p.longest {
		return n
	}
	p.hold = p.hold[:0]
	if p.inHeader {
		p.readHeader(line, '\n')
	} else {
		p.readBody(line, '\n')
	}
	return n
}

// match finds the open multipart whose delimiter line is, the innermost first. RFC 2046 §5.1.1
// would have a line that merely begins with the boundary count, too; the readers people use want
// the whole line, and so does this one, or "--a" could never stand beside "--ab".
func (p *Parser) match(line []byte) bool {
	for len(line) > 0 && isBlank(line[len(line)-1]) {
		line = line[:len(line)-1]
	}
	if len(line) < 3 {
		return false
	}
	line = line[2:]
	for k := len(p.stack) - 1; k >= 0; k-- {
		bd := p.stack[k].boundary
		if bd == "" || len(line) < len(bd) || string(line[:len(bd)]) != bd {
			continue
		}
		tail := line[len(bd):]
		p.final = len(tail) == 2 && tail[0] == '-' && tail[1] == '-'
		if p.final || len(tail) == 0 && !p.stack[k].full {
			p.matched = k
			return true
		}
	}
	return false
}
