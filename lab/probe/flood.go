// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/lab/namespace"
)

// Flood is first packets of TCP connections from one address, each from another
// port or to another, that nobody ends: the sender's kernel is not to have the address.
type Flood struct {
	Namespace string
	From, To  netip.Addr // of one family
	Port      uint16     // 0 goes through all ports, as a scan does
	Count     int
}

// Run sends them as fast as they go and says how many there were.
func (f Flood) Run(limit time.Duration) (sent int, err error) {
	err = namespace.Do(f.Namespace, func() error {
		fd, err := f.socket()
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		to := sockaddr(f.To, 0)
		until := time.Now().Add(limit)
		for n := 0; n < f.Count && (n%64 != 0 || time.Now().Before(until)); n++ {
			source, port := uint16(1024+n%64000), f.Port
			if port == 0 {
				source, port = 40000, uint16(1+n%65000)
			}
			if err := unix.Sendto(fd, f.syn(source, port), 0, to); err == nil {
				sent++
			} else if err != unix.ENOBUFS && err != unix.EAGAIN {
				return fmt.Errorf("send: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("flood %v from %s: %w", f.To, f.Namespace, err)
	}
	return sent, err
}

// socket takes whole packets. In IPv6 it is to have the address of which it sends,
// which the kernel chooses else among its own.
func (f Flood) socket() (fd int, err error) {
	domain := unix.AF_INET
	if f.From.Is6() {
		domain = unix.AF_INET6
	}
	fd, err = unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return -1, fmt.Errorf("open raw socket: %w", err)
	}
	if f.From.Is6() {
		if err = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_FREEBIND, 1); err == nil {
			err = unix.Bind(fd, sockaddr(f.From, 0))
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind raw socket to %v: %w", f.From, err)
	}
	return fd, nil
}

const tcpHeader = 20

// syn is a whole packet; the kernel fills in the checksum of an IPv4 header.
func (f Flood) syn(source, port uint16) []byte {
	b := f.header()
	pseudo := append(append([]byte(nil), f.From.AsSlice()...), f.To.AsSlice()...)
	t := make([]byte, tcpHeader)
	binary.BigEndian.PutUint16(t, source)
	binary.BigEndian.PutUint16(t[2:], port)
	t[12], t[13] = tcpHeader/4<<4, 0x02
	binary.BigEndian.PutUint16(t[14:], 0xffff)
	// What follows the addresses adds up alike in both families' pseudo headers.
	pseudo = append(append(pseudo, 0, ProtocolTCP, 0, tcpHeader), t...)
	binary.BigEndian.PutUint16(t[16:], checksum(pseudo))
	return append(b, t...)
}

// header is that of IP, in front of a TCP header alone.
func (f Flood) header() []byte {
	var b []byte
	if f.From.Is4() {
		b = make([]byte, 12, 20+tcpHeader)
		b[0], b[8], b[9] = 0x45, 64, ProtocolTCP
		binary.BigEndian.PutUint16(b[2:], 20+tcpHeader)
	} else {
		b = make([]byte, 8, 40+tcpHeader)
		b[0], b[6], b[7] = 0x60, ProtocolTCP, 64
		binary.BigEndian.PutUint16(b[4:], tcpHeader)
	}
	return append(append(b, f.From.AsSlice()...), f.To.AsSlice()...)
}
