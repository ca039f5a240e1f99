// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Place says where a port's interface is: in a network namespace, where we
// make it, or an interface of the host that somebody else made.
type Place struct {
	Netns     string `json:"netns,omitempty"`     // path of the namespace
	Ifname    string `json:"ifname,omitempty"`    // name there
	Interface string `json:"interface,omitempty"` // name of the existing interface
}

// Address is an address for a workload with the gateway of its subnet.
type Address struct {
	Prefix  netip.Prefix
	Gateway netip.Addr // may be invalid: none
}

// Settings are what a workload's interface gets.
type Settings struct {
	MAC       [6]byte
	MTU       int
	Addresses []Address
}

// Found is a port's interface as it is on the host.
type Found struct {
	Ifindex      int
	Name         string
	RedirectPeer bool
	MTU          int // of one that somebody else made, who may change it; else 0
}

// ErrGone says that a port's interface, or the namespace it led to, is not
// there any more.
var ErrGone = errors.New("interface is gone")

// Ensure makes a port's interface be there, complete, with the packet path
// attached before it came up. Doing it again repairs and changes nothing else.
func (d *Driver) Ensure(port string, place Place, s Settings) (Found, error) {
	if place.Interface != "" {
		if err := d.Usable(place); err != nil {
			return Found{}, err
		}
		return d.take(place.Interface)
	}
	ns, err := netns.GetFromPath(place.Netns)
	if err != nil {
		return Found{}, fmt.Errorf("open network namespace %s: %w", place.Netns, err)
	}
	defer ns.Close()
	entered, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return Found{}, fmt.Errorf("enter network namespace %s: %w", place.Netns, err)
	}
	inside := d.over(entered)
	defer inside.Close()
	if err := d.ensurePair(port, place, s, ns, inside); err != nil {
		return Found{}, err
	}
	found, err := d.Find(port, place)
	if err != nil {
		return Found{}, err
	}
	if err := d.configure(inside, place, s); err != nil {
		return Found{}, err
	}
	return found, nil
}

// take attaches to an interface that somebody else made.
func (d *Driver) take(name string) (Found, error) {
	l, err := d.takeable(name)
	if err != nil {
		return Found{}, err
	}
	if err := d.attach(l.Attrs().Index); err != nil {
		return Found{}, err
	}
	if err := d.nl.LinkSetUp(l); err != nil {
		return Found{}, fmt.Errorf("bring interface %s up: %w", name, err)
	}
	f := found(l)
	f.MTU = l.Attrs().MTU
	return f, nil
}

// takeable finds an interface that may be a port's.
func (d *Driver) takeable(name string) (netlink.Link, error) {
	l, err := find(d.nl, name)
	if err != nil {
		return nil, err
	}
	if l == nil {
		return nil, fmt.Errorf("find interface %s: %w", name, ErrGone)
	}
	if why := untakeable(l); why != "" {
		return nil, fmt.Errorf("attach to interface %s: %s", name, why)
	}
	return l, nil
}

// untakeable says why an interface can never be a port's; empty if it can.
func untakeable(l netlink.Link) string {
	switch {
	case marked(l):
		return "it was made by weft for another purpose"
	case l.Attrs().Flags&net.FlagLoopback != 0:
		return "it is the loopback interface"
	}
	return ""
}

// Usable refuses an existing interface that must not become a port's, without
// touching it. One with an address of the host would cut the host off.
func (d *Driver) Usable(place Place) error {
	name := place.Interface
	if name == "" {
		return nil
	}
	l, err := d.takeable(name)
	if err != nil {
		return err
	}
	addresses, err := d.nl.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of interface %s: %w", name, err)
	}
	for _, a := range addresses {
		if a.IP.IsGlobalUnicast() {
			return fmt.Errorf("attach to interface %s: the host itself has address %v on it", name, a.IP)
		}
	}
	return nil
}

