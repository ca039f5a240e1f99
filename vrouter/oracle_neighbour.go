// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
)

// neighbour answers or ends ARP, neighbour discovery and multicast listener
// messages; other frames are not done.
func (o *Oracle) neighbour(ifindex int, vrf uint32, f parsed) (outcome Outcome, done bool) {
	switch {
	case f.arp:
		return o.arp(ifindex, vrf, f), true
	case f.isND():
		return o.discovery(ifindex, vrf, f), true
	case f.isMulticastListener():
		return consumed(f.frame, "multicast-listener"), true
	}
	return Outcome{}, false
}

// claim is who has an address, as seen from one port.
type claim struct {
	own     bool
	known   bool // by somebody else in the network
	leftOut bool // somebody has it, and its route found no room
	gateway bool
	mac     MAC
}

func (o *Oracle) claim(ifindex int, vrf uint32, f parsed, address netip.Addr) claim {
	probed := f.source.IsUnspecified() && o.mayTake(ifindex, f.ethSource, address)
	if probed || o.owns(ifindex, address) {
		return claim{own: true}
	}
	route, found := o.lookup(vrf, address)
	if !found || route.Routed {
		return claim{}
	}
	if route.gap {
		return claim{leftOut: true}
	}
	if route.Proxied {
		route.MAC = GatewayMAC
	}
	switch next := o.NextHops[route.NextHop]; next.Kind {
	case NextHopGroup:
		for _, m := range o.Groups[route.NextHop].Members {
			if m.Ifindex == ifindex {
				return claim{own: true}
			}
		}
		return claim{known: true, mac: GatewayMAC}
	case NextHopGateway:
		return claim{known: true, gateway: true, mac: GatewayMAC}
	case NextHopPort:
		if next.Ifindex == ifindex {
			return claim{own: true}
		}
		return claim{known: true, mac: route.MAC}
	case NextHopTunnel, NextHopFabric, NextHopBalancer, NextHopMapped:
		return claim{known: true, mac: route.MAC}
	}
	return claim{}
}

func (o *Oracle) arp(ifindex int, vrf uint32, f parsed) Outcome {
	if f.arpReply || f.source == f.destination {
		if o.news(ifindex, f.arpSenderMAC, f.source) {
			return o.request(ifindex, f)
		}
		return consumed(f.frame, "arp-announcement")
	}
	c := o.claim(ifindex, vrf, f, f.destination)
	switch {
	case c.own:
		return consumed(f.frame, "arp-own-address")
	case c.leftOut:
		return dropped(f.frame, "target-left-out")
	case !c.known && f.source.IsUnspecified():
		return consumed(f.frame, "arp-probe-unclaimed")
	case !c.known:
		return dropped(f.frame, "arp-unknown-target")
	}
	out := append([]byte(nil), f.frame...)
	copy(out[0:], f.ethSource[:])
	copy(out[6:], c.mac[:])
	out[21] = 2
	copy(out[22:], c.mac[:])
	copy(out[28:], f.destination.AsSlice())
	copy(out[32:], f.arpSenderMAC[:])
	copy(out[38:], f.source.AsSlice())
	return Outcome{Verdict: "answered", Redirect: ifindex, Frame: out}
}

