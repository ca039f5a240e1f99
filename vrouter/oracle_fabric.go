// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// depart sends a frame into the underlay as it is, or to this host's own routing.
func (o *Oracle) depart(next NextHop, out []byte) Outcome {
	if next.Ifindex != 0 {
		return Outcome{Verdict: "routed", Redirect: next.Ifindex, Frame: out}
	}
	if o.Config.HostDevice == 0 {
		return dropped(out, "no-host-path")
	}
	copy(out[0:], o.Config.HostMAC[:])
	copy(out[6:], GatewayMAC[:])
	return Outcome{Verdict: "hosted", Redirect: o.Config.HostDevice, Frame: out}
}

// leadsBack tells whether the underlay has the port behind this source.
func (o *Oracle) leadsBack(ifindex int, source netip.Addr) bool {
	back, found := o.lookup(UnderlayVRF, source)
	next := o.NextHops[back.NextHop]
	return found && next.Kind == NextHopPort && next.Ifindex == ifindex
}

// FromFabric says what becomes of a frame that an uplink receives for this
// host's MAC.
func (o *Oracle) FromFabric(ifindex int, frame []byte) Outcome {
	passed := Outcome{Verdict: "passed", Frame: frame}
	destination, ok := destinationOf(frame)
	if !ok {
		return passed
	}
	route, known := o.Routes[RouteKey{UnderlayVRF, netip.PrefixFrom(destination, destination.BitLen())}]
	if !known || !route.Fabric {
		return passed
	}
	f := parse(frame)
	if f.refused != "" {
		return dropped(frame, f.refused)
	}
	return o.leave(o.arrive(ifindex, true, route, f))
}

// destinationOf reads no more of a frame than its IP destination.
func destinationOf(frame []byte) (netip.Addr, bool) {
	if len(frame) < 14 {
		return netip.Addr{}, false
	}
	switch kind := binary.BigEndian.Uint16(frame[12:]); {
	case kind == 0x0800 && len(frame) >= 34:
		return netip.AddrFrom4([4]byte(frame[30:34])), true
	case kind == 0x86dd && len(frame) >= 54:
		return netip.AddrFrom16([16]byte(frame[38:54])), true
	}
	return netip.Addr{}, false
}

var neverSources = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("::/127"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

// answersInto tells whether a network would answer a source into the underlay.
func (o *Oracle) answersInto(vrf uint32, source netip.Addr) bool {
	back, found := o.lookup(vrf, source)
	never := slices.ContainsFunc(neverSources, func(p netip.Prefix) bool { return p.Contains(source) })
	return !never && found && o.NextHops[back.NextHop].Kind == NextHopFabric
}

// arrive brings a packet from the underlay, or from this host itself, to a workload.
func (o *Oracle) arrive(ifindex int, fromUplink bool, route Route, f parsed) Outcome {
	if route.gap {
		return dropped(f.frame, "route-left-out")
	}
	next := o.NextHops[route.NextHop]
	if next.Kind == NextHopBalancer {
		return o.reach(refusal{ifindex: ifindex, vrf: next.VNI, f: f}, fromUplink, route)
	}
	if next.Kind != NextHopPort {
		return dropped(f.frame, "unresolved-next-hop")
	}
	port, known := o.Ports[next.Ifindex]
	if !known {
		return dropped(f.frame, "port-gone")
	}
	if !o.answersInto(port.VRF, f.source) {
		return dropped(f.frame, "fabric-spoofed")
	}
	var from router
	if o.taken(next, o.plain(refusal{ifindex: ifindex, vrf: port.VRF, f: f})) {
		return dropped(f.frame, "mapping-taken")
	}
	if fromUplink {
		from = router{o.Config.Local4, f.ethDestination}
		if f.source.Is6() {
			from.address = o.Config.Local6
		}
		if reason := o.refuses(o.policed(0, ifindex, port.VRF, next, f)); reason != "" {
			return o.answerFrom(from, ifindex, next.Ifindex, f, reason)
		}
		if f.hops <= 1 {
			return o.refusal(ifindex, from, f, "ttl-expired", 0)
		}
	}
	if port.MTU != 0 && len(f.frame)-14 > port.MTU {
		return o.refusal(ifindex, from, f, "too-big", port.MTU)
	}
	out := append([]byte(nil), f.frame...)
	copy(out[0:], route.MAC[:])
	copy(out[6:], GatewayMAC[:])
	if fromUplink {
		setHops(out, f.hops-1)
	}
	o.note(noted{ifindex: ifindex, vrf: port.VRF, fromTunnel: true, fromHost: !fromUplink}, next, Route{}, f)
	return o.deliver(next, out)
}
