// SPDX-License-Identifier: Apache-2.0

package link

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Inspection is what a look at a port's interface found.
type Inspection struct {
	Ifindex  int      // on the host; 0: it is not there
	Problems []string // what is not as it was made
}

func (i *Inspection) addf(format string, args ...any) {
	i.Problems = append(i.Problems, fmt.Sprintf(format, args...))
}

// Inspect compares an interface that we made for a workload, at both ends, with what it
// was given. It changes nothing.
func (d *Driver) Inspect(port string, place Place, s Settings) (i Inspection, err error) {
	name := HostName(port)
	host, err := find(d.nl, name)
	if err != nil {
		return i, err
	}
	if host == nil {
		i.addf("interface %s on the host is gone", name)
		return i, nil
	}
	if owner, ours := portOf(host); !ours || owner != port {
		i.addf("interface %s on the host is not the port's", name)
		return i, nil
	}
	i.Ifindex = host.Attrs().Index
	i.link(host, name+" on the host", s.MTU)
	ns, err := netns.GetFromPath(place.Netns)
	if err != nil {
		i.addf("network namespace %s cannot be opened: %v", place.Netns, err)
		return i, nil
	}
	defer ns.Close()
	entered, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return i, fmt.Errorf("enter network namespace %s: %w", place.Netns, err)
	}
	inside := d.over(entered)
	defer inside.Close()
	l, err := find(inside, place.Ifname)
	if err != nil {
		return i, err
	}
	if l == nil {
		i.addf("interface %s is gone", place.Ifname)
		return i, nil
	}
	if !reaches(host, place, inside) {
		i.addf("interface %s does not lead to the port", place.Ifname)
		return i, nil
	}
	f := follower{driver: d, inside: inside, place: place, link: l, now: s}
	return i, f.inspect(&i)
}

// link looks at what both ends have.
func (i *Inspection) link(l netlink.Link, name string, mtu int) {
	if l.Attrs().Flags&net.FlagUp == 0 {
		i.addf("interface %s is down", name)
	}
	if is := l.Attrs().MTU; is != mtu {
		i.addf("interface %s has MTU %d and not %d", name, is, mtu)
	}
}

// inspect looks at the workload's end.
func (f *follower) inspect(i *Inspection) error {
	i.link(f.link, f.place.Ifname, f.now.MTU)
	if mac := net.HardwareAddr(f.now.MAC[:]).String(); f.link.Attrs().HardwareAddr.String() != mac {
		i.addf("interface %s has MAC %v and not %s", f.place.Ifname, f.link.Attrs().HardwareAddr, mac)
	}
	has, err := f.addresses()
	if err != nil {
		return err
	}
	for _, a := range f.now.Addresses {
		if !has[a.Prefix] {
			i.addf("interface %s lacks address %v", f.place.Ifname, a.Prefix)
		}
	}
	for family, six := range map[int]bool{netlink.FAMILY_V4: false, netlink.FAMILY_V6: true} {
		gateway := f.now.gateway(six)
		if !gateway.IsValid() {
			continue
		}
		routes, err := f.inside.RouteList(f.link, family)
		if err != nil {
			return f.fail("list routes", err)
		}
		found := false
		for _, r := range routes {
			found = found || isDefault(r) && r.Gw.Equal(net.IP(gateway.AsSlice()))
		}
		if !found {
			i.addf("the default route through %s by %v is gone", f.place.Ifname, gateway)
		}
	}
	return nil
}
