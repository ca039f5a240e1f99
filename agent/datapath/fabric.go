// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
)

// Way is where this host's own routing sends the packets of a prefix.
type Way struct {
	Prefix netip.Prefix
	Device int  // interface; 0: only the host's own routing can tell
	MTU    int  // bytes; 0: not known
	OnLink bool // those with an address in the prefix are neighbours
}

// Entry is a prefix that is a workload's of this host, also for the host
// itself. With Fabric it is so for the underlay, too.
type Entry struct {
	Prefix netip.Prefix
	Port   desired.Port
	At     Attachment
	MAC    vrouter.MAC
	Fabric bool
}

// Entries are those of networks that are in the underlay, or that hosts see:
// what the network itself gave to a port that is plugged here, and what is
// behind it within the network's subnets. They are in order: should two networks
// have a prefix, as for a moment while one leaves the underlay, the lower has it.
func Entries(rows desired.Rows, attached map[string]Attachment) []Entry {
	var all []Entry
	if !slices.ContainsFunc(slices.Collect(maps.Values(rows.VRFs)), func(v desired.VRF) bool { return v.Fabric || v.HostVisible }) {
		return nil
	}
	for key, r := range rows.Routes {
		v := rows.VRFs[key.VRF]
		a, plugged := attached[r.Port]
		p, bound := rows.Ports[r.Port]
		if !v.Fabric && !v.HostVisible || !plugged || !bound || p.VRF != key.VRF || r.Routed || r.Leaked != "" {
			continue
		}
		all = append(all, Entry{Prefix: key.Prefix, Port: p, At: a, MAC: r.MAC, Fabric: v.Fabric})
	}
	slices.SortFunc(all, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Port.VRF, b.Port.VRF), a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	return all
}

// linkLocal4 means something to the host itself only: aliases of ports are in
// it, and what a cloud tells its machines. No router forwards what is for
// there (RFC 3927, 2.7), but Linux would.
var linkLocal4 = netip.MustParsePrefix("169.254.0.0/16")

// addUnderlay adds what follows from networks being in the underlay, or seen by
// the host.
func (t *Tables) addUnderlay(rows desired.Rows, attached map[string]Attachment, local Local) {
	entries := Entries(rows, attached)
	for _, e := range entries {
		hop := vrouter.NextHop{Kind: vrouter.NextHopPort, Ifindex: e.At.Ifindex}
		t.lead(vrouter.UnderlayVRF, e.Prefix, Route{NextHop: hop, MAC: e.MAC, Fabric: e.Fabric})
	}
	for id, v := range rows.VRFs {
		if !v.Fabric && !v.HostVisible {
			continue
		}
		for _, a := range local.Own {
			t.lead(id, netip.PrefixFrom(a, a.BitLen()), toFabric(Way{}))
		}
		if !v.Fabric {
			continue
		}
		for _, e := range entries { // of other networks in the underlay
			if e.Fabric && e.Port.VRF != id {
				t.lead(id, e.Prefix, Route{NextHop: vrouter.NextHop{Kind: vrouter.NextHopPort, Ifindex: e.At.Ifindex}, MAC: e.MAC, Routed: true, Who: e.Port.Identity})
			}
		}
		t.lead(id, linkLocal4, Route{NextHop: vrouter.NextHop{Kind: vrouter.NextHopDiscard}})
		for key, s := range rows.Subnets {
			if key.VRF == id { // nobody has the rest of it, and the underlay would send it back
				t.lead(id, s.Prefix, Route{NextHop: vrouter.NextHop{Kind: vrouter.NextHopDiscard}})
			}
		}
		for _, w := range local.Ways {
			t.lead(id, w.Prefix, toFabric(w))
		}
	}
}

// lead adds a route where there is none yet.
func (t *Tables) lead(vrf uint32, prefix netip.Prefix, r Route) {
	key := vrouter.RouteKey{VRF: vrf, Prefix: prefix}
	if _, taken := t.Routes[key]; !taken {
		t.Routes[key] = r
		t.NextHops[r.NextHop] = struct{}{}
	}
}

func toFabric(w Way) Route {
	return Route{NextHop: fabricHop(w), MAC: vrouter.GatewayMAC, Routed: true}
}

func fabricHop(w Way) vrouter.NextHop {
	return vrouter.NextHop{Kind: vrouter.NextHopFabric, Ifindex: w.Device, MTU: w.MTU}
}

// within are ways that take no more than an MTU, which the host may be told; 0: it
// is told nothing. Then it is not known what goes by the host's own routing.
func within(ways []Way, mtu int) []Way {
	all := slices.Clone(ways)
	for i := range all {
		switch w := &all[i]; {
		case w.Device == 0:
			w.MTU = mtu
		case mtu != 0:
			w.MTU = min(w.MTU, mtu)
		}
	}
	return all
}

// WayTo finds the longest prefix.
func WayTo(ways []Way, a netip.Addr) (best Way, found bool) {
	for _, w := range ways {
		if w.Prefix.Contains(a) && (!found || w.Prefix.Bits() > best.Prefix.Bits()) {
			best, found = w, true
		}
	}
	return best, found
}

// Neighbour is an address of another host that this host reaches without any
// router, of the family of a prefix; invalid if there is none.
func Neighbour(ways []Way, e desired.Endpoint, like netip.Prefix) (netip.Addr, Way) {
	for _, a := range e.Addresses {
		if w, found := WayTo(ways, a); found && w.OnLink && w.Device != 0 && a.Is4() == like.Addr().Is4() {
			return a, w
		}
	}
	return netip.Addr{}, Way{}
}

// ThroughFabric tells whether a route leads to a workload of the VRF's own
// network on another host, and the network is in the underlay.
func ThroughFabric(key desired.RouteKey, r desired.Route, rows desired.Rows) bool {
	v := rows.VRFs[key.VRF]
	return v.Fabric && r.Host != "" && r.VNI == v.VNI && r.Leaked == ""
}

// fabricRoute leads there: to the host itself if it is a neighbour, else to
// whoever the host's routing says.
func fabricRoute(key desired.RouteKey, r desired.Route, rows desired.Rows, local Local) Route {
	_, w := Neighbour(local.Ways, rows.Endpoints[r.Host], key.Prefix)
	if w.Device == 0 {
		w, _ = WayTo(local.Ways, key.Prefix.Addr())
	}
	route := toFabric(w)
	// What its network says, else all that the other host's underlay carries.
	route.Routed, route.MTU = r.Routed, cmp.Or(r.MTU, rows.Endpoints[r.Host].MTU)
	route.Who = r.Workload
	return route
}
