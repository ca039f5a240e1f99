// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"maps"
	"net/netip"

	"github.com/weft-network/weft/vrouter"
)

// Down says whose conversations by UDP move on: those with a member that is down while
// another one can be chosen. TCP and SCTP have a first packet, which is led anew by itself.
type Down struct {
	Members map[vrouter.PoolMemberKey]bool
	// Networks are the VRFs of their virtual addresses, by how workloads reach these.
	Networks map[vrouter.RouteKey]uint32
	VRFs     map[int]uint32 // of ports, by interface
}

// Down returns who is down as the kernel has it, so that whoever is cut is led elsewhere.
func (p *Programmer) Down() Down {
	s := &p.service
	d := Down{Members: map[vrouter.PoolMemberKey]bool{}, Networks: map[vrouter.RouteKey]uint32{}}
	for _, of := range s.balanced.Of {
		for key := range of.Down {
			listener, listens := s.listeners.Applied(key.ListenerKey)
			member, serves := s.members.Applied(key)
			if !listens || !serves || member.Chosen || listener.Choice == "" || listener != of.Listeners[key.ListenerKey] {
				continue
			}
			d.Members[key] = true
			p.reach(&d, key.ListenerKey.VRF, key.ListenerKey)
			for vrf := range s.seers[key.ListenerKey.VRF] {
				p.reach(&d, vrf, key.ListenerKey)
			}
		}
	}
	if len(d.Members) > 0 {
		d.VRFs = make(map[int]uint32, len(p.tables.Ports))
		for ifindex, port := range p.tables.Ports {
			d.VRFs[ifindex] = port.VRF
		}
	}
	return d
}

// reach notes that workloads of a VRF reach the listener, if its route says so.
func (p *Programmer) reach(d *Down, vrf uint32, l vrouter.ListenerKey) {
	key := vrouter.RouteKey{VRF: vrf, Prefix: netip.PrefixFrom(l.Address, l.Address.BitLen())}
	if hop := p.tables.Routes[key].NextHop; hop.Kind == vrouter.NextHopBalancer && hop.VNI == l.VRF {
		d.Networks[key] = l.VRF
	}
}

// Left tells whether the sender's end of a conversation that is led to a member moves on.
func (d *Down) Left(c vrouter.ConnectionKey, member vrouter.MAC) bool {
	vrf, is := d.VRFs[c.Ifindex]
	if !is {
		return false
	}
	remote := c.Remote.Addr()
	network, reached := d.Networks[vrouter.RouteKey{VRF: vrf, Prefix: netip.PrefixFrom(remote, remote.BitLen())}]
	listener := vrouter.ListenerKey{VRF: network, Address: remote, Protocol: c.Protocol, Port: c.Remote.Port()}
	return reached && d.Members[vrouter.PoolMemberKey{ListenerKey: listener, MAC: member}]
}

// Beyond tells whether somebody is down who was not.
func (d *Down) Beyond(earlier Down) bool {
	for key := range maps.Keys(d.Members) {
		if !earlier.Members[key] {
			return true
		}
	}
	return false
}
