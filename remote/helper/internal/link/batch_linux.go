package link

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"unicode"

	"github.com/vishvananda/netns"

	"vxorch/remote/helper/internal/own"
	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns"
)

// Kernel is this machine's network as seen from the namespace that Open was
// called in. Safe for concurrent use.
type Kernel struct {
	host *conn
}

// Open opens the calling thread's network namespace.
func Open() (*Kernel, error) {
	host, err := dial(netns.None())
	if err != nil {
		return nil, err
	}
	return &Kernel{host}, nil
}

// Close gives the kernel's resources back. What was built stays.
func (k *Kernel) Close() { k.host.close() }

// Batch runs steps for one lab. It is for one goroutine; End it.
type Batch struct {
	host   *conn
	lock   *own.Lock
	mark   hostapi.Mark
	spaces map[string]*space // the namespaces that were looked into
	// The intents that an earlier run left when it died.
	left    []own.Intent
	removed bool // a namespace was
	waiting waiting
	// afterCreate, if not nil, is called when an object exists that does not
	// bear its mark yet. Tests die there.
	afterCreate func(kind, name string)
}

// Begin starts a batch under the lab's lock. mark goes on what is made; For is
// each object's own.
func (k *Kernel) Begin(lock *own.Lock, mark hostapi.Mark) (*Batch, error) {
	left, err := lock.Intents()
	if err != nil {
		return nil, err
	}
	mark.Lab = lock.Lab()
	return &Batch{host: k.host, lock: lock, mark: mark, spaces: map[string]*space{}, left: left}, nil
}

// End ends the batch and tidies up behind it and behind runs that died: intents
// that announce nothing any more go, and so do namespaces' empty mount points.
func (b *Batch) End() error {
	for name := range b.spaces {
		b.leave(name)
	}
	errs := []error{b.sweep()}
	if b.removed {
		errs = append(errs, ns.Tidy())
	}
	return errors.Join(errs...)
}

// Do brings the step's object to the wanted state, or removes it, from whatever
// it finds, and tells whether it had to change anything. What a failed step
// made it takes away again.
func (b *Batch) Do(step hostapi.Step) (changed bool, err error) {
	if err := checkStep(step); err != nil {
		return false, err
	}
	remove := step.Op == hostapi.Remove
	kind, name := step.Object()
	switch {
	case step.Address != nil:
		name = step.Address.Prefix.String() + " on " + name
		changed, err = b.address(*step.Address, remove)
	case step.Forwarding != nil:
		w := *step.Forwarding
		if remove {
			w.Flood, w.Remotes = nil, nil
		}
		changed, err = b.forwarding(w)
	case remove && step.Namespace != nil:
		changed, err = b.removeNamespace(name)
	case remove:
		changed, err = b.removeLink(name)
	case step.VTEP != nil:
		changed, err = b.ensure(b.vtep(*step.VTEP))
	case step.Bridge != nil:
		changed, err = b.ensure(b.bridge(*step.Bridge))
	case step.Veth != nil:
		changed, err = b.veth(*step.Veth)
	case step.Namespace != nil:
		changed, err = b.namespace(*step.Namespace)
	}
	if err != nil {
		return changed, fmt.Errorf("%s %s %s: %w", step.Op, kind, name, classify(err))
	}
	return changed, nil
}

// checkStep refuses a step that is not one thing to do.
func checkStep(s hostapi.Step) error {
	switch s.Op {
	case hostapi.Create, hostapi.Update, hostapi.Rebuild, hostapi.Remove:
	default:
		return invalid("there is no operation %q", s.Op)
	}
	objects := 0
	for _, set := range []bool{s.VTEP != nil, s.Bridge != nil, s.Namespace != nil, s.Veth != nil, s.Address != nil, s.Forwarding != nil} {
		if set {
			objects++
		}
	}
	if objects != 1 {
		return invalid("a step has one object, not %d", objects)
	}
	return nil
}

