// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
)

// asks reads what a network asks for in the underlay.
func (id *Identity) asks(n *api.Network) {
	id.Fabric = len(n.Spec.Encapsulation) > 0 && n.Spec.Encapsulation[0] == api.EncapsulationNone
	id.Visible = n.AsksForUnderlay()
	id.created = n.Meta.CreatedAt.UnixMilli()
}

// runUnderlay gives the networks that ask for it a place in the underlay, or
// where hosts see them: there is one address space, and who was made first has
// it. One that overlaps with another, or with where hosts are, stays apart: its
// workloads reach each other through tunnels.
func (u *update) runUnderlay() {
	var asking []*Network
	for _, n := range u.networks {
		if n.Fabric || n.Visible || n.Underlay != (Underlay{}) {
			asking = append(asking, n)
		}
	}
	if len(asking) == 0 {
		return
	}
	slices.SortFunc(asking, func(a, b *Network) int {
		return cmp.Or(cmp.Compare(a.created, b.created), compareRefs(a.Ref, b.Ref))
	})
	s := &space{}
	for _, h := range u.hosts {
		for _, a := range h.TunnelAddresses {
			s.add(hostPrefix(a), "the tunnel address of a host")
		}
	}
	for _, n := range asking {
		place := s.place(n)
		if n.Underlay != place {
			u.own(n.Ref.UUID).Underlay = place
		}
	}
}

// space is who has which addresses. None overlap. Names are told to everybody,
// so they name no tenant.
type space struct {
	taken []netip.Prefix // sorted
	names []string
}

func (s *space) find(p netip.Prefix) (int, bool) {
	return slices.BinarySearchFunc(s.taken, p, netip.Prefix.Compare)
}

func (s *space) add(p netip.Prefix, name string) {
	i, there := s.find(p)
	if there {
		return
	}
	s.taken, s.names = slices.Insert(s.taken, i, p), slices.Insert(s.names, i, name)
}

// overlap says with what a prefix overlaps. As those taken do not overlap with
// each other, it is one of the two beside the prefix's place.
func (s *space) overlap(p netip.Prefix) string {
	i, _ := s.find(p)
	for _, j := range []int{i - 1, i} {
		if j >= 0 && j < len(s.taken) && s.taken[j].Overlaps(p) {
			return s.names[j]
		}
	}
	return ""
}

func (s *space) place(n *Network) Underlay {
	if !n.Fabric && !n.Visible {
		return Underlay{}
	}
	for _, sub := range n.Subnets {
		if other := s.overlap(sub.CIDR); other != "" {
			return Underlay{Refused: fmt.Sprintf("subnet %v overlaps with %s", sub.CIDR, other)}
		}
	}
	for _, sub := range n.Subnets {
		s.add(sub.CIDR, "one of another network, which was there first")
	}
	return Underlay{Fabric: n.Fabric, Visible: n.Visible}
}
