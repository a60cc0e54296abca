package frr

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vxorch/remote/helper/internal/own"
	"vxorch/remote/helper/internal/program"
	"vxorch/remote/hostapi"
)

const (
	// patience is how long a daemon may take to end before it is killed.
	patience = 5 * time.Second
	// startPatience is how long one may take to come up, also on a busy machine: one
	// that ends instead is not waited for.
	startPatience = 20 * time.Second
	interval      = 20 * time.Millisecond
)

// zebraConfig keeps zebra from making objects of its own for the host's routes,
// which it would leave behind.
const zebraConfig = "log syslog warnings\nno zebra nexthop kernel enable\n"

// Ensure brings the lab's FRR to what w wants, from whatever it finds, and tells
// whether it had to change anything. What it changes begins anew: the sessions with
// the other hosts, and with them the entries of the VTEPs, are gone for a moment.
func Ensure(ctx context.Context, lock *own.Lock, store own.Store, mark hostapi.Mark, w hostapi.FRR) (changed bool, err error) {
	if !w.Local.Is4() || w.Port < 0 || w.Port > 1<<16-1 || strings.ContainsFunc(w.Password, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return false, hostapi.Errorf(hostapi.KindInvalid, "", "a control plane has an IPv4 tunnel end, a TCP port and a password of printable characters")
	}
	seen, err := Observe(ctx, store, lock.Lab(), true)
	if err != nil {
		return false, err
	}
	if len(seen.Lacking) > 0 && !w.Existing {
		return false, hostapi.Errorf(hostapi.KindUnsupported, "`vxorch prepare` installs it", "FRR is not installed (missing: %s)", strings.Join(seen.Lacking, ", "))
	}
	if len(w.Diff(*seen)) == 0 && !w.Anew {
		return false, nil
	}
	dir, err := lock.OpenDir(own.FRR)
	if err != nil {
		return false, err
	}
	_ = os.Remove(filepath.Join(dir, "mark")) // until it is whole again
	if err := end(ctx, store, lock.Lab(), dir); err != nil {
		return true, err
	}
	if w.Existing {
		err = theirs.join(ctx, store, lock.Lab(), dir, w)
	} else {
		err = begin(ctx, lock.Lab(), dir, w)
	}
	if err != nil {
		return true, err
	}
	mark.Lab, mark.For = lock.Lab(), "evpn"
	return true, os.WriteFile(filepath.Join(dir, "mark"), []byte(own.FormatMark(mark)+"\n"), 0o600)
}

// begin starts daemons of the lab's own.
func begin(ctx context.Context, lab, dir string, w hostapi.FRR) error {
	if err := write(lab, dir, w); err != nil {
		return err
	}
	for _, name := range names {
		if err := start(ctx, lab, dir, name, w); err != nil {
			return err
		}
	}
	return nil
}

