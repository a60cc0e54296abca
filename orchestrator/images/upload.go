package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"vxorch/remote/hostapi"
)

// How much goes in one call. Small at first, so that a thin line soon shows
// progress and stays free for other calls; larger while the answers are quick,
// so that a wide one spends its time on bytes rather than on round trips.
const (
	firstChunk = 256 << 10
	minChunk   = 64 << 10
	maxChunk   = 4 << 20 // hostapi's bound
	quick      = 400 * time.Millisecond
	slow       = 2 * time.Second
)

// restarts is how often a host may have lost what it had.
const restarts = 3

// Upload brings an image to a host's store, from where an earlier upload broke
// off, and gives how many bytes it sent: none where the host has it. One call is
// under way at a time, since calls may overtake each other and the store wants
// its bytes in order. progress may be nil. The caller holds the lab's lock.
func Upload(ctx context.Context, store hostapi.ImageStore, lab string, source Source, progress Progress) (sent int64, err error) {
	file, err := source.Open()
	if err != nil {
		return 0, err
	}
	defer file.Close()
	u := upload{store: store, file: file, chunk: hostapi.ImageChunk{Lab: lab, SHA256: source.SHA256, Size: source.Size}}
	for again := 0; ; again++ {
		err = u.run(ctx, progress)
		// Another session that brought the same image may have thrown it away.
		if !errors.Is(err, errGone) || again == restarts {
			return u.sent, err
		}
	}
}

// errGone says that the host has less than it had.
var errGone = errors.New("what the host had of the image is gone")

type upload struct {
	store hostapi.ImageStore
	file  File
	chunk hostapi.ImageChunk
	sent  int64
}

func (u *upload) run(ctx context.Context, progress Progress) error {
	c := u.chunk
	have, err := u.store.PutImage(ctx, c)
	if err != nil {
		return err
	}
	buffer, length := make([]byte, maxChunk), int64(firstChunk)
	for {
		if have < 0 || have > c.Size {
			return fmt.Errorf("the host says that it has %d bytes of %d", have, c.Size)
		}
		if progress != nil {
			progress(have, c.Size)
		}
		if have == c.Size {
			return nil
		}
		c.Offset, c.Data = have, buffer[:min(length, c.Size-have)]
		if _, err := u.file.ReadAt(c.Data, have); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("it became shorter meanwhile")
			}
			return fmt.Errorf("read the image: %w", err)
		}
		begin := time.Now()
		have, err = u.store.PutImage(ctx, c)
		if err != nil {
			if errors.Is(err, hostapi.ErrInvalid) && c.Offset+int64(len(c.Data)) < c.Size && u.lacks(ctx, c.Offset) {
				return errGone
			}
			return err // of the last chunk: also that the sum is wrong
		}
		u.sent += int64(len(c.Data))
		if have < c.Offset+int64(len(c.Data)) { // it took the whole chunk
			return errGone
		}
		switch took := time.Since(begin); {
		case took < quick:
			length = min(2*length, maxChunk)
		case took > slow:
			length = max(length/2, minChunk)
		}
	}
}

// lacks tells whether the host has less than offset bytes now.
func (u *upload) lacks(ctx context.Context, offset int64) bool {
	have, err := u.store.PutImage(ctx, u.chunk)
	return err == nil && have < offset
}
