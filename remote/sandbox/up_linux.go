package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

// undoTime bounds the taking away of a sandbox that could not be finished.
const undoTime = 15 * time.Second

// bootsAtOnce keeps a machine with many hosts from being slow with each of them.
const bootsAtOnce = 8

// Up makes a sandbox and returns when every host answers. Before that it
// sweeps, and removes what an unfinished Up or a reboot of the machine left of a
// sandbox of that name. A sandbox that is up is an error. A failed Up leaves
// nothing behind.
func Up(ctx context.Context, o Options) (s *Sandbox, err error) {
	if o, err = o.complete(); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, &hostapi.Error{Kind: hostapi.KindPermission, Message: "a sandbox is made of namespaces and mounts, which needs root", Hint: "run it with sudo"}
	}
	sshd, err := findSSHD()
	if err != nil {
		return nil, err
	}
	var libvirt []string
	if o.Libvirt {
		if libvirt, err = findLibvirt(); err != nil {
			return nil, err
		}
	}
	if err := Sweep(ctx, o.State); err != nil {
		return nil, err
	}
	dir := filepath.Join(o.State, o.Name)
	unlock, err := lock(ctx, dir, true)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Mounts are listed by their real path.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	if old, err := load(dir); err == nil && !old.stale() {
		return nil, &hostapi.Error{Kind: hostapi.KindBusy, Message: fmt.Sprintf("sandbox %s is up already", o.Name), Hint: "take it away first: vxorch sandbox down"}
	}
	if err := remove(ctx, dir, false); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
			defer cancel()
			s, err = nil, errors.Join(fmt.Errorf("sandbox %s: %w", o.Name, err), remove(ctx, dir, true))
		}
	}()

	s = &Sandbox{dir: dir, record: o.layOut()}
	if err := s.prepare(o, sshd, libvirt); err != nil {
		return s, err
	}
	if err := s.makeController(); err != nil {
		return s, err
	}
	booting, bootCtx := errgroup.WithContext(ctx)
	booting.SetLimit(bootsAtOnce)
	for _, host := range s.record.Hosts {
		booting.Go(func() error {
			if err := s.boot(bootCtx, host); err != nil {
				return fmt.Errorf("%s: %w", host.Name, err)
			}
			return nil
		})
	}
	if err := booting.Wait(); err != nil {
		return s, err
	}
	s.record.Ready = true
	return s, s.save()
}

// prepare writes the sandbox's directory, the record first: by it the sandbox is
// found if this process dies.
func (s *Sandbox) prepare(o Options, sshd string, libvirt []string) error {
	var err error
	if s.record.BootID, err = bootID(); err != nil {
		return err
	}
	if o.Owner != 0 {
		owner, _, err := identify(o.Owner)
		if err != nil {
			return fmt.Errorf("owner: %w", err)
		}
		s.record.Owner = &owner
	}
	if err := s.save(); err != nil {
		return err
	}
	if err := s.prepareDisk(); err != nil {
		return err
	}
	identity, authorized, err := newKey("vxorch sandbox " + s.record.Name)
	if err != nil {
		return err
	}
	specs := make([]spec, len(s.record.Hosts))
	for i := range s.record.Hosts {
		host := &s.record.Hosts[i]
		key, public, err := newKey(host.Name)
		if err != nil {
			return err
		}
		host.HostKey = public
		specs[i] = spec{
			Name:       host.Name,
			State:      filepath.Dir(s.dir),
			Root:       filepath.Join(s.hostDir(host.Name), rootDir),
			Disk:       filepath.Join(s.dir, diskDir, host.Name),
			MachineID:  newMachineID(),
			HostKey:    string(key),
			PublicKey:  public + "\n",
			Authorized: authorized + "\n",
			Hosts:      s.record.etcHosts(),
			SSHD:       sshd,
			SSHDConfig: sshdConfig(o.SSHDConfig),
			Libvirt:    libvirt,
		}
	}
	for _, spec := range specs {
		for _, dir := range []string{spec.Root, spec.Disk} {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
		}
		if err := writeJSON(filepath.Join(s.hostDir(spec.Name), specFile), spec); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(s.Identity(), identity, 0o600),
		os.WriteFile(s.Identity()+".pub", []byte(authorized+"\n"), 0o600),
		os.WriteFile(s.KnownHosts(), s.record.knownHosts(), 0o600),
		os.WriteFile(s.Inventory(), s.inventory(), 0o600),
		s.save(),
	)
}

