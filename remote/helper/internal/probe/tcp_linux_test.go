package probe

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"vxorch/remote/hostapi"
)

func exchangeWith(port int, serve bool) hostapi.Probe {
	return hostapi.Probe{Target: netip.MustParseAddr("127.0.0.1"), Tries: maxTries, TCP: &hostapi.TCPExchange{Port: port, Bytes: 64 << 10, Serve: serve}}
}

func TestExchangeWaitsForTheOtherSide(t *testing.T) {
	for _, serverFirst := range []bool{true, false} {
		served := make(chan hostapi.ProbeResult, 1)
		requested := make(chan hostapi.ProbeResult, 1)
		request := func() { requested <- Exchange(context.Background(), exchangeWith(24793, false)) }
		serve := func() { served <- Exchange(context.Background(), exchangeWith(24793, true)) }
		first, second := request, serve
		if serverFirst {
			first, second = serve, request
		}
		go first()
		time.Sleep(20 * time.Millisecond)
		go second()
		for side, c := range map[string]chan hostapi.ProbeResult{"serving": served, "asking": requested} {
			if r := <-c; r.Received != 1 || r.Error != nil || r.RTT <= 0 {
				t.Errorf("%s side, server first %t: %+v", side, serverFirst, r)
			}
		}
	}
}

func TestExchangeWithNobodyEndsAndSaysWhy(t *testing.T) {
	nobody := exchangeWith(24794, false)
	nobody.Tries = 1
	if r := Exchange(context.Background(), nobody); r.Received != 0 || r.Error == nil || r.Error.Kind != hostapi.KindUnreachable || !strings.Contains(r.Error.Message, "refused") {
		t.Errorf("asking nobody: %+v, want it refused", r)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if r := Exchange(ctx, exchangeWith(24794, true)); r.Received != 0 || r.Error == nil {
		t.Errorf("serving after a cancel: %+v, want an error", r)
	}
}

func TestOneSideServesSeveral(t *testing.T) {
	const clients = 3
	serving := exchangeWith(24796, true)
	serving.TCP.Clients = clients
	served := make(chan hostapi.ProbeResult, 1)
	asked := make(chan hostapi.ProbeResult, clients)
	go func() { served <- Exchange(context.Background(), serving) }()
	for range clients {
		go func() { asked <- Exchange(context.Background(), exchangeWith(24796, false)) }()
	}
	for range clients {
		if r := <-asked; r.Received != 1 || r.Error != nil {
			t.Errorf("asking side: %+v", r)
		}
	}
	if r := <-served; r.Received != clients || r.Error != nil {
		t.Errorf("serving side: %+v", r)
	}
}

// One side serves an exchange that lasts and one that does not at the same time.
func TestExchangeForATimeTellsHowFastDataCame(t *testing.T) {
	serving, lasting, once := exchangeWith(24797, true), exchangeWith(24797, false), exchangeWith(24797, false)
	serving.TCP.Clients, serving.TCP.For, lasting.TCP.For = 2, 3*time.Second, 3*time.Second
	results := make(chan hostapi.ProbeResult, 2)
	go func() { results <- Exchange(context.Background(), serving) }()
	go func() { results <- Exchange(context.Background(), once) }()
	r := Exchange(context.Background(), lasting)
	if r.Received != 1 || r.Error != nil || r.RTT < lasting.TCP.For || r.Bytes <= lasting.TCP.Bytes {
		t.Errorf("asking side: %+v, want more than %d bytes in no less than %s", r, lasting.TCP.Bytes, lasting.TCP.For)
	}
	// In half of the time at most all that came, and over loopback surely something.
	if most := int64(8 * float64(r.Bytes) / (lasting.TCP.For / 2).Seconds()); r.BitRate < 1 || r.BitRate > most {
		t.Errorf("%d bits a second of %d bytes, want 1…%d", r.BitRate, r.Bytes, most)
	}
	for range 2 {
		if r := <-results; r.Error != nil || r.Received != r.Sent {
			t.Errorf("the other sides: %+v", r)
		}
	}
}

// A server that answers with another checksum, as it would to data that was
// changed on its way.
func TestExchangeNoticesChangedData(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:24795")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 1<<16))
		_, _ = conn.Write([]byte{5: 1, 8: 1, 2, 3, 4, answerSize - 1: 0})
		time.Sleep(100 * time.Millisecond)
	}()
	if r := Exchange(context.Background(), exchangeWith(24795, false)); r.Received != 0 || r.Error == nil || r.Error.Kind != hostapi.KindInternal || !strings.Contains(r.Error.Message, "not as they were") {
		t.Errorf("changed data: %+v, want it noticed", r)
	}
}

func TestNoExchangeIsRefused(t *testing.T) {
	for _, x := range []hostapi.TCPExchange{{Bytes: 1}, {Port: 1 << 16, Bytes: 1}, {Port: 1}, {Port: 1, Bytes: maxExchange + 1}, {Port: 1, Bytes: 1, Serve: true, Clients: -1}, {Port: 1, Bytes: 1, For: maxFor + 1}} {
		r := Exchange(context.Background(), hostapi.Probe{Target: netip.MustParseAddr("127.0.0.1"), TCP: &x})
		if r.Error == nil || r.Error.Kind != hostapi.KindInvalid {
			t.Errorf("exchange %+v: %+v, want it invalid", x, r)
		}
	}
}
