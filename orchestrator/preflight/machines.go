package preflight

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"vxorch/orchestrator/plan"
	"vxorch/remote/hostapi"
)

const (
	// maxClock is how wrong a clock may be: times in logs and locks of different
	// machines are compared by people.
	maxClock = 10 * time.Second
	// filesEach is how many files the helper may need open for one workload, with
	// as many again as it needs for itself.
	filesEach = 8
	filesBase = 128
	// memoryEach is what QEMU needs beyond its guest's memory, in bytes.
	memoryEach = 128 << 20
)

// machines judges each host by itself, and those that are taken for one.
func (j *judge) machines() {
	ids := map[string][]string{}
	for _, host := range j.hosts {
		check := j.Seen[host].Check
		if check.MachineID != "" {
			ids[check.MachineID] = append(ids[check.MachineID], host)
		}
		for _, l := range check.Lacks {
			why := cmp.Or(l.Error, &hostapi.Error{}) // a host may say anything
			j.error("kernel", host, "its kernel cannot make a "+l.Kind, why.Message, why.Hint)
		}
		if check.Deaf != nil {
			j.warn("underlay", host, "the underlay could not be tried", check.Deaf.Message, check.Deaf.Hint)
		}
		j.filters(host, check)
		j.surroundings(host, check)
		j.limits(host, check)
		if check.Emulated {
			j.warn("libvirt", host, "its VMs are emulated and slow", "no vCPU runs on /dev/kvm",
				"enable virtualisation in the firmware, or nested virtualisation where this is a VM itself")
		}
		if off := j.Seen[host].Clock; off.Abs() > maxClock {
			j.warn("clock", host, "its clock is wrong, or the controller's is",
				fmt.Sprintf("it is %s %s", off.Abs().Round(time.Second), direction(off)), "timedatectl set-ntp true")
		}
		for _, r := range j.Seen[host].Facts.Overlaps {
			if !plan.Misleads(r) { // else it is a problem of the plan
				j.warn("route", host, "the VTEPs' proof takes addresses from a wider route for as long as it lasts",
					fmt.Sprintf("subnet %s lies in the route to %s", r.Subnet, plan.Way(r)), "give the network a subnet that no host uses")
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		hosts := ids[id]
		if len(hosts) > 1 {
			j.warn("identity", hosts[0], "hosts share one machine id, so that systemd and DHCP take them for one machine",
				fmt.Sprintf("%s on %s", id, strings.Join(hosts, ", ")),
				"on all but one of them: rm /etc/machine-id; systemd-machine-id-setup")
		}
	}
}

func direction(d time.Duration) string {
	if d > 0 {
		return "ahead"
	}
	return "behind"
}

// filters judges the chains that bridged frames meet.
func (j *judge) filters(host string, check *hostapi.CheckFacts) {
	for _, f := range check.Filters {
		if f.Family == "ip6" && !j.carriesIPv6() || f.Sysctl == "" && f.Family != "bridge" {
			continue
		}
		var stopped []string
		for _, n := range j.lab.Networks {
			if !slices.Contains(f.Named, n.Name) {
				stopped = append(stopped, n.Name)
			}
		}
		if len(stopped) == 0 {
			continue
		}
		proof := fmt.Sprintf("policy drop of chain %s %s %s", f.Family, f.Table, f.Chain)
		if f.Legacy {
			proof += " of legacy iptables"
		}
		if f.Sysctl != "" {
			proof = f.Sysctl + " = 1, " + proof
		}
		j.error("firewall", host, fmt.Sprintf("its firewall drops frames that pass through bridge %s", strings.Join(stopped, ", ")), proof, acceptRule(f, stopped[0]))
	}
}

// acceptRule is the command that lets a bridge's frames through a chain.
func acceptRule(f hostapi.Filter, bridge string) string {
	tool := map[string]string{"ip": "iptables", "ip6": "ip6tables"}[f.Family]
	if f.Legacy {
		tool += "-legacy"
	}
	switch {
	case f.Family == "bridge":
		return fmt.Sprintf("nft insert rule bridge %s %s accept, or only for the ports of %s", f.Table, f.Chain, bridge)
	case tool != "" && f.Table == "filter" && f.Chain == "FORWARD":
		return fmt.Sprintf("%s -I FORWARD -i %s -o %s -j ACCEPT", tool, bridge, bridge)
	}
	return fmt.Sprintf("nft insert rule %s %s %s iifname %s oifname %s accept", f.Family, f.Table, f.Chain, bridge, bridge)
}

func (j *judge) carriesIPv6() bool {
	for _, n := range j.lab.Networks {
		for _, subnet := range n.Subnets() {
			if subnet.Addr().Is6() {
				return true
			}
		}
	}
	return false
}

// surroundings judges what else is at work on a host.
func (j *judge) surroundings(host string, check *hostapi.CheckFacts) {
	device := j.Ground.Underlays[host].Device
	if check.Networkd != "" {
		j.warn("networkd", host, "systemd-networkd would configure the lab's links", check.Networkd+" matches them",
			"narrow its [Match], or put a file with Unmanaged=yes for them before it")
	}
	if check.Driver == "vmxnet3" {
		j.warn("offload", host, "with this network card TCP through a tunnel may stall where pings pass",
			fmt.Sprintf("driver vmxnet3 on %s computes wrong checksums of tunnelled packets", device),
			"if it does: ethtool -K "+j.lab.Networks[0].VXLAN+" tx-checksum-ip-generic off")
	}
	if check.ReversePath == 1 {
		for _, r := range j.Seen[host].Facts.Routes {
			if device != "" && r.Device != "" && r.Device != device && r.Device != "lo" {
				j.warn("route", host, "it drops what comes from another host by the underlay, since its own way there is another",
					fmt.Sprintf("rp_filter is strict on %s, and the route to %s is on %s", device, r.Peer, r.Device),
					fmt.Sprintf("sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.%s.rp_filter=2", device))
				break
			}
		}
	}
}

// limits judges whether there is enough of everything.
func (j *judge) limits(host string, check *hostapi.CheckFacts) {
	if n := len(j.lab.Hosts); check.Neighbours > 0 && n > check.Neighbours {
		j.warn("limits", host, "its kernel keeps fewer neighbours than the lab has hosts",
			fmt.Sprintf("net.ipv4.neigh.default.gc_thresh3 = %d, %d hosts", check.Neighbours, n),
			fmt.Sprintf("sysctl -w net.ipv4.neigh.default.gc_thresh3=%d", 4*n))
	}
	workloads := int64(0)
	for _, c := range j.lab.Containers {
		if c.Host == host {
			workloads++
		}
	}
	var memory int64
	standing := map[string]bool{}
	if virt := j.Seen[host].Facts.Virt; virt != nil {
		for _, d := range virt.Domains {
			standing[d.Name] = d.State == "running"
		}
	}
	for _, vm := range j.lab.VMs {
		if vm.Host == host {
			workloads++
			if !standing[vm.Domain] {
				memory += vm.Memory + memoryEach
			}
		}
	}
	if need := filesBase + filesEach*workloads; check.Files > 0 && check.Files < need {
		j.warn("limits", host, "the helper may have too few files open for the lab's workloads",
			fmt.Sprintf("RLIMIT_NOFILE is %d, %d may be needed", check.Files, need), "raise nofile in /etc/security/limits.conf")
	}
	var bytes int64
	for _, u := range j.Uploads {
		if u.Host == host {
			bytes += u.Size - u.Have
		}
	}
	if virt := j.Seen[host].Facts.Virt; virt != nil && bytes > virt.Free {
		j.error("disk", host, "its disk has no room for the images", fmt.Sprintf("%d MiB are free, they are %d MiB", virt.Free>>20, bytes>>20),
			"make room in /var/lib/libvirt/images; vxorch clean removes images that nothing uses")
	}
	if check.Memory > 0 && memory > check.Memory {
		j.warn("memory", host, "its free memory does not do for the VMs",
			fmt.Sprintf("%d MiB are available, they want %d MiB", check.Memory>>20, memory>>20), "give them less memory, or spread them over more hosts")
	}
}
