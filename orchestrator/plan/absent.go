package plan

// standIn settles the underlays of the lab's hosts that are not at hand, whether
// left out or out of reach, from what was last known of them. What that cannot
// settle stays unknown: it is no fault of the hosts at hand.
func (d *deployment) standIn() {
	for _, host := range d.lab.Hosts {
		facts, known := d.inputs.Known[host.Name]
		if _, atHand := d.facts[host.Name]; atHand || !known {
			continue
		}
		if u, problem := findUnderlay(host, facts); problem == nil {
			d.standIns[host.Name] = u
		}
	}
}

// complete tells whether something is known of every host of the lab.
func (d *deployment) complete() bool {
	return len(d.hosts)+len(d.standIns) == len(d.lab.Hosts)
}

// takenAsKnown lists the hosts that are stood in for, in the lab's order.
func (d *deployment) takenAsKnown() []string {
	var hosts []string
	for _, host := range d.lab.Hosts {
		if _, ok := d.standIns[host.Name]; ok {
			hosts = append(hosts, host.Name)
		}
	}
	return hosts
}
