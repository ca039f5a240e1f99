// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoUnderlay says that no address for tunnels can be found.
var ErrNoUnderlay = errors.New("no default route leads to an interface with a global address: give --tunnel-address")

// UnderlayOf returns the tunnel addresses, at most one a family, and the MTU of
// the interface that has them. Without given addresses they are those of the
// interfaces that the default routes lead to.
func (d *Driver) UnderlayOf(given []netip.Addr) (addresses []netip.Addr, mtu int, err error) {
	if len(given) == 0 {
		if given, err = d.defaultAddresses(); err != nil {
			return nil, 0, err
		}
	}
	links, err := d.nl.LinkList()
	if err != nil {
		return nil, 0, fmt.Errorf("list interfaces: %w", err)
	}
	for _, want := range given {
		found := 0
		for _, l := range links {
			all, err := d.nl.AddrList(l, netlink.FAMILY_ALL)
			if err != nil {
				return nil, 0, fmt.Errorf("list addresses of %s: %w", l.Attrs().Name, err)
			}
			for _, a := range all {
				if have, ok := netip.AddrFromSlice(a.IP); ok && have.Unmap() == want.Unmap() {
					found = l.Attrs().MTU
				}
			}
		}
		if found == 0 {
			return nil, 0, fmt.Errorf("tunnel address %v is not an address of this host", want)
		}
		if mtu == 0 || found < mtu {
			mtu = found
		}
		addresses = append(addresses, want.Unmap())
	}
	return addresses, mtu, nil
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