func found(l netlink.Link) Found {
	a := l.Attrs()
	// The id is that of the other end's namespace, and absent (-1) for this one.
	return Found{Ifindex: a.Index, Name: a.Name, RedirectPeer: l.Type() == "veth" && a.NetNsID >= 0}
}

// Find returns a port's interface if it is there and complete, with the packet
// path attached, and ErrGone if not.
func (d *Driver) Find(port string, place Place) (Found, error) {
	if place.Interface != "" {
		return d.take(place.Interface)
	}
	name := HostName(port)
	l, err := find(d.nl, name)
	if err != nil {
		return Found{}, err
	}
	if l == nil {
		return Found{}, fmt.Errorf("find interface %s of port %s: %w", name, port, ErrGone)
	}
	if owner, ours := portOf(l); !ours || owner != port {
		return Found{}, fmt.Errorf("find interface of port %s: %w", port, foreign(name))
	}
	if err := d.attach(l.Attrs().Index); err != nil {
		return Found{}, err
	}
	if err := d.nl.LinkSetUp(l); err != nil {
		return Found{}, fmt.Errorf("bring interface %s up: %w", name, err)
	}
	return found(l), nil
}

// ensurePair makes the veth pair, or keeps the one that is there if its other
// end is in the right namespace under the right name.
func (d *Driver) ensurePair(port string, place Place, s Settings, ns netns.NsHandle, inside Kernel) error {
	name := HostName(port)
	l, err := find(d.nl, name)
	if err != nil {
		return err
	}
	if l != nil {
		owner, ours := portOf(l)
		if !ours || owner != "" && owner != port {
			return foreign(name)
		}
		if owner == port && reaches(l, place, inside) {
			return nil
		}
		// Half made, or it leads elsewhere: a new workload took the port over.
		if err := d.remove(l); err != nil {
			return err
		}
	}
	return d.makePair(port, place, s, ns)
}

// reaches tells whether the other end of l has the place's name inside.
func reaches(l netlink.Link, place Place, inside Kernel) bool {
	peer, err := inside.LinkByName(place.Ifname)
	return err == nil && peer.Type() == "veth" &&
		peer.Attrs().Index == l.Attrs().ParentIndex && peer.Attrs().ParentIndex == l.Attrs().Index
}

func (d *Driver) makePair(port string, place Place, s Settings, ns netns.NsHandle) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Group, attrs.MTU = HostName(port), group, s.MTU
	pair := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         place.Ifname,
		PeerHardwareAddr: s.MAC[:],
		PeerNamespace:    netlink.NsFd(int(ns)),
		PeerTxQLen:       -1, // the kernel's default
		PeerMTU:          uint32(s.MTU),
	}
	if err := d.nl.LinkAdd(pair); err != nil {
		if errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("create interface %s in %s for port %s: an interface of that name is there already", place.Ifname, place.Netns, port)
		}
		return fmt.Errorf("create interface %s with %s in %s for port %s: %w", attrs.Name, place.Ifname, place.Netns, port, err)
	}
	l, err := d.nl.LinkByName(attrs.Name)
	if err != nil {
		return fmt.Errorf("find interface %s after creating it: %w", attrs.Name, err)
	}
	// The alias is last: an interface that has it is complete on this side.
	err = d.attach(l.Attrs().Index)
	if err == nil {
		err = quiet(d.nl, l)
	}
	if err == nil {
		err = d.nl.LinkSetAlias(l, portAlias+port)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("prepare interface %s of port %s: %w", attrs.Name, port, err), d.remove(l))
	}
	return nil
}

