package hosttest

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vxorch/remote/hostapi"
)

const (
	user       = "tester"
	controller = "contract"
	patience   = 10 * time.Second // for what has to happen soon
)

// bench is one test's machine with the lab that is tried on it.
type bench struct {
	*testing.T
	Env
	lab    string
	prefix string // of names, at most 8 characters
	number int    // unique in the process, at most one byte
	made   []hostapi.Step
}

func newBench(t *testing.T, env Env, number int) *bench {
	prefix := fmt.Sprintf("%x-%x", os.Getpid()&0xffff, number)
	b := &bench{T: t, Env: env, lab: "lab-" + prefix, prefix: prefix, number: number}
	t.Cleanup(func() {
		b.sweep()
		b.Host.Close() // closed already in some tests
	})
	return b
}

// other is a second lab on the same machine, in a session of its own.
func (b *bench) other() *bench {
	env := b.Env
	env.Host = b.Reopen(b.T)
	return newBench(b.T, env, b.number|0x80)
}

// reopen gives a second session.
func (b *bench) reopen() hostapi.Host {
	h := b.Reopen(b.T)
	b.Cleanup(func() { h.Close() })
	return h
}

// sweep takes away what the test made, for machines that outlive their tests. A
// test may have closed its session or lost its lock: then nothing is swept.
func (b *bench) sweep() {
	slices.Reverse(b.made)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, _ = b.Host.Apply(ctx, b.batch(hostapi.Remove, b.made...))
}

func (b *bench) ctx() context.Context {
	ctx, cancel := context.WithTimeout(b.T.Context(), 6*patience)
	b.Cleanup(cancel)
	return ctx
}

func (b *bench) name(what string) string { return b.prefix + what }

func (b *bench) mac(n byte) string {
	pid := os.Getpid()
	return fmt.Sprintf("02:76:%02x:%02x:%02x:%02x", pid>>8&0xff, pid&0xff, b.number&0xff, n)
}

// The lab: a VTEP and a container's veth on a bridge, all of it of mtu 1400.

func (b *bench) vtep() hostapi.VTEP {
	group := netip.MustParseAddr("239.77.0.1")
	if b.Local.Is6() {
		group = netip.MustParseAddr("ff05::77")
	}
	return hostapi.VTEP{
		Name: b.name("vx"), For: "for-" + hostapi.KindVTEP, VNI: 2 + 2*(os.Getpid()&0x3fff<<8|b.number), Port: 24789,
		Group: group, Local: b.Local, Device: b.Underlay, MTU: 1400, MAC: b.mac(0xf1), Bridge: b.name("br"),
	}
}

func (b *bench) bridge() hostapi.Bridge {
	return hostapi.Bridge{Name: b.name("br"), For: "for-" + hostapi.KindBridge, MTU: 1400, MAC: b.mac(0xf2)}
}

func (b *bench) namespace() hostapi.Namespace {
	return hostapi.Namespace{Name: b.name("ns"), For: "for-" + hostapi.KindNamespace}
}

func (b *bench) veth() hostapi.Veth {
	return hostapi.Veth{
		Name: b.name("ve"), For: "for-" + hostapi.KindVeth, Bridge: b.name("br"), MAC: b.mac(0xf3), MTU: 1400,
		Netns: b.name("ns"), Inner: "eth0", InnerMAC: b.mac(0xf4),
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.11/24"), netip.MustParsePrefix("fd00:77::11/64")},
	}
}

// whole is the lab in the order in which it can be built.
func (b *bench) whole() []hostapi.Step {
	return []hostapi.Step{b.step(b.bridge()), b.step(b.vtep()), b.step(b.namespace()), b.step(b.veth())}
}

