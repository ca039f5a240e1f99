// SPDX-License-Identifier: Apache-2.0

package vrouter

import "net/netip"

// nobodys are addresses that no prefix makes a source of.
var nobodys = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/32"), netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("::/128"), netip.MustParsePrefix("ff00::/8"),
}

// prefixOf is the longest of a port's prefixes for an address and a MAC.
func (o *Oracle) prefixOf(ifindex int, mac MAC, address netip.Addr) (netip.Prefix, Permission, bool) {
	return longest(address, func(p netip.Prefix) (Permission, bool) {
		permission, ok := o.PortPrefixes[PortPrefix{ifindex, mac, p}]
		return permission, ok
	})
}

// allows tells whether the port's prefixes allow a frame's source with its MAC.
func (o *Oracle) allows(ifindex int, vrf uint32, f parsed) bool {
	if isNobodys(f.source) {
		return false
	}
	prefix, permission, found := o.prefixOf(ifindex, f.ethSource, f.source)
	if !found || permission.Asked {
		return false
	}
	if !permission.Behind {
		return true
	}
	routed, route, found := o.lookupPrefix(vrf, f.source)
	return found && !route.gap && routed == prefix
}

// mayTake tells whether the port may have an address whatever the routes say.
func (o *Oracle) mayTake(ifindex int, mac MAC, address netip.Addr) bool {
	_, permission, found := o.prefixOf(ifindex, mac, address)
	return found && !permission.Behind && !permission.Asked
}

func isNobodys(address netip.Addr) bool {
	for _, n := range nobodys {
		if n.Contains(address) {
			return true
		}
	}
	return false
}

// news tells whether the agent hears that a port speaks for an address.
func (o *Oracle) news(ifindex int, mac MAC, address netip.Addr) bool {
	_, permission, found := o.prefixOf(ifindex, mac, address)
	if !found || !permission.Standby || isNobodys(address) {
		return false
	}
	route, known := o.Routes[RouteKey{o.Ports[ifindex].VRF, netip.PrefixFrom(address, address.BitLen())}]
	next := o.NextHops[route.NextHop]
	return !known || next.Kind != NextHopPort || next.Ifindex != ifindex
}

// asked tells whether a port asks for an address by probing it.
func (o *Oracle) asked(ifindex int, mac MAC, address netip.Addr) bool {
	_, permission, found := o.prefixOf(ifindex, mac, address)
	return found && permission.Asked && !isNobodys(address)
}

// tells tells whether the agent hears of the source of a frame that passed the spoof stage.
func (o *Oracle) tells(ifindex int, port Port, f parsed) bool {
	ownMAC := f.ethSource == port.MAC || port.MACLimit > 0
	own := ownMAC && o.owns(ifindex, f.source)
	linkLocal := ownMAC && f.source.Is6() && f.source.IsLinkLocalUnicast()
	if port.Unchecked || f.arp || f.isND() || own || linkLocal || isNobodys(f.source) || o.Silenced[ifindex] {
		return false
	}
	_, permission, found := o.prefixOf(ifindex, f.ethSource, f.source)
	_, known := o.Routes[RouteKey{port.VRF, netip.PrefixFrom(f.source, f.source.BitLen())}]
	return found && permission.Standby && !permission.Behind && !permission.Asked && !known
}
