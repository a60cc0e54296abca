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

// runInit makes the host out of the namespaces it was started in, starts its
// daemons and takes in orphans. All processes of the host die with it.
func runInit() error {
	runtime.LockOSThread() // for spareMachine
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
	if err := spareMachine(); err != nil {
		return err
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	daemons := map[int]string{}
	start := func(argv ...string) error {
		pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
			Dir:   "/",
			Env:   []string{"PATH=" + hostPath},
			Files: []uintptr{null.Fd(), 1, 2},
			Sys:   &syscall.SysProcAttr{Setsid: true},
		})
		if err != nil {
			return fmt.Errorf("start %s: %w", argv[0], err)
		}
		daemons[pid] = filepath.Base(argv[0])
		return nil
	}
	if err := start(spec.SSHD, "-D", "-e"); err != nil {
		return err
	}
	for _, daemon := range spec.Libvirt {
		if err := start(daemon); err != nil {
			return err
		}
	}
	for range children {
		if err := reap(daemons); err != nil {
			return err
		}
	}
	return nil
}

// spareMachine gives up, for what the calling thread starts, what would change
// the machine's only clock and its modules.
func spareMachine() error {
	for _, capability := range []uintptr{unix.CAP_SYS_TIME, unix.CAP_SYS_MODULE} {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", capability, err)
		}
	}
	return nil
}

// reap takes in the children that have ended. A daemon that gave up, over its
// configuration most likely, is an error; one that was told to end is not.
func reap(daemons map[int]string) error {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || pid == 0:
			return nil // none, or none that has ended
		}
		name, ours := daemons[pid]
		delete(daemons, pid) // the number may become another's
		if ours && status.Exited() && (status.ExitStatus() != 0 || name == "sshd") {
			return fmt.Errorf("%s ended with code %d", name, status.ExitStatus())
		}
	}
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
	if len(spec.Libvirt) > 0 {
		if err := provisionLibvirt(); err != nil {
			return err
		}
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
