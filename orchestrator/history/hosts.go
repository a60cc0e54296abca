package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"vxorch/remote/hostapi"
)

const (
	hostsFile    = "hosts.json"
	hostsVersion = 1
	// maxHosts is of how many hosts of a lab something is known, the latest ones.
	maxHosts = 4096
	// maxFacts bounds what is kept of one host, in bytes of JSON: what a host says
	// of itself is its own word, and a lab of a hundred containers is a tenth.
	maxFacts = 1 << 20
)

// Host is what the controller last knew of a host of a lab.
type Host struct {
	Address string `json:"address"`        // for SSH
	User    string `json:"user,omitempty"` // empty: the SSH layer's choice
	Port    int    `json:"port,omitempty"` // 0: 22
	// Identity and KnownHosts are files, absolute.
	Identity   []string `json:"identity,omitempty"`
	KnownHosts []string `json:"known_hosts,omitempty"`
	// Facts are as the last deploy found them, before it changed anything. nil:
	// not known.
	Facts *hostapi.Facts `json:"facts,omitempty"`
	When  time.Time      `json:"when"` // of what is known; UTC
}

// hostsJSON is the file of a lab's hosts.
type hostsJSON struct {
	Version int             `json:"version"`
	Hosts   map[string]Host `json:"hosts"`
}

// Hosts gives what is known of a lab's hosts, by name; none of a lab that was
// never deployed from here.
func (s Store) Hosts(lab string) (map[string]Host, error) {
	dir, err := s.dir(lab)
	if err != nil {
		return nil, err
	}
	return readHosts(filepath.Join(dir, hostsFile))
}

// UpdateHosts has change edit what is known of a lab's hosts and keeps that, for
// the user alone. Of several at once each sees what the one before it kept.
func (s Store) UpdateHosts(lab string, change func(hosts map[string]Host)) error {
	dir, err := s.dir(lab)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("remember the hosts: %w", err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return fmt.Errorf("remember the hosts: %w", err)
	}
	defer unlock()
	file := filepath.Join(dir, hostsFile)
	hosts, err := readHosts(file)
	if err != nil {
		return err
	}
	change(hosts)
	if err := bound(hosts); err != nil {
		return fmt.Errorf("remember the hosts: %w", err)
	}
	temporary, err := write(dir, func(w io.Writer) error {
		return json.NewEncoder(w).Encode(hostsJSON{hostsVersion, hosts})
	})
	if err != nil {
		return fmt.Errorf("remember the hosts: %w", err)
	}
	if err := os.Rename(temporary, file); err != nil {
		return fmt.Errorf("remember the hosts: %w", errors.Join(err, os.Remove(temporary)))
	}
	return nil
}

// lock keeps other processes from what is known of a lab's hosts.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return func() { _ = d.Close() }, nil // which ends the lock
}

// bound forgets what is too much: facts of a host that says too much of itself,
// and the hosts that were not heard of for the longest time.
func bound(hosts map[string]Host) error {
	var names []string
	for name, h := range hosts {
		names = append(names, name)
		text, err := json.Marshal(h.Facts)
		if err != nil {
			return err
		}
		if len(text) > maxFacts {
			h.Facts = nil
			hosts[name] = h
		}
	}
	slices.SortFunc(names, func(a, b string) int { return hosts[b].When.Compare(hosts[a].When) })
	for _, name := range names[min(len(names), maxHosts):] {
		delete(hosts, name)
	}
	return nil
}

func readHosts(file string) (map[string]Host, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]Host{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("recall the hosts: %w", err)
	}
	var known hostsJSON
	if err := json.Unmarshal(text, &known); err != nil {
		return nil, fmt.Errorf("recall the hosts: %s is damaged: %w", file, err)
	}
	if known.Version != hostsVersion {
		return nil, fmt.Errorf("recall the hosts: %s has version %d, not %d", file, known.Version, hostsVersion)
	}
	if known.Hosts == nil {
		known.Hosts = map[string]Host{}
	}
	return known.Hosts, nil
}
