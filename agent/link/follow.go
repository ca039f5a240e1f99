// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Equal tells whether a workload's interface gets the same from both.
func (s Settings) Equal(o Settings) bool {
	return s.MAC == o.MAC && s.MTU == o.MTU && slices.Equal(s.Addresses, o.Addresses)
}

// gateway is the next hop of the default route of a family; invalid: none.
func (s Settings) gateway(six bool) netip.Addr {
	for _, a := range s.Addresses {
		if a.Prefix.Addr().Is6() == six && a.Gateway.IsValid() {
			return a.Gateway
		}
	}
	return netip.Addr{}
}

func (s Settings) has(p netip.Prefix) bool {
	return slices.ContainsFunc(s.Addresses, func(a Address) bool { return a.Prefix == p })
}

// Follow changes the interface in a workload's namespace from what it was given
// to what it is to have now. It touches only what differs between the two:
// addresses and routes that the workload has from elsewhere stay, and so does
// what it took away itself. An interface that somebody else made is left alone.
func (d *Driver) Follow(port string, place Place, was, now Settings) error {
	if place.Netns == "" || was.Equal(now) {
		return nil
	}
	l, err := find(d.nl, HostName(port))
	if err != nil {
		return err
	}
	if l == nil {
		return fmt.Errorf("find interface of port %s: %w", port, ErrGone)
	}
	if owner, ours := portOf(l); !ours || owner != port {
		return fmt.Errorf("find interface of port %s: %w", port, foreign(HostName(port)))
	}
	ns, err := netns.GetFromPath(place.Netns)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w: %w", place.Netns, ErrGone, err)
	}
	defer ns.Close()
	entered, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter network namespace %s: %w", place.Netns, err)
	}
	inside := d.over(entered)
	defer inside.Close()
	if !reaches(l, place, inside) {
		return fmt.Errorf("find %s in %s: %w", place.Ifname, place.Netns, ErrGone)
	}
	f := follower{driver: d, inside: inside, place: place, was: was, now: now}
	if f.link, err = inside.LinkByName(place.Ifname); err != nil {
		return f.fail("find interface", err)
	}
	if was.MTU != now.MTU && l.Attrs().MTU != now.MTU {
		if err := d.nl.LinkSetMTU(l, now.MTU); err != nil {
			return fmt.Errorf("set MTU %d on %s: %w", now.MTU, l.Attrs().Name, err)
		}
	}
	return f.run()
}

// follower changes one interface.
type follower struct {
	driver   *Driver
	inside   Kernel
	place    Place
	link     netlink.Link
	was, now Settings
}

func (f *follower) fail(what string, err error) error {
	return fmt.Errorf("%s on %s in %s: %w", what, f.place.Ifname, f.place.Netns, err)
}

// run adds before it takes away, so that traffic goes on.
func (f *follower) run() error {
	if f.was.MAC != f.now.MAC {
		if err := f.inside.LinkSetHardwareAddr(f.link, f.now.MAC[:]); err != nil {
			return f.fail("set MAC", err)
		}
	}
	if f.was.MTU != f.now.MTU {
		if err := f.inside.LinkSetMTU(f.link, f.now.MTU); err != nil {
			return f.fail(fmt.Sprintf("set MTU %d", f.now.MTU), err)
		}
	}
	before, err := f.addresses()
	if err != nil {
		return err
	}
	for _, a := range f.now.Addresses {
		if !f.was.has(a.Prefix) {
			if err := f.add(a.Prefix); err != nil {
				return err
			}
		}
	}
	for _, six := range []bool{false, true} {
		if f.was.gateway(six) != f.now.gateway(six) {
			if err := f.route(six); err != nil {
				return err
			}
		}
	}
	for _, a := range f.was.Addresses {
		if f.now.has(a.Prefix) || !before[a.Prefix] {
			continue
		}
		err := f.inside.AddrDel(f.link, &netlink.Addr{IPNet: ipNet(a.Prefix)})
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return f.fail(fmt.Sprintf("remove address %v", a.Prefix), err)
		}
	}
	return f.mend(before)
}

// mend brings back what the kernel took away with the first address of a
// subnet: the others of it, and routes that need them.
func (f *follower) mend(before map[netip.Prefix]bool) error {
	after, err := f.addresses()
	if err != nil {
		return err
	}
	lost := map[bool]bool{}
	for p := range before {
		given := f.was.has(p)
		if after[p] || given && !f.now.has(p) {
			continue
		}
		lost[p.Addr().Is6()] = true
		if err := f.add(p); err != nil {
			return err
		}
	}
	for _, a := range f.now.Addresses {
		if !after[a.Prefix] && !f.was.has(a.Prefix) {
			lost[a.Prefix.Addr().Is6()] = true
			if err := f.add(a.Prefix); err != nil {
				return err
			}
		}
	}
	for six := range lost {
		if f.now.gateway(six).IsValid() {
			if err := f.route(six); err != nil {
				return err
			}
		}
	}
	return nil
}

// addresses are those that the interface has, but for link-local ones.
func (f *follower) addresses() (map[netip.Prefix]bool, error) {
	all, err := f.inside.AddrList(f.link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, f.fail("list addresses", err)
	}
	has := map[netip.Prefix]bool{}
	for _, a := range all {
		ip, ok := netip.AddrFromSlice(a.IP)
		bits, _ := a.Mask.Size()
		if ok && !ip.Unmap().IsLinkLocalUnicast() {
			has[netip.PrefixFrom(ip.Unmap(), bits)] = true
		}
	}
	return has, nil
}

func (f *follower) add(p netip.Prefix) error {
	address := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		address.Flags = unix.IFA_F_NODAD // as configure says
	}
	if err := f.inside.AddrReplace(f.link, address); err != nil {
		return f.fail(fmt.Sprintf("set address %v", p), err)
	}
	return nil
}

// route makes the default route of a family lead to the gateway, or takes away
// the one that was given.
func (f *follower) route(six bool) error {
	if now := f.now.gateway(six); now.IsValid() {
		return f.driver.setDefaultRoute(f.inside, f.link, now, f.fail)
	}
	family := netlink.FAMILY_V4
	if six {
		family = netlink.FAMILY_V6
	}
	routes, err := f.inside.RouteList(f.link, family)
	if err != nil {
		return f.fail("list routes", err)
	}
	for _, r := range routes {
		if !isDefault(r) || !r.Gw.Equal(net.IP(f.was.gateway(six).AsSlice())) {
			continue
		}
		if err := f.inside.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return f.fail("remove default route", err)
		}
	}
	return nil
}

func isDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	bits, _ := r.Dst.Mask.Size()
	return bits == 0
}
