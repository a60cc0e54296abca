package sandbox

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is a line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	point string
	kind  string // of file system
}

func mounts() ([]mount, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(text)), nil
}

func parseMounts(text string) []mount {
	var list []mount
	for line := range strings.Lines(text) {
		before, after, found := strings.Cut(line, " - ")
		fields, kinds := strings.Fields(before), strings.Fields(after)
		if !found || len(fields) < 5 || len(kinds) < 1 {
			continue
		}
		list = append(list, mount{point: unescape(fields[4]), kind: kinds[0]})
	}
	return list
}

// unescape undoes the kernel's octal escapes of blanks and backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// under says whether path is dir or in it.
func under(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// unmountUnder unmounts whatever is mounted on dir and below. Detached, since a
// process inside must not stand in the way.
func unmountUnder(dir string) error {
	list, err := mounts()
	if err != nil {
		return err
	}
	// The last mounted come last.
	for _, m := range slices.Backward(list) {
		if !under(m.point, dir) {
			continue
		}
		err := unix.Unmount(m.point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // those: gone since
			return fmt.Errorf("unmount %s: %w", m.point, err)
		}
	}
	list, err = mounts()
	if err != nil {
		return err
	}
	for _, m := range list {
		if under(m.point, dir) {
			return fmt.Errorf("unmount %s: it is mounted again", m.point)
		}
	}
	return nil
}

// The parts of a machine that its programs live in, and the file systems that
// they may be mounted from.
var (
	systemDirs  = []string{"/bin", "/etc", "/gnu", "/lib", "/lib32", "/lib64", "/nix", "/opt", "/sbin", "/srv", "/usr", "/var"}
	systemKinds = []string{"bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "jfs", "squashfs", "xfs", "zfs"}
)

// systemMounts picks the mounts that a host needs besides the root file system,
// outer ones first: an overlay shows nothing that is mounted in its layers.
func systemMounts(list []mount, state string) []string {
	var points []string
	for _, m := range list {
		inSystem := slices.ContainsFunc(systemDirs, func(dir string) bool { return under(m.point, dir) })
		if inSystem && slices.Contains(systemKinds, m.kind) && !under(m.point, state) && !strings.ContainsAny(m.point, ",:\\") {
			points = append(points, m.point)
		}
	}
	slices.Sort(points)
	return slices.Compact(points)
}
