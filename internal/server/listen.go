package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"tram/internal/admin"
	"tram/internal/config"
	"tram/internal/conn"
)

// door is an open listener that nobody accepts from yet.
type door struct {
	name string // as in config.Door
	net.Listener
}

// bind opens every listener of the configuration. What systemd has opened for us under a door's
// name takes the place of that door's addresses.
func bind(ctx context.Context, l config.Listen, given map[string][]net.Listener) ([]door, error) {
	var doors []door
	fail := func(err error) ([]door, error) {
		for _, d := range doors {
			d.Close()
		}
		return nil, err
	}
	for _, d := range l.Doors() {
		if ready := given[d.Name]; len(ready) > 0 {
			for _, open := range ready {
				doors = append(doors, door{d.Name, open})
			}
			continue
		}
		for _, address := range d.Addresses {
			open, err := listen(ctx, d, address)
			if err != nil {
				return fail(err)
			}
			doors = append(doors, door{d.Name, open})
		}
	}
	return doors, nil
}

func listen(ctx context.Context, d config.Door, address string) (net.Listener, error) {
	if d.Unix {
		return listenUnix(d.Name, address)
	}
	open, err := conn.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, &bindError{address, d.Name, err}
	}
	return open, nil
}

// bindError tells why a door cannot be opened and what to do about it.
type bindError struct {
	address, door string
	err           error
}

func (e *bindError) Unwrap() error { return e.err }

func (e *bindError) Error() string {
	reason := e.err.Error()
	switch {
	case errors.Is(e.err, syscall.EADDRINUSE):
		reason = "another program has the port; stop it (ss -ltnp shows which it is) or choose another port"
	case errors.Is(e.err, fs.ErrPermission):
		reason = "ports below 1024 need CAP_NET_BIND_SERVICE, which the systemd unit of `tram setup` gives"
	case errors.Is(e.err, syscall.EADDRNOTAVAIL):
		reason = "the address is not one of this machine's"
	}
	return fmt.Sprintf("cannot listen on %s for %s: %s", e.address, e.door, reason)
}

// listenUnix opens a socket for the server's user and group, in place of one that nobody serves.
func listenUnix(name, path string) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("cannot listen on %s for %s: another program serves that socket", path, name)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("replace old socket for %s: %w", name, err)
		}
	}
	open, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s for %s: %w", path, name, err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		open.Close()
		return nil, fmt.Errorf("protect socket for %s: %w", name, err)
	}
	return open, nil
}

// Activated returns the listeners that systemd opened for this process, by the FileDescriptorName
// of their socket units (sd_listen_fds(3)), and removes them from the environment. A name that is
// no door's is an error: the socket would stand open and nobody answer.
func Activated() (map[string][]net.Listener, error) {
	pid, n := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(v)
	}
	count, err := strconv.Atoi(n)
	if err != nil || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	known := map[string]bool{}
	for _, d := range (config.Listen{}).Doors() {
		known[d.Name] = true
	}
	given := map[string][]net.Listener{}
	const first = 3 // SD_LISTEN_FDS_START
	for i := range count {
		name := ""
		if i < len(names) {
			name = names[i]
		}
		if !known[name] {
			return nil, fmt.Errorf("systemd passed a socket named %q: "+
				"set FileDescriptorName= to a key of [listen]", name)
		}
		f := os.NewFile(uintptr(first+i), name)
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("take socket %q from systemd: %w", name, err)
		}
		given[name] = append(given[name], l)
	}
	return given, nil
}

// Addr returns the address of the first listener of a door, nil when there is none.
func (s *Server) Addr(name string) net.Addr {
	for _, d := range s.doors {
		if d.name == name {
			return d.Addr()
		}
	}
	return nil
}

// Listeners lists the open doors.
func (s *Server) Listeners() []admin.Listener {
	list := make([]admin.Listener, len(s.doors))
	for i, d := range s.doors {
		list[i] = admin.Listener{Name: d.name, Address: d.Addr().String()}
	}
	return list
}

// port is the port of a door, 0 when it is closed.
func (s *Server) port(name string) int {
	if a, ok := s.Addr(name).(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}
