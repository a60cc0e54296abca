package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns"
)

// Run runs all probes at once and gives one result a probe, in their order. A
// lost reply is a result, not an error. The error is an *hostapi.Error: of
// KindInvalid if a probe makes no sense, and then none is sent; of KindCanceled
// if ctx ended. It opens one socket a namespace, address family and way of
// sending, however many probes there are. Safe for concurrent use.
func Run(ctx context.Context, probes []hostapi.Probe) ([]hostapi.ProbeResult, error) {
	results := make([]hostapi.ProbeResult, len(probes))
	senders, err := group(probes, results)
	if err != nil {
		return nil, err
	}
	if err := canceled(ctx); err != nil {
		return nil, err
	}
	// All are open before the first sends: opening takes the CPU from replies.
	for _, s := range senders {
		if err := ns.Do(s.netns, s.open); err != nil {
			s.failAll(openError(s.netns, err))
			continue
		}
		defer s.conn.Close()
	}
	var running sync.WaitGroup
	for _, s := range senders {
		if s.conn != nil {
			running.Go(func() { s.run(ctx) })
		}
	}
	running.Wait()
	if err := canceled(ctx); err != nil {
		return nil, err
	}
	return results, nil
}

// group gives each probe to the sender of its namespace and address family, in
// the order of namespaces.
func group(probes []hostapi.Probe, results []hostapi.ProbeResult) ([]*sender, error) {
	type key struct {
		netns     string
		v6, whole bool
		mark      string
	}
	senders := map[key]*sender{}
	for i, p := range probes {
		target := p.Target.Unmap()
		var problem string
		switch {
		case !target.IsValid():
			problem = "it has no target"
		case target.Zone() != "":
			problem = fmt.Sprintf("the target %s has a zone", target)
		case p.Bytes < 0 || p.Bytes > maxBytes:
			problem = fmt.Sprintf("%d bytes are not within 0…%d", p.Bytes, maxBytes)
		case len(p.Mark) > cmp.Or(p.Bytes, defaultBytes):
			problem = fmt.Sprintf("a mark of %d bytes in %d bytes", len(p.Mark), cmp.Or(p.Bytes, defaultBytes))
		case p.Tries < 0 || p.Tries > maxTries:
			problem = fmt.Sprintf("%d tries are not within 0…%d", p.Tries, maxTries)
		}
		if problem != "" {
			return nil, &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("probe %d: %s", i, problem)}
		}
		k := key{p.Netns, target.Is6(), p.Whole, string(p.Mark)}
		s := senders[k]
		if s == nil {
			s = &sender{netns: p.Netns, v6: k.v6, whole: k.whole, mark: p.Mark, finished: make(chan struct{})}
			senders[k] = s
		}
		s.exchanges = append(s.exchanges, &exchange{
			target: target,
			bytes:  cmp.Or(p.Bytes, defaultBytes),
			tries:  cmp.Or(p.Tries, maxTries),
			result: &results[i],
		})
		s.left++
	}
	var sorted []*sender
	for _, s := range senders {
		if len(s.exchanges) > maxExchanges {
			return nil, &hostapi.Error{
				Kind:    hostapi.KindInvalid,
				Message: fmt.Sprintf("%d probes from one namespace, more than %d", len(s.exchanges), maxExchanges),
			}
		}
		sorted = append(sorted, s)
	}
	hostapi.SortFunc(sorted, func(a, b *sender) int { return cmp.Compare(a.netns, b.netns) })
	return sorted, nil
}

func canceled(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return &hostapi.Error{Kind: hostapi.KindCanceled, Message: fmt.Sprintf("probes: %v", context.Cause(ctx))}
}

// openError says why no socket could be opened in the named namespace.
func openError(netns string, err error) *hostapi.Error {
	e := &hostapi.Error{Kind: hostapi.KindInternal, Message: fmt.Sprintf("open a socket for ICMP: %v", err)}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Kind = hostapi.KindInvalid
		e.Message = fmt.Sprintf("there is no namespace %q", netns)
	case errors.Is(err, fs.ErrPermission):
		e.Kind = hostapi.KindPermission
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EPROTONOSUPPORT):
		e.Kind = hostapi.KindUnsupported
	}
	return e
}
