package run

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTransfersHaveARate(t *testing.T) {
	now := time.Unix(100, 0)
	var got []Event
	r := New(map[string]string{"a": "192.0.2.1"}, 1, func() time.Time { return now }, func(e Event) { got = append(got, e) })
	const mib = 1 << 20
	r.Transfer("a", "image", "cirros", 4*mib, 10*mib) // it goes on from where it broke off
	now = now.Add(2 * time.Second)
	r.Transfer("a", "image", "cirros", 7*mib, 10*mib)
	r.Transfer("a", "image", "cirros", 1*mib, 10*mib) // the host threw it away
	now = now.Add(time.Second)
	r.Transfer("a", "image", "cirros", 10*mib, 10*mib)
	r.Transfer(Here, "image x", "", 1*mib, 0)
	want := []Event{
		{Host: "a", Stage: "image", Note: "cirros 4.0 of 10.0 MiB", Bytes: 4 * mib, Total: 10 * mib},
		{Host: "a", Stage: "image", Note: "cirros 7.0 of 10.0 MiB, 1.5 MiB/s", Bytes: 7 * mib, Total: 10 * mib, Rate: 1.5 * mib, Seconds: 2},
		{Host: "a", Stage: "image", Note: "cirros 1.0 of 10.0 MiB", Bytes: 1 * mib, Total: 10 * mib},
		{Host: "a", Stage: "image", Note: "cirros 10.0 of 10.0 MiB, 9.0 MiB/s", Bytes: 10 * mib, Total: 10 * mib, Rate: 9 * mib, Seconds: 1},
		{Host: Here, Stage: "image x", Note: "1.0 MiB", Bytes: 1 * mib},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
