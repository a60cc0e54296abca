package frr

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"vxorch/remote/helper/internal/own"
	"vxorch/remote/helper/internal/program"
	"vxorch/remote/hostapi"
)

// names are the daemons, in the order in which they start.
var names = []string{hostapi.Zebra, hostapi.BGPD}

// Observe reads the lab's FRR, and with always also what is there of others. Who
// listens at a port is not its business. It gives nil for a lab without one.
func Observe(ctx context.Context, store own.Store, lab string, always bool) (*hostapi.FRRFacts, error) {
	dir, err := store.Path(lab, own.FRR)
	if err != nil {
		return nil, err
	}
	_, err = os.Lstat(dir)
	stands := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for FRR: %w", err)
	}
	if !stands && !always {
		return nil, nil
	}
	f := &hostapi.FRRFacts{}
	for _, name := range names {
		if find(name) == "" {
			f.Lacking = append(f.Lacking, name)
		}
	}
	f.Daemons, f.Others = processes(dir)
	if stands || len(f.Daemons) > 0 {
		f.Mark = readMark(dir, lab)
		f.Digest = digest(dir)
	}
	return f, theirs.observe(ctx, lab, dir, f)
}

// find gives the path of one of FRR's daemons; empty: it is not installed.
func find(name string) string {
	for _, place := range program.FRR {
		path := filepath.Join(place, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

// readMark: what is in the lab's directory is the lab's, whatever moment its maker
// died.
func readMark(dir, lab string) *hostapi.Mark {
	text, _ := os.ReadFile(filepath.Join(dir, "mark")) // without it, it is half made
	if m, ok := own.ParseMark(strings.TrimSuffix(string(text), "\n")); ok && m.Lab == lab {
		return &m
	}
	return &hostapi.Mark{Lab: lab, Intended: true}
}

// digest of the configuration, empty if it cannot be read. The port is in a file
// of its own, since it is bgpd's argument and not in its configuration.
func digest(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, "bgpd.conf"))
	if err != nil {
		return ""
	}
	port, _ := os.ReadFile(filepath.Join(dir, "port"))
	number, err := strconv.Atoi(string(port))
	if err != nil {
		return ""
	}
	return hostapi.DigestFRR(string(text), number)
}

// processes lists the daemons of the FRR in dir, by name, and those in this network
// namespace that are no lab's.
func processes(dir string) (ours, others []hostapi.Process) {
	mine, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return nil, nil
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, nil
	}
	for _, process := range all {
		exe, err := os.Readlink(process + "/exe")
		exe = strings.TrimSuffix(exe, " (deleted)") // the package was replaced since
		name := filepath.Base(exe)
		if err != nil || !slices.Contains(names, name) || !slices.Contains(program.FRR, filepath.Dir(exe)) {
			continue
		}
		if there, err := os.Readlink(process + "/ns/net"); err != nil || there != mine {
			continue // a container's
		}
		text, err := os.ReadFile(process + "/cmdline")
		if err != nil {
			continue // it ended
		}
		pid, _ := strconv.Atoi(filepath.Base(process)) // as the pattern has it
		args := strings.Split(string(text), "\x00")
		switch {
		case slices.Contains(args, filepath.Join(dir, "run")):
			ours = append(ours, hostapi.Process{Name: name, PID: pid})
		case !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, own.Root+"/") }):
			others = append(others, hostapi.Process{Name: name, PID: pid})
		}
	}
	byName := func(a, b hostapi.Process) int { return strings.Compare(a.Name, b.Name) }
	hostapi.SortFunc(ours, byName)
	hostapi.SortFunc(others, byName)
	return ours, others
}