// pair builds two containers on a bridge and gives their veths. The addresses
// of each are separated by spaces.
func (b *bench) pair(first, second string) (hostapi.Veth, hostapi.Veth) {
	veth := func(n byte, addresses string) hostapi.Veth {
		v := b.veth()
		v.Name, v.Netns = b.name(fmt.Sprintf("ve%d", n)), b.name(fmt.Sprintf("ns%d", n))
		v.MAC, v.InnerMAC = b.mac(2*n), b.mac(2*n+1)
		v.Addresses = nil
		for _, a := range strings.Fields(addresses) {
			v.Addresses = append(v.Addresses, netip.MustParsePrefix(a))
		}
		return v
	}
	v1, v2 := veth(1, first), veth(2, second)
	b.apply(hostapi.Create, b.step(b.bridge()),
		b.step(hostapi.Namespace{Name: v1.Netns}), b.step(v1),
		b.step(hostapi.Namespace{Name: v2.Netns}), b.step(v2))
	return v1, v2
}

func (b *bench) step(object any) hostapi.Step {
	switch o := object.(type) {
	case hostapi.VTEP:
		return hostapi.Step{VTEP: &o}
	case hostapi.Bridge:
		return hostapi.Step{Bridge: &o}
	case hostapi.Namespace:
		return hostapi.Step{Namespace: &o}
	case hostapi.Veth:
		return hostapi.Step{Veth: &o}
	case hostapi.Address:
		return hostapi.Step{Address: &o}
	case hostapi.Forwarding:
		return hostapi.Step{Forwarding: &o}
	case hostapi.FRR:
		return hostapi.Step{FRR: &o}
	case hostapi.Routes:
		return hostapi.Step{Routes: &o}
	case hostapi.VirtNetwork:
		return hostapi.Step{VirtNetwork: &o}
	case hostapi.Domain:
		return hostapi.Step{Domain: &o}
	}
	b.Fatalf("%T is no object of a step", object)
	return hostapi.Step{}
}

func (b *bench) batch(op hostapi.Op, steps ...hostapi.Step) hostapi.Batch {
	batch := hostapi.Batch{Lab: b.lab, User: user, Controller: controller, Steps: slices.Clone(steps)}
	for i := range batch.Steps {
		batch.Steps[i].Op = op
	}
	return batch
}

func (b *bench) locking() hostapi.ObserveRequest {
	return hostapi.ObserveRequest{Lab: b.lab, Lock: &hostapi.Holder{
		User: user, Controller: controller, Verb: "test", Since: time.Now(), Run: b.lab,
	}}
}

func (b *bench) lockLab(h hostapi.Host) {
	b.Helper()
	if _, err := h.Observe(b.ctx(), b.locking()); err != nil {
		b.Fatalf("take the lock: %v", err)
	}
}

// apply runs steps that have to succeed, with the lock.
func (b *bench) apply(op hostapi.Op, steps ...hostapi.Step) hostapi.BatchResult {
	b.Helper()
	b.lockLab(b.Host)
	res, err := b.try(b.Host, op, steps...)
	if err != nil {
		b.Fatalf("apply: %v", err)
	}
	if len(res.Steps) != len(steps) {
		b.Fatalf("%d results of %d steps", len(res.Steps), len(steps))
	}
	for i, r := range res.Steps {
		if r.Error != nil {
			b.Fatalf("step %d: %v, but no error of the batch", i, r.Error)
		}
	}
	return res
}

// try runs steps that may fail.
func (b *bench) try(h hostapi.Host, op hostapi.Op, steps ...hostapi.Step) (hostapi.BatchResult, error) {
	res, err := h.Apply(b.ctx(), b.batch(op, steps...))
	if op != hostapi.Remove {
		b.made = append(b.made, steps[:min(len(res.Steps), len(steps))]...)
	}
	return res, err
}

func (b *bench) probes(probes ...hostapi.Probe) []hostapi.ProbeResult {
	b.Helper()
	results, err := b.Host.Probe(b.ctx(), probes)
	if err != nil || len(results) != len(probes) {
		b.Fatalf("probe: %d results of %d, %v", len(results), len(probes), err)
	}
	return results
}

// observe reads with the lab's name filled in.
func (b *bench) observe(req hostapi.ObserveRequest) hostapi.Facts {
	b.Helper()
	req.Lab = b.lab
	f, err := b.Host.Observe(b.ctx(), req)
	if err != nil {
		b.Fatalf("observe: %v", err)
	}
	return f
}

