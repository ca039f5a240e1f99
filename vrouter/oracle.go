// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/weft-network/weft/vrouter/rules"
)

// Oracle is the packet path once more, plain and slow, written from
// doc/packet-path.md and not from the C. Tests compare the two.
type Oracle struct {
	Ports         map[int]Port // by interface, also those without device: the sub-ports
	SubPorts      map[SubPort]int
	PortAddresses map[PortAddress]struct{}
	PortPrefixes  map[PortPrefix]Permission
	Routes        map[RouteKey]Route
	Gaps          map[RouteKey]struct{} // prefixes with routes that found no room
	NextHops      map[uint32]NextHop
	Groups        map[uint32]Group
	VNIs          map[uint32]VNI
	TunnelSources map[TunnelSource]struct{}
	// TunnelAddresses are this host's own.
	TunnelAddresses map[netip.Addr]struct{}
	Config          Config
	Exhausted       map[int]bool // interfaces that may send no ICMP error now; the others are not limited
	Muted           map[int]bool // interfaces that have used up their answers to what policy rejects
	Services        map[Service]uint16
	HostFlows       map[HostFlow]HostFlowState
	Aliases         map[uint32]int
	Now             time.Duration // of the monotonic clock
	Silenced        map[int]bool  // interfaces that may ask the agent nothing now
	Stilled         map[int]bool  // interfaces that may flood nothing now
	Served          map[int]bool  // interfaces that have had their share of services

	// What packets that went before have left. It decides nothing but the member
	// of a group; nil: it is not kept.
	Connections map[ConnectionKey]Connection
	Traces      bool // packets leave nothing
	fragments   map[fragmentKey]wirePorts
	ways        map[ConnectionKey]oracleWay

	PortPolicies map[int]PortPolicy
	Rulesets     map[uint32]rules.Ruleset // by the number of what they are compiled into
	Managed      map[RouteKey]struct{}
	RuleHits     map[uint32]uint64 // nil: they are not counted
	Logged       *[]loggedFrame    // what ends have told of frames; nil: they tell nothing
	Met          map[string]int    // what tests want to have met; nil: it is not counted
	// Places are taken at ports with a limit, and so many besides by conversations
	// that went before.
	Places   map[Place]struct{}
	Occupied map[PlaceOwner]int

	// Who serves virtual addresses.
	Listeners   map[ListenerKey]Listener
	Choices     map[uint32]Choice
	PoolMembers map[PoolMemberKey]PoolMember
	Mappings    map[uint64]Mapping
	Affinities  map[AffinityKey]Affinity // nil: clients are not remembered
	Floats      map[FloatKey]Float

	// Who goes out with shared addresses.
	SharedAddresses map[uint64]SharedAddress
	PortBlocks      map[PortBlock]uint32 // next hop; 0: this host has it
	Shares          map[ShareKey][]uint64
	Translations    map[TranslationKey]Translation

	MACs      map[MACKey]uint32
	Floods    map[uint32]Flood
	Receivers map[Receiver]uint32
	// What source MACs that went before have left, and how many of each place.
	// It is only added to if Learns is set.
	Learned     map[MACKey]LearnedMAC
	MACCounts   map[MACCount]uint32
	Learns      bool
	LearnedRoom int    // entries
	Tick        uint32 // now
}

// FromPort says what becomes of a frame that the workload behind a device sends.
func (o *Oracle) FromPort(device int, frame []byte) Outcome {
	ifindex, frame, refused := o.enter(device, frame)
	if refused != "" {
		return dropped(frame, refused)
	}
	return o.leave(o.fromPort(ifindex, frame))
}

