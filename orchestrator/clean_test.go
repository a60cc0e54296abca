package orchestrator_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
)

// upload puts an image on a machine and gives its SHA-256.
func (b *bench) upload(host, data string) string {
	b.t.Helper()
	session := b.machines[host].Open()
	defer session.Close()
	if _, err := session.Observe(b.t.Context(), hostapi.ObserveRequest{Lab: "earlier", Lock: &hostapi.Holder{}}); err != nil {
		b.t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(data)))
	_, err := session.PutImage(b.t.Context(), hostapi.ImageChunk{Lab: "earlier", SHA256: sum, Size: int64(len(data)), Data: []byte(data)})
	if err != nil {
		b.t.Fatal(err)
	}
	return sum
}

func TestCleanTellsWhatItRemoved(t *testing.T) {
	b := newBench(t, "a", "b")
	lab := b.lab("try", "", "a", "b")
	sum := b.upload("a", "an image of a lab that is no more")
	o, removed := b.control.Clean(t.Context(), lab)
	b.passes(o, 1)
	if d := cmp.Diff(map[string][]string{"a": {"image " + sum}, "b": nil}, removed); d != "" {
		t.Errorf("removed (-want +got):\n%s", d)
	}
	o, _ = b.control.Clean(t.Context(), lab)
	b.passes(o, 0)
}

func TestHostThatCannotBeCleanedIsNamed(t *testing.T) {
	b := newBench(t, "a", "b")
	b.upload("b", "an image")
	b.machines["a"].SetFault(faultAt(hosttest.BeforeClean, errors.New("read-only file system")))
	o, removed := b.control.Clean(t.Context(), b.lab("try", "", "a", "b"))
	if len(o.Errs) != 1 || o.Errs[0].Error() != "a: clean: read-only file system" || o.Result.Result != report.Fail {
		t.Errorf("%s, errors %v; want host a's", o.Result.Result, o.Errs)
	}
	if len(removed["b"]) != 1 {
		t.Errorf("removed %v, want host b cleaned", removed)
	}
}
