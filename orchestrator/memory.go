package orchestrator

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"vxorch/inventory"
	"vxorch/orchestrator/history"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// Warning is what a person should know although nothing failed.
type Warning struct{ Message, Hint string }

const sshPort = 22

// recall reads what is known of the lab's hosts from earlier deploys. That
// nothing can be read keeps no verb from its work.
func (s *session) recall() map[string]history.Host {
	known, err := s.c.History.Hosts(s.lab.Name)
	if err != nil {
		s.warn(Warning{err.Error(), "without it hosts that left the inventory are not named; remove the file if it stays so"})
	}
	return known
}

// lastKnown is what the lab's hosts said when they were last deployed to.
func (s *session) lastKnown(known map[string]history.Host) map[string]hostapi.Facts {
	facts := map[string]hostapi.Facts{}
	for _, h := range s.lab.Hosts {
		if k, ok := known[h.Name]; ok && k.Facts != nil && reaches(k, h) {
			facts[h.Name] = *k.Facts
		}
	}
	return facts
}

func (s *session) warn(w Warning) {
	if !slices.Contains(s.warnings, w) {
		s.warnings = append(s.warnings, w)
	}
}

// nameLeft finds the hosts that an earlier deploy reached and the inventory no
// longer has.
func (s *session) nameLeft(known map[string]history.Host, facts map[string]hostapi.Facts) {
	for _, name := range slices.Sorted(maps.Keys(known)) {
		k := known[name]
		if s.stays(name, k, facts) {
			continue
		}
		row := report.Left{Name: baseName(name), Address: k.Address, Since: k.When, Destroy: plan.DestroyCommand(s.lab.Name, inventory.Host{
			Name: baseName(name), Address: k.Address,
			SSH: inventory.SSH{User: k.User, Port: k.Port, Identity: k.Identity, KnownHosts: k.KnownHosts},
		})}
		s.left = append(s.left, row)
		s.warn(Warning{
			fmt.Sprintf("host %s (%s) left the inventory, and lab %s still stands there, deployed %s UTC", row.Name, row.Address, s.lab.Name, k.When.Format("2006-01-02 15:04")),
			row.Destroy,
		})
	}
}

// stays tells whether a known host is one of the inventory's, whatever it is
// called there now, and whatever its address is.
func (s *session) stays(name string, k history.Host, facts map[string]hostapi.Facts) bool {
	return slices.ContainsFunc(s.lab.Hosts, func(h inventory.Host) bool {
		f, seen := facts[h.Name]
		return reaches(k, h) || h.Name == name && seen && sameMachine(k.Facts, f)
	})
}

// remember keeps how the hosts that facts are from are reached, and what they
// said. It is done before anything is changed: a run that is killed has to be
// known of.
func (s *session) remember(facts map[string]hostapi.Facts) {
	err := s.c.History.UpdateHosts(s.lab.Name, func(known map[string]history.Host) {
		for _, h := range s.lab.Hosts {
			f, ok := facts[h.Name]
			if !ok {
				continue
			}
			maps.DeleteFunc(known, func(name string, k history.Host) bool { return name != h.Name && reaches(k, h) })
			if k, ok := known[h.Name]; ok && !reaches(k, h) && !sameMachine(k.Facts, f) {
				known[h.Name+"@"+endpoint(k.Address, k.Port)] = k // another took its name
			}
			f.FRR = nil // of no use to others, and there is a digest of a secret in it
			known[h.Name] = history.Host{
				Address: h.Address, User: cmp.Or(h.SSH.User, s.c.User), Port: h.SSH.Port,
				Identity: absolute(h.SSH.Identity), KnownHosts: absolute(h.SSH.KnownHosts),
				Facts: &f, When: s.c.Now().UTC(),
			}
		}
	})
	if err != nil {
		s.warn(Warning{err.Error(), "should a host leave the inventory, it will not be named"})
	}
}

// forget forgets the hosts that are rid of the lab.
func (s *session) forget(rid func(host string) bool) {
	known, err := s.c.History.Hosts(s.lab.Name)
	if err == nil && len(known) == 0 {
		return
	}
	err = s.c.History.UpdateHosts(s.lab.Name, func(known map[string]history.Host) {
		for _, h := range s.lab.Hosts {
			if rid(h.Name) {
				maps.DeleteFunc(known, func(_ string, k history.Host) bool { return reaches(k, h) })
			}
		}
	})
	if err != nil {
		s.warn(Warning{err.Error(), ""})
	}
}

// reaches tells whether h is reached where k was.
func reaches(k history.Host, h inventory.Host) bool {
	return endpoint(k.Address, k.Port) == endpoint(h.Address, h.SSH.Port)
}

func endpoint(address string, port int) string {
	return net.JoinHostPort(address, strconv.Itoa(cmp.Or(port, sshPort)))
}

// baseName is a known host's name, of which another host may have taken the key.
func baseName(key string) string {
	name, _, _ := strings.Cut(key, "@")
	return name
}

// sameMachine tells whether it is one machine that has another address now: by
// its name and the address of a network card. The boot id does not say it:
// containers have that of the machine that they run on.
func sameMachine(known *hostapi.Facts, now hostapi.Facts) bool {
	if known == nil || known.Hostname != now.Hostname {
		return false
	}
	for _, l := range known.Links {
		if l.Mark == nil && l.MAC != "" && slices.ContainsFunc(now.Links, func(n hostapi.Link) bool { return n.Mark == nil && n.MAC == l.MAC }) {
			return true
		}
	}
	return false
}

// absolute makes files independent of the directory that vxorch runs in.
func absolute(files []string) []string {
	var all []string
	for _, file := range files {
		if a, err := filepath.Abs(file); err == nil && !strings.HasPrefix(file, "~/") {
			file = a
		}
		all = append(all, file)
	}
	return all
}
