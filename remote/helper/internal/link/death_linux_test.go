package link

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/own"
	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns"
)

// dieAfter names, in the environment of this test binary, the kind of object
// after whose making it dies by SIGKILL.
const dieAfter = "LINK_TEST_DIE_AFTER"

func die(kind string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	kernel, err := Open()
	fail(err)
	lock, err := own.Store{}.Lock(lab, hostapi.Holder{})
	fail(err)
	b, err := kernel.Begin(lock, hostapi.Mark{User: "tester", Controller: "here"})
	fail(err)
	b.afterCreate = func(made, _ string) {
		if made == kind {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	for _, s := range wholeLab() {
		_, err := b.Do(s)
		fail(err)
	}
	os.Exit(0)
}

func TestObjectWhoseMakerDiedBeforeMarkingItIsOurs(t *testing.T) {
	for _, kind := range []string{hostapi.KindBridge, hostapi.KindVTEP, hostapi.KindNamespace, hostapi.KindVeth} {
		for _, next := range []string{"deploy", "destroy"} {
			t.Run(kind+", then "+next, func(t *testing.T) {
				m := newMachine(t)
				cmd := exec.Command("/proc/self/exe")
				cmd.Env = append(os.Environ(), dieAfter+"="+kind)
				out, err := cmd.CombinedOutput()
				if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != -1 {
					t.Fatalf("the maker did not die by a signal: %v\n%s", err, out)
				}
				m.checkIntended(kind)
				if next == "deploy" {
					m.must(wholeLab()...)
					for _, l := range m.observe(hostapi.ObserveRequest{Links: []string{"br100", "vx100", "vcn1"}}).Links {
						if l.Name != "under0" && (l.Mark == nil || l.Mark.Intended || !l.Up || !l.Quiet) {
							t.Errorf("after the next deploy: %+v, want it marked, up and quiet", l)
						}
					}
					if n := m.must(wholeLab()...); n != 0 {
						t.Errorf("%d changes after that, want none", n)
					}
				}
				m.must(wholeLabAway()...)
			})
		}
	}
}

// checkIntended holds what is observed of an object that bears no mark yet.
func (m *machineUnderTest) checkIntended(kind string) {
	m.t.Helper()
	facts := m.observe(hostapi.ObserveRequest{})
	if kind == hostapi.KindNamespace {
		// It had no name yet and died with its maker.
		if len(facts.Namespaces) != 0 || len(facts.Leftovers) != 1 {
			m.t.Errorf("namespaces %v, leftovers %q, want an intent only", facts.Namespaces, facts.Leftovers)
		}
		return
	}
	name := map[string]string{hostapi.KindBridge: "br100", hostapi.KindVTEP: "vx100", hostapi.KindVeth: "vcn1"}[kind]
	i := slices.IndexFunc(facts.Links, func(l hostapi.Link) bool { return l.Name == name })
	if i < 0 || facts.Links[i].Mark == nil || !facts.Links[i].Mark.Intended || facts.Links[i].Mark.Lab != lab {
		m.t.Errorf("links %+v, want %s with an intended mark", facts.Links, name)
	}
	if facts.Leftovers != nil {
		m.t.Errorf("leftovers %q, want none: the intent has its object", facts.Leftovers)
	}
}

// leaveMountPoint leaves what dying inside ns.Create can.
func (m *machineUnderTest) leaveMountPoint(name string) {
	m.t.Helper()
	if err := os.MkdirAll(ns.Dir, 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(ns.Dir+"/"+name, nil, 0); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machineUnderTest) intend(i own.Intent) {
	m.t.Helper()
	lock, err := m.store.Lock(lab, hostapi.Holder{})
	if err != nil {
		m.t.Fatal(err)
	}
	if err := lock.Intend(i); err != nil {
		m.t.Fatal(err)
	}
	if err := lock.Release(); err != nil {
		m.t.Fatal(err)
	}
}

func TestEmptyMountPointIsOursOnlyIfAnnounced(t *testing.T) {
	for _, next := range []hostapi.Step{create(theNamespace), remove(theNamespace), create(theBridge)} {
		kind, name := next.Object()
		t.Run(fmt.Sprintf("%s %s %s", next.Op, kind, name), func(t *testing.T) {
			m := newMachine(t)
			m.leaveMountPoint("lu-cn1")
			m.leaveMountPoint("other")
			defer func() {
				// The directory was the test's, what was made of it ours.
				_ = errors.Join(os.Remove(ns.Dir+"/other"), ns.Tidy(), os.Remove(ns.Dir))
			}()
			m.intend(own.Intent{Kind: hostapi.KindNamespace, Name: "lu-cn1"})
			facts := m.observe(hostapi.ObserveRequest{})
			if len(facts.Namespaces) != 1 || facts.Namespaces[0].Mark == nil || !facts.Namespaces[0].Mark.Intended {
				t.Errorf("observed %+v, want lu-cn1 intended", facts.Namespaces)
			}
			m.must(next)
			if err := noIntents(m.store); err != nil {
				t.Error(err)
			}
			_, err := m.apply(create(hostapi.Namespace{Name: "other"}))
			if kindOf(err) != hostapi.KindForeign {
				t.Errorf("create namespace over another's file: %v, want foreign", err)
			}
			_, err = m.apply(remove(hostapi.Namespace{Name: "other"}))
			if kindOf(err) != hostapi.KindForeign {
				t.Errorf("remove another's file: %v, want foreign", err)
			}
			m.must(remove(theNamespace), remove(theBridge))
			if _, err := os.Lstat(ns.Dir + "/lu-cn1"); err == nil {
				t.Error("lu-cn1 is still there")
			}
		})
	}
}

func noIntents(s own.Store) error {
	intents, err := s.Intents(lab)
	if err == nil && len(intents) > 0 {
		err = fmt.Errorf("intents %v, want none", intents)
	}
	return err
}

func TestIntentsOfWhatWasNeverMadeAreSwept(t *testing.T) {
	m := newMachine(t)
	m.add(&netlink.Bridge{LinkAttrs: attributes("theirs", nil)})
	defer m.delete("theirs")
	m.intend(own.Intent{Kind: hostapi.KindBridge, Name: "br100", MAC: theBridge.MAC})
	m.intend(own.Intent{Kind: hostapi.KindVeth, Name: "theirs", MAC: "02:00:00:00:00:99"})
	if facts := m.observe(hostapi.ObserveRequest{}); len(facts.Leftovers) != 2 || len(facts.Links) != 0 {
		t.Errorf("leftovers %q, links %v, want two and none", facts.Leftovers, facts.Links)
	}
	m.must()
	if err := noIntents(m.store); err != nil {
		t.Error(err)
	}
	_ = m.link("theirs")
}
