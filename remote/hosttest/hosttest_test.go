package hosttest_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFakeKeepsTheContract(t *testing.T) {
	for name, options := range map[string]hosttest.MachineOptions{
		"IPv4 underlay": {},
		"IPv6 underlay": {Address: netip.MustParsePrefix("2001:db8::11/64"), Underlay: "ens3"},
	} {
		t.Run(name, func(t *testing.T) {
			open := func(t *testing.T) hosttest.Env {
				m := hosttest.NewFabric().NewMachine("host1", options)
				return hosttest.Env{
					Host: m.Open(), Reopen: func(*testing.T) hostapi.Host { return m.Open() },
					Underlay: m.Underlay(), Local: m.Local(),
					Plant:    func(_ *testing.T, name string) { m.PlantLink(hostapi.Link{Name: name, Up: true}) },
					PlantNet: func(_ *testing.T, name string) { m.PlantNamespace(name) },
					Stall:    func(_ *testing.T, object string) { m.Stall(object) },
					BGP:      func(_ *testing.T, asn int) func() string { m.PlantBGP(&hostapi.HostBGP{ASN: asn}); return m.BGPText },
					Image:    []byte("an image"),
					Virsh:    m.Virsh(),
				}
			}
			t.Run("links", func(t *testing.T) { hosttest.Contract(t, open) })
			t.Run("libvirt", func(t *testing.T) { hosttest.ContractVirt(t, open) })
			if options.Address.Addr().Is6() {
				return // FRR knows no such tunnel ends
			}
			t.Run("control plane", func(t *testing.T) { hosttest.ContractFRR(t, open) })
		})
	}
}

// lab is the seed's, on two machines or more.
type lab struct {
	*testing.T
	fabric   *hosttest.Fabric
	machines []*hosttest.Machine
	sessions []*hosttest.Session
}

func newLab(t *testing.T, machines int) *lab {
	l := &lab{T: t, fabric: hosttest.NewFabric()}
	for i := range machines {
		m := l.fabric.NewMachine("host"+string(rune('1'+i)), hosttest.MachineOptions{})
		l.machines = append(l.machines, m)
		l.sessions = append(l.sessions, l.open(m))
	}
	return l
}

func (l *lab) open(m *hosttest.Machine) *hosttest.Session {
	l.Helper()
	s := m.Open()
	l.Cleanup(func() { s.Close() })
	if _, err := s.Observe(l.Context(), locking); err != nil {
		l.Fatal(err)
	}
	return s
}

var locking = hostapi.ObserveRequest{Lab: "lu", Lock: &hostapi.Holder{User: "alice"}}

func batch(op hostapi.Op, steps ...hostapi.Step) hostapi.Batch {
	for i := range steps {
		steps[i].Op = op
	}
	return hostapi.Batch{Lab: "lu", User: "alice", Controller: "laptop", Steps: steps}
}

func (l *lab) apply(i int, op hostapi.Op, steps ...hostapi.Step) {
	l.Helper()
	if _, err := l.sessions[i].Apply(l.Context(), batch(op, steps...)); err != nil {
		l.Fatalf("host %d: %v", i+1, err)
	}
}

func vtep(bridge string) hostapi.Step {
	return hostapi.Step{VTEP: &hostapi.VTEP{
		Name: "vxlan0", VNI: 100, Port: 4789, Group: netip.MustParseAddr("239.0.0.1"), Device: "eth0",
		MTU: 1450, MAC: "02:00:00:00:00:01", Bridge: bridge,
	}}
}

func bridge() hostapi.Step {
	return hostapi.Step{Bridge: &hostapi.Bridge{Name: "lu-br0", MTU: 1450, MAC: "02:00:00:00:00:02"}}
}

func namespace() hostapi.Step {
	return hostapi.Step{Namespace: &hostapi.Namespace{Name: "container0"}}
}

func veth(address string) hostapi.Step {
	return hostapi.Step{Veth: &hostapi.Veth{
		Name: "cn", Bridge: "lu-br0", MAC: "02:00:00:00:00:03", MTU: 1450, Netns: "container0", Inner: "eth0",
		InnerMAC: "02:00:00:00:00:04", Addresses: []netip.Prefix{netip.MustParsePrefix(address)},
	}}
}

