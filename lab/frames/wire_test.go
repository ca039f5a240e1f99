// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"bytes"
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/lab/namespace"
)

// raw is a socket on an interface that sees all of it.
type raw struct {
	fd    int
	index int
}

func open(t *testing.T, ns, link string) raw {
	t.Helper()
	var r raw
	err := namespace.Do(ns, func() error {
		l, err := net.InterfaceByName(link)
		if err != nil {
			return err
		}
		const all = 0x0300 // ETH_P_ALL in network order
		if r.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		r.index = l.Index
		wait := unix.NsecToTimeval(int64(100 * time.Millisecond))
		if err := unix.SetsockoptTimeval(r.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
			return err
		}
		return unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: l.Index})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(r.fd) })
	return r
}

func (r raw) send(t *testing.T, frame []byte) {
	t.Helper()
	if err := unix.Sendto(r.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: r.index}); err != nil {
		t.Fatal(err)
	}
}

// next returns the next frame, nil if none came for a while.
func (r raw) next() []byte {
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(r.fd, buf, 0)
	if err != nil {
		return nil
	}
	return buf[:n]
}

// hears waits for a frame, and tells how often it came; none at all is allowed
// a second.
func (r raw) hears(frame []byte) (times int) {
	for began := time.Now(); time.Since(began) < 10*time.Second; {
		got := r.next()
		if bytes.Equal(got, frame) {
			times++
		}
		if got == nil && (times > 0 || time.Since(began) > time.Second) {
			break
		}
	}
	return times
}

// experimental is the EtherType for local experiments (IEEE 802).
const experimental = 0x88b5

func frame(to, from net.HardwareAddr, text string) []byte {
	f := binary.BigEndian.AppendUint16(slices.Concat(to, from), experimental)
	f = append(f, text...)
	return append(f, make([]byte, max(0, 60-len(f)))...)
}

func macOf(t *testing.T, ns, link string) (mac net.HardwareAddr) {
	t.Helper()
	err := namespace.Do(ns, func() error {
		l, err := net.InterfaceByName(link)
		if err == nil {
			mac = l.HardwareAddr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

// capture counts the frames of a VNI on an interface of the underlay.
type capture struct {
	mu     sync.Mutex
	frames [][]byte
	stop   chan struct{}
	done   chan struct{}
}

func watch(t *testing.T, ns, link string, vni uint32) *capture {
	t.Helper()
	r := open(t, ns, link)
	c := &capture{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(c.done)
		for {
			select {
			case <-c.stop:
				return
			default:
			}
			if f := r.next(); inTunnel(f, vni) {
				c.mu.Lock()
				c.frames = append(c.frames, f)
				c.mu.Unlock()
			}
		}
	}()
	return c
}

// inTunnel tells whether a frame carries VXLAN of this VNI over IPv4.
func inTunnel(f []byte, vni uint32) bool {
	return len(f) >= 50 && binary.BigEndian.Uint16(f[12:]) == 0x0800 && f[23] == unix.IPPROTO_UDP &&
		binary.BigEndian.Uint16(f[36:]) == 4789 && binary.BigEndian.Uint32(f[46:])>>8 == vni
}

// end stops the capture and returns the inner frames.
func (c *capture) end() (inner [][]byte) {
	close(c.stop)
	<-c.done
	for _, f := range c.frames {
		inner = append(inner, f[50:])
	}
	return inner
}
