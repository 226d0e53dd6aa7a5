package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tram/bench/ledger"
	"tram/bench/wire"
)

// machine is a disk with an ext4 on it, whose power can be cut.
type machine struct {
	t         *Trial
	device    string     // what is mounted: an image, or the file of a forgetful disk
	disk      *forgetful // nil: every write that reached the device lasts
	dir       string     // where it is mounted
	forgotten int        // sectors
}

// diskSize leaves room above the reserve that the server keeps free. The image is sparse.
const diskSize = 4 << 30

// newMachine makes and mounts a disk.
func (t *Trial) newMachine(forgets bool) (*machine, error) {
	name := "plain"
	if forgets {
		name = "forgetful"
	}
	m := &machine{t: t, device: filepath.Join(t.Dir, name+".img"), dir: filepath.Join(t.Dir, name)}
	if err := os.Mkdir(m.dir, 0o700); err != nil {
		return nil, err
	}
	if forgets {
		dir := filepath.Join(t.Dir, "fuse")
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		var err error
		if m.disk, err = openForgetful(m.device, dir, diskSize); err != nil {
			return nil, err
		}
		t.OnEnd(m.disk.close)
		m.device = filepath.Join(dir, "disk")
	} else if err := makeSparse(m.device, diskSize); err != nil {
		return nil, err
	}
	if out, err := exec.Command("/usr/sbin/mkfs.ext4", "-q", "-F", m.device).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	t.OnEnd(func() { m.unmount() })
	return m, m.mount()
}

func makeSparse(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(size)
}

func (m *machine) mount() error {
	if out, err := exec.Command("mount", "-o", "loop", m.device, m.dir).CombinedOutput(); err != nil {
		return fmt.Errorf("mount: %w: %s", err, out)
	}
	return nil
}

// unmount also frees the loop device, which mount made to go with it.
func (m *machine) unmount() error {
	out, err := exec.Command("umount", m.dir).CombinedOutput()
	if err != nil {
		syscall.Unmount(m.dir, syscall.MNT_DETACH)
		return fmt.Errorf("umount: %w: %s", err, out)
	}
	return m.freed()
}

// freed waits until the loop device is gone. A program that was started in a mount namespace of its own
// has a copy of the mount for a moment, and while that is there a new mount is of the same, dead, file
// system.
func (m *machine) freed() error {
	var out []byte
	for range 200 {
		var err error
		if out, err = exec.Command("losetup", "-j", m.device).Output(); err != nil {
			return fmt.Errorf("losetup: %w", err)
		}
		if len(out) == 0 {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the disk is still in use: %s", out)
}

// cut takes the power away: from here on nothing reaches the file system any more, its pages in
// memory and its open journal are forgotten (EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH),
// and so is, by chance, what the disk had only in its cache. Then the server goes.
func (m *machine) cut(w *World) error {
	const shutdown, noLogFlush = 0x8004587d, 2
	d, err := os.Open(m.dir)
	if err != nil {
		return err
	}
	flags := uint32(noLogFlush)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), shutdown, uintptr(unsafe.Pointer(&flags)))
	d.Close()
	if errno != 0 {
		return fmt.Errorf("shut down ext4: %w", errno)
	}
	w.Kill()
	if err := m.unmount(); err != nil {
		return err
	}
	if m.disk != nil {
		keep := []float64{0, 0.25, 0.5, 0.75}[m.t.Rnd.IntN(4)]
		_, forgotten, err := m.disk.cut(m.t.Rnd, keep)
		if err != nil {
			return err
		}
		m.forgotten += forgotten
	}
	return m.mount()
}

// on makes a world whose data is on a machine.
func (t *Trial) on(m *machine) (*World, error) {
	w, err := t.demo()
	if err != nil {
		return nil, err
	}
	w.data = filepath.Join(m.dir, "data")
	return w, nil
}

var powerCut = Fault{
	ID: "D5", Name: "power cut: ext4 without its pages", Target: "open again within 10 s, none doubled",
	Needs: []need{root, loopDevices}, Rounds: rounds{3, 30, 200},
	Run: func(ctx context.Context, t *Trial) error { return runPowerCut(ctx, t, false) },
}

