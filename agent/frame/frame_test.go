// SPDX-License-Identifier: Apache-2.0

package frame_test

import (
	"bytes"
	"net/netip"
	"reflect"
	"testing"

	"github.com/weft-network/weft/agent/frame"
)

var packets = []frame.Packet{
	{Source: frame.MAC{2, 1}, Destination: frame.MAC{2, 2}, From: netip.MustParseAddr("10.0.0.1"), To: netip.MustParseAddr("10.0.0.5"), UDP: true, SourcePort: 67, DestinationPort: 68, Payload: []byte("odd")},
	{Source: frame.MAC{2, 1}, Destination: frame.MAC{2, 2}, From: netip.MustParseAddr("fe80::1"), To: netip.MustParseAddr("fe80::5"), UDP: true, SourcePort: 547, DestinationPort: 546, Payload: []byte("even")},
	{Source: frame.MAC{2, 1}, Destination: frame.MAC{0x33, 0x33, 0, 0, 0, 1}, From: netip.MustParseAddr("fe80::1"), To: netip.MustParseAddr("ff02::1"), Payload: []byte{134, 0, 0, 0, 1, 2}},
}

// What is built reads back, and its checksums are right: over the whole they
// come to nothing.
func TestRoundTrip(t *testing.T) {
	for _, p := range packets {
		b := p.Build()
		got, err := frame.Parse(append(b, 0, 0, 0)) // padding
		if err != nil {
			t.Fatal(err)
		}
		if !p.UDP { // the checksum has been filled in
			p.Payload = got.Payload
		}
		if !reflect.DeepEqual(got, p) {
			t.Errorf("got %+v\nwant %+v", got, p)
		}
		if sum := transport(b); sum != 0xffff {
			t.Errorf("%+v: sum with pseudo-header %#x", p, sum)
		}
	}
}

// transport sums the message with its pseudo-header.
func transport(b []byte) uint16 {
	from, size, protocol := 34, 8, uint32(b[23])
	if b[12] == 0x86 {
		from, size, protocol = 54, 32, uint32(b[20])
	}
	sum := protocol + uint32(len(b)-from)
	for i, x := range b[from-size:] {
		sum += uint32(x) << (8 * (1 - i%2))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// FuzzParse: a frame that is read has its packet in it, and the address for which any
// frame speaks, with its MAC.
func FuzzParse(f *testing.F) {
	for _, p := range packets {
		f.Add(p.Build())
	}
	f.Add([]byte{12: 8, 13: 6, 14: 0, 15: 1, 41: 0}) // ARP
	f.Add(append([]byte{12: 0x86, 13: 0xdd, 14: 0x60, 19: 24, 20: 58, 54: 135}, make([]byte, 23)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := frame.Parse(b)
		if err == nil && (len(p.Payload) > len(b) || !p.From.IsValid() || p.From.Is4() != p.To.Is4()) {
			t.Fatalf("%x reads as %+v", b, p)
		}
		if a, mac, ok := frame.Announced(b); ok && (!a.IsValid() || !bytes.Contains(b, a.AsSlice()) || !bytes.Contains(b, mac[:])) {
			t.Fatalf("%x speaks for %v with %x", b, a, mac)
		}
	})
}