func temporary(link, address string) hostapi.Step {
	return hostapi.Step{Address: &hostapi.Address{Link: link, Prefix: netip.MustParsePrefix(address), Lifetime: time.Minute}}
}

// container is a container's address on host i, counted from 0.
func container(i int) string { return "192.168.100.1" + string(rune('1'+i)) }

func (l *lab) build(hosts ...int) {
	l.Helper()
	for _, i := range hosts {
		l.apply(i, hostapi.Create, bridge(), vtep("lu-br0"), namespace(), veth(container(i)+"/24"))
	}
}

// reaches tells whether a probe from host i is answered.
func (l *lab) reaches(i int, netns, target string) bool {
	l.Helper()
	got, err := l.sessions[i].Probe(l.Context(), []hostapi.Probe{{Netns: netns, Target: netip.MustParseAddr(target)}})
	if err != nil {
		l.Fatal(err)
	}
	return got[0].Received > 0
}

func TestContainersReachEachOtherAcrossHosts(t *testing.T) {
	l := newLab(t, 3)
	l.build(0, 1, 2)
	for from := range 3 {
		for to := range 3 {
			if !l.reaches(from, "container0", container(to)) {
				t.Errorf("no reply to host %d from host %d", to+1, from+1)
			}
		}
	}
}

func TestWhatBreaksAPathBreaksIt(t *testing.T) {
	for name, harm := range map[string]func(l *lab){
		"hosts apart":         func(l *lab) { l.fabric.Separate(l.machines[0], l.machines[1]) },
		"VTEP down":           func(l *lab) { l.machines[1].Edit("", "vxlan0", func(k *hostapi.Link) { k.Up = false }) },
		"VTEP off the bridge": func(l *lab) { l.machines[1].Edit("", "vxlan0", func(k *hostapi.Link) { k.Master = "" }) },
		"underlay down":       func(l *lab) { l.machines[0].Edit("", "eth0", func(k *hostapi.Link) { k.Up = false }) },
		"bridge down":         func(l *lab) { l.machines[1].Edit("", "lu-br0", func(k *hostapi.Link) { k.Up = false }) },
		"bridge gone":         func(l *lab) { l.machines[0].RemoveLink("", "lu-br0") },
		"inner end down":      func(l *lab) { l.machines[1].Edit("container0", "eth0", func(k *hostapi.Link) { k.Up = false }) },
		"outer end down":      func(l *lab) { l.machines[0].Edit("", "cn", func(k *hostapi.Link) { k.Up = false }) },
		"another VNI":         func(l *lab) { l.machines[0].Edit("", "vxlan0", func(k *hostapi.Link) { k.VXLAN.VNI = 7 }) },
		"another port":        func(l *lab) { l.machines[0].Edit("", "vxlan0", func(k *hostapi.Link) { k.VXLAN.Port = 8472 }) },
		"another group": func(l *lab) {
			l.machines[0].Edit("", "vxlan0", func(k *hostapi.Link) { k.VXLAN.Group = netip.MustParseAddr("239.0.0.2") })
		},
		"a /32 at the far end": func(l *lab) {
			l.machines[1].Edit("container0", "eth0", func(k *hostapi.Link) {
				k.Addresses = []netip.Prefix{netip.MustParsePrefix(container(1) + "/32")}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 2)
			l.build(0, 1)
			if !l.reaches(0, "container0", container(1)) {
				t.Fatal("no reply before any harm")
			}
			harm(l)
			if l.reaches(0, "container0", container(1)) {
				t.Error("a reply all the same")
			}
		})
	}
}

func TestFramesDoNotGoRoundASeparation(t *testing.T) {
	l := newLab(t, 3)
	l.build(0, 1, 2)
	l.fabric.Separate(l.machines[0], l.machines[1])
	for to, want := range []bool{true, false, true} {
		if got := l.reaches(0, "container0", container(to)); got != want {
			t.Errorf("reply from host %d: %v, want %v", to+1, got, want)
		}
	}
}

