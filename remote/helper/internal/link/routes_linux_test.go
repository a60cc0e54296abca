package link

import (
	"net/netip"
	"testing"
	"time"

	"vxorch/remote/hostapi"
)

func TestWaitsOfABatchShareTheirTime(t *testing.T) {
	var w waiting
	began := time.Unix(1000, 0)
	if took := w.took(began); took != 0 {
		t.Errorf("the first wait begins at %s", took)
	}
	if took := w.took(began.Add(20 * time.Second)); took != 20*time.Second {
		t.Errorf("after 20 s, of whichever network, %s are gone", took)
	}
}

func TestEndpointsAreToldOnceASecondInABatch(t *testing.T) {
	var w waiting
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {0, false}, {900 * time.Millisecond, false}, {time.Second, true}, {time.Second, false}} {
		if got := w.speaks(now.Add(c.after)); got != c.want {
			t.Errorf("after %s: %t, want %t", c.after, got, c.want)
		}
	}
}

func TestAHostIsDeafOnceABatchAndOnlyIfNobodyIsHeard(t *testing.T) {
	ends := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	told := []hostapi.ForwardingEntry{{Kind: hostapi.EntryFlood, Addr: ends[0]}}
	other := []hostapi.ForwardingEntry{{Kind: hostapi.EntryFlood, Addr: netip.MustParseAddr("192.0.2.9")}}
	type look struct {
		after   time.Duration
		ends    []netip.Addr
		entries []hostapi.ForwardingEntry
		want    bool
	}
	for name, looks := range map[string][]look{
		"nobody is heard":          {{0, ends, nil, false}, {4 * time.Second, ends, nil, false}, {6 * time.Second, ends, other, true}, {7 * time.Second, ends, nil, false}, {19 * time.Second, ends, nil, false}},
		"somebody was, elsewhere":  {{0, ends, told, false}, {6 * time.Second, ends, nil, false}},
		"nobody is waited for":     {{0, nil, nil, false}, {6 * time.Second, nil, other, false}},
		"another network is later": {{0, nil, nil, false}, {6 * time.Second, ends, nil, true}},
	} {
		var w waiting
		w.took(time.Unix(1000, 0))
		for _, l := range looks {
			if got := w.deafened(time.Unix(1000, 0).Add(l.after), l.ends, l.entries); got != l.want {
				t.Errorf("%s: after %s deaf %t, want %t", name, l.after, got, l.want)
			}
		}
	}
}
