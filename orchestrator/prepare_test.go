package orchestrator_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vxorch/orchestrator"
	"vxorch/orchestrator/images"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
)

// vmOn are images and a VM on a host.
func vmOn(host string) string {
	return "images: {i: {path: /i.qcow2, login: {user: cirros, password: gocubsgo}}}\n" +
		"vms: {vm: {host: " + host + ", image: i}}\n"
}

// bareMachines are hosts without libvirt.
func bareMachines(t *testing.T, o hosttest.MachineOptions, hosts ...string) *bench {
	b := newBench(t)
	fabric := hosttest.NewFabric()
	o.NoLibvirt = true
	for _, h := range hosts {
		b.machines[h] = fabric.NewMachine(h, o)
	}
	return b
}

func TestPrepareInstallsWhereVMsAreWanted(t *testing.T) {
	b := bareMachines(t, hosttest.MachineOptions{}, "a", "b")
	lab := b.lab("try", vmOn("b"), "a", "b")
	var shown []string
	confirm := func(lacks []orchestrator.Lack) error {
		for _, l := range lacks {
			shown = append(shown, l.Host+": "+strings.Join(append(l.Packages, l.Units...), " "))
		}
		return nil
	}
	o := b.control.Prepare(t.Context(), lab, confirm)
	b.passes(o, 3)
	if d := cmp.Diff([]string{"b: libvirt qemu libvirtd.socket"}, shown); d != "" {
		t.Errorf("shown (-want +got):\n%s", d)
	}
	if o.Result.Verb != "prepare" || len(o.Result.Findings) > 0 {
		t.Errorf("%+v, want a prepare without findings", o.Result)
	}
	asked := func([]orchestrator.Lack) error { t.Error("asked although nothing is missing"); return nil }
	b.passes(b.control.Prepare(t.Context(), lab, asked), 0)
}

func TestRefusalToPrepareInstallsNothing(t *testing.T) {
	b := bareMachines(t, hosttest.MachineOptions{}, "a")
	lab := b.lab("try", vmOn("a"), "a")
	no := errors.New("no")
	o := b.control.Prepare(t.Context(), lab, func([]orchestrator.Lack) error { return no })
	if len(o.Errs) != 1 || !errors.Is(o.Errs[0], no) || o.Result.Changed != 0 || o.Result.Result != report.Fail {
		t.Errorf("%+v, errors %v; want the refusal alone", o.Result, o.Errs)
	}
	asked := false
	b.control.Prepare(t.Context(), lab, func([]orchestrator.Lack) error { asked = true; return no })
	if !asked {
		t.Error("nothing is missing after the refusal")
	}
}

func TestDaemonsToStartByHandAreFindings(t *testing.T) {
	b := bareMachines(t, hosttest.MachineOptions{NoSystemd: true}, "a")
	lab := b.lab("try", vmOn("a"), "a")
	yes := func([]orchestrator.Lack) error { return nil }
	for _, changed := range []int{2, 0} {
		o := b.control.Prepare(t.Context(), lab, yes)
		if len(o.Errs) > 0 || o.Result.Result != report.Fail || o.Result.Changed != changed {
			t.Errorf("%+v, errors %v; want %d changed, no error, and no pass", o.Result, o.Errs, changed)
		}
		if len(o.Result.Findings) != 1 || o.Result.Findings[0].Host != "a" || !strings.Contains(o.Result.Findings[0].Mend, "libvirtd -d") {
			t.Errorf("findings %+v, want one that names the daemon", o.Result.Findings)
		}
	}
	b.machines["a"].StartDaemons()
	b.passes(b.control.Prepare(t.Context(), lab, yes), 0)
}

func TestHostThatCannotBePreparedIsNamed(t *testing.T) {
	b := bareMachines(t, hosttest.MachineOptions{}, "a", "b", "c")
	lab := b.lab("try", "images: {i: {path: /i.qcow2}}\nvms: {vm: {hosts: all, image: i, provision: none}}\n", "a", "b", "c")
	b.machines["a"].SetFault(faultAt(hosttest.BeforePrepare, errors.New("E: no such package")))
	b.dead["c"] = errors.New("no route")
	o := b.control.Prepare(t.Context(), lab, func([]orchestrator.Lack) error { return nil })
	var texts []string
	for _, err := range o.Errs {
		texts = append(texts, err.Error())
	}
	if d := cmp.Diff([]string{"a: install: E: no such package", "c: connect: no route"}, texts); d != "" {
		t.Errorf("errors (-want +got):\n%s", d)
	}
	if o.Result.Changed != 3 {
		t.Errorf("%d changed, want the three of host b", o.Result.Changed)
	}
}

// faultAt fails what a host does at a moment.
func faultAt(moment hosttest.Moment, err error) hosttest.Fault {
	return func(_ context.Context, at hosttest.Moment, _ *hostapi.Step) error {
		if at == moment {
			return err
		}
		return nil
	}
}

func TestPrepareFetchesImages(t *testing.T) {
	var asked atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			http.Error(w, "no", http.StatusNotFound)
			return
		}
		io.WriteString(w, "an image")
	}))
	defer web.Close()
	b := newBench(t, "a")
	b.control.Images = images.Cache{Dir: t.TempDir()}
	lab := b.lab("try", "images: {i: {url: "+web.URL+"/i.qcow2}}\nvms: {vm: {host: a, image: i, provision: none}}\n", "a")
	none := func([]orchestrator.Lack) error { return nil }
	o := b.control.Prepare(t.Context(), lab, none)
	if len(o.Errs) != 1 || !strings.Contains(o.Errs[0].Error(), "404") || o.Result.Result != report.Fail || o.Result.Error == "" {
		t.Errorf("%+v, errors %v; want the server's refusal", o.Result, o.Errs)
	}
	for range 2 {
		b.passes(b.control.Prepare(t.Context(), lab, none), 0)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("%d requests, want none after the image was fetched", n)
	}
}