func (o *Oracle) fromPort(ifindex int, frame []byte) Outcome {
	port, known := o.Ports[ifindex]
	if !known {
		return dropped(frame, "no-port")
	}
	if port.Disabled {
		return dropped(frame, "port-disabled")
	}
	f := parse(frame)
	refusal := o.refusalOf(ifindex, f)
	if f.refused == "unknown-protocol" {
		return o.bridgeable(refusal, dropped(frame, f.refused))
	}
	if f.refused != "" {
		return dropped(frame, f.refused)
	}
	if reason := o.spoofed(ifindex, port, f); reason != "" {
		return dropped(frame, reason)
	}
	outcome := o.checked(ifindex, port, f, refusal)
	outcome.Told = o.Connections == nil && o.tells(ifindex, port, f)
	return outcome
}

// checked is what becomes of a frame that passed the spoof stage.
func (o *Oracle) checked(ifindex int, port Port, f parsed, refusal refusal) Outcome {
	if outcome, done := o.neighbour(ifindex, port.VRF, f); done {
		if port.passesOn(outcome.Reason) {
			return o.bridgeable(refusal, outcome)
		}
		return outcome
	}
	if port.asks(f) {
		return o.request(ifindex, f)
	}
	if port.Frames {
		return o.bridgeable(refusal, dropped(f.frame, "unknown-mac"))
	}
	if outcome, done := o.outward(refusal); done {
		return outcome
	}
	if outcome, done := o.outwardByAlias(refusal); done {
		return outcome
	}
	return o.route(refusal)
}

// passesOn tells whether the bridge stage may know better than the neighbour stage.
func (p Port) passesOn(reason string) bool {
	switch reason {
	case "arp-announcement", "arp-unknown-target", "arp-probe-unclaimed", "target-left-out", "nd-advertisement", "nd-unknown-target", "nd-probe-unclaimed",
		"router-solicitation", "multicast-listener":
		return true
	}
	return reason == "nd-not-allowed" && p.Unchecked
}

// FromTunnel says what becomes of a frame another host sent. A nil key is a
// frame without tunnel metadata.
func (o *Oracle) FromTunnel(ifindex int, key *TunnelKey, frame []byte) Outcome {
	return o.leave(o.fromTunnel(ifindex, key, frame))
}

func (o *Oracle) fromTunnel(ifindex int, key *TunnelKey, frame []byte) Outcome {
	if key == nil {
		return dropped(frame, "no-tunnel-key")
	}
	vni, known := o.VNIs[key.VNI]
	if !known {
		return dropped(frame, "unknown-vni")
	}
	if _, may := o.TunnelSources[TunnelSource{key.VNI, key.Remote}]; vni.CheckSources && !may {
		return dropped(frame, "unknown-tunnel-source")
	}
	f := parse(frame)
	refusal := refusal{ifindex: ifindex, vrf: vni.VRF, key: key, bridge: vni.Bridge, f: f}
	switch {
	case vni.Frames && f.refused != "vlan-tagged":
		return o.bridgeable(refusal, dropped(frame, "unknown-mac"))
	case f.refused == "unknown-protocol":
		return o.bridgeable(refusal, dropped(frame, f.refused))
	case f.refused != "":
		return dropped(frame, f.refused)
	case f.arp || f.isND():
		return o.bridgeable(refusal, dropped(frame, "not-carried"))
	}
	if key, number, ok := o.mappedFromTunnel(refusal); ok {
		return o.inwardFromTunnel(refusal, key, number)
	}
	return o.route(refusal)
}

func dropped(frame []byte, reason string) Outcome {
	return Outcome{Verdict: "dropped", Reason: reason, Frame: frame}
}

func consumed(frame []byte, reason string) Outcome {
	return Outcome{Verdict: "consumed", Reason: reason, Frame: frame}
}

func (o *Oracle) owns(ifindex int, address netip.Addr) bool {
	_, ok := o.PortAddresses[PortAddress{Ifindex: ifindex, Address: address}]
	return ok
}

