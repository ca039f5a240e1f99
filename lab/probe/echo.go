// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Types and codes of ICMP that a sweep sends or understands.
const (
	EchoRequest4     = 8
	TimestampRequest = 13
	EchoRequest6     = 128

	unreachable4, prohibited4 = 3, 13
	unreachable6, prohibited6 = 1, 1
)

// echoes is the raw socket of one family for all pings of a sweep.
type echoes struct {
	fd int
	v6 bool
}

// identifier tells pings of one sweep apart; 0 is kept free.
func (s *sweep) identifier(index int) uint16 {
	if n := s.attempts[index].SourcePort; n != 0 {
		return n
	}
	return uint16(index) + 1
}

func (s *sweep) ping(f *flight, a Attempt) error {
	which := 0
	if a.To.Is6() {
		which = 1
	}
	if s.echo[which] == nil {
		e, err := openEchoes(a.To.Is6())
		if err != nil {
			return err
		}
		s.echo[which] = e
		if err := unix.EpollCtl(s.poll, unix.EPOLL_CTL_ADD, e.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(e.fd)}); err != nil {
			return fmt.Errorf("watch socket: %v", err)
		}
	}
	return s.send(f, a)
}

func openEchoes(v6 bool) (*echoes, error) {
	family, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	if v6 {
		family, protocol = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("open raw socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, sweepBuffer); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("give the raw socket room: %w", err)
	}
	return &echoes{fd, v6}, nil
}

// send sends the request of a ping.
func (s *sweep) send(f *flight, a Attempt) error {
	message := make([]byte, 20) // as long as a timestamp
	message[0] = byte(a.Port)
	binary.BigEndian.PutUint16(message[4:], s.identifier(f.index))
	e := s.echo[0]
	if a.To.Is6() {
		e = s.echo[1] // whose checksum is the kernel's
	} else {
		binary.BigEndian.PutUint16(message[2:], checksum(message))
	}
	err := unix.Sendto(e.fd, message, 0, sockaddr(a.To, 0))
	if err == unix.EAGAIN || err == unix.ENOBUFS {
		return nil // once more, later
	}
	return err
}

func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// hear reads all that came to the raw socket.
func (s *sweep) hear(e *echoes) {
	buffer := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(e.fd, buffer, 0)
		if err != nil {
			return // nothing more
		}
		message, header := buffer[:n], 0
		if !e.v6 && n > 0 {
			header = int(buffer[0]&15) * 4
		}
		if len(message) < header+8 {
			continue
		}
		s.understand(e, message[header:], addressOf(from))
	}
}

func addressOf(s unix.Sockaddr) netip.Addr {
	switch a := s.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr)
	}
	return netip.Addr{}
}

// understand finds the attempt that a message answers.
func (s *sweep) understand(e *echoes, m []byte, from netip.Addr) {
	kind, code := int(m[0]), int(m[1])
	id := binary.BigEndian.Uint16(m[4:])
	answers := map[int]int{0: EchoRequest4, 14: TimestampRequest}
	if e.v6 {
		answers = map[int]int{129: EchoRequest6}
	}
	if request, is := answers[kind]; is {
		s.answered(id, from, request, Found{Finding: Connected})
		return
	}
	if !e.v6 && (kind == unreachable4 || kind == 11) || e.v6 && kind < 128 {
		inner, header, to := m[8:], 40, 24
		if !e.v6 && len(inner) >= 20 {
			header, to = int(inner[0]&15)*4, 16
		}
		if len(inner) < header+6 {
			return
		}
		destination := netip.AddrFrom4([4]byte(inner[to:]))
		if e.v6 {
			destination = netip.AddrFrom16([16]byte(inner[to:]))
		}
		found := errorFound(e.v6, kind, code)
		s.answered(binary.BigEndian.Uint16(inner[header+4:]), destination, int(inner[header]), found)
	}
}

// answered concludes the ping with an identifier to an address.
func (s *sweep) answered(id uint16, to netip.Addr, request int, found Found) {
	for _, f := range s.flights {
		a := s.attempts[f.index]
		if f.fd < 0 && s.identifier(f.index) == id && a.To == to && int(a.Port) == request && a.Protocol != ProtocolTCP && a.Protocol != ProtocolUDP {
			s.conclude(f, found)
			return
		}
	}
}

// errorFound is the finding of an ICMP error.
func errorFound(v6 bool, kind, code int) Found {
	f := Found{Finding: Unreachable, Why: fmt.Sprintf("ICMP type %d code %d", kind, code)}
	const portUnreachable4, portUnreachable6 = 3, 4
	switch {
	case !v6 && kind == unreachable4 && code == prohibited4, v6 && kind == unreachable6 && code == prohibited6:
		f.Finding = Prohibited
	case !v6 && kind == unreachable4 && code == portUnreachable4, v6 && kind == unreachable6 && code == portUnreachable6:
		f.Finding = Refused
	}
	return f
}

// queuedError reads the ICMP error that a socket keeps.
func queuedError(fd int) (Found, bool) {
	oob := make([]byte, 512)
	_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 512), oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return Found{}, false
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return Found{}, false
	}
	for _, m := range messages {
		v4 := m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR
		v6 := m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		if !v4 && !v6 || len(m.Data) < int(unsafe.Sizeof(sockExtendedErr{})) {
			continue
		}
		e := *(*sockExtendedErr)(unsafe.Pointer(&m.Data[0]))
		if e.Origin == unix.SO_EE_ORIGIN_ICMP || e.Origin == unix.SO_EE_ORIGIN_ICMP6 {
			return errorFound(v6, int(e.Type), int(e.Code)), true
		}
		return Found{Finding: Unreachable, Why: "own kernel: " + unix.Errno(e.Errno).Error()}, true
	}
	return Found{}, false
}

// sockExtendedErr is struct sock_extended_err of linux/errqueue.h.
type sockExtendedErr struct {
	Errno                   uint32
	Origin, Type, Code, Pad uint8
	Info, Data              uint32
}
