// SPDX-License-Identifier: Apache-2.0

// Package reserve says which addresses, and which ports of shared addresses, are
// to be claimed for hosts, and which of these are to be given up: a pure function
// of the objects and of what hosts acknowledged and reported.
package reserve

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/uuid"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/stream"
)

// Input is what follows from.
type Input struct {
	Snapshot api.Snapshot
	Routes   *routing.Derived // of the snapshot
	Epoch    uint64
	Hosts    map[string]stream.HostState // by UUID
}

// Change is one transaction, in the name of the owner of a network.
type Change struct {
	Network    api.Ref
	Owner      string
	Operations []api.Operation
}

// slot is what one workload gets: an address of each family, with one MAC.
type slot struct {
	mac       api.MAC
	addresses []*api.Address
}

// Changes returns what brings the reservations closer to what the networks ask
// for, at most limit, in a fixed order. A host that is new gets its addresses
// at once; an address that is too many is first marked, and deleted when its
// host has acknowledged that it gives it away no more: a host out of reach may
// just have done so.
func Changes(in Input, limit int) []Change {
	var changes []Change
	held := map[[2]string]map[api.MAC]*slot{} // by network and host
	for _, a := range api.ListOf[*api.Address](in.Snapshot, api.KindAddress) {
		r := a.Spec.Reservation
		if r == nil {
			continue
		}
		key := [2]string{a.Meta.Parent.UUID, r.Host.UUID}
		if held[key] == nil {
			held[key] = map[api.MAC]*slot{}
		}
		if held[key][r.MAC] == nil {
			held[key][r.MAC] = &slot{mac: r.MAC}
		}
		held[key][r.MAC].addresses = append(held[key][r.MAC].addresses, a)
	}
	subnets := map[string][]*api.Subnet{} // by network
	for _, s := range api.ListOf[*api.Subnet](in.Snapshot, api.KindSubnet) {
		subnets[s.Meta.Parent.UUID] = append(subnets[s.Meta.Parent.UUID], s)
	}
	hosts := api.ListOf[*api.Host](in.Snapshot, api.KindHost)
	for _, n := range api.ListOf[*api.Network](in.Snapshot, api.KindNetwork) {
		from := widest(subnets[n.Meta.UUID])
		for _, h := range hosts {
			key := [2]string{n.Meta.UUID, h.Meta.UUID}
			if n.Spec.HostReserve == 0 && len(held[key]) == 0 {
				continue
			}
			for _, ops := range in.host(n, h, from, slices.SortedFunc(maps.Values(held[key]), bySlot)) {
				if len(changes) == limit {
					return changes
				}
				changes = append(changes, Change{api.RefTo(n), n.Meta.Owner, ops})
			}
		}
	}
	return changes
}

func bySlot(a, b *slot) int { return cmp.Compare(a.mac, b.mac) }

// widest chooses, of each family, the subnet with most free addresses.
func widest(subnets []*api.Subnet) (from []*api.Subnet) {
	for _, six := range []bool{false, true} {
		var best *api.Subnet
		for _, s := range subnets {
			if s.Spec.CIDR.IsValid() && s.Spec.CIDR.Addr().Is6() == six && (best == nil || s.Status.Free > best.Status.Free) {
				best = s
			}
		}
		if best != nil {
			from = append(from, best)
		}
	}
	return from
}

// host returns what is to be done for one network on one host.
func (in *Input) host(n *api.Network, h *api.Host, from []*api.Subnet, slots []*slot) (all [][]api.Operation) {
	live := 0
	state := in.Hosts[h.Meta.UUID]
	for _, s := range slots {
		switch {
		case s.taken(state):
		case s.releasing():
			if ops := s.free(state, in.Epoch); len(ops) > 0 {
				all = append(all, ops)
			}
		case live < n.Spec.HostReserve && s.complete(from):
			live++
		default:
			all = append(all, s.release())
		}
	}
	for ; live < n.Spec.HostReserve && len(from) > 0; live++ {
		all = append(all, claim(n, h, from))
	}
	return all
}

// taken tells whether the host gave one of the addresses away, as it says now
// or as was last known.
func (s *slot) taken(h stream.HostState) bool {
	return slices.ContainsFunc(s.addresses, func(a *api.Address) bool { return Taken(a, h) != nil })
}

// Taken says where a host put an address that is reserved for it; what was last
// known holds until the host has reported.
func Taken(a *api.Address, h stream.HostState) *api.TakenAddress {
	if a.Spec.Reservation == nil {
		return nil
	}
	if !h.Connected || h.Report == nil {
		return a.Status.Taken
	}
	for _, t := range h.Report.Taken {
		if t.Address == a.Meta.UUID {
			return &api.TakenAddress{Port: t.Port, Name: t.Name, MAC: a.Spec.Reservation.MAC}
		}
	}
	return nil
}

func (s *slot) releasing() bool {
	return slices.ContainsFunc(s.addresses, func(a *api.Address) bool { return a.Spec.Reservation.Releasing })
}

// complete tells whether there is an address of each family.
func (s *slot) complete(from []*api.Subnet) bool {
	return !slices.ContainsFunc(from, func(sub *api.Subnet) bool {
		return !slices.ContainsFunc(s.addresses, func(a *api.Address) bool { return sameFamily(a.Spec.IP, sub.Spec.CIDR.Addr()) })
	})
}

func sameFamily(a, b netip.Addr) bool { return a.Is6() == b.Is6() }

func (s *slot) release() (ops []api.Operation) {
	for _, a := range s.addresses {
		marked := api.Clone(a)
		marked.Spec.Reservation.Releasing = true
		ops = append(ops, api.Operation{Op: api.OpUpdate, Object: marked})
	}
	return ops
}

// free deletes the addresses once their host has acknowledged, in a session in
// which it has also reported, that it gives them away no more.
func (s *slot) free(h stream.HostState, epoch uint64) (ops []api.Operation) {
	for _, a := range s.addresses {
		marked := placement.Version{Epoch: epoch, Revision: a.Meta.Revision}
		if !a.Spec.Reservation.Releasing || !h.Connected || !h.InSync || h.Report == nil || h.Settled.Before(marked) {
			return nil
		}
		ops = append(ops, api.Operation{Op: api.OpDelete, Object: a})
	}
	return ops
}

// claim makes a slot: addresses of each family with a new MAC.
func claim(n *api.Network, h *api.Host, from []*api.Subnet) (ops []api.Operation) {
	mac := api.MACFromUUID(uuid.NewString())
	for _, s := range from {
		a := &api.Address{Header: api.Header{Kind: api.KindAddress, Meta: api.Meta{Parent: api.RefTo(n)}}}
		a.Spec.Subnet = api.RefTo(s)
		a.Spec.Reservation = &api.AddressReservation{Host: api.RefTo(h), MAC: mac}
		ops = append(ops, api.Operation{Op: api.OpCreate, Object: a})
	}
	return ops
}
