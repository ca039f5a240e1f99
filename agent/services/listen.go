// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/vrouter"
)

// Listeners are the sockets of a service on the host path, all at one port.
type Listeners struct {
	Port    uint16
	Streams []net.Listener
	Packets []net.PacketConn
}

// attempts bounds the search for a port that is free everywhere.
const attempts = 20

// Listen opens sockets of TCP, and of UDP if asked, at the host's own alias of
// each family, all at one port: the given one, or any if that is 0. They hear
// only what comes through the host path. A host without IPv6 listens by IPv4.
func Listen(ctx context.Context, packets bool, port uint16) (*Listeners, error) {
	var err error
	for range attempts {
		var l *Listeners
		if l, err = listenOnce(ctx, packets, port); err == nil {
			return l, nil
		}
		if port != 0 {
			break
		}
	}
	return nil, fmt.Errorf("listen on %s: %w", link.HostPathName, err)
}

func listenOnce(ctx context.Context, packets bool, port uint16) (*Listeners, error) {
	l := &Listeners{Port: port}
	fail := func(err error) (*Listeners, error) { l.Close(); return nil, err }
	config := net.ListenConfig{Control: bindToHostPath}
	for _, six := range []bool{false, true} {
		a := vrouter.AliasAddress(vrouter.HostAlias, six)
		if six {
			a = a.WithZone(link.HostPathName)
		}
		stream, err := config.Listen(ctx, "tcp", net.JoinHostPort(a.String(), strconv.Itoa(int(l.Port))))
		if six && (errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT)) {
			break
		}
		if err != nil {
			return fail(err)
		}
		l.Streams = append(l.Streams, stream)
		l.Port = uint16(stream.Addr().(*net.TCPAddr).Port)
		if !packets {
			continue
		}
		packet, err := config.ListenPacket(ctx, "udp", net.JoinHostPort(a.String(), strconv.Itoa(int(l.Port))))
		if err != nil {
			return fail(err)
		}
		l.Packets = append(l.Packets, packet)
	}
	return l, nil
}

// Close closes all.
func (l *Listeners) Close() {
	for _, s := range l.Streams {
		s.Close()
	}
	for _, p := range l.Packets {
		p.Close()
	}
}

func bindToHostPath(_, _ string, c syscall.RawConn) error {
	var bad error
	err := c.Control(func(fd uintptr) { bad = unix.BindToDevice(int(fd), link.HostPathName) })
	return errors.Join(err, bad)
}

// whose returns the facts of the port behind an address of the host path.
func (s *Services) whose(remote net.Addr) (Facts, bool) {
	at, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return Facts{}, false
	}
	known := s.known.Load()
	ifindex, is := known.aliases[vrouter.AliasNumber(at.Addr())]
	if !is {
		return Facts{}, false
	}
	return known.ports[ifindex], true
}
