package link

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/own"
	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns"
)

// halfMade reports whether name is a mount point without a namespace, as dying
// while one is made leaves behind.
func halfMade(name string) (bool, error) {
	if name == "" || strings.ContainsAny(name, "/\x00") || name == "." || name == ".." {
		return false, invalid("%q cannot name a namespace", name)
	}
	var stat unix.Statfs_t
	err := unix.Statfs(filepath.Join(ns.Dir, name), &stat)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && stat.Type != unix.NSFS_MAGIC, err
}

// lookSpace gives the named namespace if it is the lab's, nil if there is none,
// and ErrForeign if it is not the lab's.
func (b *Batch) lookSpace(name string) (*space, error) {
	s, err := b.enter(name)
	if s == nil || err != nil {
		return nil, err
	}
	if s.mark == nil || s.mark.Lab != b.mark.Lab {
		return nil, foreign("namespace %s exists already, %s", name, own.Describe(s.alias))
	}
	return s, nil
}

// clearHalf removes the empty mount point that a run of this lab left when it
// died, and tells whether there was one. It has to be announced: another
// program may be between making the file and binding a namespace to it.
func (b *Batch) clearHalf(name string) (cleared bool, err error) {
	half, err := halfMade(name)
	if !half || err != nil {
		return false, err
	}
	if !own.Matches(b.left, hostapi.KindNamespace, name, "") {
		return false, foreign("%s/%s exists already, is no namespace and was not made by vxorch", ns.Dir, name)
	}
	return true, ns.Remove(name)
}

func (b *Batch) namespace(w hostapi.Namespace) (changed bool, err error) {
	if _, err := b.clearHalf(w.Name); err != nil {
		return false, err
	}
	s, err := b.lookSpace(w.Name)
	if err != nil {
		return false, err
	}
	if s == nil {
		return true, b.makeNamespace(w)
	}
	lo, err := s.inner.get("lo")
	if lo == nil || err != nil {
		return false, err
	}
	changes, _ := w.Diff(hostapi.NamespaceFacts{Name: w.Name, Mark: s.mark, Links: []hostapi.Link{lo.Link}})
	if len(changes) == 0 {
		return false, nil
	}
	return true, s.inner.up(lo.Index, true)
}

// makeNamespace makes a namespace that bears its mark before it has a name.
func (b *Batch) makeNamespace(w hostapi.Namespace) error {
	intent := own.Intent{Kind: hostapi.KindNamespace, Name: w.Name}
	if err := b.lock.Intend(intent); err != nil {
		return err
	}
	mark := b.mark
	mark.For = w.For
	err := ns.Create(w.Name, func() error {
		inner, err := dial(netns.None())
		if err != nil {
			return err
		}
		defer inner.close()
		if b.afterCreate != nil {
			b.afterCreate(hostapi.KindNamespace, w.Name)
		}
		lo, err := inner.get("lo")
		if err != nil {
			return err
		}
		if lo == nil {
			return errors.New("it has no loopback device")
		}
		if err := inner.set(lo.Index, nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(own.FormatMark(mark)))); err != nil {
			return fmt.Errorf("mark it: %w", err)
		}
		return inner.up(lo.Index, true)
	})
	return errors.Join(err, b.lock.Forget(intent))
}

func (b *Batch) removeNamespace(name string) (changed bool, err error) {
	if cleared, err := b.clearHalf(name); cleared || err != nil {
		b.removed = true
		return cleared, err
	}
	s, err := b.lookSpace(name)
	if s == nil || err != nil {
		return false, err
	}
	b.leave(name)
	b.removed = true
	if err := ns.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, nil
}
