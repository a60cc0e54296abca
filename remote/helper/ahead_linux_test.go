package helper

import (
	"errors"
	"strings"
	"testing"
	"time"

	"vxorch/remote/helper/internal/virt"
	"vxorch/remote/helper/internal/virt/virttest"
	"vxorch/remote/hostapi"
)

// askAhead observes with the lock, or without, and asks for the console of vm1 and of
// a domain that is not there.
func (l *lab) askAhead(lock bool) {
	l.t.Helper()
	req := lockRequest("deploy")
	if !lock {
		req.Lock = nil
	}
	req.Virt = &hostapi.VirtQuery{Consoles: []string{"vm1", "none"}}
	if _, err := l.host.Observe(l.t.Context(), req); err != nil {
		l.t.Fatal(err)
	}
}

// comes is another client who opens vm1's console. It gives it once the guest has
// said something there; the error is libvirt's refusal.
func (l *lab) comes() (*virt.Terminal, error) {
	l.t.Helper()
	terminal, err := virt.New().Console(l.t.Context(), "lu", "vm1")
	if err != nil {
		l.t.Fatal(err)
	}
	go terminal.Write([]byte("\r"))
	said := make(chan error, 1)
	go func() {
		_, err := terminal.Read(make([]byte, 100))
		said <- err
	}()
	select {
	case err = <-said:
	case <-time.After(time.Minute):
		l.t.Fatal("the guest says nothing to another client, who is not refused either")
	}
	if err != nil {
		terminal.Close()
		return nil, err
	}
	return terminal, nil
}

// free waits until another client can open vm1's console.
func (l *lab) free(when string) {
	l.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		terminal, err := l.comes()
		if err == nil {
			terminal.Close()
			return
		}
		if !errors.Is(err, hostapi.ErrBusy) || time.Now().After(deadline) {
			l.t.Fatalf("%s another gets: %v", when, err)
		}
	}
}

// held waits until vm1's console is open ahead.
func (l *lab) held() {
	l.t.Helper()
	h := l.host.(*host)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		h.mu.Lock()
		a := h.ahead["vm1"]
		h.mu.Unlock()
		switch {
		case a != nil:
			return
		case time.Now().After(deadline):
			l.t.Fatal("the console is not opened")
		}
	}
}

// ping pings the container from inside the VM, which answers unless it is to fail
// with an error of these words.
func (l *lab) ping(g hostapi.Guest, fails string) {
	l.t.Helper()
	r, err := l.host.Probe(l.t.Context(), []hostapi.Probe{{Guest: &g, Target: containerAddress.Addr()}})
	if err != nil {
		l.t.Fatal(err)
	}
	switch e := r[0].Error; {
	case fails == "" && (e != nil || r[0].Received != 1):
		l.t.Errorf("probe: %+v, %v; want a reply", r[0], e)
	case fails != "" && (e == nil || !strings.Contains(e.Message, fails)):
		l.t.Errorf("probe: %v, want %q", e, fails)
	}
}

func TestConsolesAreOpenedAhead(t *testing.T) {
	l := begin(t)
	d, g := l.vm()
	d.Lease = true
	l.apply(hostapi.Create, hostapi.Step{Domain: &d}, hostapi.Step{Guest: &g})
	h := l.host.(*host)

	l.askAhead(false)
	l.free("without the lock")

	// It is used, and then given back.
	l.askAhead(true)
	l.held()
	l.askAhead(true) // one is enough
	if _, err := l.comes(); !errors.Is(err, hostapi.ErrBusy) {
		t.Errorf("another who comes meanwhile: %v, want ErrBusy", err)
	}
	l.ping(g, "")
	l.free("after the pings")

	// Of one that another client holds who needs it is told, as of any.
	other, err := l.comes()
	if err != nil {
		t.Fatal(err)
	}
	l.askAhead(true)
	l.ping(g, "another client holds the console of domain vm1")
	other.Close()
	l.askAhead(true)
	l.ping(g, "")

	// Nobody comes to use it.
	h.aheadLimit = 100 * time.Millisecond
	l.askAhead(true)
	l.free("after the limit")
	h.aheadLimit = time.Hour

	// The domain is started by others, or goes.
	l.askAhead(true)
	l.held()
	virttest.Virsh(t, "destroy", "vm1")
	l.ping(g, "domain vm1 is shutoff")
	virttest.Virsh(t, "start", "vm1")
	l.askAhead(true)
	l.held()
	l.apply(hostapi.Remove, hostapi.Step{Domain: &d})
	l.apply(hostapi.Create, hostapi.Step{Domain: &d})

	// The session ends.
	l.askAhead(true)
	l.held()
	if err := l.host.Close(); err != nil {
		t.Error(err)
	}
	if terminal, err := l.comes(); err != nil {
		t.Errorf("after the session another gets: %v", err)
	} else {
		terminal.Close()
	}
	l.host = mustNew(t)
	l.lock()
}
