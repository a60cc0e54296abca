// Delay forwards TCP connections over a line that is as long as one likes: what
// is sent arrives so much later, and making a connection takes its round trip,
// too. It has all the bandwidth there is and loses nothing. It is for counting
// round trips.
package main

import (
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

func main() {
	if len(os.Args) < 4 || len(os.Args)%2 != 0 {
		fmt.Fprintln(os.Stderr, "usage: delay ONE-WAY LISTEN TARGET [LISTEN TARGET]…")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "delay:", err)
		os.Exit(1)
	}
}

// run forwards until the process is ended.
func run(delay string, addresses []string) error {
	d, err := time.ParseDuration(delay)
	if err != nil {
		return err
	}
	failed := make(chan error)
	for i := 0; i < len(addresses); i += 2 {
		listener, err := net.Listen("tcp", addresses[i])
		if err != nil {
			return err
		}
		go func() { failed <- serve(listener, addresses[i+1], d) }()
	}
	fmt.Println("ready")
	return <-failed
}

func serve(listener net.Listener, target string, d time.Duration) error {
	for {
		near, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer near.Close()
			// The server learns of a connection when the last of the three packets
			// that make it has arrived, and with that of what the client sends first:
			// in truth it would be connected only after the second.
			begins := time.Now().Add(3 * d)
			said := listen(near, d, begins)
			time.Sleep(time.Until(begins))
			far, err := net.Dial("tcp", target)
			if err != nil {
				fmt.Fprintln(os.Stderr, "delay:", err)
				return
			}
			defer far.Close()
			var both sync.WaitGroup
			both.Go(func() { pump(far, near, said) })
			both.Go(func() { pump(near, far, listen(far, d, begins)) })
			both.Wait()
		}()
	}
}

type chunk struct {
	data []byte // empty: the end
	due  time.Time
}

// listen reads what comes from source, and gives it with the time at which it
// arrives: so much later, and not before anything can.
func listen(source net.Conn, d time.Duration, earliest time.Time) <-chan chunk {
	line := make(chan chunk, 1<<16)
	go func() {
		defer close(line)
		for {
			buffer := make([]byte, 64<<10)
			n, err := source.Read(buffer)
			due := time.Now().Add(d)
			if due.Before(earliest) {
				due = earliest
			}
			if n > 0 {
				line <- chunk{buffer[:n], due}
			}
			if err != nil {
				line <- chunk{nil, due}
				return
			}
		}
	}()
	return line
}

// pump sends on what comes from source when it arrives.
func pump(sink, source net.Conn, line <-chan chunk) {
	for c := range line {
		time.Sleep(time.Until(c.due))
		if len(c.data) == 0 {
			if half, ok := sink.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite() // it may have gone
			}
			continue
		}
		if _, err := sink.Write(c.data); err != nil {
			source.Close()
			for range line { // until that is seen
			}
			return
		}
	}
}
