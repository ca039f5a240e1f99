// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-network/weft/api/hoststream"
)

// Hop is one of several next hops: exactly one of Port and Host is set.
type Hop struct {
	Port, Host string // UUID
	VNI        uint32
	MTU        int
	MAC        [6]byte
	Identity   string // what flows are spread by
	// Encapsulations are as a route's.
	Encapsulations string
}

// Outside is a gateway that is no host, at the other end of a tunnel.
type Outside struct {
	Address       netip.Addr // invalid: there is none
	Encapsulation string
	Label         uint32
}

// Hops are all next hops of a route that leads to ports.
func (r *Route) Hops() []Hop {
	return append([]Hop{{Port: r.Port, Host: r.Host, VNI: r.VNI, MTU: r.MTU, MAC: r.MAC, Identity: r.Identity, Encapsulations: r.Encapsulations}}, r.Equal...)
}

// External is a router outside, at the segment of an external network.
type External struct {
	Gateway netip.Addr // of the router; invalid: there is none
	VNI     uint32     // of the network
	Hosts   string     // UUIDs of those that connect it, with spaces between them
	// Encapsulations are as a route's.
	Encapsulations string
}

func external(m *hoststream.External) (e External, err error) {
	gateway, ok := netip.AddrFromSlice(m.Gateway)
	if !ok {
		return e, fmt.Errorf("router outside of VNI %d of %d bytes", m.Vni, len(m.Gateway))
	}
	return External{gateway.Unmap(), m.Vni, strings.Join(m.Hosts, " "), strings.Join(m.Encapsulations, " ")}, nil
}

// Segment is where an external network is in the physical network.
type Segment struct {
	Physical string // empty: it is not external
	VLAN     uint16
	Gateways []netip.Addr // the routers there
	Hosts    []string     // UUIDs: that connect it
}

func segment(m *hoststream.Segment) (s Segment, err error) {
	if m == nil {
		return s, nil
	}
	s = Segment{Physical: m.PhysicalNetwork, VLAN: uint16(m.Vlan), Hosts: m.Hosts}
	for _, raw := range m.Gateways {
		a, ok := netip.AddrFromSlice(raw)
		if !ok {
			return s, fmt.Errorf("router of %d bytes", len(raw))
		}
		s.Gateways = append(s.Gateways, a.Unmap())
	}
	return s, nil
}

// hops leaves out those of kinds that this agent does not know: the others serve.
func hops(equal []*hoststream.EqualHop) (all []Hop, err error) {
	for _, e := range equal {
		h := Hop{MTU: int(e.Mtu), Identity: e.Identity}
		switch n := e.NextHop.(type) {
		case *hoststream.EqualHop_Port:
			h.Port = n.Port
		case *hoststream.EqualHop_Remote:
			h.Host, h.VNI, h.Encapsulations = n.Remote.Host, n.Remote.Vni, strings.Join(n.Remote.Encapsulations, " ")
		default:
			continue
		}
		if h.MAC, err = mac(e.Mac); err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}
