package images

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
	"vxorch/remote/wire"
)

// image makes a source of size bytes.
func image(t *testing.T, size int) Source {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.img")
	data := pattern(size)
	writeOld(t, path, data, 0)
	return Source{SHA256: sumOf(data), Size: int64(size), Path: path}
}

// open gives a session that holds the lab's lock.
func open(t *testing.T, m *hosttest.Machine) hostapi.Host {
	t.Helper()
	s := m.Open()
	if _, err := s.Observe(t.Context(), hostapi.ObserveRequest{Lab: "lu", Lock: &hostapi.Holder{User: "me"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// whole asks a host whether it can use an image.
func whole(t *testing.T, h hostapi.Host, s Source) hostapi.ImageFacts {
	t.Helper()
	facts, err := h.Observe(t.Context(), hostapi.ObserveRequest{Lab: "lu", Virt: &hostapi.VirtQuery{Images: []hostapi.Image{{SHA256: s.SHA256}}}})
	if err != nil {
		t.Fatal(err)
	}
	return facts.Virt.Images[0]
}

func TestAnImageIsUploadedOnce(t *testing.T) {
	m := hosttest.NewFabric().NewMachine("host1", hosttest.MachineOptions{})
	h, source := open(t, m), image(t, 11<<20+17)
	var last [2]int64
	sent, err := Upload(t.Context(), h, "lu", source, func(have, total int64) {
		if have < last[0] {
			t.Errorf("progress went back from %d to %d", last[0], have)
		}
		last = [2]int64{have, total}
	})
	if err != nil || sent != source.Size || last != [2]int64{source.Size, source.Size} {
		t.Errorf("sent %d, %v, last progress %v; want %d", sent, err, last, source.Size)
	}
	if f := whole(t, h, source); !f.Whole {
		t.Errorf("the host has %+v", f)
	}
	if sent, err := Upload(t.Context(), h, "lu", source, nil); err != nil || sent != 0 {
		t.Errorf("the second upload sent %d, %v; want nothing", sent, err)
	}
}

func TestAnUploadGoesOnAfterACut(t *testing.T) {
	m := hosttest.NewFabric().NewMachine("host1", hosttest.MachineOptions{})
	h, source := open(t, m), image(t, 11<<20)
	calls := 0
	m.SetFault(func(_ context.Context, at hosttest.Moment, _ *hostapi.Step) error {
		if at == hosttest.BeforeImage {
			if calls++; calls == 4 {
				return hosttest.ErrCut
			}
		}
		return nil
	})
	first, err := Upload(t.Context(), h, "lu", source, nil)
	if !errors.Is(err, hostapi.ErrLost) || first == 0 {
		t.Fatalf("the first upload sent %d, %v; want some and ErrLost", first, err)
	}
	m.SetFault(nil)
	h = open(t, m)
	if f := whole(t, h, source); f.Whole || f.Have != first {
		t.Errorf("after the cut the host has %+v, want %d bytes", f, first)
	}
	second, err := Upload(t.Context(), h, "lu", source, nil)
	if err != nil || first+second != source.Size {
		t.Errorf("sent %d and %d, %v; want %d together", first, second, err, source.Size)
	}
}

func TestAnImageThatIsNotWhatItWasIsRefusedByTheHost(t *testing.T) {
	m := hosttest.NewFabric().NewMachine("host1", hosttest.MachineOptions{})
	h, source := open(t, m), image(t, 1<<20)
	source.SHA256 = sumOf([]byte("another"))
	if _, err := Upload(t.Context(), h, "lu", source, nil); !errors.Is(err, hostapi.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
	source = image(t, 1<<20)
	source.Size++
	if _, err := Upload(t.Context(), h, "lu", source, nil); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("got %v, want that the file became shorter", err)
	}
}

func TestUploadEndsWithTheContextAndTheHostsErrors(t *testing.T) {
	m := hosttest.NewFabric().NewMachine("host1", hosttest.MachineOptions{Free: 2 << 20})
	h, source := open(t, m), image(t, 5<<20)
	if _, err := Upload(t.Context(), h, "lu", source, nil); err == nil || !strings.Contains(err.Error(), "space") {
		t.Errorf("a full disk gave %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Upload(ctx, h, "lu", source, nil); !errors.Is(err, hostapi.ErrCanceled) && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want a cancel", err)
	}
	if _, err := Upload(t.Context(), m.Open(), "lu", source, nil); !errors.Is(err, hostapi.ErrNotLocked) && !errors.Is(err, hostapi.ErrLocked) {
		t.Errorf("without the lock: %v", err)
	}
	if _, err := Upload(t.Context(), h, "lu", Source{SHA256: source.SHA256, Size: 1, Path: filepath.Join(t.TempDir(), "gone")}, nil); err == nil {
		t.Error("a source that is gone was uploaded")
	}
}

// forgetful is a store that loses what it has, a number of times.
type forgetful struct {
	have   int64
	losses int
	step   int64
}

func (f *forgetful) PutImage(_ context.Context, c hostapi.ImageChunk) (int64, error) {
	if len(c.Data) > 0 && f.losses > 0 && f.have > 300<<10 {
		f.losses--
		f.have = 0
	}
	if len(c.Data) > 0 && c.Offset > f.have {
		return f.have, &hostapi.Error{Kind: hostapi.KindInvalid, Message: "a gap"}
	}
	f.have = max(f.have, c.Offset+int64(len(c.Data))*f.step)
	return f.have, nil
}

func TestAHostThatLostWhatItHadGetsItAgain(t *testing.T) {
	source := image(t, 3<<20)
	store := &forgetful{losses: 2, step: 1}
	if _, err := Upload(t.Context(), store, "lu", source, nil); err != nil || store.have != source.Size {
		t.Errorf("the store has %d, %v; want %d", store.have, err, source.Size)
	}
	if _, err := Upload(t.Context(), &forgetful{losses: 99, step: 1}, "lu", source, nil); err == nil {
		t.Error("a store that always forgets was fed to the end")
	}
	if _, err := Upload(t.Context(), &forgetful{}, "lu", source, nil); err == nil {
		t.Error("a store that keeps nothing was fed to the end")
	}
	if _, err := Upload(t.Context(), &forgetful{have: 9 << 20}, "lu", source, nil); err == nil {
		t.Error("a store that has more than there is was believed")
	}
}

func TestUploadsGoOverTheWire(t *testing.T) {
	m := hosttest.NewFabric().NewMachine("host1", hosttest.MachineOptions{Latency: 20 * time.Millisecond})
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- wire.Serve(context.Background(), far, m.Open(), wire.ServeOptions{}) }()
	c := wire.NewClient(near, wire.ClientOptions{})
	t.Cleanup(func() {
		c.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	if _, err := c.Observe(t.Context(), hostapi.ObserveRequest{Lab: "lu", Lock: &hostapi.Holder{User: "me"}}); err != nil {
		t.Fatal(err)
	}
	source := image(t, 16<<20)
	begin := time.Now()
	if sent, err := Upload(t.Context(), c, "lu", source, nil); err != nil || sent != source.Size {
		t.Fatalf("sent %d, %v", sent, err)
	}
	t.Logf("16 MiB over 20 ms of latency in %v", time.Since(begin))
	if f := whole(t, c, source); !f.Whole {
		t.Errorf("the host has %+v", f)
	}
}
