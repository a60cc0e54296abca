package virt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/own"
	"vxorch/remote/hostapi"
)

// store is the directory of images and of the labs' disks:
//
//	SHA256.img               a base image, whole and checked, read-only
//	SHA256.part              one on its way
//	LAB/mark                 whose LAB is
//	LAB/DOMAIN.qcow2         a domain's disk, an overlay; made first, removed last
//	LAB/DOMAIN-seed.iso
//	LAB/DOMAIN.console.log   what the guest printed; .0, .1, … are older
//
// QEMU runs as a user of its own: the directories can be passed, not listed.
type store struct {
	dir string
}

const markFile = "mark"

func (s store) base(sha256 string) string    { return filepath.Join(s.dir, sha256+".img") }
func (s store) part(sha256 string) string    { return filepath.Join(s.dir, sha256+".part") }
func (s store) lab(lab string) string        { return filepath.Join(s.dir, lab) }
func (s store) disk(lab, name string) string { return filepath.Join(s.dir, lab, name+".qcow2") }
func (s store) seed(lab, name string) string { return filepath.Join(s.dir, lab, name+"-seed.iso") }
func (s store) log(lab, name string) string  { return filepath.Join(s.dir, lab, name+".console.log") }

// checkName keeps names that mean something else in a path from going any
// further.
func checkName(name string) error {
	if name == "" || len(name) > 200 || strings.HasPrefix(name, ".") || strings.ContainsFunc(name, func(r rune) bool {
		return r == '/' || r == unicode.ReplacementChar || unicode.IsControl(r)
	}) {
		return invalid("%q cannot name anything of libvirt's", name)
	}
	return nil
}

// mkdir makes the store.
func (s store) mkdir() error {
	if err := os.Mkdir(s.dir, 0o711); errors.Is(err, fs.ErrNotExist) {
		return &hostapi.Error{
			Kind: hostapi.KindUnsupported, Message: fmt.Sprintf("%s is not there: libvirt is not installed", filepath.Dir(s.dir)), Hint: hintPrepare,
		}
	} else if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the image store: %w", err)
	}
	return os.Chmod(s.dir, 0o711) // whatever the umask
}

// mkdirLab makes the lab's directory and marks it. The last lab's end may take
// the store away meanwhile.
func (s store) mkdirLab(m hostapi.Mark) error {
	dir := s.lab(m.Lab)
	for range 100 {
		if err := s.mkdir(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Mkdir(dir, 0o711); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make the lab's directory: %w", err)
		}
		if err := s.checkLab(m.Lab); err != nil {
			return err
		}
		m.For = ""
		if err := os.WriteFile(filepath.Join(dir, markFile), []byte(own.FormatMark(m)+"\n"), 0o600); err != nil {
			return fmt.Errorf("mark %s: %w", dir, full(dir, 0, err))
		}
		return os.Chmod(dir, 0o711)
	}
	return fmt.Errorf("make %s: it was removed again and again", dir)
}

// checkLab refuses a directory of the lab's name that is not the lab's. An
// empty one is that of a run that died before it could mark it; so is an empty
// mark.
func (s store) checkLab(lab string) error {
	text, err := os.ReadFile(filepath.Join(s.lab(lab), markFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if m, ok := own.ParseMark(string(bytes.TrimSuffix(text, []byte("\n")))); ok && m.Lab == lab {
		return nil
	}
	entries, err := os.ReadDir(s.lab(lab))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != markFile || len(text) > 0 {
			return &hostapi.Error{
				Kind: hostapi.KindForeign, Message: fmt.Sprintf("%s does not bear the mark of lab %q", s.lab(lab), lab),
				Hint: "look whose it is, then remove it",
			}
		}
	}
	return nil
}

// tidy removes the lab's directory if nothing but its mark is in it, then the
// store if nothing is.
func (s store) tidy(lab string) error {
	entries, err := os.ReadDir(s.lab(lab))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("tidy up: %w", err)
	}
	if err == nil && (len(entries) == 0 || len(entries) == 1 && entries[0].Name() == markFile) {
		if err := s.checkLab(lab); err != nil {
			return nil
		}
		for _, path := range []string{filepath.Join(s.lab(lab), markFile), s.lab(lab)} {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("tidy up: %w", err)
			}
		}
	}
	if err := os.Remove(s.dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return fmt.Errorf("tidy up: %w", err)
	}
	return nil
}

