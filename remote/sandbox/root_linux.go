package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mountAll gives the host its file systems: the machine's own ones as the lower
// layer of overlays, so that what is written stays in the host, and fresh ones
// where the kernel or the running system shows itself.
func mountAll(spec spec) error {
	list, err := mounts()
	if err != nil {
		return err
	}
	// From here on nothing reaches the machine.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := overlay("/", spec.Root, filepath.Join(spec.Disk, "root")); err != nil {
		return err
	}
	for _, point := range systemMounts(list, spec.State) {
		if err := shareMount(spec, point); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		kind, point, data string
		flags             uintptr
	}{
		{"proc", "/proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"sysfs", "/sys", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"tmpfs", "/run", "mode=755", unix.MS_NOSUID | unix.MS_NODEV},
		{"tmpfs", "/tmp", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
		{"tmpfs", "/dev", "mode=755", unix.MS_NOSUID},
	} {
		if err := unix.Mount(m.kind, spec.Root+m.point, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.point, err)
		}
	}
	mountCgroups(spec.Root + "/sys/fs/cgroup")
	if err := makeDevices(spec.Root + "/dev"); err != nil {
		return err
	}
	for dir, mode := range map[string]fs.FileMode{"/run/lock": 0o777 | fs.ModeSticky, "/run/sshd": 0o755} {
		if err := makeDir(spec.Root+dir, mode); err != nil {
			return err
		}
	}
	if err := hide(spec.Root + spec.State); err != nil {
		return err
	}
	if err := unix.Chdir(spec.Root); err != nil {
		return err
	}
	// Both at one place: the old root comes to lie on the new one (pivot_root(2)).
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	// As systemd has it, so that programs meet what they meet on real hosts.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("make mounts shared: %w", err)
	}
	return nil
}

// hiddenDirs start empty in a host: they hold what its users and its daemons
// have of their own.
var hiddenDirs = []string{"/root", "/home", "/etc/ssh", "/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt"}

// overlay mounts lower, a directory of the machine, on point, with disk to take
// what is written.
func overlay(lower, point, disk string) error {
	upper, work := filepath.Join(disk, "upper"), filepath.Join(disk, "work")
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, dir := range hiddenDirs {
		if dir == lower || !under(dir, lower) {
			continue
		}
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		path := filepath.Join(upper, strings.TrimPrefix(dir, lower))
		if _, err := os.Lstat(path); err == nil {
			continue // not the first boot
		}
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := unix.Setxattr(path, "trusted.overlay.opaque", []byte("y"), 0); err != nil {
			return fmt.Errorf("hide %s: %w", dir, err)
		}
	}
	data := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)
	if err := unix.Mount("overlay", point, "overlay", 0, data); err != nil {
		return fmt.Errorf("mount an overlay over %s: %w", lower, err)
	}
	return nil
}

// shareMount gives the host one more of the machine's mounts: overlaid, or
// read-only where the file system is no layer for an overlay. Single files it
// leaves out: containers have /etc/hosts and its like mounted, which are of no
// use to a host with its own.
func shareMount(spec spec, point string) error {
	info, err := os.Stat(point)
	if err != nil || !info.IsDir() {
		return err
	}
	target := spec.Root + point
	// What it is mounted in may be left out.
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if overlay(point, target, filepath.Join(spec.Disk, url.PathEscape(point[1:]))) == nil {
		return nil
	}
	if err := unix.Mount(point, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", point, err)
	}
	return readOnly(target)
}

// readOnly makes one mount read-only, not its file system.
func readOnly(point string) error {
	if err := unix.Mount("", point, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", point, err)
	}
	return nil
}

// mountCgroups shows the cgroups, read-only since they are the machine's. A host
// does without where the kernel has no version 2.
func mountCgroups(point string) {
	if err := unix.Mount("cgroup2", point, "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return
	}
	if readOnly(point) != nil {
		unix.Unmount(point, unix.MNT_DETACH)
	}
}

// makeDevices fills the host's /dev with what the machine has of its needs.
func makeDevices(dev string) error {
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty", "net/tun", "kvm", "fuse"} {
		var stat unix.Stat_t
		if unix.Stat("/dev/"+name, &stat) != nil {
			continue
		}
		path := filepath.Join(dev, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := unix.Mknod(path, stat.Mode, int(stat.Rdev)); err != nil {
			return fmt.Errorf("make /dev/%s: %w", name, err)
		}
		if err := unix.Chmod(path, stat.Mode&0o777); err != nil { // whatever the umask
			return err
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	for _, name := range []string{"pts", "shm"} {
		if err := os.Mkdir(filepath.Join(dev, name), 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("devpts", dev+"/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5"); err != nil { // 5: tty, everywhere
		return fmt.Errorf("mount /dev/pts: %w", err)
	}
	if err := unix.Mount("tmpfs", dev+"/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return fmt.Errorf("mount /dev/shm: %w", err)
	}
	return nil
}

// hide covers dir, which holds the overlay's own layers and the other hosts'
// keys, if the host can see it at all.
func hide(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, "mode=700,size=4k"); err != nil {
		return fmt.Errorf("hide %s: %w", dir, err)
	}
	return nil
}
