// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/lab/namespace"
)

// A tap is measured without a virtual machine: its workload is a namespace with
// a tap of its own, and between the two the bench copies frames with their
// headers for offloads, as QEMU does. Two copies and two system calls a frame
// are in the figure, which therefore compares taps with taps only.
type machine struct {
	outer, inner *os.File
	ended        chan error
}

// startMachine makes a tap in the host's namespace and one in the workload's,
// where it is eth0, and lets frames through.
func startMachine(host, tap, guest, mac string, addresses ...netip.Prefix) (*machine, error) {
	outer, err := openTap(host, tap)
	if err != nil {
		return nil, err
	}
	inner, err := openTap(guest, "eth0")
	if err != nil {
		return nil, errors.Join(err, outer.Close())
	}
	m := &machine{outer: outer, inner: inner, ended: make(chan error, 2)}
	go func() { m.ended <- relay(inner, outer) }()
	go func() { m.ended <- relay(outer, inner) }()
	commands := []string{fmt.Sprintf("ip link set eth0 mtu %d", innerMTU), "ip link set eth0 up"}
	if mac != "" {
		commands = append([]string{"ip link set eth0 address " + mac}, commands...)
	}
	for _, a := range addresses {
		commands = append(commands, fmt.Sprintf("ip address add %v dev eth0", a)+map[bool]string{true: " nodad"}[a.Addr().Is6()])
	}
	for _, c := range commands {
		if _, err := namespace.Run(guest, strings.Fields(c)...); err != nil {
			return nil, errors.Join(err, m.stop())
		}
	}
	if _, err := namespace.Run(host, "ip", "link", "set", tap, "mtu", fmt.Sprint(innerMTU), "up"); err != nil {
		return nil, errors.Join(err, m.stop())
	}
	return m, nil
}

// stop ends the copying; the kernel removes taps that nobody has open.
func (m *machine) stop() error {
	return errors.Join(m.outer.Close(), m.inner.Close(), <-m.ended, <-m.ended)
}

// openTap makes a tap that takes and gives whole segments, checksums not filled in.
func openTap(ns, name string) (f *os.File, err error) {
	fd := -1
	err = namespace.Do(ns, func() (err error) {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return err
		}
		request, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
			return err
		}
		return unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6)
	})
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("make tap %s in %s: %w", name, ns, err)
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil
}

// relayBuffer holds the longest frame with its header.
const relayBuffer = 1<<16 + 256

func relay(from, to *os.File) error {
	b := make([]byte, relayBuffer)
	for {
		n, err := from.Read(b)
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err == nil {
			_, err = to.Write(b[:n])
		}
		switch {
		case err == nil, errors.Is(err, unix.EIO), errors.Is(err, unix.EBADFD): // not up yet
		case errors.Is(err, os.ErrClosed):
			return nil
		default:
			return fmt.Errorf("copy frames between taps: %w", err)
		}
	}
}