func TestProofOfTheVTEPs(t *testing.T) {
	l := newLab(t, 2)
	for i, address := range []string{"192.168.100.1/24", "192.168.100.2/24"} {
		l.apply(i, hostapi.Create, vtep(""), temporary("vxlan0", address))
	}
	if !l.reaches(0, "", "192.168.100.2") {
		t.Error("VTEPs that stand alone do not reach each other")
	}
	l.apply(1, hostapi.Create, bridge(), vtep("lu-br0"))
	if l.reaches(0, "", "192.168.100.2") {
		t.Error("an address on an enslaved VTEP answers")
	}
	l.apply(1, hostapi.Remove, temporary("vxlan0", "192.168.100.2/24"))
	l.apply(1, hostapi.Create, temporary("lu-br0", "192.168.100.2/24"))
	if !l.reaches(0, "", "192.168.100.2") || !l.reaches(1, "", "192.168.100.1") {
		t.Error("a VTEP that stands alone does not reach the address of a bridge, or not the other way")
	}
}

func TestHostsReachEachOtherOverTheUnderlay(t *testing.T) {
	l := newLab(t, 2)
	if !l.reaches(0, "", l.machines[1].Local().String()) {
		t.Error("no reply")
	}
	l.fabric.Separate(l.machines[0], l.machines[1])
	if l.reaches(0, "", l.machines[1].Local().String()) {
		t.Error("a reply from a separated machine")
	}
}

