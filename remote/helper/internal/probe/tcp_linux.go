package probe

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns"
)

const (
	maxExchange = 1 << 20              // bytes
	maxFor      = 10 * time.Second     // of data again and again
	answerSize  = 8 + 4 + 8            // bytes: how many came, their checksum, how many bits a second
	maxClients  = 10_000               // of one serving side
	pause       = 5 * time.Millisecond // between tries to find the other side
)

// Exchange runs one side of a TCP exchange, whose other side runs at the same
// time, here or on another machine. That it does not come about is a result, with
// the reason. Safe for concurrent use.
func Exchange(ctx context.Context, p hostapi.Probe) hostapi.ProbeResult {
	x, target := *p.TCP, p.Target.Unmap()
	if !target.IsValid() || x.Clients < 0 || x.Clients > maxClients || x.Port < 1 || x.Port > 1<<16-1 || x.Bytes < 1 || x.Bytes > maxExchange || x.For < 0 || x.For > maxFor || p.Tries < 0 || p.Tries > maxTries {
		return hostapi.ProbeResult{Error: &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("no TCP exchange: %+v with %s", x, target)}}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(cmp.Or(p.Tries, maxTries))*time.Second+x.For)
	defer cancel()
	at := netip.AddrPortFrom(target, uint16(x.Port))
	clients := max(x.Clients, 1)
	result := hostapi.ProbeResult{Sent: clients, Bytes: x.Bytes}
	var err error
	if x.Serve {
		result.Received, result.RTT, err = serve(ctx, p.Netns, at, x.For, clients)
	} else if err = request(ctx, p.Netns, at, x, &result); err == nil {
		result.Received = 1
	}
	if err != nil {
		result.Error = &hostapi.Error{Kind: hostapi.KindInternal, Message: fmt.Sprintf("TCP: %v", err)}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			result.Sent, result.Error.Kind = 0, hostapi.KindInvalid
		case errors.Is(err, unix.ENETUNREACH):
			result.Sent, result.Error.Kind = 0, hostapi.KindUnreachable
		case errors.Is(err, errNobody):
			result.Error.Kind = hostapi.KindUnreachable
		}
	}
	return result
}

// errNobody is of a request whose connection nobody took.
var errNobody = errors.New("no connection")

