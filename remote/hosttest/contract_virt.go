package hosttest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"vxorch/remote/hostapi"
)

// ContractVirt is Contract for what a Host does with libvirt and images. The
// machines that open gives have an Image, and are Cleaners. What depends on the
// guest is not asked of them.
func ContractVirt(t *testing.T, open func(t *testing.T) Env) {
	for i, test := range []struct {
		name string
		run  func(*bench)
	}{
		{"observe without a VM", (*bench).virtEmpty},
		{"an image comes in pieces and is checked", (*bench).image},
		{"an upload goes on in a second session", (*bench).imageResumed},
		{"a spoilt image is thrown away", (*bench).imageSpoilt},
		{"nonsense about images is refused", (*bench).imageNonsense},
		{"a VM runs, is seen as wanted and marked", (*bench).vm},
		{"a VM that differs is made anew", (*bench).vmRebuild},
		{"a VM that fails keeps none from being made", (*bench).vmBeside},
		{"a VM undefined or redefined by hand is defined again as it runs", (*bench).vmRedefined},
		{"a VM redefined by hand and stopped starts with its disk", (*bench).vmRedefinedAndOff},
		{"a VM whose mark was taken out is foreign", (*bench).vmDisowned},
		{"a network of another bridge is made anew", (*bench).virtNetworkRebuild},
		{"guests are awaited together, each to its own end", (*bench).guests},
		{"a console that is opened ahead is in nobody's way", (*bench).vmConsoleAhead},
		{"removal of a VM and its network leaves nothing", (*bench).vmRemove},
		{"a VM that cannot be is not in the way later", (*bench).vmImpossible},
		{"foreign domains and networks are left alone", (*bench).virtForeign},
		{"images need the lock", (*bench).imageNotLocked},
		{"clean spares what VMs stand on", (*bench).clean},
		{"clean spares what a session at work needs", (*bench).cleanBesideWork},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, open(t), 0x40+i)
			if len(b.Image) == 0 {
				t.Fatal("no image")
			}
			test.run(b)
		})
	}
}

func (b *bench) virtNetwork() hostapi.VirtNetwork {
	return hostapi.VirtNetwork{Name: b.name("nw"), For: "for-" + hostapi.KindVirtNetwork, Bridge: b.name("br")}
}

func (b *bench) domain() hostapi.Domain {
	return hostapi.Domain{
		Name: b.name("vm"), For: "for-" + hostapi.KindDomain, Image: hostapi.Image{SHA256: sumOf(b.Image)},
		Memory: 64 << 20, VCPUs: 1, DiskBus: "virtio",
		Interfaces: []hostapi.DomainInterface{{
			Network: b.name("nw"), Tap: b.name("tp"), Model: "virtio", MAC: b.mac(0xf5), MTU: 1400,
			Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.21/24")},
		}},
	}
}

// wholeVM is a VM with what it stands on, in the order of building; its image
// is on the host.
func (b *bench) wholeVM() []hostapi.Step {
	b.Helper()
	b.lockLab(b.Host)
	b.upload(b.Host, b.Image)
	return []hostapi.Step{b.step(b.bridge()), b.step(b.virtNetwork()), b.step(b.domain())}
}