// checkName keeps names that the kernel would refuse or make another name of, as
// of "vx%d", and those that mean something else in a path below /proc/sys, from
// going any further.
func checkName(name string) error {
	if name == "" || len(name) > 15 || name == "." || name == ".." ||
		strings.ContainsFunc(name, func(r rune) bool { return strings.ContainsRune("/:%", r) || unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return invalid("%q cannot name a link: want 1 to 15 characters, none of them a space, /, : or %%", name)
	}
	return nil
}

// parseMAC reads the address of one Ethernet link.
func parseMAC(text string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 || bytes.Equal(mac, make([]byte, 6)) {
		return nil, invalid("%q is not the MAC address of a link", text)
	}
	return mac, nil
}

// ownership says whether d is this lab's: by its mark, or, unmarked, by an
// intent.
func ownership(d *device, lab string, intents []own.Intent) *hostapi.Mark {
	if m, ok := own.ParseMark(d.alias); ok {
		return &m
	}
	if announced(d, intents) {
		return &hostapi.Mark{Lab: lab, Intended: true}
	}
	return nil
}

// linkKind gives the kernel's name for one of hostapi's kinds of links, which is
// also its module's.
func linkKind(kind string) string {
	if kind == hostapi.KindVTEP {
		return "vxlan"
	}
	return kind
}

// announced says whether d, unmarked, is what one of intents announces.
func announced(d *device, intents []own.Intent) bool {
	for _, kind := range []string{hostapi.KindVTEP, hostapi.KindBridge, hostapi.KindVeth} {
		if d.Kind == linkKind(kind) {
			return d.alias == "" && own.Matches(intents, kind, d.Name, d.MAC)
		}
	}
	return false
}

// look gives the link of that name in the host's own namespace if it is the
// lab's, nil if there is none, and ErrForeign if it is not the lab's.
func (b *Batch) look(name string) (*device, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	d, err := b.host.get(name)
	if d == nil || err != nil {
		return nil, err
	}
	d.Mark = ownership(d, b.mark.Lab, b.left)
	if d.Name != name { // the kernel looks among other names of links, too
		return nil, foreign("it is another name of link %s", d.Name)
	}
	if d.Mark == nil || d.Mark.Lab != b.mark.Lab {
		return nil, foreign("link %s exists already, %s", name, own.Describe(d.alias))
	}
	return d, nil
}

// removeLink removes a link of the lab's. An intent that announced it goes at
// the batch's end.
func (b *Batch) removeLink(name string) (changed bool, err error) {
	d, err := b.look(name)
	if d == nil || err != nil {
		return false, err
	}
	return true, b.host.remove(d.Index)
}

// sweep removes intents whose object does not exist or bears its mark already.
func (b *Batch) sweep() error {
	intents, err := b.lock.Intents()
	if err != nil {
		return err
	}
	var errs []error
	for _, i := range intents {
		needed, err := b.sweepObject(i)
		if err == nil && !needed {
			err = b.lock.Forget(i)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// sweepObject says whether the intent is all that says whose its object is. It
// removes an announced namespace's empty mount point.
func (b *Batch) sweepObject(i own.Intent) (needed bool, err error) {
	if i.Kind == hostapi.KindNamespace {
		half, err := halfMade(i.Name)
		if half {
			b.removed = true
			err = ns.Remove(i.Name)
		}
		return false, err
	}
	d, err := b.host.get(i.Name)
	return d != nil && announced(d, []own.Intent{i}), err
}

// space is a namespace that was looked into.
type space struct {
	file  *os.File
	inner *conn
	mark  *hostapi.Mark
	alias string // of its loopback
}

// enter gives the named namespace, nil if there is none.
func (b *Batch) enter(name string) (*space, error) {
	if s := b.spaces[name]; s != nil {
		return s, nil
	}
	s, err := openSpace(name)
	if s != nil {
		b.spaces[name] = s
	}
	return s, err
}

// leave lets go of the named namespace: an open file or socket keeps it alive.
func (b *Batch) leave(name string) {
	if s := b.spaces[name]; s != nil {
		s.close()
		delete(b.spaces, name)
	}
}

// openSpace opens the named namespace and reads its mark; nil if there is none.
func openSpace(name string) (*space, error) {
	file, err := ns.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &space{file: file}
	if s.inner, err = dial(netns.NsHandle(file.Fd())); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("look into namespace %s: %w", name, err)
	}
	lo, err := s.inner.get("lo")
	if err != nil {
		s.close()
		return nil, fmt.Errorf("look into namespace %s: %w", name, err)
	}
	if lo != nil {
		s.alias = lo.alias
		if m, ok := own.ParseMark(lo.alias); ok {
			s.mark = &m
		}
	}
	return s, nil
}

func (s *space) close() {
	s.inner.close()
	_ = s.file.Close()
}
