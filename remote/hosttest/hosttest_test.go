package hosttest_test

import (
	"context"
	"testing"

	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
)

func TestFakeKeepsTheContract(t *testing.T) {
	hosttest.Contract(t, func(t *testing.T) hosttest.Env {
		m := hosttest.NewFabric().NewMachine("host1", hosttest.MachineOptions{})
		return env(m, m.Open(), func(*testing.T) hostapi.Host { return m.Open() })
	})
}

func env(m *hosttest.Machine, h hostapi.Host, reopen func(*testing.T) hostapi.Host) hosttest.Env {
	return hosttest.Env{
		Host: h, Reopen: reopen, Underlay: m.Underlay(), Local: m.Local(),
		Plant:    func(_ *testing.T, name string) { m.PlantLink(hostapi.Link{Name: name, Up: true}) },
		PlantNet: func(_ *testing.T, name string) { m.PlantNamespace(name) },
		Stall: func(_ *testing.T, object string) {
			m.SetFault(func(ctx context.Context, at hosttest.Moment, s *hostapi.Step) error {
				if at == hosttest.BeforeStep {
					if _, name := s.Object(); name == object {
						m.SetFault(nil)
						<-ctx.Done()
					}
				}
				return nil
			})
		},
	}
}