func (o *Oracle) discovery(ifindex int, vrf uint32, f parsed) Outcome {
	if f.hops != 255 || f.payload[1] != 0 {
		return dropped(f.frame, "nd-malformed")
	}
	switch f.payload[0] {
	case 133:
		if o.Ports[ifindex].Advertise {
			return o.request(ifindex, f)
		}
		return consumed(f.frame, "router-solicitation")
	case 134, 137:
		return dropped(f.frame, "nd-not-allowed")
	case 136:
		if len(f.payload) >= 24 && o.news(ifindex, f.ethSource, netip.AddrFrom16([16]byte(f.payload[8:24]))) {
			return o.request(ifindex, f)
		}
		if port := o.Ports[ifindex]; port.Bridge && !port.Unchecked {
			return o.advertised(ifindex, f)
		}
		return consumed(f.frame, "nd-advertisement")
	}
	if len(f.payload) < 24 {
		return dropped(f.frame, "nd-malformed")
	}
	target := netip.AddrFrom16([16]byte(f.payload[8:24]))
	if target.IsMulticast() {
		return dropped(f.frame, "nd-malformed")
	}
	c := o.claim(ifindex, vrf, f, target)
	probe := f.source.IsUnspecified()
	switch {
	case c.own && probe && o.news(ifindex, f.ethSource, target):
		return o.request(ifindex, f)
	case c.own:
		return consumed(f.frame, "nd-own-address")
	case !c.known && probe && o.asked(ifindex, f.ethSource, target):
		return o.request(ifindex, f)
	case c.leftOut:
		return dropped(f.frame, "target-left-out")
	case !c.known && f.source.IsUnspecified():
		return consumed(f.frame, "nd-probe-unclaimed")
	case !c.known:
		return dropped(f.frame, "nd-unknown-target")
	}
	return Outcome{Verdict: "answered", Redirect: ifindex, Frame: advertisement(f, target, c)}
}

// advertised wants an advertisement to be of something that the port has.
func (o *Oracle) advertised(ifindex int, f parsed) Outcome {
	if len(f.payload) < 24 {
		return dropped(f.frame, "nd-malformed")
	}
	target := netip.AddrFrom16([16]byte(f.payload[8:24]))
	if o.owns(ifindex, target) || o.mayTake(ifindex, f.ethSource, target) || target.IsLinkLocalUnicast() && !o.hasOwner(o.Ports[ifindex].VRF, target) {
		return consumed(f.frame, "nd-advertisement")
	}
	return dropped(f.frame, "spoofed-address")
}

var allNodes = netip.MustParseAddr("ff02::1")

func advertisement(f parsed, target netip.Addr, c claim) []byte {
	ethernet, to, flags := f.ethSource, f.source, byte(0x60) // solicited, override
	if to.IsUnspecified() {
		ethernet, to, flags = MAC{0x33, 0x33, 0, 0, 0, 1}, allNodes, 0x20
	}
	if c.gateway {
		flags |= 0x80
	}
	icmp := append([]byte{136, 0, 0, 0, flags, 0, 0, 0}, target.AsSlice()...)
	icmp = append(icmp, 2, 1)
	icmp = append(icmp, c.mac[:]...)
	binary.BigEndian.PutUint16(icmp[2:], checksum6(target, to, 58, icmp))
	out := append(append([]byte(nil), ethernet[:]...), c.mac[:]...)
	out = append(out, 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(icmp)), 58, 255)
	out = append(append(out, target.AsSlice()...), to.AsSlice()...)
	return append(out, icmp...)
}

// checksum6 is the checksum of an upper-layer message over its pseudo-header.
func checksum6(source, destination netip.Addr, protocol byte, message []byte) uint16 {
	all := append(append([]byte(nil), source.AsSlice()...), destination.AsSlice()...)
	all = binary.BigEndian.AppendUint32(all, uint32(len(message)))
	all = append(all, 0, 0, 0, protocol)
	return checksum(append(all, message...))
}

func checksum(data []byte) uint16 {
	var sum uint32
	for i, b := range data {
		if i%2 == 0 {
			sum += uint32(b) << 8
		} else {
			sum += uint32(b)
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// echo answers an echo request to a gateway.
func echo(ifindex int, f parsed) Outcome {
	request, reply := byte(8), byte(0)
	if f.source.Is6() {
		request, reply = 128, 129
	}
	if !f.icmp || f.payload[0] != request || f.payload[1] != 0 {
		return dropped(f.frame, "gateway-unanswered")
	}
	out := append([]byte(nil), f.frame...)
	copy(out[0:], f.ethSource[:])
	copy(out[6:], GatewayMAC[:])
	addresses := 26
	if f.source.Is6() {
		addresses = 22
	}
	source, destination := f.source.AsSlice(), f.destination.AsSlice()
	copy(out[addresses:], destination)
	copy(out[addresses+len(source):], source)
	setHops(out, 64)
	out[f.l4] = reply
	adjust(out[f.l4+2:], uint16(request)<<8, uint16(reply)<<8)
	return Outcome{Verdict: "answered", Redirect: ifindex, Frame: out}
}
