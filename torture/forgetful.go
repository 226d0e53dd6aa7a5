package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
)

// forgetful is a disk with a write cache that a power cut empties: one file, served over FUSE, on
// which a loop device and a file system stand. What was written is kept in memory until the disk is
// told to sync; a cut keeps some of it, by sectors, in no order, and forgets the rest. That is what
// a real disk may do, and more than a dead process or an ext4 that is shut down can show.
//
// It speaks the FUSE protocol 7.31 itself, as little of it as one file needs.
type forgetful struct {
	dir   string // where the one file appears
	conn  *os.File
	image *os.File
	size  int64
	done  chan struct{}

	mu    sync.Mutex
	cache map[int64][]byte // written and not synced, by sector
	syncs int
}

// sector is what a disk writes whole or not at all.
const sector = 4096

// The operations of linux/fuse.h that are answered, and their layouts in bytes.
const (
	opLookup, opForget, opGetattr, opSetattr        = 1, 2, 3, 4
	opOpen, opRead, opWrite, opStatfs, opRelease    = 14, 15, 16, 17, 18
	opFsync, opFlush, opInit, opOpendir, opReaddir  = 20, 25, 26, 27, 28
	opReleasedir, opInterrupt, opDestroy, opForgets = 29, 36, 38, 42

	inHeader, outHeader = 40, 16
	writeHeader         = 40
	attrSize            = 88
	maxWrite            = 1 << 20

	rootNode, fileNode = 1, 2
	bigWrites          = 1 << 5
	maxPages           = 1 << 22
	directIO           = 1 // the kernel keeps no pages of the file
)

