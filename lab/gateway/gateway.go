// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options say what the gateway has.
type Options struct {
	Address netip.Addr // in the underlay
	Device  string     // tun: the network behind it
	Label   uint32     // that it gave away
	Routes  []Route    // back
}

// Route leads packets from behind the gateway to a host.
type Route struct {
	Prefix netip.Prefix
	To     netip.Addr
	Label  uint32
}

// openDevice makes a tun device that is there while it is open.
func openDevice(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, fmt.Errorf("name device %q: %w", name, err)
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if _, _, code := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(request))); code != 0 {
		unix.Close(fd)
		return nil, fmt.Errorf("make tun device %s: %w", name, code)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Open makes the device and the socket.
func Open(o Options) (*Gateway, error) {
	device, err := openDevice(o.Device)
	if err != nil {
		return nil, err
	}
	socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(o.Address, Port)))
	if err != nil {
		device.Close()
		return nil, fmt.Errorf("listen for MPLS over UDP: %w", err)
	}
	return &Gateway{options: o, device: device, socket: socket}, nil
}

// Gateway is one that is open.
type Gateway struct {
	options Options
	device  *os.File
	socket  *net.UDPConn
}

// Run carries packets until the context ends.
func (g *Gateway) Run(ctx context.Context) error {
	failed := make(chan error, 2)
	go func() { failed <- g.fromUnderlay() }()
	go func() { failed <- g.fromBehind() }()
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	return errors.Join(err, g.device.Close(), g.socket.Close())
}

const largest = 1 << 16

func (g *Gateway) fromUnderlay() error {
	buffer := make([]byte, largest)
	for {
		n, from, err := g.socket.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return fmt.Errorf("receive from the underlay: %w", err)
		}
		label, packet, err := Unwrap(buffer[:n])
		if err != nil || label != g.options.Label {
			fmt.Fprintf(os.Stderr, "from %v: label %d: %v\n", from, label, err)
			continue
		}
		if _, err := g.device.Write(packet); err != nil {
			fmt.Fprintf(os.Stderr, "from %v: %v\n", from, err)
		}
	}
}

func (g *Gateway) fromBehind() error {
	buffer := make([]byte, largest)
	for {
		n, err := g.device.Read(buffer)
		if err != nil {
			return fmt.Errorf("read from %s: %w", g.options.Device, err)
		}
		packet := buffer[:n]
		to, ok := g.route(packet)
		if !ok {
			continue
		}
		if _, err := g.socket.WriteToUDPAddrPort(Wrap(to.Label, packet), netip.AddrPortFrom(to.To, Port)); err != nil {
			fmt.Fprintf(os.Stderr, "to %v: %v\n", to.To, err)
		}
	}
}

func (g *Gateway) route(packet []byte) (Route, bool) {
	var destination netip.Addr
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		destination = netip.AddrFrom4([4]byte(packet[16:20]))
	case len(packet) >= 40 && packet[0]>>4 == 6:
		destination = netip.AddrFrom16([16]byte(packet[24:40]))
	}
	for _, r := range g.options.Routes {
		if r.Prefix.Contains(destination) {
			return r, true
		}
	}
	return Route{}, false
}
