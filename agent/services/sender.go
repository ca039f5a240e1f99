// SPDX-License-Identifier: Apache-2.0

package services

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Socket sends whole frames out of interfaces of the namespace it was opened
// in. It receives nothing.
type Socket struct{ fd int }

// OpenSocket opens it.
func OpenSocket() (*Socket, error) {
	// Protocol 0 receives nothing.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket for answers to workloads: %w", err)
	}
	return &Socket{fd}, nil
}

// Send sends a frame out of an interface. It never waits: what finds the
// interface's queue full is lost, as on any wire.
func (s *Socket) Send(ifindex int, frame []byte) error {
	to := &unix.SockaddrLinklayer{Ifindex: ifindex, Halen: 6}
	copy(to.Addr[:], frame)
	if err := unix.Sendto(s.fd, frame, unix.MSG_DONTWAIT, to); err != nil {
		return fmt.Errorf("send %d bytes out of interface %d: %w", len(frame), ifindex, err)
	}
	return nil
}

// Close closes the socket.
func (s *Socket) Close() error { return unix.Close(s.fd) }
