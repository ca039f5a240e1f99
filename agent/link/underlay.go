// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoUnderlay says that no address for tunnels can be found.
var ErrNoUnderlay = errors.New("no default route leads to an interface with a global address: give --tunnel-address")

// Underlay is what the host has in the underlay.
type Underlay struct {
	Addresses []netip.Addr // for tunnels, as they were named; those without a carrier only if there are no others
	Lost      []netip.Addr // named, but without a carrier, or no address of the host now
	MTU       int
	Uplinks   []int // interfaces at which tunnel packets arrive, sorted
}

// UnderlayOf finds the tunnel addresses and the interfaces that have them.
// Without given addresses they are those of the interfaces that the default
// routes lead to, one of each family.
func (d *Driver) UnderlayOf(given []netip.Addr) (Underlay, error) {
	var err error
	if len(given) == 0 {
		if given, err = d.defaultAddresses(); err != nil {
			return Underlay{}, err
		}
	}
	has, err := d.holders()
	if err != nil {
		return Underlay{}, err
	}
	var u Underlay
	var dark []netip.Addr // there, but without a carrier
	for _, want := range given {
		want = want.Unmap()
		switch l := has[want]; {
		case l == nil:
			u.Lost = append(u.Lost, want)
		case !live(l):
			dark = append(dark, want)
		default:
			u.Addresses = append(u.Addresses, want)
		}
	}
	if len(u.Addresses) == 0 {
		u.Addresses, dark = dark, nil // better than none
	}
	u.Lost = append(u.Lost, dark...)
	if len(u.Addresses) == 0 {
		return Underlay{}, fmt.Errorf("tunnel address %v is not an address of this host", given[0])
	}
	return u, d.measure(&u, has, dark)
}

// holders are the interfaces by the addresses they have.
func (d *Driver) holders() (map[netip.Addr]netlink.Link, error) {
	links, err := d.nl.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	byIndex := map[int]netlink.Link{}
	for _, l := range links {
		byIndex[l.Attrs().Index] = l
	}
	all, err := d.nl.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	has := map[netip.Addr]netlink.Link{}
	for _, a := range all {
		if have, ok := netip.AddrFromSlice(a.IP); ok && byIndex[a.LinkIndex] != nil {
			has[have.Unmap()] = byIndex[a.LinkIndex]
		}
	}
	return has, nil
}

// measure finds the uplinks and the smallest of their MTUs. An address on an
// interface that is no cable, as loopback, is reached through those that routes
// lead through.
func (d *Driver) measure(u *Underlay, has map[netip.Addr]netlink.Link, dark []netip.Addr) error {
	uplinks := map[int]netlink.Link{}
	for _, a := range append(slices.Clone(u.Addresses), dark...) {
		l := has[a]
		if !inner(l) {
			uplinks[l.Attrs().Index] = l
			continue
		}
		routed, err := d.routed()
		if err != nil {
			return err
		}
		for _, l := range routed {
			uplinks[l.Attrs().Index] = l
		}
		if len(routed) == 0 && u.MTU == 0 {
			u.MTU = l.Attrs().MTU
		}
	}
	for index, l := range uplinks {
		u.Uplinks = append(u.Uplinks, index)
		if u.MTU == 0 || l.Attrs().MTU < u.MTU {
			u.MTU = l.Attrs().MTU
		}
	}
	slices.Sort(u.Uplinks)
	return nil
}

// live tells whether an interface is up and has a carrier.
func live(l netlink.Link) bool {
	return l.Attrs().RawFlags&unix.IFF_UP != 0 && l.Attrs().RawFlags&unix.IFF_RUNNING != 0
}

// inner tells whether an interface only holds addresses.
func inner(l netlink.Link) bool {
	return l.Attrs().RawFlags&unix.IFF_LOOPBACK != 0 || l.Type() == "dummy"
}

