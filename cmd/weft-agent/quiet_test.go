// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

// wiretap keeps every frame of an interface, sent and received, that has
// something in it.
type wiretap struct {
	fd    int
	stop  atomic.Bool
	ended chan struct{}

	mu   sync.Mutex
	all  int
	with [][]byte
}

func newWiretap(t *testing.T, ns, name string, marks ...[]byte) *wiretap {
	t.Helper()
	c := &wiretap{ended: make(chan struct{})}
	inside(t, ns, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		const everything = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network order
		if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, everything); err != nil {
			return err
		}
		if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}); err != nil {
			return err
		}
		return unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: everything, Ifindex: l.Attrs().Index})
	})
	go func() {
		defer close(c.ended)
		defer unix.Close(c.fd)
		buffer := make([]byte, 1<<16)
		for !c.stop.Load() {
			n, _, err := unix.Recvfrom(c.fd, buffer, 0)
			if err != nil {
				continue // nothing came
			}
			c.mu.Lock()
			c.all++
			for _, m := range marks {
				if bytes.Contains(buffer[:n], m) {
					c.with = append(c.with, bytes.Clone(buffer[:n]))
					break
				}
			}
			c.mu.Unlock()
		}
	}()
	t.Cleanup(func() { c.stop.Store(true); <-c.ended })
	return c
}

func (c *wiretap) seen() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.with
}

// While real clients boot in a network that reaches to another host, nothing
// of theirs is on the wire between the hosts, nor at a neighbour on this one:
// DHCP, DHCPv6, router and neighbour discovery, DNS, metadata and services of
// the fabric are between a workload and its own host.
func TestNothingOfServicesLeavesTheHost(t *testing.T) {
	m := twoHosts(t, tunnels4)[0]
	m.arguments = []string{"--dns-upstream", upstream(t, m.ns), "--service", "time=" + echoes(t, m.ns) + "/udp"}
	m.start(tunnels4[0])
	m.agent.waitReady(t)
	rows := servedRows(api.ModeStateful, servedIPv6)
	rows[desired.VRFRow(7)].GetVrf().Services = []*hoststream.FabricService{{Name: "time", Address: []byte{169, 254, 10, 1}, Port: 123, Udp: true}}
	rows[desired.EndpointRow(hostID(1))] = &hoststream.Row{Body: &hoststream.Row_TunnelEndpoint{TunnelEndpoint: &hoststream.TunnelEndpoint{
		Host: hostID(1), HostName: "h1", Addresses: [][]byte{tunnels4[1].Addr().AsSlice()},
	}}}
	for _, ip := range ips(11) {
		put(rows, route(7, ip, &hoststream.Route{Mac: macOf(11), NextHop: &hoststream.Route_Remote{Remote: &hoststream.Remote{Host: hostID(1), Vni: 7}}}))
	}
	addWorkload(rows, 7, 12, 0, 0)
	m.controller.set(rows)
	m.controller.settled()
	s := served{m, namespace(t, "sw")}
	bare(t, m.ns, "tap0", s.workload, "eth0")
	if _, err := plug.NewClient(m.dir+"/run").Plug(context.Background(), plug.Request{Port: servedPort, Place: link.Place{Interface: "tap0"}, TimeoutSeconds: 10}); err != nil {
		t.Fatal(err)
	}
	neighbour := namespace(t, "w12")
	m.mustPlug(portID(7, 12), neighbour)
	underlay := newWiretap(t, m.ns, "u0", servedMAC, vrouter.GatewayMAC[:])
	beside := newWiretap(t, neighbour, "eth0", servedMAC)

	s.client(t, "udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "5", "-T", "1", "-s", "SCRIPT")
	eventually(t, s.tentative)
	s.client(t, "dhclient", "-4", "-1", "-d", "-sf", "SCRIPT", "-lf", "DIR/leases", "-pf", "DIR/pid", "eth0")
	s.client(t, "dhclient", "-6", "-1", "-d", "-sf", "SCRIPT", "-lf", "DIR/leases", "-pf", "DIR/pid", "eth0")
	s.configure(servedIPv6)
	for _, server := range []string{"@10.0.0.1", "@fd00:a::1"} {
		dig(t, s.workload, server, "far.example", "A")
	}
	var socket net.PacketConn
	inside(t, s.workload, func() (err error) { socket, err = net.ListenPacket("udp", "10.0.0.42:0"); return err })
	defer socket.Close()
	if got := exchange(t, socket, "169.254.10.1:123", "x"); got != "169.254.10.1:123 says echo x" {
		t.Error(got)
	}
	reaches(t, s.workload, "10.0.0.1")
	reaches(t, s.workload, "fd00:a::1")
	for where, c := range map[string]*wiretap{"the wire between hosts": underlay, "its neighbour": beside} {
		for i, f := range c.seen() {
			if i == 5 {
				break
			}
			t.Errorf("seen on %s: %s", where, hex.EncodeToString(f))
		}
	}
	// And what is for the other host is seen, so that the captures mean something.
	_, _ = ping(t, s.workload, "10.0.0.11", "-c", "1", "-W", "1") // nobody answers
	reaches(t, s.workload, "10.0.0.12")
	eventually(t, func() error {
		if len(underlay.seen()) == 0 || len(beside.seen()) == 0 {
			return errors.New("what goes to others is not captured")
		}
		return nil
	})
}
