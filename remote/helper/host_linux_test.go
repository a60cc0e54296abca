package helper

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
	"vxorch/remote/internal/ns"
	"vxorch/remote/internal/ns/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func TestContract(t *testing.T) {
	hosttest.Contract(t, func(t *testing.T) hosttest.Env {
		return hosttest.Env{
			Host: mustNew(t), Reopen: mustNew,
			Underlay: underlay(t), Local: netip.MustParseAddr("192.0.2.1"),
			Plant: plant, PlantNet: plantNet,
		}
	})
}

func mustNew(t *testing.T) hostapi.Host {
	t.Helper()
	h, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// underlay makes a device with 192.0.2.1/24 for as long as the test runs.
func underlay(t testing.TB) (device string) {
	t.Helper()
	a := netlink.NewLinkAttrs()
	a.Name = "under0"
	veth := netlink.NewVeth(a)
	veth.PeerName = "under1"
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netlink.LinkDel(veth); err != nil {
			t.Error(err)
		}
	})
	address, err := netlink.ParseAddr("192.0.2.1/24")
	if err != nil {
		t.Fatal(err)
	}
	peer, err := netlink.LinkByName("under1")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(netlink.AddrAdd(veth, address), netlink.LinkSetUp(veth), netlink.LinkSetUp(peer)); err != nil {
		t.Fatal(err)
	}
	return a.Name
}

func plant(t *testing.T, name string) {
	t.Helper()
	a := netlink.NewLinkAttrs()
	a.Name = name
	link := &netlink.Bridge{LinkAttrs: a}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netlink.LinkDel(link); err != nil {
			t.Error(err)
		}
	})
}

func plantNet(t *testing.T, name string) {
	t.Helper()
	if err := ns.Create(name, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(ns.Remove(name), ns.Tidy()); err != nil {
			t.Error(err)
		}
	})
}