// routed returns the interfaces that routes with a gateway lead through, which
// are neither ours nor inner ones.
func (d *Driver) routed() ([]netlink.Link, error) {
	routes, err := d.nl.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	through := map[int]bool{}
	for _, r := range routes {
		if r.Table != unix.RT_TABLE_MAIN {
			continue
		}
		if r.Gw != nil || r.Via != nil {
			through[r.LinkIndex] = true
		}
		for _, m := range r.MultiPath {
			through[m.LinkIndex] = true
		}
	}
	var links []netlink.Link
	for index := range through {
		if l, err := d.nl.LinkByIndex(index); err == nil && !marked(l) && !inner(l) {
			links = append(links, l)
		}
	}
	return links, nil
}

// Path says through which interface, and from which address, the kernel reaches
// an address of the underlay, and whether that interface has a carrier. Where the
// kernel's choice has none, another of the uplinks is named that has, and that a
// route leads through, too; alive is false all the same, for what the kernel
// routes by itself is lost. Not known: no route leads there.
func (d *Driver) Path(remote netip.Addr, uplinks []int) (uplink int, source netip.Addr, alive, known bool) {
	uplink, source, alive, known = d.ask(remote, nil)
	if known && remote.Is6() && source.Is6() {
		if index, hashed := hashedUplink(source, remote); hashed && index != uplink {
			if l, err := d.nl.LinkByIndex(index); err == nil {
				uplink, alive = index, live(l)
			}
		}
	}
	if known && alive {
		return uplink, source, true, true
	}
	for _, index := range uplinks {
		// Without a route, the kernel takes any address to be on the link that it is
		// told to use, unless it is asked for the route itself.
		if _, _, _, routed := d.ask(remote, &netlink.RouteGetOptions{OifIndex: index, FIBMatch: true}); !routed {
			continue
		}
		if u, s, up, ok := d.ask(remote, &netlink.RouteGetOptions{OifIndex: index}); ok && up {
			return u, s, false, true
		}
	}
	return uplink, source, false, known
}

// ask is one question to the kernel's routing.
func (d *Driver) ask(remote netip.Addr, o *netlink.RouteGetOptions) (uplink int, source netip.Addr, alive, known bool) {
	routes, err := d.nl.RouteGetWithOptions(remote.AsSlice(), o)
	if err != nil || len(routes) == 0 {
		return 0, netip.Addr{}, false, false
	}
	if o != nil && o.FIBMatch { // its interface may be in a list of hops
		return 0, netip.Addr{}, false, true
	}
	l, err := d.nl.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return 0, netip.Addr{}, false, false
	}
	a, _ := netip.AddrFromSlice(routes[0].Src)
	return routes[0].LinkIndex, a.Unmap(), live(l), true
}

func (d *Driver) defaultAddresses() ([]netip.Addr, error) {
	var addresses []netip.Addr
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := d.nl.RouteList(nil, family)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			if r.Dst != nil && !r.Dst.IP.IsUnspecified() || r.LinkIndex == 0 {
				continue
			}
			if a, ok := d.globalAddress(r.LinkIndex, family); ok {
				addresses = append(addresses, a)
				break
			}
		}
	}
	if len(addresses) == 0 {
		return nil, ErrNoUnderlay
	}
	return addresses, nil
}

func (d *Driver) globalAddress(ifindex, family int) (netip.Addr, bool) {
	l, err := d.nl.LinkByIndex(ifindex)
	if err != nil {
		return netip.Addr{}, false
	}
	all, err := d.nl.AddrList(l, family)
	if err != nil {
		return netip.Addr{}, false
	}
	for _, a := range all {
		if a.Scope != int(netlink.SCOPE_UNIVERSE) || a.Flags&(unix.IFA_F_TEMPORARY|unix.IFA_F_DEPRECATED|unix.IFA_F_TENTATIVE) != 0 {
			continue
		}
		if have, ok := netip.AddrFromSlice(a.IP); ok {
			return have.Unmap(), true
		}
	}
	return netip.Addr{}, false
}
