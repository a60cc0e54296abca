package helper

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sync/errgroup"

	"vxorch/remote/helper/internal/dhcp"
	"vxorch/remote/hostapi"
)

// consoleTail is how much of its console's end an error about a guest shows, in
// bytes.
const consoleTail = 800

// guest is done when lab's guest answers on its taps for all of its addresses.
func (h *host) guest(ctx context.Context, lab string, w hostapi.Guest) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.Deadline)
	defer cancel()
	began := time.Now()
	missing, err := silent(ctx, w)
	switch {
	case err != nil:
		return false, err
	case len(missing) == 0:
		return false, nil
	}
	e := &hostapi.Error{
		Kind:    hostapi.KindInternal,
		Message: fmt.Sprintf("the guest does not answer for %s after %v", texts(missing), time.Since(began).Round(time.Second)),
		Hint:    "look at its console: virsh console " + w.Domain,
	}
	if tail := shown(h.virt.ConsoleLog(lab, w.Domain, consoleTail)); tail != "" {
		e.Message += "; its console ends with:\n" + tail
	}
	return false, e
}

// silent waits until the guest answers for every address of w, or ctx ends, and
// gives those that it does not answer for.
func silent(ctx context.Context, w hostapi.Guest) (missing []netip.Addr, err error) {
	type question struct {
		tap      string
		addr     netip.Addr
		answered bool
	}
	var all []*question
	var group errgroup.Group
	for _, i := range w.Interfaces {
		for _, p := range i.Addresses {
			q := &question{tap: i.Tap, addr: p.Addr()}
			all = append(all, q)
			group.Go(func() (err error) {
				q.answered, err = dhcp.Answers(ctx, q.tap, q.addr)
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, q := range all {
		if !q.answered {
			missing = append(missing, q.addr)
		}
	}
	return missing, nil
}

func texts(addresses []netip.Addr) string {
	var all []string
	for _, a := range addresses {
		all = append(all, a.String())
	}
	return strings.Join(all, ", ")
}

// shown is a console's text without what would move the cursor of whoever reads
// it.
func shown(text string) string {
	text = strings.Map(func(r rune) rune {
		if r != '\n' && (unicode.IsControl(r) || r == unicode.ReplacementChar) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	return strings.TrimSpace(text)
}
