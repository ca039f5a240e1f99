// SPDX-License-Identifier: Apache-2.0

package routing

import "github.com/weft-network/weft/api"

// addSenders finds the hosts that may send into each network. An inactive
// binding counts: it is how the destination of a move gets the right to send
// before the workload runs there. A binding whose port, network or host is
// missing does not.
func (d *Derived) addSenders(s api.Snapshot) {
	members := make(map[*Network]map[string]bool, len(d.Networks)) // host UUIDs
	for _, n := range d.Networks {
		members[n] = map[string]bool{}
	}
	for _, b := range api.ListOf[*api.Binding](s, api.KindBinding) {
		port, ok := s.Get(api.KindPort, b.Meta.Parent.UUID).(*api.Port)
		if !ok || d.hosts[b.Spec.Host.UUID] == nil {
			continue
		}
		if network := d.networks[port.Spec.Network.UUID]; network != nil {
			members[network][b.Spec.Host.UUID] = true
		}
	}
	for _, h := range d.Hosts {
		for _, r := range h.Reserved {
			members[r.Network][h.Ref.UUID] = true
		}
	}
	importers := map[*Network][]*Network{}
	for _, n := range d.Networks {
		for _, imp := range n.Imports {
			from := d.networks[imp.Network.UUID]
			importers[from] = append(importers[from], n)
		}
	}
	for _, n := range d.Networks {
		n.Senders = d.union(members, append(importers[n], n))
	}
}

// union lists the hosts that are members of any of the networks.
func (d *Derived) union(members map[*Network]map[string]bool, networks []*Network) []api.Ref {
	var all []api.Ref
	for _, h := range d.Hosts {
		for _, n := range networks {
			if members[n][h.Ref.UUID] {
				all = append(all, h.Ref)
				break
			}
		}
	}
	return all
}