// makeDisks writes the files that a new domain stands on, and gives the image's
// path.
func (s store) makeDisks(m hostapi.Mark, w hostapi.Domain, path string, base disk) error {
	image, err := overlay(path, base)
	if err != nil {
		return err
	}
	if err := s.mkdirLab(m); err != nil {
		return err
	}
	dir := s.lab(m.Lab)
	for _, f := range []struct {
		path string
		data []byte
	}{{s.disk(m.Lab, w.Name), image}, {s.seed(m.Lab, w.Name), w.Seed}} {
		if len(f.data) == 0 {
			continue
		}
		if err := os.WriteFile(f.path, f.data, 0o600); err != nil {
			return fmt.Errorf("write the disks of domain %s: %w", w.Name, full(dir, int64(len(f.data)), err))
		}
	}
	return nil
}

// removeFiles removes the files of lab's domain of that name, if there are any.
func (s store) removeFiles(lab, name string) (changed bool, err error) {
	if err := s.checkLab(lab); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	entries, err := os.ReadDir(s.lab(lab))
	if err != nil {
		return false, err
	}
	files := []string{s.seed(lab, name)}
	for _, e := range entries {
		path := filepath.Join(s.lab(lab), e.Name())
		if number, ok := strings.CutPrefix(path, s.log(lab, name)+"."); path == s.log(lab, name) || ok && strings.Trim(number, "0123456789") == "" {
			files = append(files, path)
		}
	}
	for _, path := range append(files, s.disk(lab, name)) {
		if err := os.Remove(path); err == nil {
			changed = true
		} else if !errors.Is(err, fs.ErrNotExist) {
			return changed, fmt.Errorf("remove the disks of domain %s: %w", name, err)
		}
	}
	return changed, s.tidy(lab)
}

// observe reads the images asked for, the free bytes, and the domains of which
// there are only files.
func (s store) observe(lab string, images []hostapi.Image, facts *hostapi.VirtFacts) error {
	if facts.Unusable == nil {
		for _, i := range images {
			facts.Images = append(facts.Images, s.imageFacts(i))
		}
		free, err := free(s.dir)
		if err != nil {
			return fmt.Errorf("read the free space for images: %w", err)
		}
		facts.Free = free
	}
	if s.checkLab(lab) != nil {
		return nil // there is none, or not ours
	}
	entries, err := os.ReadDir(s.lab(lab))
	if err != nil {
		return fmt.Errorf("look into the image store: %w", err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".qcow2")
		if !ok || slices.ContainsFunc(facts.Domains, func(d hostapi.DomainFacts) bool { return d.Name == name && d.Mark != nil && d.Mark.Lab == lab }) {
			continue
		}
		if slices.ContainsFunc(facts.Domains, func(d hostapi.DomainFacts) bool { return d.Name == name }) {
			continue // a foreign one has taken the name
		}
		facts.Domains = append(facts.Domains, hostapi.DomainFacts{
			Name: name, Mark: &hostapi.Mark{Lab: lab, Intended: true}, State: hostapi.DomainUndefined,
		})
	}
	hostapi.SortFunc(facts.Domains, func(a, b hostapi.DomainFacts) int { return byName(a.Name, b.Name) })
	return nil
}

func byName(a, b string) int { return strings.Compare(a, b) }

// free gives the bytes left in the file system of path, or of the nearest
// directory above it that is there.
func free(path string) (int64, error) {
	for {
		var stat unix.Statfs_t
		err := unix.Statfs(path, &stat)
		if err == nil {
			return int64(stat.Bavail) * stat.Bsize, nil
		}
		if up := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && up != path {
			path = up
			continue
		}
		return 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
}

// full gives err of a write of need bytes into dir, where it tells that there is
// no room for them, the numbers.
func full(dir string, need int64, err error) error {
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	left, _ := free(dir)
	return noRoom(dir, need, left)
}

func noRoom(dir string, need, left int64) error {
	return &hostapi.Error{
		Kind:    hostapi.KindBusy,
		Message: fmt.Sprintf("the disk is too full: %s needs %d bytes more, %d are free", dir, need, left),
		Hint:    "make room there; `vxorch clean` removes images that no lab uses",
	}
}
