// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// echoes answers datagrams in a namespace with what they say.
func echoes(t *testing.T, ns string) (address string) {
	t.Helper()
	var server net.PacketConn
	inside(t, ns, func() (err error) { server, err = net.ListenPacket("udp", "127.0.0.1:0"); return err })
	t.Cleanup(func() { server.Close() })
	go func() {
		buffer := make([]byte, 2000)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(append([]byte("echo "), buffer[:n]...), from) // a test that misses it fails
		}
	}()
	return server.LocalAddr().String()
}

// exchange says something from a socket and returns who answers and what.
func exchange(t *testing.T, socket net.PacketConn, to, text string) string {
	t.Helper()
	at := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))
	buffer := make([]byte, 2000)
	for range 10 { // a datagram may be lost
		if _, err := socket.WriteTo([]byte(text), at); err != nil {
			return err.Error()
		}
		_ = socket.SetReadDeadline(time.Now().Add(2 * time.Second)) // fails below
		n, from, err := socket.ReadFrom(buffer)
		if err == nil {
			return fmt.Sprintf("%s says %s", from, buffer[:n])
		}
	}
	return "nobody"
}

// Services of the fabric by UDP, in both families, several at once: a workload
// that asks two of them, or one at two addresses, or from two addresses of its
// own, always from one port, gets each answer where it asked.
func TestFabricServiceByUDP(t *testing.T) {
	s := serve(t, api.ModeStateful, servedIPv6, func(m *machine) {
		m.arguments = []string{"--service", "time=" + echoes(t, m.ns) + "/udp", "--service", "logs=" + echoes(t, m.ns) + "/udp"}
	})
	s.configure(servedIPv6)
	rows := servedRows(api.ModeStateful, servedIPv6)
	second := netip.MustParseAddr("10.0.0.43")
	port := rows[desired.PortRow(servedPort)].GetPort()
	port.Addresses = append(port.Addresses, &hoststream.PortAddress{Ip: second.AsSlice(), PrefixLength: 24, Gateway: []byte{10, 0, 0, 1}, Subnet: "s4"})
	put(rows, route(7, second, &hoststream.Route{Mac: servedMAC, NextHop: &hoststream.Route_Port{Port: servedPort}}))
	six := netip.MustParseAddr("fd00:f::1")
	rows[desired.VRFRow(7)].GetVrf().Services = []*hoststream.FabricService{
		{Name: "time", Address: []byte{169, 254, 10, 1}, Port: 123, Udp: true}, {Name: "time", Address: []byte{169, 254, 10, 2}, Port: 124, Udp: true},
		{Name: "logs", Address: []byte{169, 254, 10, 1}, Port: 514, Udp: true}, {Name: "time", Address: six.AsSlice(), Port: 123, Udp: true},
		{Name: "time", Address: []byte{169, 254, 10, 1}, Port: 125}, // by TCP this host has no such service
	}
	s.controller.set(rows)
	s.controller.settledBut(desired.VRFRow(7), "network d:p:served has no service time by tcp")
	sockets := map[string]net.PacketConn{}
	inside(t, s.workload, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: second.AsSlice(), Mask: net.CIDRMask(32, 32)}}); err != nil {
			return err
		}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP("fd00:a::1"), Dst: &net.IPNet{IP: net.ParseIP("fd00:f::"), Mask: net.CIDRMask(64, 128)}}); err != nil {
			return err
		}
		for _, from := range []string{"10.0.0.42:5555", "10.0.0.43:5555", "[fd00:a::42]:5555"} {
			if sockets[from], err = net.ListenPacket("udp", from); err != nil {
				return err
			}
		}
		return nil
	})
	for round := range 3 {
		for from, socket := range sockets {
			defer socket.Close()
			to := []string{"169.254.10.1:123", "169.254.10.2:124", "169.254.10.1:514"}
			if strings.HasPrefix(from, "[") {
				to = []string{"[fd00:f::1]:123"}
			}
			for _, at := range to {
				text := fmt.Sprintf("%s to %s, %d", from, at, round)
				if got, want := exchange(t, socket, at, text), at+" says echo "+text; got != want {
					t.Errorf("from %s: %s, want %s", from, got, want)
				}
			}
		}
	}
	inside(t, s.workload, func() error {
		if conn, err := net.DialTimeout("tcp", "169.254.10.1:125", 300*time.Millisecond); err == nil {
			conn.Close()
			t.Error("a service by UDP alone is answered by TCP")
		}
		return nil
	})
}
