// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
)

// Segment is where an external network is in the physical network. It is comparable.
type Segment struct {
	Physical string // empty: the network is not external, or cannot be connected
	VLAN     int
	gateways string // UUIDs of the hosts that may connect it, with spaces; empty: all
	// Refused says why an external network cannot be connected.
	Refused string
}

// External is where a route leads that leads outside. It is comparable.
type External struct {
	Gateway netip.Addr // of the router outside; invalid: it does not lead there
	hosts   string     // UUIDs of those that connect the network, with spaces
}

// Is tells whether there is any.
func (e *External) Is() bool { return e.Gateway.IsValid() }

// Hosts are the UUIDs of the hosts that connect the network.
func (e *External) Hosts() []string { return strings.Fields(e.hosts) }

// segmentOf reads where a network is to be connected.
func segmentOf(n *api.Network) (s Segment) {
	segments := n.Spec.Segments
	switch {
	case !n.Spec.External:
		return s
	case n.Spec.Forwarding == api.ForwardingFrames:
		s.Refused = "it forwards frames only: what goes outside needs routes"
	case len(n.Spec.Encapsulation) > 0 && n.Spec.Encapsulation[0] == api.EncapsulationNone:
		s.Refused = "it is without encapsulation: what its hosts send each other needs a tunnel"
	case len(segments) == 0:
		s.Refused = "it has no segment: Weft's administrators give it one"
	case len(segments) > 1:
		s.Refused = "it has several segments: hosts connect one"
	case segments[0].VLAN == 0:
		s.Refused = "its segment is flat: hosts connect VLANs"
	default:
		s.Physical, s.VLAN = segments[0].PhysicalNetwork, segments[0].VLAN
		var hosts []string
		for _, h := range n.Spec.Gateways {
			hosts = append(hosts, h.UUID)
		}
		s.gateways = strings.Join(hosts, " ")
	}
	return s
}

// connects tells whether a host connects what is at the segment.
func (s *Segment) connects(h *Host) bool {
	has := slices.ContainsFunc(h.Physical, func(p api.PhysicalNetwork) bool { return p.Name == s.Physical })
	return s.Physical != "" && has && (s.gateways == "" || slices.Contains(strings.Fields(s.gateways), h.Ref.UUID))
}

// Connected are the hosts that connect an external network, by name. The slice is shared.
func (n *Network) Connected() []api.Ref { return n.connected }

// Routers are the routers outside, by the gateways of the subnets: the first of
// each family.
func (n *Network) Routers() (routers []netip.Addr) {
	if n.Segment.Physical == "" {
		return nil
	}
	for _, six := range []bool{false, true} {
		i := slices.IndexFunc(n.Subnets, func(s Subnet) bool { return s.Gateway.IsValid() && s.Gateway.Is6() == six })
		if i >= 0 {
			routers = append(routers, n.Subnets[i].Gateway)
		}
	}
	return routers
}

// addExternal finds the hosts that connect an external network, which become
// members, and makes its routes outside: to the routers, in place of those to
// gateways, and through them to everywhere. Subnets must be there and nothing else.
func (n *Network) addExternal(hosts map[string]*Host) {
	if n.Segment.Physical == "" {
		return
	}
	var uuids []string
	for _, h := range hosts {
		if n.Segment.connects(h) {
			n.connected = append(n.connected, h.Ref)
		}
	}
	slices.SortFunc(n.connected, compareRefs)
	for _, h := range n.connected {
		uuids = append(uuids, h.UUID)
	}
	n.members = append(n.members, n.connected...)
	for _, router := range n.Routers() {
		leads := Route{
			Prefix: hostPrefix(router), External: External{Gateway: router, hosts: strings.Join(uuids, " ")}, Proxied: true, Encapsulations: n.Encapsulations,
			OriginKind: api.KindNetwork, Origin: n.Ref, OriginNetwork: n.Ref, OriginVRF: n.VRF,
		}
		i := slices.IndexFunc(n.Own, func(r Route) bool { return r.Prefix == leads.Prefix })
		n.Own[i] = leads
		leads.Prefix, leads.Routed, leads.Proxied = netip.PrefixFrom(router, 0).Masked(), true, false
		n.Own = append(n.Own, leads)
	}
}

// touchExternal notes the networks that a host may connect, or did.
func (u *update) touchExternal(old, now *Host) {
	if old != nil && now != nil && slices.Equal(old.Physical, now.Physical) {
		return
	}
	for uuid, n := range u.networks {
		for _, h := range []*Host{old, now} {
			if h != nil && n.Segment.connects(h) {
				u.dirty[uuid] = true
			}
		}
	}
}

// touchConnecting notes what hosts connect that were, or are, others.
func (u *update) touchConnecting() {
	if !u.hostsNew {
		return
	}
	for uuid, now := range u.hosts {
		u.touchExternal(u.earlier.hosts[uuid], now)
	}
	for uuid, old := range u.earlier.hosts {
		if u.hosts[uuid] == nil {
			u.touchExternal(old, nil)
		}
	}
}

// runConnected tells the hosts what they connect.
func (u *update) runConnected() {
	connects := map[string][]*Identity{}
	for _, known := range u.Networks {
		if n := u.networks[known.Ref.UUID]; n != nil {
			for _, h := range n.connected {
				connects[h.UUID] = append(connects[h.UUID], n.Identity)
			}
		}
	}
	for uuid, h := range u.hosts {
		if !slices.EqualFunc(h.Connects, connects[uuid], func(a, b *Identity) bool { return *a == *b }) {
			own := *h
			own.Connects = connects[uuid]
			u.hosts[uuid] = &own
		}
	}
}