// request sends the data and takes the answer. It tries until the other side
// listens.
func request(ctx context.Context, netns string, at netip.AddrPort, x hostapi.TCPExchange, result *hostapi.ProbeResult) error {
	var conn *net.TCPConn
	var began time.Time
	err := patiently(ctx, func() error {
		began = time.Now()
		return ns.Do(netns, func() (err error) { // the socket stays in the namespace that it was made in
			conn, err = dial(ctx, at)
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errNobody, err)
	}
	data := pattern(x.Bytes)
	var sending sync.WaitGroup
	defer sending.Wait()
	defer closeWith(ctx, conn)()
	if x.For > 0 {
		_ = conn.SetLinger(0) // what is still on its way when the answer is here, nobody wants
	}
	var most atomic.Int64 // bytes that can have come
	sending.Go(func() {
		var err error
		for again := true; again && err == nil; again = x.For > 0 {
			most.Add(int64(len(data)))
			_, err = conn.Write(data)
		}
		_ = conn.CloseWrite() // where it fails, so does the answer
	})
	var answer [answerSize]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return fmt.Errorf("connected, but no answer to %d bytes: %w", x.Bytes, err)
	}
	result.RTT = time.Since(began)
	came, sum := int64(binary.BigEndian.Uint64(answer[:])), binary.BigEndian.Uint32(answer[8:])
	if x.For == 0 && came != int64(x.Bytes) || came < 0 || came > most.Load() || sum != checksum(data, came) {
		return fmt.Errorf("of %d bytes sent, %d came, and not as they were", most.Load(), came)
	}
	if x.For > 0 {
		result.Bytes, result.BitRate = int(came), int64(binary.BigEndian.Uint64(answer[12:]))
	}
	return nil
}

// checksum is that of the first n bytes of data again and again.
func checksum(data []byte, n int64) uint32 {
	var sum uint32
	for size := int64(len(data)); n > size; n -= size {
		sum = crc32.Update(sum, crc32.IEEETable, data)
	}
	return crc32.Update(sum, crc32.IEEETable, data[:n])
}

// dial connects. Dialer.DialContext, which takes names too, brings 150 kB of DNS
// into a helper that is sent to every host.
func dial(ctx context.Context, at netip.AddrPort) (*net.TCPConn, error) {
	conn, err := new(net.Dialer).DialTCP(ctx, "tcp", netip.AddrPort{}, at)
	if failed := (*net.OpError)(nil); errors.As(err, &failed) {
		failed.Source = nil // ":0", the address that was left to the kernel
	}
	return conn, err
}

// serve answers so many requests, and tells how many it has, and the last one's
// time.
func serve(ctx context.Context, netns string, at netip.AddrPort, during time.Duration, clients int) (served int, took time.Duration, err error) {
	var listener *net.TCPListener
	err = patiently(ctx, func() error { // an IPv6 address may still be tentative
		return ns.Do(netns, func() (err error) {
			listener, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
			return err
		})
	})
	if err != nil {
		return 0, 0, err
	}
	defer closeWith(ctx, listener)()
	var group sync.WaitGroup
	var mu sync.Mutex
	for range clients {
		conn, failed := listener.Accept()
		if failed != nil {
			mu.Lock()
			err = failed
			mu.Unlock()
			break
		}
		group.Go(func() { // one that stalls keeps nobody else waiting
			t, failed := answer(ctx, conn, during)
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				err = failed
				return
			}
			served, took = served+1, t
		})
	}
	group.Wait()
	return served, took, err
}

// answer takes data until the other side has sent it all or, where that does so
// without end, for so long.
func answer(ctx context.Context, conn net.Conn, during time.Duration) (time.Duration, error) {
	defer closeWith(ctx, conn)()
	began := time.Now()
	if during > 0 {
		if err := conn.SetReadDeadline(began.Add(during)); err != nil {
			return 0, err
		}
	}
	var came, before int64 // before: in the first half
	middle, second := began.Add(during/2), false
	var sum uint32
	data := make([]byte, 64<<10)
	for {
		n, err := conn.Read(data)
		came += int64(n)
		sum = crc32.Update(sum, crc32.IEEETable, data[:n])
		if !second && !time.Now().Before(middle) {
			before, second = came, true
		}
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	took := time.Since(began)
	rate := float64(8*(came-before)) / max(time.Since(middle), 1).Seconds() // of a whole half and no burst
	reply := binary.BigEndian.AppendUint64(nil, uint64(came))
	reply = binary.BigEndian.AppendUint32(reply, sum)
	if _, err := conn.Write(binary.BigEndian.AppendUint64(reply, uint64(rate))); err != nil {
		return 0, err
	}
	// To close while data is coming would be a reset, which can overtake the answer.
	if err := conn.SetReadDeadline(time.Time{}); err == nil {
		_, _ = io.Copy(io.Discard, conn)
	}
	return took, nil
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

// patiently repeats f until it succeeds or ctx ends, and gives its last error that
// the end of ctx is not the reason of.
func patiently(ctx context.Context, f func() error) error {
	var last error
	for {
		err := f()
		if err == nil || ended(ctx) && last == nil {
			return err
		}
		if ended(ctx) {
			return last
		}
		last = err
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// ended tells whether ctx is over. A socket's timer for the same instant may well
// be quicker than that of ctx.
func ended(ctx context.Context) bool {
	deadline, bounded := ctx.Deadline()
	return ctx.Err() != nil || bounded && !time.Now().Before(deadline)
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
