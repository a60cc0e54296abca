package helper

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"vxorch/remote/helper/internal/virt/virttest"
	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
	"vxorch/remote/internal/ns"
)

func TestMain(m *testing.M) { virttest.Main(m) }

func TestContract(t *testing.T) {
	hosttest.Contract(t, func(t *testing.T) hosttest.Env {
		return hosttest.Env{
			Host: mustNew(t), Reopen: mustNew,
			Underlay: underlay(t), Local: netip.MustParseAddr("192.0.2.1"),
			Plant: plant, PlantNet: plantNet,
		}
	})
}

func TestCancelStopsBetweenSteps(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	begun := 0
	result, err := run(ctx, func(hostapi.Step) (bool, string, error) {
		begun++
		if begun == 2 {
			cancel()
		}
		return true, "", nil
	}, make([]hostapi.Step, 5))
	if begun != 2 || len(result.Steps) != 2 || !result.Steps[1].Changed || result.Steps[1].Error != nil {
		t.Errorf("%d steps begun, result %+v; want the second one whole and no third", begun, result)
	}
	if !errors.Is(err, hostapi.ErrCanceled) {
		t.Errorf("run: %v, want ErrCanceled", err)
	}
}

func TestClosingTwiceIsFine(t *testing.T) {
	h := mustNew(t)
	for range 2 {
		if err := h.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
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
