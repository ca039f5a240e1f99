// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/lab/namespace"
)

// Shouting is datagrams that a namespace sends as often as it can from its first
// moment on, whether or not it has an interface, and who hears them.
type Shouting struct {
	To netip.Addr

	stop     chan struct{}
	once     sync.Once
	work     sync.WaitGroup
	receiver *net.UDPConn
	sent     atomic.Int64
	heard    atomic.Int64
}

// shoutEvery is the pause between two datagrams.
const shoutEvery = time.Millisecond

// Shout begins to send from one namespace to an address of another; Stop ends it.
func Shout(from, to string, address netip.Addr) (*Shouting, error) {
	s := &Shouting{To: address, stop: make(chan struct{})}
	err := namespace.Do(to, func() (err error) {
		s.receiver, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, 0)))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("shout from %s to %s: %w", from, to, err)
	}
	fd := -1
	err = namespace.Do(from, func() (err error) {
		fd, err = unix.Socket(familyOf(address), unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		s.receiver.Close()
		return nil, fmt.Errorf("shout from %s to %s: %w", from, to, err)
	}
	port := s.receiver.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	s.work.Go(s.listen)
	s.work.Go(func() { s.send(fd, sockaddr(address, port)) })
	return s, nil
}

func (s *Shouting) send(fd int, to unix.Sockaddr) {
	defer unix.Close(fd)
	tick := time.NewTicker(shoutEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			if unix.Sendto(fd, []byte("here"), 0, to) == nil { // without interface or address there is no way yet
				s.sent.Add(1)
			}
		}
	}
}

func (s *Shouting) listen() {
	buffer := make([]byte, 64)
	for {
		if _, err := s.receiver.Read(buffer); err == nil {
			s.heard.Add(1)
		} else if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// Sent is how many the sender's kernel took, Heard how many came.
func (s *Shouting) Sent() int64 { return s.sent.Load() }

// Heard is how many came.
func (s *Shouting) Heard() int64 { return s.heard.Load() }

// Stop ends it; again it does nothing.
func (s *Shouting) Stop() {
	s.once.Do(func() {
		close(s.stop)
		s.receiver.Close()
		s.work.Wait()
	})
}
