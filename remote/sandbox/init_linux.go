package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// initName is what a host's init is started as.
const initName = "vxorch-sandbox-init"

// InitIfAsked is a host's init if this process was started as one, and never
// returns then; else it does nothing. A program that uses this package calls it
// first thing in main or, for tests, in TestMain.
func InitIfAsked() {
	if len(os.Args) != 2 || os.Args[0] != initName || os.Getpid() != 1 {
		return
	}
	err := runInit()
	fmt.Fprintf(os.Stderr, "init: %v\n", err)
	os.Exit(1)
}

// runInit makes the host out of the namespaces it was started in, starts sshd
// and takes in orphans. All processes of the host die with it.
func runInit() error {
	// The capabilities given up below are this thread's, and its children's.
	runtime.LockOSThread()
	unix.Umask(0o022)
	pipe := os.NewFile(3, "spec")
	var spec spec
	if err := json.NewDecoder(pipe).Decode(&spec); err != nil {
		return fmt.Errorf("read the spec: %w", err)
	}
	pipe.Close()
	if err := unix.Sethostname([]byte(spec.Name)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	if err := mountAll(spec); err != nil {
		return err
	}
	if err := provision(spec); err != nil {
		return fmt.Errorf("provision: %w", err)
	}
	// The clock and the modules are the machine's.
	for _, capability := range []uintptr{unix.CAP_SYS_TIME, unix.CAP_SYS_MODULE} {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", capability, err)
		}
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	sshd, err := syscall.ForkExec(spec.SSHD, []string{spec.SSHD, "-D", "-e"}, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=" + hostPath},
		Files: []uintptr{null.Fd(), 1, 2},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", spec.SSHD, err)
	}
	for range children {
		if err := reap(sshd); err != nil {
			return err
		}
	}
	return nil
}

// reap takes in the children that have ended. An sshd that gave up, over its
// configuration most likely, is an error; one that was killed is not.
func reap(sshd int) error {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || pid == 0:
			return nil // none, or none that has ended
		case pid == sshd && status.Exited():
			return fmt.Errorf("sshd ended with code %d", status.ExitStatus())
		}
	}
}

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
	if err := overlay("/", spec.Root, filepath.Join(spec.Disk, "root"), "/root", "/home", "/etc/ssh"); err != nil {
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

// overlay mounts lower on point, with disk to take what is written. The
// directories hidden start empty.
func overlay(lower, point, disk string, hidden ...string) error {
	upper, work := filepath.Join(disk, "upper"), filepath.Join(disk, "work")
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, dir := range hidden {
		path := upper + dir
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
// read-only where the file system is no layer for an overlay, or a file.
func shareMount(spec spec, point string) error {
	target := spec.Root + point
	info, err := os.Stat(point)
	if err != nil {
		return err
	}
	if info.IsDir() {
		disk := filepath.Join(spec.Disk, strings.ReplaceAll(point[1:], "/", "-"))
		if overlay(point, target, disk) == nil {
			return nil
		}
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

// provision writes the files that make the host itself. What is on the disk it
// leaves alone from the second boot on.
func provision(spec spec) error {
	const boot = "/run/boot_id"
	if err := writeFile(boot, spec.BootID+"\n", 0o444); err != nil {
		return err
	}
	if err := unix.Mount(boot, "/proc/sys/kernel/random/boot_id", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("set the boot id: %w", err)
	}
	const machineID = "/etc/machine-id" // the last to be written
	if text, err := os.ReadFile(machineID); err == nil && strings.TrimSpace(string(text)) == spec.MachineID {
		return nil
	}
	if err := makeDir("/root", 0o700); err != nil {
		return err
	}
	if err := makeDir("/root/.ssh", 0o700); err != nil {
		return err
	}
	if err := makeDir("/etc/ssh", 0o755); err != nil {
		return err
	}
	if err := unlockRoot(); err != nil {
		return err
	}
	for _, file := range []struct {
		path, text string
		mode       fs.FileMode
	}{
		{"/root/.profile", "", 0o644},
		{"/root/.bashrc", "", 0o644},
		{"/root/.ssh/authorized_keys", spec.Authorized, 0o600},
		{"/etc/ssh/ssh_host_ed25519_key", spec.HostKey, 0o600},
		{"/etc/ssh/ssh_host_ed25519_key.pub", spec.PublicKey, 0o644},
		{"/etc/ssh/sshd_config", spec.SSHDConfig, 0o644},
		{"/etc/hostname", spec.Name + "\n", 0o644},
		{"/etc/hosts", spec.Hosts, 0o644},
		{"/etc/resolv.conf", "", 0o644},
		{machineID, spec.MachineID + "\n", 0o444},
	} {
		if err := writeFile(file.path, file.text, file.mode); err != nil {
			return err
		}
	}
	return nil
}

// unlockRoot gives root a password that nothing matches in place of the
// machine's: without PAM, sshd refuses a user whose password is locked ("!"),
// whatever key he has.
func unlockRoot() error {
	const shadow = "/etc/shadow"
	info, err := os.Stat(shadow)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	text, err := os.ReadFile(shadow)
	if err != nil {
		return err
	}
	lines := strings.SplitAfter(string(text), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "root:") {
			lines[i] = "root:*:19000:0:99999:7:::\n"
		}
	}
	return os.WriteFile(shadow, []byte(strings.Join(lines, "")), info.Mode())
}

// makeDir makes dir with exactly that mode if it is not there.
func makeDir(dir string, mode fs.FileMode) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, mode)
}

// writeFile writes a file anew, in place of a link too, with exactly that mode.
func writeFile(path, text string, mode fs.FileMode) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}
