// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// Underlay is what this host has for tunnels.
type Underlay struct {
	IPv4, IPv6     netip.Addr   // the first of its own tunnel addresses of each family; invalid if it has none
	Further        []netip.Addr // the others
	MTU            int          // largest IP packet, bytes
	Encapsulations []string     // what it can do; none: vxlan
	// Paths says how an address of the underlay is reached; nil: nobody knows.
	Paths func(remote netip.Addr) (Path, bool)
}

// Path is how the kernel reaches an address of the underlay.
type Path struct {
	Uplink int        // interface
	Source netip.Addr // that the kernel would take
	Live   bool       // the interface that the kernel would take has a carrier; Uplink may be another
}

// Addresses are all tunnel addresses of this host.
func (u Underlay) Addresses() []netip.Addr {
	var all []netip.Addr
	for _, a := range append([]netip.Addr{u.IPv4, u.IPv6}, u.Further...) {
		if a.IsValid() {
			all = append(all, a)
		}
	}
	return all
}

// Same tells that two say the same, but for paths.
func (u Underlay) Same(v Underlay) bool {
	return u.IPv4 == v.IPv4 && u.IPv6 == v.IPv6 && u.MTU == v.MTU && slices.Equal(u.Further, v.Further) && slices.Equal(u.Encapsulations, v.Encapsulations)
}

// Within is the underlay of a host that is told to send nothing larger; 0: it is
// told nothing. That its interfaces carry less, the host knows better.
func (u Underlay) Within(mtu int) Underlay {
	if mtu != 0 {
		u.MTU = min(u.MTU, mtu)
	}
	return u
}

func (u Underlay) of(six bool) []netip.Addr {
	return slices.DeleteFunc(u.Addresses(), func(a netip.Addr) bool { return a.Is6() != six })
}

// tunnelMTU is the largest packet that fits a tunnel to another host at this
// address: what the smaller of both underlays carries. A sender then hears of
// it from its own host, for the other one could only drop.
func (u Underlay) tunnelMTU(remote netip.Addr, encapsulation string, underlay int) int {
	mtu := u.MTU
	if underlay != 0 {
		mtu = min(mtu, underlay)
	}
	return max(0, mtu-api.TunnelCost(encapsulation, remote.Is6()))
}

// remote chooses the address at which another host is reached: IPv4 if both
// ends have it. Of several, those that are reached through a live interface come
// first, and routes are spread over them; the choice follows from the route
// alone, so it is stable.
func (u Underlay) remote(key desired.RouteKey, addresses []netip.Addr) (netip.Addr, bool) {
	for _, six := range []bool{false, true} {
		family := slices.DeleteFunc(slices.Clone(addresses), func(a netip.Addr) bool { return a.Is6() != six })
		if len(family) == 0 || len(u.of(six)) == 0 {
			continue
		}
		if len(family) > 1 && u.Paths != nil {
			live := slices.DeleteFunc(slices.Clone(family), func(a netip.Addr) bool {
				p, known := u.Paths(a)
				return !known || !p.Live
			})
			if len(live) > 0 {
				family = live
			}
		}
		return family[spread(key)%uint32(len(family))], true
	}
	return netip.Addr{}, false
}

func spread(key desired.RouteKey) uint32 {
	h := fnv.New32a()
	fmt.Fprint(h, key.VRF, key.Prefix)
	return h.Sum32()
}

// local chooses the address from which a tunnel packet to another host comes:
// of several the one that the kernel would take on the way there.
func (u Underlay) local(remote netip.Addr) netip.Addr {
	own := u.of(remote.Is6())
	if len(own) == 0 {
		return netip.Addr{}
	}
	if len(own) > 1 && u.Paths != nil {
		if p, known := u.Paths(remote); known && slices.Contains(own, p.Source) {
			return p.Source
		}
	}
	return own[0]
}

// tunnel is a next hop to a host or a gateway outside. why says what stands in
// the way of one.
func (u Underlay) tunnel(remote netip.Addr, encapsulation string, vni uint32, underlay int) (hop vrouter.NextHop, why string) {
	hop = vrouter.NextHop{
		Kind: vrouter.NextHopTunnel, VNI: vni, Remote: remote, MTU: u.tunnelMTU(remote, encapsulation, underlay), Local: u.local(remote),
	}
	switch encapsulation {
	case api.EncapsulationVXLAN:
		return hop, ""
	case api.EncapsulationMPLSUDP:
		hop.Encapsulation = vrouter.EncapsulationMPLSUDP
		if u.Paths != nil {
			p, known := u.Paths(remote)
			if !known {
				return vrouter.NextHop{Kind: vrouter.NextHopNone}, fmt.Sprintf("the underlay has no route to %v", remote)
			}
			hop.Ifindex = p.Uplink
		}
		return hop, ""
	}
	return vrouter.NextHop{Kind: vrouter.NextHopNone}, fmt.Sprintf("encapsulation %s is of a kind this agent does not know: upgrade it", encapsulation)
}

// toHost is a next hop to another host.
func (u Underlay) toHost(key desired.RouteKey, r desired.Route, e desired.Endpoint) (hop vrouter.NextHop, why string) {
	remote, ok := u.remote(key, e.Addresses)
	if !ok {
		return vrouter.NextHop{Kind: vrouter.NextHopNone}, fmt.Sprintf("host %s has no tunnel address of a family this host has: give both one", e.Name)
	}
	list := strings.Fields(r.Encapsulations)
	encapsulation, ok := api.ChooseEncapsulation(list, u.Encapsulations, e.Encapsulations)
	if !ok {
		return vrouter.NextHop{Kind: vrouter.NextHopTunnel, VNI: r.VNI, Remote: remote, Encapsulation: vrouter.EncapsulationUnavailable},
			fmt.Sprintf("this host can do %v, host %s %v: the network's encapsulations %v have none of both",
				api.Encapsulations(u.Encapsulations), e.Name, api.Encapsulations(e.Encapsulations), list)
	}
	return u.tunnel(remote, encapsulation, r.VNI, e.MTU)
}

// toOutside is a next hop to a gateway that is no host.
func (u Underlay) toOutside(o desired.Outside) (hop vrouter.NextHop, why string) {
	if len(u.of(o.Address.Is6())) == 0 {
		return vrouter.NextHop{Kind: vrouter.NextHopNone}, fmt.Sprintf("this host has no tunnel address of the family of gateway %v: give it one", o.Address)
	}
	if !slices.Contains(api.Encapsulations(u.Encapsulations), o.Encapsulation) {
		return vrouter.NextHop{Kind: vrouter.NextHopTunnel, VNI: o.Label, Remote: o.Address, Encapsulation: vrouter.EncapsulationUnavailable},
			fmt.Sprintf("this host can do %v, gateway %v wants %s", api.Encapsulations(u.Encapsulations), o.Address, o.Encapsulation)
	}
	return u.tunnel(o.Address, o.Encapsulation, o.Label, 0)
}