// configure gives the workload's end its settings and brings it up.
func (d *Driver) configure(inside Kernel, place Place, s Settings) error {
	fail := func(what string, err error) error {
		return fmt.Errorf("%s on %s in %s: %w", what, place.Ifname, place.Netns, err)
	}
	l, err := inside.LinkByName(place.Ifname)
	if err != nil {
		return fail("find interface", err)
	}
	if l.Attrs().HardwareAddr.String() != net.HardwareAddr(s.MAC[:]).String() {
		if err := inside.LinkSetHardwareAddr(l, s.MAC[:]); err != nil {
			return fail("set MAC", err)
		}
	}
	if l.Attrs().MTU != s.MTU {
		if err := inside.LinkSetMTU(l, s.MTU); err != nil {
			return fail(fmt.Sprintf("set MTU %d", s.MTU), err)
		}
	}
	for _, a := range s.Addresses {
		address := &netlink.Addr{IPNet: ipNet(a.Prefix)}
		if a.Prefix.Addr().Is6() {
			// The store gave the address to this port alone; waiting for
			// duplicates would only delay the workload by a second.
			address.Flags = unix.IFA_F_NODAD
		}
		if err := inside.AddrReplace(l, address); err != nil {
			return fail(fmt.Sprintf("set address %v (is IPv6 disabled there?)", a.Prefix), err)
		}
	}
	if err := inside.LinkSetUp(l); err != nil {
		return fail("bring up", err)
	}
	return d.defaultRoutes(inside, l, s, fail)
}

// defaultRoutes sets one default route a family, by the first gateway of it.
// That of another interface, which was there before, stays and is preferred.
func (d *Driver) defaultRoutes(inside Kernel, l netlink.Link, s Settings, fail func(string, error) error) error {
	for _, six := range []bool{false, true} {
		if g := s.gateway(six); g.IsValid() {
			if err := d.setDefaultRoute(inside, l, g, fail); err != nil {
				return err
			}
		}
	}
	return nil
}

// setDefaultRoute leads through l to a gateway. Ports of one namespace that come
// at the same time must not choose the same metric: one's route would take the
// place of the other's.
func (d *Driver) setDefaultRoute(inside Kernel, l netlink.Link, gateway netip.Addr, fail func(string, error) error) error {
	family, everything := netlink.FAMILY_V4, netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if gateway.Is6() {
		family, everything = netlink.FAMILY_V6, netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	d.metrics.Lock()
	defer d.metrics.Unlock()
	metric, err := defaultMetric(inside, l, family)
	if err != nil {
		return fail("list routes", err)
	}
	route := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(everything), Gw: gateway.AsSlice(), Priority: metric}
	if err := inside.RouteReplace(route); err != nil {
		return fail(fmt.Sprintf("set default route via %v", gateway), err)
	}
	return nil
}

// userMetric6 is IP6_RT_PRIO_USER of net/ipv6/route.h, what IPv6 makes of no metric.
const userMetric6 = 1024

// defaultMetric returns the metric of l's default route, or the first from the
// kernel's own on that no default route of another interface has.
func defaultMetric(inside Kernel, l netlink.Link, family int) (int, error) {
	routes, err := inside.RouteList(nil, family)
	if err != nil {
		return 0, err
	}
	taken := map[int]bool{}
	for _, r := range routes {
		if r.Dst != nil {
			if bits, _ := r.Dst.Mask.Size(); bits > 0 {
				continue
			}
		}
		if r.LinkIndex == l.Attrs().Index {
			return r.Priority, nil
		}
		taken[r.Priority] = true
	}
	metric := 0
	if family == netlink.FAMILY_V6 {
		metric = userMetric6
	}
	for taken[metric] {
		metric++
	}
	return metric, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Release undoes Ensure: what we made is removed; an existing interface is
// taken down and let go of, for without the packet path on it what the
// workload sends would reach the host. Absence is success.
func (d *Driver) Release(port string, place Place) error {
	if place.Interface == "" {
		l, err := find(d.nl, HostName(port))
		if l == nil || err != nil {
			return err
		}
		if owner, ours := portOf(l); !ours || owner != "" && owner != port {
			return nil
		}
		return d.remove(l)
	}
	l, err := find(d.nl, place.Interface)
	if l == nil || err != nil || untakeable(l) != "" { // what was refused was never taken
		return err
	}
	if err := d.nl.LinkSetDown(l); err != nil && !absent(err) {
		return fmt.Errorf("take interface %s down: %w", place.Interface, err)
	}
	return d.detach(l.Attrs().Index)
}
