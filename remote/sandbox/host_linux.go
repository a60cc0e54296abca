package sandbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

// spec tells a host's init what host to be.
type spec struct {
	Name       string `json:"name"`
	State      string `json:"state"` // directory of all sandboxes, to be hidden
	Root       string `json:"root"`  // where to mount the root file system
	Disk       string `json:"disk"`  // where to keep what is written to it
	MachineID  string `json:"machine_id"`
	BootID     string `json:"boot_id"` // another one at every boot
	HostKey    string `json:"host_key"`
	PublicKey  string `json:"public_key"` // HostKey's
	Authorized string `json:"authorized"` // root's authorized_keys
	Hosts      string `json:"hosts"`      // /etc/hosts
	SSHD       string `json:"sshd"`       // the program
	SSHDConfig string `json:"sshd_config"`
	// Libvirt is its daemons' programs, in the order of libvirtDaemons; empty:
	// the host runs none.
	Libvirt []string `json:"libvirt,omitempty"`
}

// hostNamespaces are what a host has of its own.
const hostNamespaces = unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP

// boot starts a host and waits until its sshd answers, and libvirt where the
// host has it. A boot that fails leaves
// a stopped host. While the calling process lives it takes the end of the host's
// init in; later the machine's init does.
func (s *Sandbox) boot(ctx context.Context, host HostInfo) (err error) {
	dir := s.hostDir(host.Name)
	var spec spec
	if err := readJSON(filepath.Join(dir, specFile), &spec); err != nil {
		return err
	}
	spec.BootID = newUUID()

	console, err := os.OpenFile(filepath.Join(dir, consoleFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer console.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer write.Close()
	cmd := &exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        []string{initName, s.record.Name + "/" + host.Name},
		Env:         []string{},
		Dir:         "/",
		Stdout:      console,
		Stderr:      console,
		ExtraFiles:  []*os.File{read}, // init's descriptor 3
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: hostNamespaces, Setsid: true},
	}
	err = cmd.Start()
	read.Close()
	if err != nil {
		return fmt.Errorf("start init: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	defer func() {
		if err != nil {
			cmd.Process.Kill()
			<-ended
			err = errors.Join(err, s.disconnect(host.Name))
		}
	}()

	// Init waits for its spec and ends if this process dies before it wrote it.
	// So there is never a running host without its process file.
	init, _, err := identify(cmd.Process.Pid)
	if err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(dir, processFile), init); err != nil {
		return err
	}
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", init.PID))
	if err != nil {
		return err
	}
	defer namespace.Close()
	if err := json.NewEncoder(write).Encode(spec); err != nil {
		return fmt.Errorf("tell init its spec: %w", err)
	}
	write.Close()
	if err := s.connect(host, namespace); err != nil {
		return err
	}
	if err := s.awaitSSHD(ctx, host, ended); err != nil {
		return err
	}
	if len(spec.Libvirt) == 0 {
		return nil
	}
	return s.awaitLibvirt(ctx, host, init, ended)
}

// awaitSSHD waits until the host's sshd answers, its init ended or ctx does.
func (s *Sandbox) awaitSSHD(ctx context.Context, host HostInfo, ended <-chan struct{}) error {
	const patience = 20 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("sshd did not answer within %v", patience))
	defer cancel()
	namespace, err := s.openController()
	if err != nil {
		return err
	}
	defer namespace.Close()
	address := net.JoinHostPort(host.Address.String(), strconv.Itoa(host.Port))
	// The kernel repeats a lost packet after a second. The first ones are lost
	// if the links are not ready yet, so the first tries are short.
	for try := 20 * time.Millisecond; ; try = min(2*try, time.Second) {
		banner, err := readBanner(ctx, try, namespace, address)
		switch {
		case err == nil && strings.HasPrefix(banner, "SSH-2.0-"):
			return nil
		case errors.Is(err, context.DeadlineExceeded):
			if err := s.forget(host); err != nil {
				return err
			}
		}
		select {
		case <-ended:
			return fmt.Errorf("init ended: %s", s.console(host.Name))
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), s.console(host.Name))
		case <-time.After(4 * time.Millisecond):
		}
	}
}

// console gives the end of what init and its daemons said.
func (s *Sandbox) console(host string) string {
	const most = 1000 // bytes
	text, _ := os.ReadFile(filepath.Join(s.hostDir(host), consoleFile))
	text = bytes.TrimSpace(text[max(0, len(text)-most):])
	if len(text) == 0 {
		return "its console is empty"
	}
	return strconv.Quote(string(text))
}

// running gives a host's init, if it is running.
func (s *Sandbox) running(host string) (init process, running bool) {
	if err := readJSON(filepath.Join(s.hostDir(host), processFile), &init); err != nil {
		return process{}, false
	}
	now, err := bootID()
	return init, err == nil && now == s.record.BootID && init.alive()
}

// halt ends a host's init and all that runs in the host with it.
func (s *Sandbox) halt(ctx context.Context, host string) error {
	if init, running := s.running(host); running {
		if err := init.kill(ctx); err != nil {
			return err
		}
	}
	err := os.Remove(filepath.Join(s.hostDir(host), processFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// findSSHD gives the path of the machine's sshd, which the hosts run too.
func findSSHD() (string, error) {
	for _, path := range []string{"/usr/sbin/sshd", "/usr/bin/sshd"} {
		if unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", &hostapi.Error{
		Kind:    hostapi.KindUnsupported,
		Message: "the hosts of a sandbox need OpenSSH's sshd, and this machine has no /usr/sbin/sshd",
		Hint:    "apt-get install openssh-server",
	}
}

// newMachineID gives a random machine-id(5).
func newMachineID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// newUUID gives a random UUID (RFC 9562 §5.4), as the kernel makes a boot id.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