// upload brings what the host lacks of an image, and fails if it is refused.
func (b *bench) upload(h hostapi.Host, data []byte) {
	b.Helper()
	c := hostapi.ImageChunk{Lab: b.lab, SHA256: sumOf(data), Size: int64(len(data))}
	have, err := h.PutImage(b.ctx(), c)
	for err == nil && have < c.Size {
		c.Offset = have
		c.Data = data[have:min(have+maxChunk, c.Size)]
		have, err = h.PutImage(b.ctx(), c)
	}
	if err != nil || have != c.Size {
		b.Fatalf("upload: the host has %d bytes of %d: %v", have, c.Size, err)
	}
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// seeVirt reads what there is of the lab's libvirt things and of an image.
func (b *bench) seeVirt(images ...string) hostapi.VirtFacts {
	b.Helper()
	q := &hostapi.VirtQuery{Networks: []string{b.virtNetwork().Name}, Domains: []string{b.domain().Name}}
	for _, sum := range images {
		q.Images = append(q.Images, hostapi.Image{SHA256: sum})
	}
	f := b.observe(hostapi.ObserveRequest{Virt: q}).Virt
	if f == nil || f.Unusable != nil || len(f.Images) != len(images) {
		b.Fatalf("libvirt: %+v, want it usable and %d images", f, len(images))
	}
	return *f
}

func (b *bench) virtEmpty() {
	f := b.seeVirt(sumOf([]byte(b.name("never"))))
	if f.Version == "" || f.Free <= 0 || len(f.Networks) > 0 || len(f.Domains) > 0 || f.Images[0].Have != 0 || f.Images[0].Whole {
		b.Errorf("%+v, want a version, free bytes and nothing else", f)
	}
	if f := b.observe(hostapi.ObserveRequest{}); f.Virt != nil {
		b.Errorf("libvirt was not asked for: %+v", f.Virt)
	}
}

// padded is an image that no other test brings, longer than a chunk.
func (b *bench) padded() []byte {
	data := append(slices.Clone(b.Image), b.prefix...)
	return append(data, bytes.Repeat([]byte{'v'}, maxChunk+4096)...)
}

func (b *bench) image() {
	b.lockLab(b.Host)
	data := b.padded()
	sum := sumOf(data)
	last := int64(1000 + maxChunk)
	put := func(what string, offset, length, want int64, refused bool) {
		b.Helper()
		have, err := b.Host.PutImage(b.ctx(), hostapi.ImageChunk{
			Lab: b.lab, SHA256: sum, Size: int64(len(data)), Offset: offset, Data: data[offset : offset+length],
		})
		if refused != errors.Is(err, hostapi.ErrInvalid) || !refused && (err != nil || have != want) {
			b.Errorf("%s: the host has %d, %v; want %d, refused: %v", what, have, err, want, refused)
		}
	}
	facts := func(have int64, whole bool) {
		b.Helper()
		want := hostapi.ImageFacts{Image: hostapi.Image{SHA256: sum}, Have: have, Whole: whole}
		b.same("image", want, b.seeVirt(sum).Images[0])
	}
	put("asked before the first chunk", 0, 0, 0, false)
	put("the first chunk", 0, 1000, 1000, false)
	put("a chunk behind a gap", 1001, 10, 0, true)
	put("the first chunk again", 0, 1000, 1000, false)
	put("asked between", 0, 0, 1000, false)
	facts(1000, false)

	d := b.domain()
	d.Image.SHA256 = sum
	b.apply(hostapi.Create, b.step(b.bridge()), b.step(b.virtNetwork()))
	if _, err := b.try(b.Host, hostapi.Create, b.step(d)); err == nil {
		b.Error("a VM began with half an image")
	}
	put("the largest chunk, begun earlier", 500, maxChunk, 500+maxChunk, false)
	put("a chunk that the host has in part", 1000, maxChunk, last, false)
	put("the rest", last, int64(len(data))-last, int64(len(data)), false)
	facts(int64(len(data)), true)
	put("asked at the end", 0, 0, int64(len(data)), false)
	put("a chunk again", 1000, 1000, int64(len(data)), false)
	b.apply(hostapi.Create, b.step(d))
}

func (b *bench) imageResumed() {
	b.lockLab(b.Host)
	data := b.padded()
	c := hostapi.ImageChunk{Lab: b.lab, SHA256: sumOf(data), Size: int64(len(data)), Data: data[:maxChunk]}
	if _, err := b.Host.PutImage(b.ctx(), c); err != nil {
		b.Fatal(err)
	}
	if err := b.Host.Close(); err != nil {
		b.Fatal(err)
	}
	second := b.reopen()
	b.lockLab(second)
	c.Data = nil
	if have, err := second.PutImage(b.ctx(), c); err != nil || have != maxChunk {
		b.Errorf("the second session finds %d bytes, %v; want %d", have, err, maxChunk)
	}
	b.upload(second, data)
}

func (b *bench) imageSpoilt() {
	b.lockLab(b.Host)
	data := []byte("spoilt by " + b.prefix)
	c := hostapi.ImageChunk{Lab: b.lab, SHA256: sumOf(append(data, '!')), Size: int64(len(data)), Data: data}
	if _, err := b.Host.PutImage(b.ctx(), c); err == nil {
		b.Error("an image with another SHA-256 was taken")
	}
	if f := b.seeVirt(c.SHA256).Images[0]; f.Whole || f.Have != 0 {
		b.Errorf("the host keeps it: %+v", f)
	}
}

func (b *bench) imageNonsense() {
	b.lockLab(b.Host)
	good := hostapi.ImageChunk{Lab: b.lab, SHA256: sumOf([]byte(b.prefix)), Size: 8 << 20, Data: []byte("x")}
	for name, spoil := range map[string]func(*hostapi.ImageChunk){
		"no sum": func(c *hostapi.ImageChunk) { c.SHA256 = "" },
		"a path for a sum": func(c *hostapi.ImageChunk) {
			c.SHA256 = "../../../../../../../../../../../../../../../../etc/passwd-vxorch"
		},
		"a sum in capitals":    func(c *hostapi.ImageChunk) { c.SHA256 = "ABCDEF" + c.SHA256[6:] },
		"no size":              func(c *hostapi.ImageChunk) { c.Size = 0 },
		"a negative offset":    func(c *hostapi.ImageChunk) { c.Offset = -1 },
		"more than the size":   func(c *hostapi.ImageChunk) { c.Size, c.Data = 3, []byte("long") },
		"more than one may be": func(c *hostapi.ImageChunk) { c.Data = make([]byte, maxChunk+1) },
	} {
		c := good
		spoil(&c)
		if _, err := b.Host.PutImage(b.ctx(), c); !errors.Is(err, hostapi.ErrInvalid) {
			b.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func (b *bench) imageNotLocked() {
	data := []byte(b.prefix)
	_, err := b.Host.PutImage(b.ctx(), hostapi.ImageChunk{Lab: b.lab, SHA256: sumOf(data), Size: int64(len(data)), Data: data})
	if !errors.Is(err, hostapi.ErrNotLocked) {
		b.Errorf("%v, want ErrNotLocked", err)
	}
}

// vmStandsAsWanted checks that the VM of d and its network are as wanted.
func (b *bench) vmStandsAsWanted(n hostapi.VirtNetwork, d hostapi.Domain) {
	b.Helper()
	f := b.seeVirt()
	if len(f.Networks) != 1 || len(f.Domains) != 1 {
		b.Fatalf("networks %+v, domains %+v; want one each", f.Networks, f.Domains)
	}
	if changes, _ := n.Diff(f.Networks[0]); len(changes) > 0 {
		b.Errorf("network: %v", changes)
	}
	if changes, _ := d.Diff(f.Domains[0]); len(changes) > 0 {
		b.Errorf("domain: %v", changes)
	}
	mark := func(kind string) *hostapi.Mark {
		return &hostapi.Mark{Lab: b.lab, For: "for-" + kind, User: user, Controller: controller}
	}
	b.same("mark of the network", mark(hostapi.KindVirtNetwork), f.Networks[0].Mark)
	b.same("mark of the domain", mark(hostapi.KindDomain), f.Domains[0].Mark)
}

func (b *bench) vm() {
	steps := b.wholeVM()
	for i, r := range b.apply(hostapi.Create, steps...).Steps {
		if !r.Changed {
			b.Errorf("step %d made something and says that it did not", i)
		}
	}
	b.vmStandsAsWanted(b.virtNetwork(), b.domain())
	tap := b.domain().Interfaces[0].Tap
	ask := hostapi.ObserveRequest{Links: []string{tap}}
	if l := b.link(b.observe(ask), tap); l == nil || l.Master != b.bridge().Name {
		b.Errorf("tap %+v, want it a port of %s", l, b.bridge().Name)
	}
	for i, r := range b.apply(hostapi.Create, steps...).Steps {
		if r.Changed {
			b.Errorf("step %d is as wanted and was changed", i)
		}
	}
	b.vmStandsAsWanted(b.virtNetwork(), b.domain())
}

func (b *bench) vmRebuild() {
	b.apply(hostapi.Create, b.wholeVM()...)
	d := b.domain()
	d.Memory *= 2
	d.Interfaces[0].MAC = b.mac(0xf6)
	if res := b.apply(hostapi.Rebuild, b.step(d)); !res.Steps[0].Changed {
		b.Error("memory and MAC differ and nothing was changed")
	}
	b.vmStandsAsWanted(b.virtNetwork(), d)
}

func (b *bench) vmBeside() {
	steps := b.wholeVM()
	b.apply(hostapi.Create, steps[0], steps[1])
	bad, after := b.domain(), b.bridge()
	bad.Name, bad.Image.SHA256 = b.name("bad"), sumOf([]byte("an image that is nowhere"))
	after.Name, after.MAC = b.name("b3"), b.mac(0xf7)
	res, err := b.try(b.Host, hostapi.Create, b.step(bad), b.step(b.domain()), b.step(after))
	if err == nil || len(res.Steps) != 2 || res.Steps[0].Error == nil || res.Steps[1].Error != nil || !res.Steps[1].Changed {
		b.Errorf("%+v, %v; want the first to fail, the second to be made, and the batch to end with them", res, err)
	}
	b.vmStandsAsWanted(b.virtNetwork(), b.domain())
}

// vmSeen is the VM's domain as seen.
func (b *bench) vmSeen() hostapi.DomainFacts {
	b.Helper()
	f := b.seeVirt()
	if len(f.Domains) != 1 {
		b.Fatalf("domains %+v, want one", f.Domains)
	}
	return f.Domains[0]
}

func (b *bench) vmRedefined() {
	b.apply(hostapi.Create, b.wholeVM()...)
	d := b.domain()
	tap := d.Interfaces[0].Tap
	started := func() int { // since a VM that starts has a tap made anew
		l := b.link(b.observe(hostapi.ObserveRequest{Links: []string{tap}}), tap)
		if l == nil {
			b.Fatal("the VM has no tap")
		}
		return l.Index
	}
	first := started()
	for _, c := range []struct {
		what string
		do   func(*testing.T, string)
		kept hostapi.Kept
	}{{"undefined", b.Virsh.Undefine, hostapi.KeptNone}, {"redefined", b.Virsh.Redefine, hostapi.KeptOther}} {
		c.do(b.T, d.Name)
		seen := b.vmSeen()
		if changes, rebuild := d.Diff(seen); seen.Kept != c.kept || len(changes) != 1 || rebuild {
			b.Errorf("%s as it runs: kept %q, %v, rebuild %v; want %q, which differs alone and in place", c.what, seen.Kept, changes, rebuild, c.kept)
		}
		if res := b.apply(hostapi.Update, b.step(d)); !res.Steps[0].Changed {
			b.Errorf("%s: nothing was changed", c.what)
		}
		b.vmStandsAsWanted(b.virtNetwork(), d)
		if res := b.apply(hostapi.Update, b.step(d)); res.Steps[0].Changed {
			b.Errorf("%s: changed twice", c.what)
		}
		if started() != first {
			b.Errorf("%s: the VM was started again", c.what)
		}
	}
}

func (b *bench) vmRedefinedAndOff() {
	b.apply(hostapi.Create, b.wholeVM()...)
	d := b.domain()
	b.Virsh.Stop(b.T, d.Name)
	b.Virsh.Redefine(b.T, d.Name)
	if changes, rebuild := d.Diff(b.vmSeen()); len(changes) < 2 || rebuild {
		b.Errorf("%v, rebuild %v; want state and definition to differ, and its disk to stay", changes, rebuild)
	}
	b.apply(hostapi.Update, b.step(d))
	b.vmStandsAsWanted(b.virtNetwork(), d)

	b.Virsh.Undefine(b.T, d.Name)
	b.apply(hostapi.Remove, b.step(d))
	if f := b.seeVirt(); len(f.Domains) > 0 {
		b.Errorf("of a VM that was undefined as it ran there is left: %+v", f.Domains)
	}
}

func (b *bench) vmDisowned() {
	b.apply(hostapi.Create, b.wholeVM()...)
	d := b.domain()
	b.Virsh.Disown(b.T, d.Name)
	if m := b.vmSeen().Mark; m != nil {
		b.Errorf("seen with mark %+v, want none", m)
	}
	for _, op := range []hostapi.Op{hostapi.Update, hostapi.Rebuild, hostapi.Remove} {
		if res, err := b.try(b.Host, op, b.step(d)); !errors.Is(err, hostapi.ErrForeign) || len(res.Steps) != 1 || res.Steps[0].Changed {
			b.Errorf("%s: %+v, %v; want ErrForeign", op, res, err)
		}
	}
	if s := b.vmSeen().State; s != "running" {
		b.Errorf("it is %s now, want it untouched", s)
	}
}

// guests are ones that never answer: for an address that they were not given.
func (b *bench) guests() {
	b.apply(hostapi.Create, b.wholeVM()...)
	legs := b.domain().Interfaces
	legs[0].Addresses = []netip.Prefix{netip.MustParsePrefix("10.77.0.99/24")}
	await := func(domain string) hostapi.Step {
		return hostapi.Step{Op: hostapi.Await, Guest: &hostapi.Guest{
			Domain: domain, For: "for-" + domain, Interfaces: legs, Deadline: time.Second,
		}}
	}
	after := b.bridge()
	after.Name = b.name("b3")
	res, err := b.Host.Apply(b.ctx(), hostapi.Batch{Lab: b.lab, User: user, Controller: controller, Steps: []hostapi.Step{
		await(b.name("none")), await(b.domain().Name), await(b.name("nil")), {Op: hostapi.Create, Bridge: &after},
	}})
	if err == nil || len(res.Steps) != 3 {
		b.Fatalf("%+v, %v; want an error and three steps that were begun", res, err)
	}
	for i, name := range []string{b.name("none"), b.domain().Name, b.name("nil")} {
		if e := res.Steps[i].Error; e == nil || !strings.Contains(e.Message, name) || !strings.Contains(err.Error(), e.Message) {
			b.Errorf("step %d: %v, want an error that names %s and is among %q", i, e, name, err)
		}
	}
	if e := res.Steps[1].Error; e != nil && e.Hint == "" {
		b.Errorf("%v has no hint", e)
	}
}

// vmConsoleAhead asks for consoles of domains that are there and of others, with the
// lock and without, in two sessions: what stands is the same, and can be removed.
func (b *bench) vmConsoleAhead() {
	steps := b.wholeVM()
	b.apply(hostapi.Create, steps...)
	before := b.vmSeen()
	ask := hostapi.ObserveRequest{Lab: b.lab, Virt: &hostapi.VirtQuery{
		Domains: []string{b.domain().Name}, Consoles: []string{b.name("none"), b.domain().Name},
	}}
	if _, err := b.Reopen(b.T).Observe(b.ctx(), ask); err != nil {
		b.Errorf("without the lock: %v", err)
	}
	ask.Lock = &hostapi.Holder{User: user, Controller: controller, Verb: "deploy"}
	for range 2 {
		if _, err := b.Host.Observe(b.ctx(), ask); err != nil {
			b.Fatal(err)
		}
	}
	if after := b.vmSeen(); !reflect.DeepEqual(before, after) {
		b.Errorf("the domain is %+v, was %+v", after, before)
	}
	slices.Reverse(steps)
	b.apply(hostapi.Remove, steps...)
	b.noVM()
	b.nothingStands()
}

func (b *bench) virtNetworkRebuild() {
	other, n := b.bridge(), b.virtNetwork()
	other.Name, other.MAC = b.name("b2"), b.mac(0x41)
	b.apply(hostapi.Create, b.step(b.bridge()), b.step(other), b.step(n))
	n.Bridge = other.Name
	if res := b.apply(hostapi.Rebuild, b.step(n)); !res.Steps[0].Changed {
		b.Error("the bridge differs and nothing was changed")
	}
	f := b.seeVirt()
	if len(f.Networks) != 1 || f.Networks[0].Bridge != other.Name || !f.Networks[0].Active {
		b.Errorf("%+v, want it active on %s", f.Networks, other.Name)
	}
}

func (b *bench) vmRemove() {
	steps := b.wholeVM()
	b.apply(hostapi.Create, steps...)
	slices.Reverse(steps)
	for _, changed := range []bool{true, false} {
		for i, r := range b.apply(hostapi.Remove, steps...).Steps {
			if r.Changed != changed {
				kind, name := steps[i].Object()
				b.Errorf("removal of %s %s says changed %v, want %v", kind, name, r.Changed, changed)
			}
		}
		b.noVM()
	}
	b.nothingStands()
	if f := b.seeVirt(sumOf(b.Image)); !f.Images[0].Whole {
		b.Error("the base image went with the VM")
	}
}

// noVM checks that of the VM nothing is left.
func (b *bench) noVM() {
	b.Helper()
	f := b.seeVirt()
	if len(f.Networks) > 0 || len(f.Domains) > 0 {
		b.Errorf("networks %+v, domains %+v stand", f.Networks, f.Domains)
	}
	tap := b.domain().Interfaces[0].Tap
	if l := b.link(b.observe(hostapi.ObserveRequest{Links: []string{tap}}), tap); l != nil {
		b.Errorf("tap stands: %+v", l)
	}
}

func (b *bench) vmImpossible() {
	steps := b.wholeVM()
	b.apply(hostapi.Create, steps[0], steps[1])
	noImage, noFile, noNetwork := b.domain(), b.domain(), b.domain()
	noImage.Image.SHA256 = sumOf([]byte("an image that is nowhere"))
	noFile.Image = hostapi.Image{Path: "/nonexistent/" + b.prefix}
	noNetwork.Interfaces[0].Network = b.name("nonw")
	for name, d := range map[string]hostapi.Domain{
		"no such image": noImage, "no such file": noFile, "no such network": noNetwork,
	} {
		res, err := b.try(b.Host, hostapi.Create, b.step(d))
		if err == nil || len(res.Steps) != 1 || res.Steps[0].Error == nil {
			b.Errorf("%s: %+v, %v; want a step that failed", name, res, err)
		}
		b.apply(hostapi.Create, b.step(b.domain()))
		b.vmStandsAsWanted(b.virtNetwork(), b.domain())
		b.apply(hostapi.Remove, b.step(b.domain()))
	}
}

func (b *bench) virtForeign() {
	steps := b.wholeVM()
	b.apply(hostapi.Create, steps[0], steps[1])
	name := b.name("alien")
	b.Virsh.Plant(b.T, name)
	ask := hostapi.ObserveRequest{Virt: &hostapi.VirtQuery{Networks: []string{name}, Domains: []string{name}}}
	seen := func() hostapi.VirtFacts {
		f := *b.observe(ask).Virt
		f.Free = 0 // which others change
		return f
	}
	before := seen()
	n := find(before.Networks, func(n hostapi.VirtNetworkFacts) bool { return n.Name == name })
	d := find(before.Domains, func(d hostapi.DomainFacts) bool { return d.Name == name })
	if n == nil || n.Mark != nil || d == nil || d.Mark != nil {
		b.Fatalf("planted: %+v, %+v; want them without marks", n, d)
	}
	network, domain := b.virtNetwork(), b.domain()
	network.Name, domain.Name = name, name
	for _, s := range []hostapi.Step{b.step(network), b.step(domain)} {
		for _, op := range []hostapi.Op{hostapi.Create, hostapi.Update, hostapi.Rebuild, hostapi.Remove} {
			kind, _ := s.Object()
			res, err := b.try(b.Host, op, s)
			if !errors.Is(err, hostapi.ErrForeign) || len(res.Steps) != 1 || res.Steps[0].Changed {
				b.Errorf("%s %s: %+v, %v; want ErrForeign", op, kind, res, err)
			}
		}
	}
	b.same("facts", before, seen())
}

func (b *bench) clean() {
	cleaner, ok := b.Host.(hostapi.Cleaner)
	if !ok {
		b.Fatalf("%T is no Cleaner", b.Host)
	}
	steps := b.wholeVM()
	b.apply(hostapi.Create, steps...)
	unused := b.padded()
	b.upload(b.Host, unused)
	half := hostapi.ImageChunk{Lab: b.lab, SHA256: sumOf([]byte("half of " + b.prefix)), Size: 1000, Data: []byte("half")}
	if _, err := b.Host.PutImage(b.ctx(), half); err != nil {
		b.Fatal(err)
	}
	check := func(what string, removes bool, used int64) {
		b.Helper()
		removed, err := cleaner.Clean(b.ctx())
		if err != nil || removes != (len(removed) > 0) {
			b.Errorf("%s: removed %q, %v; want something: %v", what, removed, err, removes)
		}
		var have []int64
		for _, i := range b.seeVirt(sumOf(b.Image), sumOf(unused), half.SHA256).Images {
			have = append(have, i.Have)
		}
		b.same(what+": bytes of images", []int64{used, 0, 0}, have)
	}
	size := int64(len(b.Image))
	check("beside a VM", true, size)
	check("again", false, size)
	b.vmStandsAsWanted(b.virtNetwork(), b.domain())
	b.apply(hostapi.Remove, b.step(b.domain()))
	check("without a VM", true, 0)
}

// cleanBesideWork: between seeing or bringing an image and making a disk on it
// nobody takes it away.
func (b *bench) cleanBesideWork() {
	b.lockLab(b.Host)
	brought := b.padded()
	b.upload(b.Host, brought)
	half := hostapi.ImageChunk{Lab: b.lab, SHA256: sumOf([]byte("half of " + b.prefix)), Size: 1000, Data: []byte("half")}
	if _, err := b.Host.PutImage(b.ctx(), half); err != nil {
		b.Fatal(err)
	}
	check := func(what string, whole, part int64) {
		b.Helper()
		cleaner := b.reopen()
		if _, err := cleaner.(hostapi.Cleaner).Clean(b.ctx()); err != nil {
			b.Fatal(err)
		}
		f, err := cleaner.Observe(b.ctx(), hostapi.ObserveRequest{Lab: b.lab, Virt: &hostapi.VirtQuery{
			Images: []hostapi.Image{{SHA256: sumOf(brought)}, {SHA256: half.SHA256}},
		}})
		if err != nil {
			b.Fatal(err)
		}
		b.same(what, []int64{whole, part}, []int64{f.Virt.Images[0].Have, f.Virt.Images[1].Have})
		if err := cleaner.Close(); err != nil {
			b.Fatal(err)
		}
	}
	check("beside who brought it", int64(len(brought)), 4)
	if err := b.Host.Close(); err != nil {
		b.Fatal(err)
	}
	sees := b.reopen()
	if _, err := sees.Observe(b.ctx(), hostapi.ObserveRequest{
		Lab: b.lab, Lock: &hostapi.Holder{User: user, Controller: controller, Verb: "deploy"},
		Virt: &hostapi.VirtQuery{Images: []hostapi.Image{{SHA256: sumOf(brought)}}},
	}); err != nil {
		b.Fatal(err)
	}
	check("beside who has seen it", int64(len(brought)), 4)
	if err := sees.Close(); err != nil {
		b.Fatal(err)
	}
	check("when nobody is at work", 0, 0)
}
