// Package prepare brings this machine to run its part of a lab: it finds what
// the machine lacks, has the machine's own package manager install it and
// systemd start it. It changes no configuration, removes no package and leaves
// a complete machine alone; what a lab consists of it does not know.
//
// It runs other programs: to apt, dnf and systemd there is no better way in, since
// their databases, locks and scripts are theirs alone.
package prepare

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vxorch/remote/helper/internal/program"
	"vxorch/remote/hostapi"
)

// Machine is the machine that is prepared. The zero value is this one.
type Machine struct {
	root string                                          // of its files; empty: /
	run  func(ctx context.Context, argv ...string) error // nil: runs it
}

// patience is how long a daemon that was started may take to answer.
const patience = 10 * time.Second

// quietPatience is how long FRR's service may take to end.
const quietPatience = time.Minute

// Missing is hostapi.Preparer's.
func (m Machine) Missing(ctx context.Context, req hostapi.PrepareRequest) (hostapi.Preparation, error) {
	return m.look(ctx).missing(req)
}

// Prepare is hostapi.Preparer's. What it starts outlives it.
func (m Machine) Prepare(ctx context.Context, req hostapi.PrepareRequest) (done hostapi.Preparation, err error) {
	todo, err := m.Missing(ctx, req)
	if err != nil || todo.Empty() {
		return todo, err
	}
	done = hostapi.Preparation{Manager: todo.Manager, Notes: todo.Notes}
	if len(todo.Packages) > 0 {
		had := m.hasFRR()
		notes, err := m.install(ctx, todo)
		done.Notes = append(done.Notes, notes...)
		// Also of what failed midway or was canceled: the next time nothing lacks.
		if slices.Contains(todo.Packages, frrPackage) && (err == nil || !had && m.hasFRR()) {
			if note := m.quietFRR(ctx); note != "" {
				done.Notes = append(done.Notes, note)
			}
		}
		if err != nil {
			return done, err
		}
		done.Packages = todo.Packages
		if todo.Manager == apt && len(todo.Units) > 0 {
			m.awaitLibvirt(ctx) // Debian's packages start what they bring
		}
	}
	left, err := m.Missing(ctx, req)
	if err != nil {
		return done, err
	}
	if len(left.Packages) > 0 {
		return done, fmt.Errorf("installed, but without the programs that are needed: %s", strings.Join(left.Packages, ", "))
	}
	done.Daemons = left.Daemons
	if len(left.Units) == 0 {
		return done, nil
	}
	if err := m.execute(ctx, append([]string{"systemctl", "enable", "--now"}, left.Units...)...); err != nil {
		return done, err
	}
	done.Units = left.Units
	if !m.awaitLibvirt(ctx) {
		return done, &hostapi.Error{
			Kind:    hostapi.KindInternal,
			Message: fmt.Sprintf("libvirt does not answer, though %s are started", strings.Join(left.Units, ", ")),
			Hint:    "look at its log on the host: journalctl -u libvirtd -u virtqemud",
		}
	}
	return done, nil
}

// frrPackage is FRR's, by the name that it has everywhere.
const frrPackage = "frr"

// quietFRR ends what the package has just started. It was not there before, so that
// nobody misses it, and a second zebra beside a lab's own would be in its way. Like
// the installation, it goes on when ctx ends.
func (m Machine) quietFRR(ctx context.Context) (note string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quietPatience)
	defer cancel()
	const service = "the service of package frr, which labs do not use, "
	stop, disable := []string{"/etc/init.d/frr", "stop"}, []string{"update-rc.d", "frr", "disable"}
	switch {
	case m.exists("/run/systemd/system"):
		stop, disable = []string{"systemctl", "disable", "--now", "frr.service"}, nil
	case !m.exists(stop[0]):
		return ""
	}
	if err := m.execute(ctx, stop...); err != nil {
		return service + "could not be stopped: " + err.Error()
	}
	if disable != nil {
		if !m.exists("/usr/sbin/update-rc.d") {
			return service + "is stopped; keep the host from starting it again as it boots"
		}
		if err := m.execute(ctx, disable...); err != nil {
			return service + "is stopped, and could not be disabled: " + err.Error()
		}
	}
	return service + "is stopped and disabled"
}

// install has the package manager fetch its lists and install. Lists that
// cannot be fetched matter only if what is needed is not in those at hand.
func (m Machine) install(ctx context.Context, todo hostapi.Preparation) (notes []string, err error) {
	refresh, install := commands(todo.Manager, todo.Packages)
	var stale error
	if refresh != nil {
		stale = m.execute(ctx, refresh...)
	}
	if ctx.Err() != nil {
		return nil, &hostapi.Error{Kind: hostapi.KindCanceled, Message: context.Cause(ctx).Error()}
	}
	// A package manager that is killed leaves the machine half-configured.
	if err := m.execute(context.WithoutCancel(ctx), install...); err != nil {
		return nil, errors.Join(err, stale)
	}
	if stale != nil {
		notes = append(notes, stale.Error())
	}
	return notes, nil
}

// commands fetch the lists of packages, where that is a step of its own, and
// install.
func commands(manager string, packages []string) (refresh, install []string) {
	if manager == dnf {
		return nil, append([]string{"dnf", "-q", "-y", "--setopt=install_weak_deps=False", "install"}, packages...)
	}
	// Nobody is there to be asked: files that were changed by hand stay as they
	// are, and what would remove another package fails.
	return []string{"apt-get", "-q", "update"}, append([]string{
		"apt-get", "-q", "-y", "--no-remove", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120",
		"-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold", "install",
	}, packages...)
}

// awaitLibvirt tells whether libvirt answers soon.
func (m Machine) awaitLibvirt(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !m.libvirtAnswers(ctx) {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// libvirtAnswers tells whether somebody takes connections where libvirt does.
// That a socket's file is there says nothing: it outlives its daemon.
func (m Machine) libvirtAnswers(ctx context.Context) bool {
	answers := func(socket string) bool {
		dialer := net.Dialer{Timeout: time.Second}
		conn, err := dialer.DialUnix(ctx, "unix", nil, &net.UnixAddr{Name: m.path("/run/libvirt/" + socket), Net: "unix"})
		if err != nil {
			return false
		}
		conn.Close()
		return true
	}
	return answers("virtqemud-sock") && answers("virtnetworkd-sock") || answers("libvirt-sock")
}

func (m Machine) path(path string) string { return filepath.Join("/", m.root, path) }

func (m Machine) exists(path string) bool {
	_, err := os.Stat(m.path(path))
	return err == nil
}

// execute runs a program to its end.
func (m Machine) execute(ctx context.Context, argv ...string) error {
	if m.run != nil {
		return m.run(ctx, argv...)
	}
	return program.Run(ctx, argv)
}
