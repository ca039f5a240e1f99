// SPDX-License-Identifier: Apache-2.0

package link

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Toward asks the kernel how a tunnel packet would travel to another host: by
// which route and neighbour, and through which device it is encapsulated. It
// returns what is asked and what was said.
func (d *Driver) Toward(remote, local netip.Addr) [][2]string {
	facts := [][2]string{{"tunnel device", d.tunnelWords()}}
	options := &netlink.RouteGetOptions{}
	if local.IsValid() {
		options.SrcAddr = net.IP(local.AsSlice())
	}
	routes, err := d.nl.RouteGetWithOptions(net.IP(remote.AsSlice()), options)
	if err != nil || len(routes) == 0 {
		return append(facts, [2]string{"underlay route", fmt.Sprintf("none to %v: %v", remote, err)})
	}
	r := routes[0]
	next, words := remote, fmt.Sprintf("to %v on %s", remote, d.Name(r.LinkIndex))
	if via, ok := netip.AddrFromSlice(r.Gw); ok {
		next = via.Unmap()
		words += fmt.Sprintf(" via %v", next)
	}
	if l, err := d.nl.LinkByIndex(r.LinkIndex); err == nil {
		words += fmt.Sprintf(", MTU %d, %s", l.Attrs().MTU, l.Attrs().OperState)
	}
	facts = append(facts, [2]string{"underlay route", words})
	return append(facts, [2]string{"underlay neighbour", d.neighbourWords(r.LinkIndex, next)})
}

// OwnRoute is how the kernel would send a packet of this host's own.
type OwnRoute struct {
	Device string
	Via    netip.Addr // the router, invalid if the destination is a neighbour
	Source netip.Addr // that the host takes where nothing else is said
	Local  bool       // the address is one of this host's
}

// OwnRoute asks the kernel for the route of a packet that this host itself
// sends. An invalid source is the kernel's to choose, and so is the device if
// none is named.
func (d *Driver) OwnRoute(to, source netip.Addr, device string) (r OwnRoute, err error) {
	options := &netlink.RouteGetOptions{Oif: device}
	if source.IsValid() {
		options.SrcAddr = net.IP(source.AsSlice())
	}
	routes, err := d.nl.RouteGetWithOptions(net.IP(to.AsSlice()), options)
	if err != nil {
		return r, fmt.Errorf("ask the kernel for its route to %v: %w", to, err)
	}
	if len(routes) == 0 {
		return r, fmt.Errorf("ask the kernel for its route to %v: it has none", to)
	}
	found := routes[0]
	r = OwnRoute{Device: d.Name(found.LinkIndex), Source: source, Local: found.Type == unix.RTN_LOCAL}
	if via, ok := netip.AddrFromSlice(found.Gw); ok {
		r.Via = via.Unmap()
	}
	if a, ok := netip.AddrFromSlice(found.Src); ok && !source.IsValid() {
		r.Source = a.Unmap()
	}
	return r, nil
}

func (d *Driver) tunnelWords() string {
	l, err := find(d.nl, TunnelName)
	switch {
	case err != nil:
		return err.Error()
	case l == nil:
		return TunnelName + " is not there"
	case l.Attrs().Flags&net.FlagUp == 0:
		return TunnelName + " is down"
	}
	if v, ok := l.(*netlink.Vxlan); ok {
		return fmt.Sprintf("%s is up, UDP port %d", TunnelName, v.Port)
	}
	return TunnelName + " is up"
}

// neighbourStates are the words of the kernel's neighbour states.
var neighbourStates = map[int]string{
	netlink.NUD_INCOMPLETE: "incomplete: it does not answer", netlink.NUD_REACHABLE: "reachable", netlink.NUD_STALE: "stale: not used for a while", netlink.NUD_DELAY: "delay",
	netlink.NUD_PROBE: "probe", netlink.NUD_FAILED: "failed: it does not answer", netlink.NUD_NOARP: "needs none", netlink.NUD_PERMANENT: "permanent",
}

func (d *Driver) neighbourWords(ifindex int, next netip.Addr) string {
	family := unix.AF_INET
	if next.Is6() {
		family = unix.AF_INET6
	}
	all, err := d.nl.NeighList(ifindex, family)
	if err != nil {
		return fmt.Sprintf("%v: %v", next, err)
	}
	for _, n := range all {
		if have, ok := netip.AddrFromSlice(n.IP); ok && have.Unmap() == next {
			return fmt.Sprintf("%v is at %v, %s", next, n.HardwareAddr, neighbourStates[n.State])
		}
	}
	return fmt.Sprintf("%v is not known yet; the kernel asks for it with the first packet", next)
}