// link gives the link of that name, nil if f has none.
func (b *bench) link(f hostapi.Facts, name string) *hostapi.Link {
	return find(f.Links, func(l hostapi.Link) bool { return l.Name == name })
}

// netns gives the namespace of that name, nil if f has none.
func (b *bench) netns(f hostapi.Facts, name string) *hostapi.NamespaceFacts {
	return find(f.Namespaces, func(n hostapi.NamespaceFacts) bool { return n.Name == name })
}

func find[T any](all []T, is func(T) bool) *T {
	if i := slices.IndexFunc(all, is); i >= 0 {
		return &all[i]
	}
	return nil
}

// standsAsWanted checks that every object stands and differs in nothing.
func (b *bench) standsAsWanted(steps []hostapi.Step) {
	b.Helper()
	f := b.observe(hostapi.ObserveRequest{Thorough: true})
	for _, s := range steps {
		kind, name := s.Object()
		changes, standing := difference(f, s)
		if !standing {
			b.Errorf("%s %s does not stand", kind, name)
		}
		for _, c := range changes {
			b.Errorf("%s %s: %s is %s, want %s", kind, name, c.Property, c.From, c.To)
		}
	}
	if len(f.Leftovers) > 0 {
		b.Errorf("leftovers %q", f.Leftovers)
	}
}

// difference tells whether s's object is in f, and how it differs from s.
func difference(f hostapi.Facts, s hostapi.Step) (changes []hostapi.Change, standing bool) {
	if s.Namespace != nil {
		n := find(f.Namespaces, func(n hostapi.NamespaceFacts) bool { return n.Name == s.Namespace.Name })
		if n == nil {
			return nil, false
		}
		changes, _ = s.Namespace.Diff(*n)
		return changes, true
	}
	_, name := s.Object()
	l := find(f.Links, func(l hostapi.Link) bool { return l.Name == name })
	if l == nil {
		return nil, false
	}
	switch {
	case s.VTEP != nil:
		changes, _ = s.VTEP.Diff(*l)
	case s.Bridge != nil:
		changes, _ = s.Bridge.Diff(*l)
	case s.Veth != nil:
		var inner *hostapi.Link
		if n := find(f.Namespaces, func(n hostapi.NamespaceFacts) bool { return n.Name == s.Veth.Netns }); n != nil {
			inner = find(n.Links, func(l hostapi.Link) bool { return l.Name == s.Veth.Inner })
		}
		changes, _ = s.Veth.Diff(*l, inner)
	}
	return changes, true
}

// nothingStands checks that the lab has left no trace.
func (b *bench) nothingStands() {
	b.Helper()
	ask := hostapi.ObserveRequest{Thorough: true}
	for _, s := range b.whole() {
		if _, name := s.Object(); s.Namespace != nil {
			ask.Namespaces = append(ask.Namespaces, name)
		} else {
			ask.Links = append(ask.Links, name)
		}
	}
	f := b.observe(ask)
	for _, l := range f.Links {
		if slices.Contains(ask.Links, l.Name) || l.Mark != nil && l.Mark.Lab == b.lab {
			b.Errorf("link %s stands: %+v", l.Name, l)
		}
	}
	for _, n := range f.Namespaces {
		b.Errorf("namespace %s stands: %+v", n.Name, n)
	}
	if len(f.Leftovers) > 0 {
		b.Errorf("leftovers %q", f.Leftovers)
	}
}

// same compares values of what hostapi is made of.
func (b *bench) same(what string, want, got any) {
	b.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" {
		b.Errorf("%s, -want +got:\n%s", what, d)
	}
}

// await waits until is, which is bounded by patience.
func (b *bench) await(what string, is func() bool) {
	b.Helper()
	deadline := time.Now().Add(patience)
	for !is() {
		if time.Now().After(deadline) {
			b.Fatalf("waited %v in vain for %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
