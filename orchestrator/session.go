package orchestrator

import (
	"context"
	"crypto/rand"
	"net/netip"
	"slices"
	"sync"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator/images"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/orchestrator/run"
	"vxorch/remote/hostapi"
)

// resolveTimeout bounds looking a host's name up for the others' sake; its own
// connection fails by itself.
const resolveTimeout = 5 * time.Second

// maxPeers is of how many others a host is asked how it reaches them, the next
// ones in the lab's order: with all, the answers would grow with the square.
const maxPeers = 64

// session is one verb at work: its connections and its record.
type session struct {
	c        *Controller
	lab      *inventory.Lab
	chosen   []string // names of the hosts to work on, in the lab's order
	run      *run.Run
	refused  error                    // what ended the verb before anything was changed
	sources  map[string]images.Source // by image
	left     []report.Left            // hosts that the inventory no longer has
	warnings []Warning

	mu    sync.Mutex
	hosts map[string]hostapi.Host // connected ones, by name
}

func (c *Controller) begin(lab *inventory.Lab) *session {
	addresses := map[string]string{}
	var chosen []string
	for _, h := range lab.Hosts {
		if len(c.Part) == 0 || slices.Contains(c.Part, h.Name) {
			addresses[h.Name] = h.Address
			chosen = append(chosen, h.Name)
		}
	}
	return &session{
		c: c, lab: lab, chosen: chosen, hosts: map[string]hostapi.Host{},
		run: run.New(addresses, c.Parallel, c.Now, c.Events),
	}
}

// close ends the helpers, which gives the locks back. What a helper says at its
// end cannot change what was done, so its errors are not reported.
func (s *session) close() {
	s.each(func(name string) {
		if host := s.host(name); host != nil {
			_ = host.Close()
		}
	})
}

// host gives a connected host, else nil.
func (s *session) host(name string) hostapi.Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hosts[name]
}

// each calls f for every host to work on at once and waits for all.
func (s *session) each(f func(name string)) { among(s.chosen, f) }

// among calls f for every one of hosts at once and waits for all.
func among(hosts []string, f func(name string)) {
	var wg sync.WaitGroup
	for _, name := range hosts {
		wg.Go(func() { f(name) })
	}
	wg.Wait()
}

func (s *session) batch() hostapi.Batch {
	return hostapi.Batch{Lab: s.lab.Name, User: s.c.User, Controller: s.c.Machine}
}

func (s *session) connect(ctx context.Context) {
	s.each(func(name string) { _ = s.connectOne(ctx, name) }) // recorded by Stage
}

func (s *session) connectOne(ctx context.Context, name string) error {
	return s.run.Stage(ctx, name, "connect", func(ctx context.Context) ([]string, error) {
		host, err := s.c.Dial(ctx, s.lab.Host(name))
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.hosts[name] = host
		s.mu.Unlock()
		return nil, nil
	})
}

// deployRequest gives what a deploy's plan needs to know of a host.
func (s *session) deployRequest(in plan.Inputs) func(host string) hostapi.ObserveRequest {
	return func(host string) hostapi.ObserveRequest { return plan.Request(s.lab, host, in) }
}

// gather connects to all hosts and asks each for what request says and for the
// ways to the others, no host waiting for another. With a verb it takes the
// lab's lock on each first. Hosts that fail are missing from the answer.
func (s *session) gather(ctx context.Context, verb string, request func(host string) hostapi.ObserveRequest) map[string]hostapi.Facts {
	var lock *hostapi.Holder
	if verb != "" {
		lock = &hostapi.Holder{User: s.c.User, Controller: s.c.Machine, Verb: verb, Since: s.c.Now().UTC(), Run: rand.Text()}
	}
	peers := s.resolvePeers(ctx)
	election := s.newElection(lock)
	var mu sync.Mutex
	gathered := map[string]hostapi.Facts{}
	s.each(func(name string) {
		if s.connectOne(ctx, name) == nil {
			_ = s.run.Stage(ctx, name, "observe", func(ctx context.Context) ([]string, error) {
				req := request(name)
				req.Peers, req.Lock = peers(name), lock
				facts, err := election.observe(ctx, s.host(name), req)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					gathered[name] = facts
				}
				return nil, err
			}) // recorded by Stage
		}
	})
	return gathered
}

// resolvePeers starts looking up the addresses by which hosts reach each other
// and gives a function that waits for those a host needs.
func (s *session) resolvePeers(ctx context.Context) func(host string) []netip.Addr {
	answers := map[string]func() netip.Addr{}
	for _, h := range s.lab.Hosts {
		address := h.VTEP
		if !address.IsValid() {
			address, _ = netip.ParseAddr(h.Address) // else it is a name
		}
		if address.IsValid() {
			answers[h.Name] = func() netip.Addr { return address }
			continue
		}
		done := make(chan netip.Addr, 1)
		go func() {
			ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
			defer cancel()
			found, err := s.c.Resolve(ctx, h.Address)
			if err != nil {
				found = netip.Addr{} // the host itself will be reported unreachable
			}
			done <- found.Unmap()
		}()
		answers[h.Name] = sync.OnceValue(func() netip.Addr { return <-done })
	}
	return func(host string) []netip.Addr {
		var peers []netip.Addr
		own := slices.IndexFunc(s.lab.Hosts, func(h inventory.Host) bool { return h.Name == host })
		for i := range s.lab.Hosts[1:] {
			h := s.lab.Hosts[(own+1+i)%len(s.lab.Hosts)]
			if a := answers[h.Name](); a.IsValid() && len(peers) < maxPeers {
				peers = append(peers, a)
			}
		}
		return peers
	}
}
