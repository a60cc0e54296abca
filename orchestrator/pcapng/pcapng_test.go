package pcapng_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"vxorch/orchestrator/pcapng"
)

// blocks cuts a file into its blocks, each with its kind, and checks their frames.
func blocks(t *testing.T, file []byte) (kinds []uint32, bodies [][]byte) {
	t.Helper()
	for len(file) > 0 {
		if len(file) < 12 {
			t.Fatalf("%d bytes are left over", len(file))
		}
		size := binary.LittleEndian.Uint32(file[4:])
		if size%4 != 0 || int(size) > len(file) || binary.LittleEndian.Uint32(file[size-4:]) != size {
			t.Fatalf("a block of %d bytes in %d, ended by %d", size, len(file), binary.LittleEndian.Uint32(file[size-4:]))
		}
		kinds, bodies = append(kinds, binary.LittleEndian.Uint32(file)), append(bodies, file[8:size-4])
		file = file[size:]
	}
	return kinds, bodies
}

func TestFileIsOneSectionOfWholeBlocks(t *testing.T) {
	var file bytes.Buffer
	w, err := pcapng.NewWriter(&file, "test", []pcapng.Interface{{Name: "a", Description: "host1", Comment: "odd"}, {Name: "b", Snaplen: 64}})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_700_000_000, 123_456_789)
	if err := w.Write([]pcapng.Packet{
		{Interface: 1, Time: at, Outgoing: true, Length: 100, Data: []byte("abcde")}, {Time: at, Length: 1, Data: []byte("a")},
	}); err != nil {
		t.Fatal(err)
	}
	kinds, bodies := blocks(t, file.Bytes())
	if want := []uint32{0x0A0D0D0A, 1, 1, 6, 6}; !slices.Equal(kinds, want) {
		t.Fatalf("blocks %x, want %x", kinds, want)
	}
	p := bodies[3]
	nanos := uint64(binary.LittleEndian.Uint32(p[4:]))<<32 | uint64(binary.LittleEndian.Uint32(p[8:]))
	if binary.LittleEndian.Uint32(p) != 1 || nanos != uint64(at.UnixNano()) || binary.LittleEndian.Uint32(p[12:]) != 5 ||
		binary.LittleEndian.Uint32(p[16:]) != 100 || string(p[20:25]) != "abcde" {
		t.Errorf("packet block %x", p)
	}
	if flags := binary.LittleEndian.Uint32(p[32:]); flags != 2 {
		t.Errorf("flags %d of a packet that left, want 2", flags)
	}
}
