// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/bfd"
	"github.com/weft-network/weft/agent/frame"
	"github.com/weft-network/weft/agent/health"
	"github.com/weft-network/weft/vrouter"
)

// byFrames sends an echo request, or a datagram, out of the workload's
// interface, from its gateway, and hears what comes back there. It hears it
// before the packet path, which ends it: the gateway has asked for nothing.
func byFrames(ctx context.Context, w health.Wanted) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open socket on the workload's interface: %w", err)
	}
	socket := os.NewFile(uintptr(fd), "packet")
	defer socket.Close()
	if err := listen(fd, w); err != nil {
		return err
	}
	q := question{w: w, id: uint16(rand.N(1<<15)) | 1<<15}
	to := &unix.SockaddrLinklayer{Ifindex: w.Device, Halen: 6}
	copy(to.Addr[:], w.MAC[:])
	out := q.frame()
	if w.VLAN != 0 {
		out = frame.Tag(out, w.VLAN)
	}
	if err := unix.Sendto(fd, out, unix.MSG_DONTWAIT, to); err != nil {
		return fmt.Errorf("send out of the workload's interface: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.SetReadDeadline(time.Unix(1, 0)) }) // fails on a closed one, which has ended
	defer stop()
	buffer := make([]byte, snap)
	for {
		n, err := socket.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) && w.Type == "udp" {
			return nil // who takes datagrams need not answer
		}
		if err != nil {
			return err
		}
		if answered, err := q.answer(buffer[:n]); answered {
			return err
		}
	}
}

// snap is how much of a frame is read.
const snap = 512

// Classic BPF (linux/filter.h), of which unix names the parts.
const (
	loadByte   = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
	loadHalf   = unix.BPF_LD | unix.BPF_H | unix.BPF_ABS
	loadWord   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	jumpEqual  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	and        = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	give       = unix.BPF_RET | unix.BPF_K
	ancillary  = 0xfffff000
	vlanTag    = ancillary + 44
	vlanTagged = ancillary + 48
)

// listen makes a socket hear what comes from the workload, and nothing else. A
// session of BFD, which listens for as long as there is one, hears but packets of
// BFD: whatever else the workload sends would fill its buffer.
func listen(fd int, w health.Wanted) error {
	type test struct{ load, at, mask, want uint32 }
	tagged := uint32(0)
	if w.VLAN != 0 {
		tagged = 1
	}
	tests := []test{{loadWord, vlanTagged, 0, tagged}}
	if w.VLAN != 0 {
		tests = append(tests, test{loadWord, vlanTag, 0xfff, uint32(w.VLAN)})
	}
	source, ethertype, raw := uint32(26), uint32(unix.ETH_P_IP), w.Address.AsSlice()
	if w.Address.Is6() {
		source, ethertype = 22, unix.ETH_P_IPV6
	}
	tests = append(tests, test{loadHalf, 12, 0, ethertype})
	for i := 0; i < len(raw); i += 4 {
		tests = append(tests, test{loadWord, source + uint32(i), 0, binary.BigEndian.Uint32(raw[i:])})
	}
	if w.Type == "bfd" {
		protocol, port := test{loadByte, 20, 0, udp}, uint32(ethernet+header6+2)
		if w.Address.Is4() {
			tests = append(tests, test{loadByte, ethernet, 0, 0x45}) // no options
			protocol, port = test{loadByte, 23, 0, udp}, ethernet+header4+2
		}
		tests = append(tests, protocol, test{loadHalf, port, 0, bfd.Port})
	}
	var program []unix.SockFilter
	for _, t := range tests {
		program = append(program, unix.SockFilter{Code: uint16(t.load), K: t.at})
		if t.mask != 0 {
			program = append(program, unix.SockFilter{Code: and, K: t.mask})
		}
		program = append(program, unix.SockFilter{Code: jumpEqual, K: t.want, Jt: 1}, unix.SockFilter{Code: give, K: 0})
	}
	program = append(program, unix.SockFilter{Code: give, K: snap})
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}); err != nil {
		return fmt.Errorf("filter what comes from the workload: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return fmt.Errorf("hear nothing of what goes to the workload: %w", err)
	}
	all := uint16(unix.ETH_P_ALL)<<8 | unix.ETH_P_ALL>>8 // before the packet path; a single protocol comes after it
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: w.Device, Protocol: all}); err != nil {
		return fmt.Errorf("hear what comes from the workload: %w", err)
	}
	return nil
}

