// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/lab/namespace"
)

// Bounds of a sweep.
const (
	// maxFlying attempts are under way at one time, each with a socket.
	maxFlying = 1500
	// MaxAttempts of one sweep: an identifier of ICMP each.
	MaxAttempts = 30000
	// again is after how long a datagram is sent once more.
	again = 150 * time.Millisecond
	// sweepBuffer is room for the answers to all pings at once.
	sweepBuffer = 8 << 20
)

// Sweep makes all attempts from one namespace, as many side by side as it may,
// and says what came of each. One that nothing came back to is silent after so
// much patience.
func Sweep(ns string, attempts []Attempt, patience time.Duration) ([]Found, error) {
	if len(attempts) > MaxAttempts {
		return nil, fmt.Errorf("sweep from %s: %d attempts, at most %d are allowed", ns, len(attempts), MaxAttempts)
	}
	s := &sweep{attempts: attempts, found: make([]Found, len(attempts)), flights: map[int]*flight{}, patience: patience}
	// All sockets belong to the namespace in which they are opened.
	if err := namespace.Do(ns, s.run); err != nil {
		return nil, fmt.Errorf("sweep from %s: %w", ns, err)
	}
	return s.found, nil
}

// flight is an attempt under way.
type flight struct {
	index    int
	fd       int // -1 of a ping
	deadline time.Time
	resend   time.Time // of datagrams
}

type sweep struct {
	attempts []Attempt
	found    []Found
	patience time.Duration
	poll     int // epoll
	echo     [2]*echoes
	flights  map[int]*flight // by index
	byFD     map[int]*flight
	order    []*flight // by deadline
}

func (s *sweep) run() (err error) {
	if s.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("make epoll: %w", err)
	}
	s.byFD = map[int]*flight{}
	defer s.close()
	next := 0
	for next < len(s.attempts) || len(s.flights) > 0 {
		for next < len(s.attempts) && len(s.flights) < maxFlying {
			if err := s.begin(next); err != nil {
				return fmt.Errorf("%v: %w", s.attempts[next], err)
			}
			next++
		}
		if err := s.wait(); err != nil {
			return err
		}
		s.expire(time.Now())
	}
	return nil
}

func (s *sweep) close() {
	for _, f := range s.flights {
		s.end(f)
	}
	for _, e := range s.echo {
		if e != nil {
			unix.Close(e.fd)
		}
	}
	unix.Close(s.poll)
}

// begin makes an attempt.
func (s *sweep) begin(index int) error {
	now := time.Now()
	f := &flight{index: index, fd: -1, deadline: now.Add(s.patience), resend: now.Add(again)}
	s.flights[index] = f
	s.order = append(s.order, f)
	a := s.attempts[index]
	var err error
	switch a.Protocol {
	case ProtocolTCP, ProtocolUDP:
		err = s.connect(f, a)
	default:
		err = s.ping(f, a)
	}
	var errno unix.Errno
	if errors.As(err, &errno) && local(errno) {
		s.conclude(f, Found{Finding: Unreachable, Why: "own kernel: " + errno.Error()})
		return nil
	}
	return err
}

// local are errors by which the sender's own kernel says that there is no way.
func local(e unix.Errno) bool {
	return slices.Contains([]unix.Errno{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EADDRNOTAVAIL, unix.EACCES, unix.EPERM, unix.ECONNREFUSED, unix.EINVAL}, e)
}

// connect opens the socket of TCP or UDP.
func (s *sweep) connect(f *flight, a Attempt) (err error) {
	kind := unix.SOCK_STREAM
	if a.Protocol == ProtocolUDP {
		kind = unix.SOCK_DGRAM
	}
	family := familyOf(a.To)
	if f.fd, err = unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	s.byFD[f.fd] = f
	reportErrors(f.fd, family)
	if a.From.IsValid() || a.SourcePort != 0 {
		from := a.From
		if !from.IsValid() {
			from = unspecified(a.To)
		}
		_ = unix.SetsockoptInt(f.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) // binding says what matters
		if err := unix.Bind(f.fd, sockaddr(from, a.SourcePort)); err != nil {
			return fmt.Errorf("bind to %v port %d: %v", from, a.SourcePort, err) // no wrapping: this is no finding
		}
	}
	if err := unix.EpollCtl(s.poll, unix.EPOLL_CTL_ADD, f.fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLERR | unix.EPOLLHUP, Fd: int32(f.fd)}); err != nil {
		return fmt.Errorf("watch socket: %v", err)
	}
	if err := unix.Connect(f.fd, sockaddr(a.To, a.Port)); err != nil && err != unix.EINPROGRESS {
		return fmt.Errorf("connect: %w", err)
	}
	if a.Protocol == ProtocolUDP {
		return s.ask(f)
	}
	return nil
}