var powerCutDisk = Fault{
	ID: "D5F", Name: "power cut: a disk that forgets its cache", Target: "open again within 10 s, none doubled",
	Needs: []need{root, loopDevices, fuse}, Rounds: rounds{3, 30, 200},
	Run: func(ctx context.Context, t *Trial) error { return runPowerCut(ctx, t, true) },
}

func runPowerCut(ctx context.Context, t *Trial, forgets bool) error {
	m, err := t.newMachine(forgets)
	if err != nil {
		return err
	}
	w, err := t.on(m)
	if err != nil {
		return err
	}
	if err := w.Start(ctx); err != nil {
		return err
	}
	t.Recovery = 0
	l, err := w.ledger()
	if err != nil {
		return err
	}
	stop := load(ctx, l, 12, 4, 2)
	defer stop()
	for range t.Count {
		if !pause(ctx, between(t.Rnd, 50*time.Millisecond, 1500*time.Millisecond)) {
			return ctx.Err()
		}
		if err := m.cut(w); err != nil {
			return err
		}
		if err := w.Start(ctx); err != nil {
			return err
		}
		t.Done++
	}
	if err := acked(ctx, l, 20); err != nil {
		return err
	}
	stop()
	if m.disk != nil {
		t.Note("%d sectors forgotten", m.forgotten)
		if m.forgotten == 0 {
			t.Miss("the disk had nothing to forget: the cuts proved nothing")
		}
	}
	if t.Recovery > 10*time.Second {
		t.Late("open again only after %v", t.Recovery)
	}
	return w.Verify(ctx, l)
}

var uidReuse = Fault{
	ID: "D13", Name: "UIDs after a power cut", Target: "no UID given twice, UIDVALIDITY stays",
	Needs: []need{root, loopDevices}, Rounds: rounds{3, 25, 200}, Run: runUIDReuse,
}

// runUIDReuse appends and expunges the newest messages at once, so that nothing but the counter
// remembers their UIDs, and cuts the power.
func runUIDReuse(ctx context.Context, t *Trial) error {
	m, err := t.newMachine(false)
	if err != nil {
		return err
	}
	w, err := t.on(m)
	if err != nil {
		return err
	}
	if err := w.Start(ctx); err != nil {
		return err
	}
	t.Recovery = 0
	l := ledger.New(w.where(), t.Seed)
	validity, last, given := 0, 0, 0
	for range t.Count {
		cut := time.After(between(t.Rnd, 100*time.Millisecond, 800*time.Millisecond))
		c, err := w.read(alice)
		if err != nil {
			return err
		}
		box, err := c.Select("INBOX", "")
		if err != nil {
			return err
		}
		if validity == 0 {
			validity = box.UIDValidity
		}
		if box.UIDValidity != validity || box.UIDNext <= last {
			t.Miss("round %d: UIDVALIDITY %d after %d, UIDNEXT %d after UID %d", t.Done, box.UIDValidity, validity,
				box.UIDNext, last)
		}
		for going := true; going; {
			select {
			case <-cut:
				going = false
				continue
			default:
			}
			ack, text, err := l.Append(c, alice)
			if ack != wire.Acked {
				return fmt.Errorf("append: %w", err)
			}
			uid := wire.Number([]byte(text), fmt.Sprintf("[APPENDUID %d ", validity))
			if uid <= last || !strings.Contains(text, "APPENDUID") {
				t.Miss("round %d: UID %d after %d: %s", t.Done, uid, last, text)
			}
			last = uid
			given++
			if given%3 == 0 {
				continue // some stay
			}
			if err := c.Do(nil, fmt.Sprintf(`UID STORE %d +FLAGS.SILENT (\Deleted)`, uid)); err != nil {
				return err
			}
			if err := c.Do(nil, fmt.Sprintf("UID EXPUNGE %d", uid)); err != nil {
				return err
			}
		}
		c.Close()
		if err := m.cut(w); err != nil {
			return err
		}
		if err := w.Start(ctx); err != nil {
			return err
		}
		t.Done++
	}
	t.Note("%d UIDs given", given)
	if err := w.Stop(); err != nil {
		return err
	}
	return w.Check()
}