func TestVTEPGoesWithItsDevice(t *testing.T) {
	l := newLab(t, 1)
	before := l.machines[0].Objects()
	l.apply(0, hostapi.Create, vtep(""))
	if d := cmp.Diff([]string{"address 127.0.0.1/8 on lo", "address 192.0.2.11/24 on eth0", "link eth0", "link lo"}, before); d != "" {
		t.Errorf("an empty machine, -want +got:\n%s", d)
	}
	l.machines[0].RemoveLink("", "eth0")
	if d := cmp.Diff([]string{"address 127.0.0.1/8 on lo", "link lo"}, l.machines[0].Objects()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestTakenVNINamesItsOwner(t *testing.T) {
	l := newLab(t, 1)
	l.machines[0].PlantLink(hostapi.Link{
		Name: "flannel.1", Kind: "vxlan", VXLAN: &hostapi.VXLAN{VNI: 100, Port: 4789, Device: "eth0"},
	})
	_, err := l.sessions[0].Apply(t.Context(), batch(hostapi.Create, vtep("")))
	if !errors.Is(err, hostapi.ErrBusy) || !strings.Contains(err.Error(), `"flannel.1"`) {
		t.Errorf("%v, want ErrBusy that names the owner", err)
	}
}

func TestDeathBetweenMakingAndMarkingLeavesWhatIsOurs(t *testing.T) {
	for name, step := range map[string]hostapi.Step{"link": bridge(), "namespace": namespace()} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 1)
			m := l.machines[0]
			m.SetFault(func(_ context.Context, at hosttest.Moment, s *hostapi.Step) error {
				if at == hosttest.BeforeMark {
					return hosttest.ErrCut
				}
				return nil
			})
			res, err := l.sessions[0].Apply(t.Context(), batch(hostapi.Create, step))
			if !errors.Is(err, hostapi.ErrLost) || len(res.Steps) != 0 {
				t.Fatalf("%+v, %v; want ErrLost and nothing known", res, err)
			}
			m.SetFault(nil)
			if m.Locked("lu") {
				t.Error("the lock outlives its session")
			}

			s := l.open(m)
			mark := func(lab string) *hostapi.Mark {
				t.Helper()
				f, err := s.Observe(t.Context(), hostapi.ObserveRequest{
					Lab: lab, Links: []string{"lu-br0"}, Namespaces: []string{"container0"},
				})
				switch {
				case err != nil:
					t.Fatal(err)
				case len(f.Links) == 1:
					return f.Links[0].Mark
				case len(f.Namespaces) == 1:
					return f.Namespaces[0].Mark
				}
				t.Fatalf("not there: %+v", f)
				return nil
			}
			if k := mark("lu"); k == nil || !k.Intended {
				t.Errorf("mark %+v, want it intended", k)
			}
			if k := mark("other"); k != nil {
				t.Errorf("another lab sees mark %+v", k)
			}
			if res, err := s.Apply(t.Context(), batch(hostapi.Create, step)); err != nil || !res.Steps[0].Changed {
				t.Errorf("apply again: %+v, %v; want it marked", res, err)
			}
			if k := mark("lu"); k == nil || k.Intended {
				t.Errorf("mark %+v, want it on the object", k)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	broken := errors.New("disk full")
	at := func(m hosttest.Moment, err error) hosttest.Fault {
		return func(_ context.Context, moment hosttest.Moment, _ *hostapi.Step) error {
			if moment == m {
				return err
			}
			return nil
		}
	}
	for _, m := range []hosttest.Moment{hosttest.BeforeObserve, hosttest.BeforeStep, hosttest.BeforeMark, hosttest.BeforeProbe, hosttest.BeforeImage} {
		for name, tc := range map[string]struct{ fault, want error }{
			"plain error": {broken, &hostapi.Error{Kind: hostapi.KindInternal}},
			"kind":        {&hostapi.Error{Kind: hostapi.KindPermission, Message: "no"}, &hostapi.Error{Kind: hostapi.KindPermission}},
			"cut":         {hosttest.ErrCut, hostapi.ErrLost},
		} {
			t.Run(string(m)+" "+name, func(t *testing.T) {
				l := newLab(t, 1)
				l.machines[0].SetFault(at(m, tc.fault))
				s := l.sessions[0]
				var err error
				switch m {
				case hosttest.BeforeObserve:
					_, err = s.Observe(t.Context(), hostapi.ObserveRequest{Lab: "lu"})
				case hosttest.BeforeProbe:
					_, err = s.Probe(t.Context(), nil)
				case hosttest.BeforeImage:
					_, err = s.PutImage(t.Context(), hostapi.ImageChunk{Lab: "lu"})
				default:
					_, err = s.Apply(t.Context(), batch(hostapi.Create, bridge()))
				}
				if !errors.Is(err, tc.want) {
					t.Errorf("%v, want kind %d", err, tc.want.(*hostapi.Error).Kind)
				}
				l.machines[0].SetFault(nil)
				_, err = s.Probe(t.Context(), nil)
				if lost := errors.Is(err, hostapi.ErrLost); lost != (tc.fault == hosttest.ErrCut) {
					t.Errorf("the next call: %v", err)
				}
			})
		}
	}
}

func TestCutEndsCallsThatBlock(t *testing.T) {
	l := newLab(t, 1)
	m := l.machines[0]
	began := make(chan struct{})
	m.SetFault(func(ctx context.Context, _ hosttest.Moment, _ *hostapi.Step) error {
		close(began)
		<-ctx.Done()
		return ctx.Err()
	})
	go func() {
		<-began
		m.Cut()
	}()
	if _, err := l.sessions[0].Probe(t.Context(), nil); !errors.Is(err, hostapi.ErrLost) {
		t.Errorf("%v, want ErrLost", err)
	}
	if m.Locked("lu") {
		t.Error("the lock outlives its session")
	}
}

func TestLatencyIsPaidOnceACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rtt = 30 * time.Millisecond
		s := hosttest.NewFabric().NewMachine("host1", hosttest.MachineOptions{Latency: rtt}).Open()
		defer s.Close()
		start := time.Now()
		_, err := s.Observe(t.Context(), locking)
		if took := time.Since(start); err != nil || took != rtt {
			t.Errorf("Observe: %v after %v, want %v", err, took, rtt)
		}
		start = time.Now()
		_, err = s.Apply(t.Context(), batch(hostapi.Create, bridge(), namespace(), veth("10.0.0.1/24")))
		if took := time.Since(start); err != nil || took != rtt {
			t.Errorf("Apply of three steps: %v after %v, want %v", err, took, rtt)
		}
		ctx, cancel := context.WithTimeout(t.Context(), rtt/2)
		defer cancel()
		start = time.Now()
		_, err = s.Probe(ctx, nil)
		if took := time.Since(start); !errors.Is(err, hostapi.ErrCanceled) || took != rtt/2 {
			t.Errorf("Probe: %v after %v, want ErrCanceled after %v", err, took, rtt/2)
		}
	})
}