func (o *Oracle) spoofed(ifindex int, port Port, f parsed) string {
	if f.arp && !port.Unchecked && f.arpSenderMAC != f.ethSource {
		if f.ethSource != port.MAC || isNobodys(f.source) || !o.mayTake(ifindex, f.arpSenderMAC, f.source) {
			return "spoofed-mac"
		}
		return ""
	}
	learns := port.MACLimit > 0
	if f.ethSource != port.MAC && (learns || port.Unchecked) {
		if refused := o.otherMAC(ifindex, port, f.ethSource); refused != "" {
			return refused
		}
	}
	if port.Unchecked {
		return ""
	}
	allowed := o.allows(ifindex, port.VRF, f)
	if f.ethSource != port.MAC && !learns {
		if !allowed {
			return "spoofed-mac"
		}
		return ""
	}
	if allowed || o.owns(ifindex, f.source) {
		return ""
	}
	none := f.source.IsUnspecified()
	switch {
	case f.arp && none:
		return ""
	case f.arp:
	case f.source.Is4() && none && f.destination == broadcast4:
		return ""
	case f.source.Is6() && f.source.IsLinkLocalUnicast() && !o.hasOwner(port.VRF, f.source):
		return ""
	case f.source.Is6() && none && (f.isND() || f.isMulticastListener()):
		return ""
	}
	return "spoofed-address"
}

var broadcast4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// hasOwner tells whether there is a route to exactly this address.
func (o *Oracle) hasOwner(vrf uint32, address netip.Addr) bool {
	_, is := o.Routes[RouteKey{vrf, netip.PrefixFrom(address, address.BitLen())}]
	return is
}

// lookup finds the longest route, or a gap that is longer.
func (o *Oracle) lookup(vrf uint32, address netip.Addr) (Route, bool) {
	_, route, ok := o.lookupPrefix(vrf, address)
	return route, ok
}

func (o *Oracle) lookupPrefix(vrf uint32, address netip.Addr) (netip.Prefix, Route, bool) {
	return longest(address, func(p netip.Prefix) (Route, bool) {
		key := RouteKey{VRF: vrf, Prefix: p}
		if route, ok := o.Routes[key]; ok {
			return route, true
		}
		_, gap := o.Gaps[key]
		return Route{gap: gap}, gap
	})
}

// longest is longest prefix match by trying every length.
func longest[V any](address netip.Addr, at func(netip.Prefix) (V, bool)) (prefix netip.Prefix, value V, found bool) {
	for bits := address.BitLen(); bits >= 0; bits-- {
		prefix := netip.PrefixFrom(address, bits).Masked()
		if value, ok := at(prefix); ok {
			return prefix, value, true
		}
	}
	return prefix, value, false
}

func (o *Oracle) route(r refusal) Outcome {
	ifindex, vrf, fromTunnel, f := r.ifindex, r.vrf, r.key != nil, r.f
	if f.ethDestination == (MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) || f.destination == broadcast4 {
		return o.bridgeable(r, dropped(f.frame, "broadcast"))
	}
	if f.ethDestination[0]&1 != 0 || f.destination.IsMulticast() {
		return o.bridgeable(r, dropped(f.frame, "multicast"))
	}
	route, found := o.lookup(vrf, f.destination)
	if !found || route.gap {
		if outcome, done := o.outwardUnrouted(r); done {
			return outcome
		}
	}
	if !found {
		return o.stray(r, "no-route")
	}
	if route.gap {
		return o.stray(r, "route-left-out")
	}
	toRoute := !route.Routed && (route.Proxied || f.ethDestination == route.MAC)
	if !fromTunnel && f.ethDestination != GatewayMAC && !toRoute {
		return o.stray(r, "wrong-destination-mac")
	}
	next := o.NextHops[route.NextHop]
	switch {
	case next.Kind == NextHopBalancer && !fromTunnel:
		return o.balance(r, route, next.VNI)
	case next.Kind == NextHopBalancer:
		if _, known := o.listenerOf(r); f.later && !known {
			return dropped(f.frame, "mapping-fragment")
		}
		return dropped(f.frame, "no-mapping")
	case next.Kind == NextHopMapped:
		return o.toFloat(r, route, next.Mapping)
	case next.Kind == NextHopShared:
		return o.toShared(r, route, o.plain(r), next.Mapping)
	}
	if next.Kind != NextHopGroup && o.sentByMAC(r, route) {
		return o.bridgeable(r, dropped(f.frame, "wrong-destination-mac"))
	}
	if next.Kind == NextHopGroup {
		var reason string
		if route, reason = o.throughGroup(ifindex, fromTunnel, o.plain(r), route); reason != "" {
			return dropped(f.frame, reason)
		}
	}
	return o.onward(r, route, o.plain(r))
}

