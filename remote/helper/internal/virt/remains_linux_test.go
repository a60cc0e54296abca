package virt

import (
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vxorch/remote/hostapi"
)

// writeAll writes files with nothing in them.
func writeAll(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRemainsAreFilesOfNoDomainAndWhoUsesThem(t *testing.T) {
	h := newHost(t)
	if err := os.MkdirAll(filepath.Dir(h.store.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	m := hostapi.Mark{Lab: "lu", User: "u", Controller: "c"}
	if err := errors.Join(h.store.mkdirLab(m), h.store.mkdirLab(hostapi.Mark{Lab: "other", User: "u", Controller: "c"})); err != nil {
		t.Fatal(err)
	}
	writeAll(t, h.store.disk("lu", "vm1"), h.store.seed("lu", "vm1"), h.store.log("lu", "vm1"), h.store.log("lu", "vm1")+".0")
	writeAll(t, h.store.seed("lu", "vm2"), h.store.log("lu", "vm2"), h.store.disk("other", "vm3"))

	// A shell that sits there under QEMU's name.
	stdin, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	qemu := &exec.Cmd{Path: "/bin/sh", Args: []string{"qemu-system-x86_64", "-c", "read line", "-name", "guest=vm2,debug", "-drive", h.store.disk("lu", "vm2")}, Stdin: stdin}
	if err := errors.Join(qemu.Start(), stdin.Close()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = hold.Close()
		_ = qemu.Wait()
	}()

	domain := func(name string) hostapi.DomainFacts { return hostapi.DomainFacts{Name: name, Mark: &m} }
	facts := &hostapi.VirtFacts{Domains: []hostapi.DomainFacts{domain("vm1")}}
	want := []string{
		h.store.seed("lu", "vm2"), h.store.log("lu", "vm2"),
		fmt.Sprintf("process %d (qemu-system-x86_64), which uses %s", qemu.Process.Pid, h.store.lab("lu")),
	}
	got, err := h.Remains("lu", facts)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Remains: %v, (-want +got):\n%s", err, diff)
	}
	facts.Domains = append(facts.Domains, domain("vm2"))
	if got, err := h.Remains("lu", facts); err != nil || len(got) > 0 {
		t.Errorf("where both domains stand there remain %q, %v; want nothing", got, err)
	}
	if got, err := h.Remains("nobody", facts); err != nil || len(got) > 0 {
		t.Errorf("of another lab there remain %q, %v; want nothing", got, err)
	}
}

func TestDefinitionsAreFoundWithoutLibvirt(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "networks"), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name string, document any) string {
		text, err := xml.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	want := []string{
		write("vm1.xml", domainXML{Name: "vm1", Metadata: metadata{&mark{Lab: "lu", For: "vm1"}}}),
		write("networks/lu-br0.xml", networkXML{Name: "lu-br0", Metadata: metadata{&mark{Lab: "lu"}}}),
	}
	write("vm2.xml", domainXML{Name: "vm2", Metadata: metadata{&mark{Lab: "other"}}})
	write("networks/default.xml", networkXML{Name: "default"})
	writeAll(t, filepath.Join(dir, "half.xml"))
	if diff := cmp.Diff(want, defined(dir, "lu")); diff != "" {
		t.Errorf("defined (-want +got):\n%s", diff)
	}
}
