package virt

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"vxorch/remote/hostapi"
)

// configDir is where libvirt keeps what is defined.
const configDir = "/etc/libvirt/qemu"

// Remains looks for what is lab's beside what facts, of an Observe just before,
// tell: files in its directory that belong to no domain, processes that use
// them, and, where libvirt does not answer, what it has defined. It removes
// nothing.
func (h *Host) Remains(lab string, facts *hostapi.VirtFacts) ([]string, error) {
	files, err := h.store.remains(lab, facts)
	if err != nil {
		return nil, fmt.Errorf("look for what is left: %w", err)
	}
	remains := append(files, h.store.users(lab, facts)...)
	if facts == nil || facts.Unusable != nil {
		remains = append(remains, defined(configDir, lab)...)
	}
	return remains, nil
}

// remains lists the files in the lab's directory that belong to none of its
// domains. A directory that is not the lab's is none of its remains.
func (s store) remains(lab string, facts *hostapi.VirtFacts) ([]string, error) {
	if s.checkLab(lab) != nil {
		return nil, nil
	}
	entries, err := os.ReadDir(s.lab(lab))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var remains []string
	for _, e := range entries {
		belongs := e.Name() == markFile || slices.ContainsFunc(domainsOf(lab, facts), func(name string) bool {
			path := filepath.Join(s.lab(lab), e.Name())
			return path == s.disk(lab, name) || path == s.seed(lab, name) || strings.HasPrefix(path, s.log(lab, name))
		})
		if !belongs {
			remains = append(remains, filepath.Join(s.lab(lab), e.Name()))
		}
	}
	return remains, nil
}

// users lists the processes that were started on the lab's files and are of none
// of its domains: a QEMU that libvirt lost.
func (s store) users(lab string, facts *hostapi.VirtFacts) []string {
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil
	}
	var remains []string
	for _, file := range commands {
		text, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(text, []byte(s.lab(lab)+"/")) {
			continue // it ended, or has nothing to do with us
		}
		if slices.ContainsFunc(domainsOf(lab, facts), func(name string) bool { return bytes.Contains(text, []byte("guest="+name+",")) }) {
			continue
		}
		program, _, _ := strings.Cut(string(text), "\x00")
		if program = filepath.Base(program); strings.Contains(program, "qemu") || strings.Contains(program, "kvm") { // not who reads a log
			remains = append(remains, fmt.Sprintf("process %s (%s), which uses %s", filepath.Base(filepath.Dir(file)), program, s.lab(lab)))
		}
	}
	return remains
}

// domainsOf names the lab's domains.
func domainsOf(lab string, facts *hostapi.VirtFacts) []string {
	if facts == nil {
		return nil
	}
	var names []string
	for _, d := range facts.Domains {
		if d.Mark != nil && d.Mark.Lab == lab {
			names = append(names, d.Name)
		}
	}
	return names
}

// defined lists libvirt's files below dir that define something of the lab's.
func defined(dir, lab string) []string {
	var remains []string
	for _, pattern := range []string{"*.xml", "networks/*.xml"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			continue
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				continue
			}
			var document struct {
				Metadata metadata `xml:"metadata"`
			}
			if xml.Unmarshal(text, &document) != nil {
				continue
			}
			if m := document.Metadata.Mark.public(); m != nil && m.Lab == lab {
				remains = append(remains, file)
			}
		}
	}
	return remains
}
