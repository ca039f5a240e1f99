// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/bfd"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/frame"
	"github.com/weft-network/weft/agent/health"
)

// cable is a thread in a network namespace of its own, with a pair of interfaces in it,
// of which it returns the numbers. The namespace goes with the thread.
func cable() (near, far int, err error) {
	runtime.LockOSThread() // for good: the thread ends with its goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return 0, 0, fmt.Errorf("make a network namespace: %w", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "near"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "far"}); err != nil {
		return 0, 0, fmt.Errorf("make a pair of interfaces: %w", err)
	}
	for name, number := range map[string]*int{"near": &near, "far": &far} {
		l, err := netlink.LinkByName(name)
		if err == nil {
			*number, err = l.Attrs().Index, netlink.LinkSetUp(l)
		}
		if err != nil {
			return 0, 0, fmt.Errorf("bring interface %s up: %w", name, err)
		}
	}
	return near, far, nil
}

// What a workload sends beside BFD, and what goes to it, does not come to a session's
// socket, whose buffer a busy workload would fill; what it says by BFD does.
func TestSessionsHearNothingElse(t *testing.T) {
	done := make(chan error)
	go func() { done <- hearNothingElse() }()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func hearNothingElse() error {
	near, far, err := cable()
	if err != nil {
		return err
	}
	for _, ends := range [][3]string{{"10.0.0.5", "10.0.0.1", "10.0.0.6"}, {"fd00::5", "fd00::1", "fd00::6"}} {
		workload, gateway, other := netip.MustParseAddr(ends[0]), netip.MustParseAddr(ends[1]), netip.MustParseAddr(ends[2])
		in, err := packetSocket()
		if err != nil {
			return err
		}
		defer unix.Close(in)
		out, err := packetSocket() // a socket does not hear what it sends itself
		if err != nil {
			return err
		}
		defer unix.Close(out)
		w := health.Wanted{Check: desired.Check{Type: "bfd", Address: workload}, Target: health.Target{Device: near, Gateway: gateway}}
		if err := listen(in, w); err != nil {
			return err
		}
		says := func(from netip.Addr, port uint16, text string) []byte {
			return frame.Packet{Source: frame.MAC{2, 5}, Destination: frame.MAC{2, 1}, From: from, To: gateway, UDP: true, SourcePort: 50000, DestinationPort: port, Payload: []byte(text)}.Build()
		}
		for _, f := range []struct {
			device int
			frame  []byte
		}{
			{far, says(workload, 9, "a datagram")}, {far, says(other, bfd.Port, "another's")}, {near, says(workload, bfd.Port, "to the workload")},
			{far, says(workload, bfd.Port, "the workload's")},
		} {
			if err := unix.Sendto(out, f.frame, 0, &unix.SockaddrLinklayer{Ifindex: f.device, Halen: 6}); err != nil {
				return fmt.Errorf("send a frame: %w", err)
			}
		}
		var heard []string
		for buffer := make([]byte, snap); !slices.Contains(heard, "the workload's"); { // the last that was sent
			if n, err := unix.Poll([]unix.PollFd{{Fd: int32(in), Events: unix.POLLIN}}, 30_000); n == 0 || err != nil && err != unix.EINTR {
				return fmt.Errorf("from %v a session hears %q and nothing more: %w", workload, heard, err)
			}
			n, err := unix.Read(in, buffer)
			if err == unix.EAGAIN {
				continue
			}
			if err != nil {
				return fmt.Errorf("read a frame: %w", err)
			}
			_, payload, _ := bytes.Cut(buffer[:n], []byte{0x0e, 0xc8}) // 3784
			heard = append(heard, string(payload[min(4, len(payload)):]))
		}
		if len(heard) != 1 {
			return fmt.Errorf("from %v a session hears %q, want the workload's packet alone", workload, heard)
		}
	}
	return nil
}

func packetSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open packet socket: %w", err)
	}
	return fd, nil
}
