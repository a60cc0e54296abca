package orchestrator

import (
	"context"

	"vxorch/inventory"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/preflight"
	"vxorch/remote/hostapi"
)

// tryMulticast finds out whether multicast passes between the hosts at hand,
// where a network leaves its flooding open and no deploy has settled it. That
// takes further round trips, which only such a lab pays for. A host that cannot
// listen counts as one that multicast does not reach.
func (s *session) tryMulticast(ctx context.Context, facts map[string]hostapi.Facts, in *plan.Inputs) {
	open := plan.MulticastQuestions(s.lab, facts)
	if len(open) == 0 || s.locked() {
		return
	}
	in.Multicast = map[string]bool{}
	for _, network := range open {
		in.Multicast[network.Name] = true
	}
	// If it did pass, this is what the networks would be.
	ground := plan.Survey(s.lab, facts, *in)
	token := tryToken()
	e := preflight.Evidence{Ground: ground, Came: noneCame(), Seen: s.look(ctx, token, facts, ground)}
	hosts := s.try(ctx, token, &e, func(hosts []string) preflight.Try { return preflight.NewGroupTry(ground, hosts) })
	for _, network := range ground.Networks {
		if network.Flood == inventory.FloodMulticast && in.Multicast[network.Name] {
			in.Multicast[network.Name] = len(hosts) == len(facts) && e.Try.GroupPasses(network, hosts, e.Came)
		}
	}
}