// onward is what becomes of a frame whose next hop is known.
func (o *Oracle) onward(r refusal, route Route, p passage) Outcome {
	ifindex, fromTunnel, f := r.ifindex, r.key != nil, p.sent
	next := o.NextHops[route.NextHop]
	if p.to != 0 {
		next = NextHop{Kind: NextHopPort, Ifindex: p.to}
	}
	hosted := fromTunnel && o.answersHost(r.vrf, next, f)
	if outcome, ended := o.endsAt(next, ifindex, fromTunnel && !hosted, f); ended {
		return outcome
	}
	if f.source.Is6() && (f.source.IsLinkLocalUnicast() || f.destination.IsLinkLocalUnicast() || f.source.IsUnspecified()) {
		return dropped(f.frame, "link-local")
	}
	back := o.leadsBack(ifindex, f.source)
	if p.outward {
		back = o.reachesBack(p.vrfs[0], p.external[0].Addr())
	}
	if next.Kind == NextHopFabric && !back && !hosted {
		return dropped(f.frame, "fabric-foreign-source")
	}
	sender := ifindex
	if fromTunnel {
		sender = 0
	}
	if o.taken(next, p) {
		return dropped(f.frame, "mapping-taken")
	}
	if reason := o.refuses(o.policedOn(sender, next, p)); reason != "" {
		return o.refusedOnward(ifindex, fromTunnel, next, p, reason)
	}
	isHop := (route.Routed || next.Kind == NextHopFabric) && !fromTunnel
	from := o.errorsFrom(ifindex, fromTunnel, f)
	if isHop && f.hops <= 1 {
		return o.refusal(ifindex, from, f, "ttl-expired", 0)
	}
	if limit := o.limit(next, route); limit != 0 && len(f.frame)-14 > limit {
		return o.refusal(ifindex, from, f, "too-big", limit)
	}
	out := append([]byte(nil), p.heard.frame...)
	if next.Kind == NextHopPort && p.translated() {
		route.MAC = o.Ports[next.Ifindex].MAC
	}
	way := route
	if copy(out[0:6], route.MAC[:]); p.served != nil {
		way.MAC = p.member
	}
	if isHop || p.translated() {
		copy(out[6:12], GatewayMAC[:])
	}
	if isHop {
		setHops(out, f.hops-1)
	}
	o.notePassage(noted{ifindex: ifindex, vrf: r.vrf, fromTunnel: fromTunnel}, next, way, p)
	o.remember(r, p)
	switch next.Kind {
	case NextHopPort:
		return o.deliver(next, out)
	case NextHopFabric:
		return o.depart(next, out)
	}
	return o.encap(route.NextHop, next, p.heard, out)
}

