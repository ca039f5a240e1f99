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
	for _, n := range nobodys {
		if n.Contains(f.source) {
			return false
		}
	}
	prefix, permission, found := o.prefixOf(ifindex, f.ethSource, f.source)
	if !found || !permission.Behind {
		return found
	}
	routed, _, found := longest(f.source, func(p netip.Prefix) (Route, bool) {
		route, ok := o.Routes[RouteKey{VRF: vrf, Prefix: p}]
		return route, ok
	})
	return found && routed == prefix
}

// mayTake tells whether the port may have an address whatever the routes say.
func (o *Oracle) mayTake(ifindex int, mac MAC, address netip.Addr) bool {
	_, permission, found := o.prefixOf(ifindex, mac, address)
	return found && !permission.Behind
}