// prepareDisk makes the place for what the hosts write.
func (s *Sandbox) prepareDisk() error {
	disk := filepath.Join(s.dir, diskDir)
	if err := os.Mkdir(disk, 0o700); err != nil {
		return err
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(disk, &stat); err != nil {
		return fmt.Errorf("statfs %s: %w", disk, err)
	}
	if stat.Type != unix.OVERLAYFS_SUPER_MAGIC {
		return nil
	}
	// An overlay cannot write to another (kernel: filesystems/overlayfs.rst).
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "mode=700"); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", disk, err)
	}
	return nil
}

// Open gives a sandbox that Up made, by whichever process. The error wraps
// fs.ErrNotExist if there is none of that name, and none was begun.
func Open(state, name string) (*Sandbox, error) {
	o, err := Options{State: state, Name: name}.complete()
	if err != nil {
		return nil, err
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(o.State, o.Name))
	ours := false
	if err == nil {
		ours, err = isSandbox(dir)
	}
	if err == nil && !ours {
		err = fs.ErrNotExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no sandbox %s: %w", o.Name, err)
	}
	if err != nil {
		return nil, err
	}
	return load(dir)
}

// load reads the sandbox in dir; one without a record was hardly begun.
func load(dir string) (*Sandbox, error) {
	s := &Sandbox{dir: dir}
	err := readJSON(filepath.Join(dir, recordFile), &s.record)
	if errors.Is(err, fs.ErrNotExist) {
		s.record.Name = filepath.Base(dir)
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Sandbox) save() error { return writeJSON(filepath.Join(s.dir, recordFile), s.record) }

// stale says that only Down is of use. Up's lock must be held, or s be not in
// the making.
func (s *Sandbox) stale() bool {
	now, err := bootID()
	return err == nil && now != s.record.BootID || !s.record.Ready || s.orphaned()
}

// orphaned says that the owner has ended, or that whoever made or removed the
// sandbox died over it and not even its record is there.
func (s *Sandbox) orphaned() bool {
	if s.record.BootID == "" {
		return true
	}
	if s.record.Owner == nil {
		return false
	}
	now, err := bootID()
	return err == nil && now != s.record.BootID || !s.record.Owner.alive()
}

// Stop ends a host as a power cut does: its disk stays, all else is lost. A
// stopped host stays stopped.
func (s *Sandbox) Stop(ctx context.Context, host string) error {
	return s.onHost(ctx, host, func(HostInfo) error { return nil })
}

// Reboot stops a host and starts it again, with the same address, host key and
// machine id and a new boot id; a stopped one it starts. It returns when the
// host answers.
func (s *Sandbox) Reboot(ctx context.Context, host string) error {
	return s.onHost(ctx, host, func(info HostInfo) error { return s.boot(ctx, info) })
}

// onHost stops a host and then does f, with the sandbox locked.
func (s *Sandbox) onHost(ctx context.Context, host string, f func(HostInfo) error) error {
	info, err := s.host(host)
	if err != nil {
		return err
	}
	unlock, err := lock(ctx, s.dir, false)
	if err != nil {
		return err
	}
	defer unlock()
	if err := errors.Join(s.halt(ctx, host), s.disconnect(host)); err != nil {
		return fmt.Errorf("stop %s: %w", host, err)
	}
	if err := f(info); err != nil {
		return fmt.Errorf("start %s: %w", host, err)
	}
	return nil
}

// Status looks at the sandbox as it is now.
func (s *Sandbox) Status() (Status, error) {
	now, err := load(s.dir)
	if err != nil {
		return Status{}, err
	}
	status := Status{Name: now.record.Name, Dir: s.dir, Inventory: s.Inventory(), Stale: now.stale()}
	if now.record.Owner != nil {
		status.Owner = now.record.Owner.PID
	}
	for _, host := range now.record.Hosts {
		pid := 0
		if init, running := now.running(host.Name); running {
			pid = init.PID
		}
		status.Hosts = append(status.Hosts, HostStatus{HostInfo: host, PID: pid})
	}
	return status, nil
}