// reportErrors has the kernel keep ICMP errors with their type and code.
func reportErrors(fd, family int) {
	// Without it fewer errors are told apart; that shows as a finding.
	if family == unix.AF_INET {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		return
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
}

// ask sends the datagram of a UDP attempt.
func (s *sweep) ask(f *flight) error {
	_, err := unix.Write(f.fd, []byte("who?"))
	if err == unix.EAGAIN || err == unix.ENOBUFS {
		err = nil // once more, later
	}
	return err
}

// wait takes what has come, for a moment at most.
func (s *sweep) wait() error {
	events := make([]unix.EpollEvent, 256)
	n, err := unix.EpollWait(s.poll, events, 20)
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("wait for answers: %w", err)
	}
	for _, e := range events[:max(n, 0)] {
		if f := s.byFD[int(e.Fd)]; f != nil {
			s.look(f, e.Events)
			continue
		}
		for _, echo := range s.echo {
			if echo != nil && echo.fd == int(e.Fd) {
				s.hear(echo)
			}
		}
	}
	return nil
}

// look reads what a socket has.
func (s *sweep) look(f *flight, events uint32) {
	buffer := make([]byte, maxAnswer)
	if events&unix.EPOLLERR != 0 {
		if found, is := queuedError(f.fd); is {
			s.conclude(f, found)
			return
		}
	}
	n, err := unix.Read(f.fd, buffer)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
	case err == nil && (n > 0 || s.attempts[f.index].Protocol == ProtocolTCP):
		s.conclude(f, Found{Finding: Connected, Who: string(buffer[:n])})
	case err == unix.ECONNREFUSED || err == unix.ECONNRESET:
		s.conclude(f, Found{Finding: Refused, Why: err.Error()})
	case err != nil:
		s.conclude(f, Found{Finding: Unreachable, Why: err.Error()})
	}
}

// conclude ends an attempt with what was found.
func (s *sweep) conclude(f *flight, found Found) {
	s.found[f.index] = found
	s.end(f)
}

func (s *sweep) end(f *flight) {
	delete(s.flights, f.index)
	if f.fd < 0 {
		return
	}
	delete(s.byFD, f.fd)
	// A reset leaves nothing behind at either end.
	_ = unix.SetsockoptLinger(f.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	unix.Close(f.fd)
	f.fd = -1
}

// expire sends again what may have been lost, and ends what nothing comes to.
func (s *sweep) expire(now time.Time) {
	for len(s.order) > 0 {
		f := s.order[0]
		_, under := s.flights[f.index]
		if under && now.Before(f.deadline) {
			break
		}
		s.order = s.order[1:]
		if under {
			s.conclude(f, s.unanswered(f))
		}
	}
	for _, f := range s.order {
		if _, under := s.flights[f.index]; !under || now.Before(f.resend) {
			continue
		}
		f.resend = now.Add(again)
		switch a := s.attempts[f.index]; a.Protocol {
		case ProtocolTCP: // the kernel does, after a second
		case ProtocolUDP:
			_ = s.ask(f) // what went wrong is heard as an event
		default:
			_ = s.send(f, a) // likewise
		}
	}
}

// unanswered is silence, or a handshake that nobody said anything after.
func (s *sweep) unanswered(f *flight) Found {
	if s.attempts[f.index].Protocol != ProtocolTCP {
		return Found{}
	}
	info, err := unix.GetsockoptTCPInfo(f.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	const synSent = 2
	if err == nil && info.State != synSent {
		return Found{Finding: Connected, Why: "the handshake ended, and nothing came after it"}
	}
	return Found{}
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func sockaddr(a netip.Addr, port uint16) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Port: int(port), Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Port: int(port), Addr: a.As16()}
}
