package preflight

import (
	"vxorch/inventory"
	"vxorch/orchestrator/report"
)

// JudgeUnderlay gives the findings of a try that bear on one network of the
// ground, however it came to be tried.
func JudgeUnderlay(lab *inventory.Lab, e Evidence, network inventory.Network) []report.Finding {
	j := newJudge(lab, e)
	j.Ground.Networks = []inventory.Network{network}
	j.Try.Attempts = nil
	for _, a := range e.Try.Attempts {
		if a.Port == network.Port && (a.To != "" || a.Datagram.To == network.Group) {
			j.Try.Attempts = append(j.Try.Attempts, a)
		}
	}
	j.datagrams()
	j.multicast()
	return j.findings
}
