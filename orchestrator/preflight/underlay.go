package preflight

import "fmt"

// underlay judges what the hosts' underlays are to each other.
func (j *judge) underlay() {
	smallest, largest := 0, 0
	for _, host := range j.hosts {
		mtu := j.Ground.Underlays[host].MTU
		if mtu == 0 {
			continue
		}
		if smallest == 0 || mtu < smallest {
			smallest = mtu
		}
		largest = max(largest, mtu)
	}
	if smallest < largest && len(j.Ground.Networks) > 0 {
		for _, host := range j.hosts {
			if u := j.Ground.Underlays[host]; u.MTU == smallest {
				j.warn("mtu", host, fmt.Sprintf("its underlay has a smaller mtu than others', so that every network gets at most %d", smallest-u.Overhead()),
					fmt.Sprintf("mtu %d on %s, up to %d elsewhere", u.MTU, u.Device, largest),
					fmt.Sprintf("ip link set %s mtu %d, if the way there carries it", u.Device, largest))
			}
		}
	}
}
