// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The uplink of a tunnel is the interface that the kernel sends its packets out of, also
// among the hops of a multipath route of IPv6, where it picks by a hash whose seed is
// another one after each boot: of 64 hosts some would go the other way on any boot.
func TestUplinkAmongHops(t *testing.T) {
	inHost(t, func() {
		d, _ := open(t)
		source := netip.MustParseAddr("2001:db8::7")
		route := &netlink.Route{Dst: must[*net.IPNet](t)(netlink.ParseIPNet("2001:db8:ff::/64")), Src: source.AsSlice()}
		var uplinks []int
		for i := range 2 {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = fmt.Sprintf("up%d", i)
			up := &netlink.Veth{LinkAttrs: attrs, PeerName: fmt.Sprintf("router%d", i)}
			address := must[*netlink.Addr](t)(netlink.ParseAddr(fmt.Sprintf("2001:db8:%d::7/64", i+1)))
			address.Flags = unix.IFA_F_NODAD
			if err := errors.Join(netlink.LinkAdd(up), netlink.LinkSetUp(up), netlink.LinkSetUp(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: up.PeerName}}), netlink.AddrAdd(up, address)); err != nil {
				t.Fatal(err)
			}
			index := must[netlink.Link](t)(netlink.LinkByName(attrs.Name)).Attrs().Index
			router := net.ParseIP(fmt.Sprintf("2001:db8:%d::1", i+1))
			neighbour := &netlink.Neigh{LinkIndex: index, IP: router, State: netlink.NUD_PERMANENT, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, byte(i)}}
			if err := netlink.NeighAdd(neighbour); err != nil {
				t.Fatal(err)
			}
			route.MultiPath = append(route.MultiPath, &netlink.NexthopInfo{LinkIndex: index, Gw: router, Flags: int(netlink.FLAG_ONLINK)})
			uplinks = append(uplinks, index)
		}
		lo := must[netlink.Link](t)(netlink.LinkByName("lo"))
		own := must[*netlink.Addr](t)(netlink.ParseAddr(source.String() + "/128"))
		own.Flags = unix.IFA_F_NODAD // else it is tentative for a moment, and no source yet
		if err := errors.Join(netlink.LinkSetUp(lo), netlink.AddrAdd(lo, own), netlink.RouteAdd(route)); err != nil {
			t.Fatal(err)
		}
		used := map[int]int{}
		for i := range 64 {
			remote := netip.MustParseAddr(fmt.Sprintf("2001:db8:ff::%x", i+1))
			uplink, from, alive, known := d.Path(remote, uplinks)
			if !alive || !known || from != source {
				t.Fatalf("to %v: from %v, alive %v, known %v", remote, from, alive, known)
			}
			used[uplink]++
			if sent := sentThrough(t, uplinks, source, remote); sent != uplink {
				t.Errorf("a packet to %v leaves through interface %d, and the uplink said is %d", remote, sent, uplink)
			}
		}
		if len(used) != 2 {
			t.Errorf("64 hosts are reached through the uplinks %v: both are hops", used)
		}
	})
}

// sentThrough sends one packet of UDP, and returns the interface that counted it.
func sentThrough(t *testing.T, uplinks []int, source, remote netip.Addr) int {
	t.Helper()
	before := counted(t, uplinks)
	c, err := net.DialUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(remote, 4789)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(make([]byte, 999)); err != nil {
		t.Fatal(err)
	}
	for i, n := range counted(t, uplinks) {
		if n >= before[i]+999 {
			return uplinks[i]
		}
	}
	return 0
}

// counted are the bytes that interfaces sent.
func counted(t *testing.T, uplinks []int) (all []uint64) {
	t.Helper()
	for _, index := range uplinks {
		all = append(all, must[netlink.Link](t)(netlink.LinkByIndex(index)).Attrs().Statistics.TxBytes)
	}
	return all
}
