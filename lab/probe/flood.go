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
	From, To  netip.Addr // IPv4
	Port      uint16     // 0 goes through all ports, as a scan does
	Count     int
}

// Run sends them as fast as they go and says how many there were.
func (f Flood) Run(limit time.Duration) (sent int, err error) {
	err = namespace.Do(f.Namespace, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return fmt.Errorf("open raw socket: %w", err)
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

// syn is a whole IPv4 packet; the kernel fills in the checksum of its header.
func (f Flood) syn(source, port uint16) []byte {
	const header = 20
	b := make([]byte, 2*header)
	b[0], b[8], b[9] = 0x45, 64, ProtocolTCP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], f.From.AsSlice())
	copy(b[16:], f.To.AsSlice())
	t := b[header:]
	binary.BigEndian.PutUint16(t, source)
	binary.BigEndian.PutUint16(t[2:], port)
	t[12], t[13] = header/4<<4, 0x02
	binary.BigEndian.PutUint16(t[14:], 0xffff)
	pseudo := append(append(append([]byte(nil), b[12:20]...), 0, ProtocolTCP, 0, header), t...)
	binary.BigEndian.PutUint16(t[16:], checksum(pseudo))
	return b
}