// openForgetful mounts a disk of size bytes, whose lasting part is the file image, at dir.
func openForgetful(image, dir string, size int64) (*forgetful, error) {
	f, err := os.OpenFile(image, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(size); err != nil {
		return nil, err
	}
	conn, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", conn.Fd())
	err = syscall.Mount("forgetful", dir, "fuse.forgetful", syscall.MS_NOSUID|syscall.MS_NODEV, options)
	if err != nil {
		return nil, fmt.Errorf("mount the forgetful disk: %w", err)
	}
	d := &forgetful{dir: dir, conn: conn, image: f, size: size, done: make(chan struct{}),
		cache: map[int64][]byte{}}
	go d.serve()
	return d, nil
}

func (d *forgetful) close() {
	if syscall.Unmount(d.dir, 0) != nil {
		syscall.Unmount(d.dir, syscall.MNT_DETACH|syscall.MNT_FORCE)
	}
	d.conn.Close()
	<-d.done
	d.image.Close()
}

// cut is the power cut: each sector that was not synced is kept with the probability keep.
func (d *forgetful) cut(rnd *rand.Rand, keep float64) (kept, forgotten int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for at, b := range d.cache {
		if rnd.Float64() >= keep {
			forgotten++
			continue
		}
		kept++
		if _, err := d.image.WriteAt(b, at*sector); err != nil {
			return kept, forgotten, err
		}
	}
	clear(d.cache)
	return kept, forgotten, nil
}

// serve answers the kernel until the file system is unmounted.
func (d *forgetful) serve() {
	defer close(d.done)
	buf := make([]byte, maxWrite+4096)
	for {
		n, err := syscall.Read(int(d.conn.Fd()), buf)
		if err == syscall.EINTR || err == syscall.ENOENT {
			continue
		}
		if err != nil || n < inHeader {
			return // unmounted
		}
		op, unique := binary.LittleEndian.Uint32(buf[4:]), binary.LittleEndian.Uint64(buf[8:])
		node := binary.LittleEndian.Uint64(buf[16:])
		if op == opForget || op == opForgets || op == opInterrupt {
			continue // these want no answer
		}
		body, errno := d.answer(op, node, buf[inHeader:n])
		out := make([]byte, outHeader, outHeader+len(body))
		binary.LittleEndian.PutUint32(out, uint32(outHeader+len(body)))
		binary.LittleEndian.PutUint32(out[4:], uint32(-int32(errno)))
		binary.LittleEndian.PutUint64(out[8:], unique)
		syscall.Write(int(d.conn.Fd()), append(out, body...))
	}
}

func (d *forgetful) answer(op uint32, node uint64, in []byte) ([]byte, syscall.Errno) {
	le := binary.LittleEndian
	switch op {
	case opInit:
		out := le.AppendUint32(nil, 7)
		out = le.AppendUint32(out, 31)
		out = le.AppendUint32(out, le.Uint32(in[8:])) // read-ahead as the kernel has it
		out = le.AppendUint32(out, bigWrites|maxPages)
		out = append(out, 0, 0, 0, 0)
		out = le.AppendUint32(out, maxWrite)
		out = le.AppendUint32(out, 1)
		out = le.AppendUint16(out, maxWrite/4096)
		return append(out, make([]byte, 64-len(out))...), 0
	case opLookup:
		if node != rootNode || string(in) != "disk\x00" {
			return nil, syscall.ENOENT
		}
		out := le.AppendUint64(nil, fileNode)
		return append(append(out, make([]byte, 32)...), d.attr(fileNode)...), 0
	case opGetattr, opSetattr:
		return append(make([]byte, 16), d.attr(node)...), 0
	case opOpen:
		return append(make([]byte, 8), directIO, 0, 0, 0, 0, 0, 0, 0), 0
	case opOpendir:
		return make([]byte, 16), 0
	case opRead:
		return d.read(int64(le.Uint64(in[8:])), int64(le.Uint32(in[16:])))
	case opWrite:
		n := le.Uint32(in[16:])
		if errno := d.write(int64(le.Uint64(in[8:])), in[writeHeader:writeHeader+n]); errno != 0 {
			return nil, errno
		}
		return append(le.AppendUint32(nil, n), 0, 0, 0, 0), 0
	case opFsync:
		return nil, d.sync()
	case opStatfs:
		return make([]byte, 80), 0
	case opReaddir, opFlush, opRelease, opReleasedir, opDestroy:
		return nil, 0
	}
	return nil, syscall.ENOSYS
}

// attr is struct fuse_attr of the folder or the file.
func (d *forgetful) attr(node uint64) []byte {
	le := binary.LittleEndian
	mode, size := uint32(syscall.S_IFDIR|0o700), int64(0)
	if node == fileNode {
		mode, size = syscall.S_IFREG|0o600, d.size
	}
	a := le.AppendUint64(nil, node)
	a = le.AppendUint64(a, uint64(size))
	a = le.AppendUint64(a, uint64(size/512))
	a = append(a, make([]byte, 3*8+3*4)...) // times
	a = le.AppendUint32(a, mode)
	a = le.AppendUint32(a, 1)
	return append(a, make([]byte, attrSize-len(a))...)
}

func (d *forgetful) read(at, n int64) ([]byte, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n = max(0, min(n, d.size-at))
	out := make([]byte, n)
	if _, err := d.image.ReadAt(out, at); err != nil && err != io.EOF {
		return nil, syscall.EIO
	}
	for s := at / sector; s*sector < at+n; s++ {
		b := d.cache[s]
		if b == nil {
			continue
		}
		from := max(s*sector, at)
		copy(out[from-at:], b[from-s*sector:])
	}
	return out, 0
}

// write puts b into the cache. A loop device may write less than a sector: the rest of it is read.
func (d *forgetful) write(at int64, b []byte) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(b) > 0 {
		number, from := at/sector, at%sector
		whole := d.cache[number]
		if whole == nil {
			whole = make([]byte, sector)
			if _, err := d.image.ReadAt(whole, number*sector); err != nil {
				return syscall.EIO
			}
			d.cache[number] = whole
		}
		n := copy(whole[from:], b)
		at, b = at+int64(n), b[n:]
	}
	return 0
}

// sync makes everything last that was written before.
func (d *forgetful) sync() syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	for at, b := range d.cache {
		if _, err := d.image.WriteAt(b, at*sector); err != nil {
			return syscall.EIO
		}
	}
	clear(d.cache)
	d.syncs++
	return 0
}
