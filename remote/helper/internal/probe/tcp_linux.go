package probe

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"time"

	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns"
)

const (
	maxExchange = 1 << 20              // bytes
	pause       = 5 * time.Millisecond // between tries to find the other side
)

// Exchange runs one side of a TCP exchange, whose other side runs at the same
// time, here or on another machine. That it does not come about is a result, with
// the reason. Safe for concurrent use.
func Exchange(ctx context.Context, p hostapi.Probe) hostapi.ProbeResult {
	x, target := *p.TCP, p.Target.Unmap()
	if !target.IsValid() || x.Port < 1 || x.Port > 1<<16-1 || x.Bytes < 1 || x.Bytes > maxExchange || p.Tries < 0 || p.Tries > maxTries {
		return hostapi.ProbeResult{Error: &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("no TCP exchange: %+v with %s", x, target)}}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(cmp.Or(p.Tries, maxTries))*time.Second)
	defer cancel()
	at := netip.AddrPortFrom(target, uint16(x.Port)).String()
	result := hostapi.ProbeResult{Sent: 1, Bytes: x.Bytes}
	side := request
	if x.Serve {
		side = serve
	}
	took, err := side(ctx, p.Netns, at, x.Bytes)
	if err != nil {
		result.Error = &hostapi.Error{Kind: hostapi.KindInternal, Message: fmt.Sprintf("TCP: %v", err)}
		return result
	}
	result.Received, result.RTT = 1, took
	return result
}

// request sends the data and takes the answer. It tries until the other side
// listens.
func request(ctx context.Context, netns, at string, bytes int) (time.Duration, error) {
	var conn net.Conn
	var began time.Time
	err := patiently(ctx, func() error {
		began = time.Now()
		return ns.Do(netns, func() (err error) { // the socket stays in the namespace that it was made in
			conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", at)
			return err
		})
	})
	if err != nil {
		return 0, err
	}
	defer closeWith(ctx, conn)()
	data := pattern(bytes)
	if _, err := conn.Write(data); err != nil {
		return 0, err
	}
	var answer [8]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return 0, fmt.Errorf("connected, but no answer to %d bytes: %w", bytes, err)
	}
	if came, sum := binary.BigEndian.Uint32(answer[:4]), binary.BigEndian.Uint32(answer[4:]); int(came) != bytes || sum != crc32.ChecksumIEEE(data) {
		return 0, fmt.Errorf("of %d bytes sent, %d came, and not as they were", bytes, came)
	}
	return time.Since(began), nil
}

// serve answers one request.
func serve(ctx context.Context, netns, at string, bytes int) (time.Duration, error) {
	var listener net.Listener
	err := patiently(ctx, func() error { // an IPv6 address may still be tentative
		return ns.Do(netns, func() (err error) {
			var config net.ListenConfig
			config.SetMultipathTCP(false)
			listener, err = config.Listen(ctx, "tcp", at)
			return err
		})
	})
	if err != nil {
		return 0, err
	}
	defer closeWith(ctx, listener)()
	conn, err := listener.Accept()
	if err != nil {
		return 0, err
	}
	defer closeWith(ctx, conn)()
	began := time.Now()
	data := make([]byte, bytes)
	n, err := io.ReadFull(conn, data)
	if err != nil {
		return 0, err
	}
	answer := binary.BigEndian.AppendUint32(nil, uint32(n))
	_, err = conn.Write(binary.BigEndian.AppendUint32(answer, crc32.ChecksumIEEE(data)))
	return time.Since(began), err
}

// closeWith closes what is waited on when ctx ends; the function that it gives
// closes it at once.
func closeWith(ctx context.Context, c io.Closer) func() {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	return func() {
		stop()
		c.Close()
	}
}

// patiently repeats f until it succeeds or ctx ends, and gives its last error.
func patiently(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// pattern is data in which no two kilobytes are alike.
func pattern(bytes int) []byte {
	data := make([]byte, bytes)
	state := uint32(1)
	for i := range data {
		state = state*1664525 + 1013904223 // Numerical Recipes' generator
		data[i] = byte(state >> 24)
	}
	return data
}