// question is what is sent and what answers it. It has no I/O.
type question struct {
	w  health.Wanted
	id uint16 // of the echo, or the source port
}

// The protocols and ICMP types that matter.
const (
	icmp4, icmp6, udp                           = 1, 58, 17
	echoRequest4, echoReply4, unreachable4      = 8, 0, 3
	echoRequest6, echoReply6, unreachable6      = 128, 129, 1
	portUnreachable4, portUnreachable6          = 3, 4
	ethernet, header4, header6, udpSize, echoes = 14, 20, 40, 8, 1
)

func (q question) frame() []byte {
	p := frame.Packet{Source: vrouter.GatewayMAC, Destination: q.w.MAC, From: q.w.Gateway, To: q.w.Address}
	if q.w.Type == "udp" {
		p.UDP, p.SourcePort, p.DestinationPort = true, q.id, q.w.TransportPort
		return p.Build()
	}
	message := []byte{echoRequest4, 0, 0, 0, 0, 0, 0, echoes, 'w', 'e', 'f', 't'}
	binary.BigEndian.PutUint16(message[4:], q.id)
	if p.Payload = message; q.w.Address.Is6() {
		message[0] = echoRequest6
		return p.Build()
	}
	return p.BuildICMP4()
}

// answer tells whether a frame answers the question, and what it says.
func (q question) answer(b []byte) (answered bool, err error) {
	protocol, from, to, rest := parse(b)
	if from != q.w.Address || to != q.w.Gateway {
		return false, nil
	}
	reply, unreachable, closed, own := byte(echoReply4), byte(unreachable4), byte(portUnreachable4), byte(icmp4)
	if from.Is6() {
		reply, unreachable, closed, own = echoReply6, unreachable6, portUnreachable6, icmp6
	}
	switch {
	case len(rest) < udpSize:
		return false, nil
	case q.w.Type == "ping":
		return protocol == own && rest[0] == reply && binary.BigEndian.Uint16(rest[4:]) == q.id, nil
	case protocol == udp:
		return binary.BigEndian.Uint16(rest) == q.w.TransportPort && binary.BigEndian.Uint16(rest[2:]) == q.id, nil
	case protocol == own && rest[0] == unreachable:
		quoted, _, there, inner := parsePacket(rest[8:], from.Is6())
		if quoted != udp || there != from || len(inner) < 4 || binary.BigEndian.Uint16(inner) != q.id || binary.BigEndian.Uint16(inner[2:]) != q.w.TransportPort {
			return false, nil
		}
		if rest[1] == closed {
			return true, errors.New("port unreachable")
		}
		return true, fmt.Errorf("unreachable, ICMP code %d", rest[1])
	}
	return false, nil
}

// parse reads a frame without tag; nothing of what is no whole packet.
func parse(b []byte) (protocol byte, from, to netip.Addr, rest []byte) {
	if len(b) < ethernet {
		return 0, from, to, nil
	}
	return parsePacket(b[ethernet:], binary.BigEndian.Uint16(b[12:]) == unix.ETH_P_IPV6)
}

func parsePacket(b []byte, six bool) (protocol byte, from, to netip.Addr, rest []byte) {
	switch {
	case six && len(b) >= header6 && b[0]>>4 == 6:
		return b[6], netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])), b[header6:]
	case !six && len(b) >= header4 && b[0]>>4 == 4:
		if size := int(b[0]&15) * 4; size >= header4 && size <= len(b) {
			return b[9], netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), b[size:]
		}
	}
	return 0, from, to, nil
}
