package hosttest_test

import (
	"testing"

	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
)

var vms = hostapi.PrepareRequest{Libvirt: true}

func TestPrepareMakesVMsPossible(t *testing.T) {
	for name, c := range map[string]struct {
		options hosttest.MachineOptions
		byHand  bool
	}{
		"with systemd":    {hosttest.MachineOptions{NoLibvirt: true}, false},
		"without systemd": {hosttest.MachineOptions{NoLibvirt: true, NoSystemd: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := hosttest.NewFabric().NewMachine("host1", c.options)
			s := m.Open()
			defer s.Close()
			usable := func() bool {
				t.Helper()
				f, err := s.Observe(t.Context(), hostapi.ObserveRequest{Virt: &hostapi.VirtQuery{}})
				if err != nil {
					t.Fatal(err)
				}
				return f.Virt.Unusable == nil
			}
			if p, err := s.Missing(t.Context(), hostapi.PrepareRequest{}); err != nil || !p.Empty() {
				t.Errorf("without VMs: %+v, %v; want nothing missing", p, err)
			}
			if p, err := s.Missing(t.Context(), vms); err != nil || len(p.Packages) == 0 || usable() {
				t.Errorf("%+v, %v, usable %v; want packages missing", p, err, usable())
			}
			if p, err := s.Prepare(t.Context(), vms); err != nil || len(p.Packages) == 0 || usable() == c.byHand {
				t.Errorf("%+v, %v, usable %v; want packages installed", p, err, usable())
			}
			if c.byHand {
				if p, err := s.Missing(t.Context(), vms); err != nil || len(p.Packages) > 0 || len(p.Daemons) == 0 {
					t.Errorf("%+v, %v; want daemons to be started", p, err)
				}
				m.StartDaemons()
			}
			if p, err := s.Missing(t.Context(), vms); err != nil || !p.Empty() || !usable() {
				t.Errorf("%+v, %v, usable %v; want nothing missing", p, err, usable())
			}
		})
	}
}

func TestCleanSparesWhatIsUsed(t *testing.T) {
	l := newLab(t, 1)
	used, unused := l.put(0, "used"), l.put(0, "unused")
	d := domain(vm(0) + "/24")
	d.Domain.Image = hostapi.Image{SHA256: used}
	l.apply(0, hostapi.Create, bridge(), virtNetwork(), d)
	for _, want := range [][]string{{"image " + unused}, nil} {
		if got, err := l.sessions[0].Clean(t.Context()); err != nil || len(got) != len(want) || len(got) > 0 && got[0] != want[0] {
			t.Errorf("removed %q, %v; want %q", got, err, want)
		}
	}
	if got := l.machines[0].Images(); len(got) != 1 || got[0] != used {
		t.Errorf("images %q, want the one that is used", got)
	}
}