// end ends what there is of the lab's FRR, of whichever kind.
func end(ctx context.Context, store own.Store, lab, dir string) error {
	if err := stop(ctx, lab, dir); err != nil {
		return err
	}
	_, err := theirs.leave(ctx, store, lab, dir)
	if err != nil {
		return err
	}
	for _, name := range []string{"shared", "part"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Remove ends the lab's FRR and takes its directory away.
func Remove(ctx context.Context, lock *own.Lock, store own.Store) (changed bool, err error) {
	dir, err := store.Path(lock.Lab(), own.FRR)
	if err != nil {
		return false, err
	}
	seen, err := Observe(ctx, store, lock.Lab(), true)
	if err != nil {
		return false, err
	}
	if seen.Mark == nil {
		return false, nil
	}
	if err := end(ctx, store, lock.Lab(), dir); err != nil {
		return true, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return true, err
	}
	Tidy(store)
	return true, nil
}

// Tidy removes what daemons left outside of their labs' directories, also before a
// reboot. What does not go stays for the next one.
func Tidy(store own.Store) { here.remove(store) }

// write makes the files that the daemons need, anew.
func write(lab, dir string, w hostapi.FRR) error {
	uid, gid, err := account()
	if err != nil {
		return err
	}
	here.make(lab, uid, gid)
	run := filepath.Join(dir, "run")
	if err := os.RemoveAll(run); err != nil {
		return err
	}
	if err := os.Mkdir(run, 0o700); err != nil {
		return err
	}
	if err := os.Chown(run, uid, gid); err != nil {
		return err
	}
	for name, text := range map[string]string{"zebra.conf": zebraConfig, "bgpd.conf": w.Text(), "port": strconv.Itoa(w.Port)} {
		path := filepath.Join(dir, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
		if err := os.Chown(path, uid, gid); err != nil {
			return err
		}
	}
	for _, name := range names {
		link := filepath.Join(dir, called(name, lab))
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Symlink(find(name), link); err != nil {
			return err
		}
	}
	return nil
}

// account is whom FRR's daemons run as.
func account() (uid, gid int, err error) {
	u, err := user.Lookup("frr")
	if err != nil {
		return 0, 0, hostapi.Errorf(hostapi.KindUnsupported, "install the package frr anew", "FRR's user: %v", err)
	}
	uid, err = strconv.Atoi(u.Uid)
	if err == nil {
		gid, err = strconv.Atoi(u.Gid)
	}
	return uid, gid, err
}

// start starts a daemon: under systemd's eyes where systemd runs, else by itself.
// It comes back when the daemon can be spoken to.
func start(ctx context.Context, lab, dir, name string, w hostapi.FRR) error {
	run := filepath.Join(dir, "run")
	argv := []string{
		filepath.Join(dir, called(name, lab)), "-z", filepath.Join(run, "zserv.api"), "-i", filepath.Join(run, name+".pid"), "-f", filepath.Join(dir, name+".conf"),
		"--vty_socket", run, "-P", "0",
	}
	switch name {
	case hostapi.Zebra:
		// It takes routes of FRR's that it did not make for those of a run before it.
		argv = append(argv, "-r", "-K", "2000000000")
	case hostapi.BGPD:
		argv = append(argv, "-l", w.Local.String(), "-p", strconv.Itoa(w.Port))
	}
	ended := make(chan error, 1)
	if systemd() {
		err := program.Run(ctx, append([]string{
			"systemd-run", "--quiet", "--collect", "--unit=" + unit(lab, name), "--description=" + name + " of vxorch lab " + lab,
			"-p", "Restart=on-failure", "-p", "RestartSec=1", "-p", "TimeoutStopSec=" + patience.String(), "--",
		}, argv...))
		if err != nil {
			return err
		}
	} else {
		cmd := exec.Command(find(name), argv[1:]...) // so that it is listed as what it is
		cmd.Args, cmd.Dir = argv, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this process
		if err := cmd.Start(); err != nil {
			return err
		}
		go func() { ended <- cmd.Wait() }()
	}
	socket := filepath.Join(run, name+".vty")
	for late := time.Now().Add(startPatience); ; {
		if _, err := os.Stat(socket); err == nil {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("%s ended as it began: %v", name, err)
		default:
		}
		if time.Now().After(late) {
			return fmt.Errorf("%s was started and did not come up within %s", name, startPatience)
		}
		if err := sleep(ctx); err != nil {
			return err
		}
	}
}

// stop ends the daemons, bgpd first: it takes leave of the others.
func stop(ctx context.Context, lab, dir string) error {
	if systemd() {
		for i := len(names) - 1; i >= 0; i-- {
			// Else it would start them again. One that it does not know is none to end.
			_ = program.Run(ctx, []string{"systemctl", "stop", unit(lab, names[i])})
		}
	}
	for i := len(names) - 1; i >= 0; i-- {
		signal, late := syscall.SIGTERM, time.Now().Add(patience)
		for n := 0; ; n++ {
			running := false
			daemons, _ := processes(dir)
			for _, p := range daemons {
				if p.Name != names[i] {
					continue
				}
				running = true
				if n == 0 || signal == syscall.SIGKILL {
					_ = syscall.Kill(p.PID, signal) // it may have ended
				}
			}
			if !running {
				break
			}
			switch {
			case time.Now().Before(late):
			case signal == syscall.SIGTERM:
				signal, late = syscall.SIGKILL, time.Now().Add(patience)
			default:
				return fmt.Errorf("%s does not end", names[i])
			}
			if err := sleep(ctx); err != nil {
				return err
			}
		}
	}
	here.sweep()
	return nil
}

func sleep(ctx context.Context) error {
	select {
	case <-time.After(interval):
		return nil
	case <-ctx.Done():
		return hostapi.Errorf(hostapi.KindCanceled, "", "%v", context.Cause(ctx))
	}
}

func systemd() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

// unit is what systemd calls a daemon of the lab's.
func unit(lab, name string) string { return "vxorch-" + lab + "-" + name + ".service" }
