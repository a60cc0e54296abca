package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Exec runs argv in the controller namespace and gives its exit code, 128 and
// the signal's number if a signal ended it. All but the network is the caller's:
// files, processes, directory, environment. When ctx ends argv gets a SIGTERM
// and, five seconds later, a SIGKILL. The error is for argv that could not be
// started.
func (s *Sandbox) Exec(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	if len(argv) == 0 {
		return 0, errors.New("no command to run")
	}
	namespace, err := s.openController()
	if err != nil {
		return 0, err
	}
	defer namespace.Close()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	err = onThread(func() error {
		if err := enterNetwork(namespace); err != nil {
			return err
		}
		return start(cmd)
	})
	if err != nil {
		return 0, err
	}
	return wait(cmd)
}

// hostPath is where a host's commands are looked for, as by its sshd.
const hostPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// HostExec is like Exec but runs argv on the host, as root, past sshd: in the
// host's namespaces, in its root directory, with a short environment.
func (s *Sandbox) HostExec(ctx context.Context, host string, argv []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	if len(argv) == 0 {
		return 0, errors.New("no command to run")
	}
	if _, err := s.host(host); err != nil {
		return 0, err
	}
	namespaces, err := s.openHost(host)
	if err != nil {
		return 0, err
	}
	defer closeAll(namespaces)
	var cmd *exec.Cmd
	err = onThread(func() error {
		// The mount namespace is entered by threads only that share their
		// root and directory with no other (setns(2)).
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare the directory: %w", err)
		}
		for _, namespace := range namespaces {
			if err := unix.Setns(int(namespace.Fd()), 0); err != nil {
				return fmt.Errorf("enter %s of %s: %w", filepath.Base(namespace.Name()), host, err)
			}
		}
		if err := spareMachine(); err != nil {
			return err
		}
		path, err := lookUp(argv[0])
		if err != nil {
			return err
		}
		cmd = exec.CommandContext(ctx, path, argv[1:]...)
		cmd.Env = []string{"PATH=" + hostPath, "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh"}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
		return start(cmd)
	})
	if err != nil {
		return 0, err
	}
	return wait(cmd)
}

// Dial connects from the controller namespace to an address and port, no names.
func (s *Sandbox) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	namespace, err := s.openController()
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	return dialIn(ctx, namespace, network, address)
}

func dialIn(ctx context.Context, namespace *os.File, network, address string) (conn net.Conn, err error) {
	err = onThread(func() error {
		if err := enterNetwork(namespace); err != nil {
			return err
		}
		// One address that needs no resolver: the socket is made by this thread.
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// readBanner connects to an sshd and gives its first line. The connection must
// stand within that time: the error wraps context.DeadlineExceeded if not.
func readBanner(ctx context.Context, within time.Duration, namespace *os.File, address string) (string, error) {
	dialing, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	conn, err := dialIn(dialing, namespace, "tcp", address)
	if err != nil {
		if dialing.Err() != nil { // the net package has a time-out of its own
			err = dialing.Err()
		}
		return "", err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	const longest = 255 // RFC 4253 §4.2
	line, err := bufio.NewReader(io.LimitReader(conn, longest)).ReadString('\n')
	return strings.TrimSpace(line), err
}

// lookUp finds a command as the calling thread sees the file system.
func lookUp(command string) (string, error) {
	if strings.Contains(command, "/") {
		return command, nil
	}
	for dir := range strings.SplitSeq(hostPath, ":") {
		path := filepath.Join(dir, command)
		if unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", command, exec.ErrNotFound)
}

// start starts cmd from the calling thread, whose namespaces it inherits.
func start(cmd *exec.Cmd) error {
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd.Start()
}

// wait gives the exit code of cmd.
func wait(cmd *exec.Cmd) (int, error) {
	err := cmd.Wait()
	if cmd.ProcessState == nil {
		return 0, err
	}
	// Other errors than the exit code are of streams that stayed open or of a
	// context that ended: the code tells enough.
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}

func (s *Sandbox) openController() (*os.File, error) {
	path := filepath.Join(s.dir, controllerFile)
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("sandbox %s has no controller namespace: %w", s.record.Name, err)
	}
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &stat); err != nil || stat.Type != unix.NSFS_MAGIC {
		file.Close()
		return nil, fmt.Errorf("sandbox %s has no controller namespace: nothing is bound to %s", s.record.Name, path)
	}
	return file, nil
}

// openHost opens the namespaces of a host, in the order to enter them.
func (s *Sandbox) openHost(host string) ([]*os.File, error) {
	stopped := fmt.Errorf("%s is stopped", host)
	init, running := s.running(host)
	if !running {
		return nil, stopped
	}
	var files []*os.File
	for _, kind := range []string{"cgroup", "ipc", "uts", "net", "pid", "mnt"} {
		file, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", init.PID, kind))
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("open the namespaces of %s: %w", host, err)
		}
		files = append(files, file)
	}
	if !init.alive() { // then the number may have been another's
		closeAll(files)
		return nil, stopped
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, file := range files {
		file.Close()
	}
}

func enterNetwork(namespace *os.File) error {
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", namespace.Name(), err)
	}
	return nil
}

// onThread runs f on an OS thread that ends with it, so that f may change the
// thread's namespaces for good. Goroutines that f starts run elsewhere.
func onThread(f func() error) error {
	err := errors.New("did not return") // stands if f ends its goroutine
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the runtime ends the thread
		if unix.Gettid() == os.Getpid() {
			// The main thread does not end, and it is what /proc/self shows.
			// While it is kept here another one is taken.
			defer runtime.UnlockOSThread()
			err = onThread(f)
			return
		}
		err = f()
	}()
	<-done
	return err
}
