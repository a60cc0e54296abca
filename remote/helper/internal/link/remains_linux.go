package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/own"
	"vxorch/remote/internal/ns"
)

// nsIdentity tells namespaces apart, whatever path leads to them.
type nsIdentity struct{ device, inode uint64 }

func identify(file *os.File) (nsIdentity, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return nsIdentity{}, err
	}
	return nsIdentity{uint64(stat.Dev), stat.Ino}, nil
}

// place is a way to a network namespace, and what people call it.
type place struct{ path, name string }

// Remains looks for what bears lab's mark where Observe does not look: links in
// other namespaces than the host's own, and namespaces of the lab that lost their
// name and live on in a process or under another mount. It removes nothing.
func (k *Kernel) Remains(ctx context.Context, lab string) ([]string, error) {
	mine, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("look for what is left: %w", err)
	}
	defer mine.Close()
	here, err := identify(mine)
	if err != nil {
		return nil, fmt.Errorf("look for what is left: %w", err)
	}
	named, err := namedPlaces()
	if err != nil {
		return nil, err
	}
	mounted, err := mountedPlaces()
	if err != nil {
		return nil, err
	}
	seen := map[nsIdentity]bool{here: true}
	var remains []string
	for _, p := range slices.Concat(named, mounted, processPlaces()) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		found, err := lookAround(p, lab, seen)
		if err != nil {
			return nil, fmt.Errorf("look for what is left: %s: %w", p.name, err)
		}
		remains = append(remains, found...)
	}
	return remains, nil
}

// lookAround lists what bears lab's mark in the namespace at p, if that was not
// seen yet and is still there.
func lookAround(p place, lab string, seen map[nsIdentity]bool) ([]string, error) {
	file, err := os.OpenFile(p.path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil // it ended since it was listed, or belongs to the kernel
	}
	defer file.Close()
	id, err := identify(file)
	if err != nil || seen[id] {
		return nil, err
	}
	seen[id] = true
	c, err := dial(netns.NsHandle(file.Fd()))
	if errors.Is(err, unix.EINVAL) {
		return nil, nil // what is at the path by now is no network namespace
	}
	if err != nil {
		return nil, err
	}
	defer c.close()
	devices, err := c.list()
	if err != nil {
		return nil, err
	}
	var found []string
	ours := false // then Observe reports it, if it has its name
	for _, d := range devices {
		if m, ok := own.ParseMark(d.alias); ok && m.Lab == lab {
			if d.Name != "lo" {
				found = append(found, fmt.Sprintf("link %s in %s", d.Name, p.name))
				continue
			}
			ours = true
			if filepath.Dir(p.path) != ns.Dir {
				found = append(found, fmt.Sprintf("the network namespace of %s, which lives on in %s", m.For, p.name))
			}
		}
	}
	if ours && filepath.Dir(p.path) == ns.Dir {
		return nil, nil // its links go with it
	}
	return found, nil
}

// namedPlaces are the namespaces that `ip netns` sees.
func namedPlaces() ([]place, error) {
	entries, err := ns.List()
	if err != nil {
		return nil, err
	}
	var places []place
	for _, e := range entries {
		if e.Valid {
			places = append(places, place{filepath.Join(ns.Dir, e.Name), "namespace " + e.Name})
		}
	}
	return places, nil
}

// mountedPlaces are the namespaces that something else keeps by a mount.
func mountedPlaces() ([]place, error) {
	text, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("look for what is left: %w", err)
	}
	var places []place
	for line := range bytes.Lines(text) {
		before, after, _ := strings.Cut(string(line), " - ")
		fields := strings.Fields(before)
		// proc_pid_mountinfo(5): the fourth is the root within the file system.
		if !strings.HasPrefix(after, "nsfs ") || len(fields) < 5 || !strings.HasPrefix(fields[3], "net:") {
			continue
		}
		path := unescapeMount(fields[4])
		places = append(places, place{path, "the mount " + path})
	}
	return places, nil
}

// unescapeMount undoes the octal escapes of mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// processPlaces are the namespaces that processes live in, by the least pid. Those
// in another pid namespace are a container's, which may be a host of a lab of that
// name itself; what came to one from here is seen by its mount.
func processPlaces() []place {
	mine, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	var places []place
	for _, pid := range pids {
		if theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); err != nil || theirs != mine {
			continue
		}
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err == nil {
			places = append(places, place{fmt.Sprintf("/proc/%d/ns/net", pid), fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(name)))})
		}
	}
	return places
}