// endsAt is what becomes of a frame whose next hop does not send it on.
func (o *Oracle) endsAt(next NextHop, ifindex int, fromTunnel bool, f parsed) (Outcome, bool) {
	switch {
	case next.Kind == NextHopDiscard:
		return dropped(f.frame, "discard-route"), true
	case next.Kind == NextHopGateway && fromTunnel:
		return dropped(f.frame, "gateway-from-tunnel"), true
	case next.Kind == NextHopGateway:
		if outcome, done := o.service(ifindex, f); done {
			return outcome, true
		}
		return echo(ifindex, f), true
	case next.Kind == NextHopTunnel && fromTunnel:
		return dropped(f.frame, "tunnel-to-tunnel"), true
	case next.Kind == NextHopFabric && fromTunnel:
		return dropped(f.frame, "tunnel-to-fabric"), true
	case next.Kind != NextHopPort && next.Kind != NextHopTunnel && next.Kind != NextHopFabric:
		return dropped(f.frame, "unresolved-next-hop"), true
	}
	return Outcome{}, false
}

// sentByMAC tells whether another host went by the MAC and not by its route.
func (o *Oracle) sentByMAC(r refusal, route Route) bool {
	to := MACKey{r.vrf, r.f.ethDestination}
	_, aPorts := o.MACs[to]
	_, learned := o.Learned[to]
	return r.key != nil && r.bridge && !route.Proxied && to.MAC != route.MAC && (aPorts || learned)
}

// stray is a frame that its address leads nowhere.
func (o *Oracle) stray(r refusal, reason string) Outcome {
	if reason != "wrong-destination-mac" && r.f.ethDestination == GatewayMAC {
		return dropped(r.f.frame, reason)
	}
	linkLocal := r.f.source.Is6() && r.f.source.IsLinkLocalUnicast()
	if r.key == nil && r.bridge && linkLocal && !o.Ports[r.ifindex].Unchecked {
		reason = "link-local"
	}
	return o.bridgeable(r, dropped(r.f.frame, reason))
}

func (o *Oracle) deliver(next NextHop, out []byte) Outcome {
	port, known := o.Ports[next.Ifindex]
	if !known {
		return dropped(out, "port-gone")
	}
	if port.Disabled {
		return dropped(out, "receiver-disabled")
	}
	return Outcome{Verdict: "delivered", Redirect: next.Ifindex, Peer: port.RedirectPeer, Frame: out}
}

func (o *Oracle) encap(id uint32, next NextHop, f parsed, out []byte) Outcome {
	switch next.Encapsulation {
	case EncapsulationUnavailable:
		return dropped(out, "no-encapsulation")
	case EncapsulationMPLSUDP:
		return o.labelPath(id, next, f, out)
	}
	return o.vxlan(next, next.Local, out)
}

// encapFrame sends what is bridged, which goes by VXLAN.
func (o *Oracle) encapFrame(next NextHop, out []byte) Outcome {
	local := o.Config.Local4
	if next.Remote.Is6() {
		local = o.Config.Local6
	}
	return o.vxlan(next, local, out)
}

func (o *Oracle) vxlan(next NextHop, local netip.Addr, out []byte) Outcome {
	if o.Config.TunnelDevice == 0 {
		return dropped(out, "no-tunnel-device")
	}
	key := TunnelKey{VNI: next.VNI, Remote: next.Remote, Local: local}
	return Outcome{Verdict: "tunnelled", Redirect: o.Config.TunnelDevice, Tunnel: &key, Frame: out}
}

// setHops writes TTL or hop limit; the IPv4 header checksum is adjusted as RFC
// 1624 says, so that a wrong one stays wrong by as much.
func setHops(frame []byte, hops byte) {
	ip := frame[14:]
	if ip[0]>>4 == 6 {
		ip[7] = hops
		return
	}
	before := binary.BigEndian.Uint16(ip[8:])
	ip[8] = hops
	adjust(ip[10:], before, binary.BigEndian.Uint16(ip[8:]))
}

// adjust changes a checksum for one 16-bit word that changed: HC' = ~(~HC + ~m + m').
func adjust(checksum []byte, before, after uint16) {
	sum := uint32(^binary.BigEndian.Uint16(checksum)) + uint32(^before) + uint32(after)
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(checksum, ^uint16(sum))
}
