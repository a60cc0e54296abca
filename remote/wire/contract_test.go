package wire_test

import (
	"context"
	"net"
	"testing"

	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
	"vxorch/remote/wire"
)

func TestClientKeepsTheContract(t *testing.T) {
	open := func(t *testing.T) hosttest.Env {
		m := hosttest.NewFabric().NewMachine("host1", hosttest.MachineOptions{})
		open := func(t *testing.T) hostapi.Host {
			near, far := net.Pipe()
			served := make(chan error, 1)
			go func() { served <- wire.Serve(context.Background(), far, m.Open(), wire.ServeOptions{}) }()
			c := wire.NewClient(near, wire.ClientOptions{})
			t.Cleanup(func() {
				c.Close()
				if err := <-served; err != nil {
					t.Errorf("Serve: %v", err)
				}
			})
			return c
		}
		return hosttest.Env{
			Host: open(t), Reopen: open, Underlay: m.Underlay(), Local: m.Local(),
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
	t.Run("control plane", func(t *testing.T) { hosttest.ContractFRR(t, open) })
}

func TestLockGoesWithTheConnection(t *testing.T) {
	near, far := net.Pipe()
	m := hosttest.NewFabric().NewMachine("host1", hosttest.MachineOptions{})
	served := make(chan error, 1)
	go func() { served <- wire.Serve(context.Background(), far, m.Open(), wire.ServeOptions{}) }()
	c := wire.NewClient(near, wire.ClientOptions{})
	lock := hostapi.ObserveRequest{Lab: "lu", Lock: &hostapi.Holder{User: "alice"}}
	if _, err := c.Observe(t.Context(), lock); err != nil {
		t.Fatal(err)
	}
	near.Close() // the controller vanishes
	<-served
	if m.Locked("lu") {
		t.Error("the lock outlives the connection")
	}
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
