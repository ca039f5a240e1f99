// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	flooded        = 100    // frames; kernels may send some of their own meanwhile, but never as many
	floodedType    = 0x88b5 // for experiments: only the test sends such
	floodPatience  = 30 * time.Second
	taggedReceiver = firstSubPort + 1
	narrowReceiver = firstSubPort + 2
)

// overhear opens a socket that hears all frames of a workload's device.
func (w *workload) overhear(t *testing.T) (fd int) {
	t.Helper()
	check(t, w.do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		return err
	}))
	t.Cleanup(func() { unix.Close(fd) })
	l, err := w.handle.LinkByName("eth0")
	check(t, err)
	check(t, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1))
	check(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20))
	check(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}))
	check(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8, Ifindex: l.Attrs().Index}))
	return fd
}

// heard counts frames of the test by their VLAN, until there are so many.
func heard(t *testing.T, fd, want int, patience time.Duration) map[uint16]int {
	t.Helper()
	const vlanValid, tagOffset = 0x10, 16 // of struct tpacket_auxdata
	byVLAN := map[uint16]int{}
	frame, aux := make([]byte, 2048), make([]byte, 256)
	end := time.Now().Add(patience)
	for got := 0; got < want; {
		n, oob, _, from, err := unix.Recvmsg(fd, frame, aux, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			if time.Now().After(end) {
				return byVLAN
			}
			continue
		}
		check(t, err)
		if a, is := from.(*unix.SockaddrLinklayer); n < 14 || binary.BigEndian.Uint16(frame[12:]) != floodedType || is && a.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		vlan := uint16(0)
		messages, err := unix.ParseSocketControlMessage(aux[:oob])
		check(t, err)
		for _, m := range messages {
			if m.Header.Type == unix.PACKET_AUXDATA && binary.NativeEndian.Uint32(m.Data)&vlanValid != 0 {
				vlan = binary.NativeEndian.Uint16(m.Data[tagOffset:])
			}
		}
		byVLAN[vlan]++
		got++
	}
	return byVLAN
}

// floodedSite is one whose first network floods: on the first host to the sender itself,
// a sub-port of the second workload, the other host, the second workload, a sub-port that
// takes small frames only, nobody, and a port of the other network; on the second host to
// its workload and back.
func floodedSite(t *testing.T) *site {
	s := newSite(t)
	for _, w := range []*workload{s.a1, s.a2, s.b1} {
		port := w.port()
		port.Bridge = true
		check(t, w.host.d.Ports.Put(w.ifindex, port))
		check(t, w.host.d.VNIs.Put(1, VNI{VRF: 1, CheckSources: true, Bridge: true}))
	}
	for i, vlan := range []uint16{5, 6} {
		ifindex := taggedReceiver + i
		check(t, s.a.d.SubPorts.Put(SubPort{s.a2.ifindex, vlan}, ifindex))
		check(t, s.a.d.Ports.Put(ifindex, Port{VRF: 1, Device: s.a2.ifindex, VLAN: vlan, MTU: 1400 - 1300*i, MAC: MAC{2, 9, 0, 0, 0, byte(vlan)}, Bridge: true}))
	}
	port := func(ifindex int) NextHop { return NextHop{Kind: NextHopPort, Ifindex: ifindex} }
	tunnel := func(to *testHost) NextHop { return NextHop{Kind: NextHopTunnel, VNI: 1, Remote: to.underlay[0]} }
	for h, hops := range map[*testHost][]NextHop{
		s.a: {port(s.a1.ifindex), port(taggedReceiver), tunnel(s.b), port(s.a2.ifindex), port(narrowReceiver), {}, port(s.c1.ifindex)},
		s.b: {port(s.b1.ifindex), tunnel(s.a)},
	} {
		for place, hop := range hops {
			if hop.Kind != NextHopNone {
				check(t, h.d.Receivers.Put(Receiver{1, place}, h.nextHop(t, hop)))
			}
		}
		check(t, h.d.Floods.Put(1, Flood{Places: len(hops), LeftOut: 1}))
	}
	s.a.admit(t, 1, s.b)
	s.b.admit(t, 1, s.a)
	return s
}

// counts are those of a host that a flood adds to.
func (h *testHost) counts(t *testing.T) map[string]uint64 {
	t.Helper()
	all := map[string]uint64{}
	counters, err := h.d.Counters()
	check(t, err)
	for _, c := range counters {
		all[fmt.Sprintf("%s received by %d", h.name, c.Ifindex)] = c.RxPackets
		all[fmt.Sprintf("%s sent to %d", h.name, c.Ifindex)] = c.TxPackets
	}
	drops, err := h.d.Drops()
	check(t, err)
	for _, d := range drops {
		all[fmt.Sprintf("%s %s at %d", h.name, d.Name, d.Ifindex)] = d.Packets
	}
	return all
}

// TestFloodOnTheWire: everybody who is to have a copy gets one, as it was sent or with the
// tag of its sub-port, and each copy is counted, as are those that were left out.
func TestFloodOnTheWire(t *testing.T) {
	s := floodedSite(t)
	at2, atB, atC := s.a2.overhear(t), s.b1.overhear(t), s.c1.overhear(t)
	before := s.a.counts(t)
	maps.Copy(before, s.b.counts(t))
	frame := ethernetFrame(MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, s.a1.mac, floodedType, make([]byte, 300))
	from := s.a1.overhear(t)
	for range flooded {
		check(t, unix.Send(from, frame, 0))
	}
	if got := heard(t, at2, 2*flooded, floodPatience); !maps.Equal(got, map[uint16]int{0: flooded, 5: flooded}) {
		t.Errorf("by VLAN the second workload has heard %v, want %d without and with VLAN 5", got, flooded)
	}
	if got := heard(t, atB, flooded, floodPatience); !maps.Equal(got, map[uint16]int{0: flooded}) {
		t.Errorf("by VLAN the workload of the other host has heard %v, want %d without one", got, flooded)
	}
	for what, fd := range map[string]int{"its sender": from, "the other network": atC, "the second workload": at2, "the workload of the other host": atB} {
		check(t, unix.SetNonblock(fd, true))
		if got := heard(t, fd, 1, 0); len(got) > 0 {
			t.Errorf("%s has heard %v besides", what, got)
		}
	}
	a, b := s.a.name, s.b.name
	wants := []string{
		fmt.Sprintf("%s received by %d", a, s.a1.ifindex), fmt.Sprintf("%s sent to %d", a, s.a2.ifindex), fmt.Sprintf("%s sent to %d", a, taggedReceiver),
		fmt.Sprintf("%s sent to %d", a, s.a.tunnel), fmt.Sprintf("%s frame-too-big at %d", a, s.a1.ifindex), fmt.Sprintf("%s flood-bound at %d", a, s.a1.ifindex),
		fmt.Sprintf("%s received by %d", b, s.b.tunnel), fmt.Sprintf("%s sent to %d", b, s.b1.ifindex), fmt.Sprintf("%s flood-bound at %d", b, s.b.tunnel),
	}
	var after map[string]uint64
	eventually(t, "all copies are counted", func() bool {
		after = s.a.counts(t)
		maps.Copy(after, s.b.counts(t))
		return !slices.ContainsFunc(wants, func(what string) bool { return after[what]-before[what] < flooded })
	})
	for _, what := range wants {
		if n := after[what] - before[what]; n >= 2*flooded {
			t.Errorf("%s: %d frames, want %d and few others", what, n, flooded)
		}
		delete(after, what)
	}
	for what, n := range after {
		if n -= before[what]; n >= flooded {
			t.Errorf("%s: %d frames, want none or few", what, n)
		}
	}
}
