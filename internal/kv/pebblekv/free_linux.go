package pebblekv

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// nativeSpace asks the operating system about the file system that dir is on. File systems without
// a fixed number of inodes say that they have none at all; -1 stands for that.
func nativeSpace(dir string) (Space, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(dir, &st)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return Space{}, fmt.Errorf("measure free space of %s: %w", dir, err)
		}
		break
	}
	s := Space{
		Bytes: int64(st.Bavail) * st.Bsize,
		Total: int64(st.Blocks) * st.Bsize,
		Files: int64(st.Ffree),
	}
	if st.Files == 0 {
		s.Files = -1
	}
	return s, nil
}
