// SPDX-License-Identifier: Apache-2.0

package reserve

import (
	"fmt"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
)

const (
	// allBlocks is one more than the number of the last block of an address.
	allBlocks = (1 << 16) / api.BlockPorts
	// shareOfFree is which part of the free blocks a host gets at most.
	shareOfFree = 32
)

// space is which blocks of an address are somebody's.
type space struct {
	address *api.Address
	taken   [allBlocks]bool
	free    int
}

// blocks is what is at work for source NAT.
type blocks struct {
	Input
	spaces map[string]*space  // by address
	needs  map[[2]string]bool // address and host that goes out with it
	has    map[[2]string]bool // address and host that has ports of it
	all    []*api.PortBlock
}

// Blocks returns what brings port-blocks closer to who goes out with shared
// addresses, at most limit, in a fixed order. A host that has no port of the
// network any more begins nothing in its block first, and loses it when it has
// acknowledged that: what it has begun must not be taken for another's.
func Blocks(in Input, limit int) (changes []Change) {
	b := &blocks{Input: in, spaces: map[string]*space{}, needs: map[[2]string]bool{}, has: map[[2]string]bool{}, all: api.ListOf[*api.PortBlock](in.Snapshot, api.KindPortBlock)}
	for _, o := range b.all {
		b.space(o.Meta.Parent.UUID).take(o)
		b.has[[2]string{o.Meta.Parent.UUID, o.Spec.Host.UUID}] = true
	}
	add := func(a *api.Address, op string, o *api.PortBlock) bool {
		changes = append(changes, Change{a.Meta.Parent, a.Meta.Owner, []api.Operation{{Op: op, Object: o}}})
		return len(changes) < limit
	}
	for _, n := range in.Routes.Networks {
		if !b.give(n, add) {
			return changes
		}
	}
	for _, o := range b.all {
		a, op, now := b.follow(o)
		if op != "" && !add(a, op, now) {
			return changes
		}
	}
	return changes
}

func (b *blocks) space(address string) *space {
	s := b.spaces[address]
	if s == nil {
		a, _ := b.Snapshot.Get(api.KindAddress, address).(*api.Address)
		s = &space{address: a, free: allBlocks - api.FirstBlockPort/api.BlockPorts}
		b.spaces[address] = s
	}
	return s
}

func (s *space) take(o *api.PortBlock) {
	from, to := o.Blocks()
	for i := max(from, 0); i < min(to, allBlocks); i++ {
		if !s.taken[i] {
			s.taken[i] = true
			s.free--
		}
	}
}

// give yields port-blocks for the hosts that go out with addresses of a network
// and have none of its family yet.
func (b *blocks) give(n *routing.Network, add func(*api.Address, string, *api.PortBlock) bool) bool {
	type use struct {
		inside string
		six    bool
	}
	var uses []use
	of := map[use][]*routing.SourceNAT{}
	for _, s := range n.SourceNATs() {
		if s.Reason != "" {
			continue
		}
		u := use{s.Inside.UUID, s.IP.Is6()}
		if of[u] == nil {
			uses = append(uses, u)
		}
		of[u] = append(of[u], s)
		for _, host := range s.Hosts {
			b.needs[[2]string{s.Address.UUID, host.UUID}] = true
		}
	}
	for _, u := range uses {
		for _, host := range of[u][0].Hosts { // all have the same
			if b.served(of[u], host) {
				continue
			}
			s := b.roomiest(of[u])
			o := s.next(host)
			if o == nil {
				continue // status says so
			}
			if !add(s.address, api.OpCreate, o) {
				return false
			}
		}
	}
	return true
}

// served tells whether a host has ports of one of some addresses.
func (b *blocks) served(of []*routing.SourceNAT, host api.Ref) bool {
	for _, s := range of {
		if b.has[[2]string{s.Address.UUID, host.UUID}] {
			return true
		}
	}
	return false
}

// roomiest is the address with most free blocks, of equals the first.
func (b *blocks) roomiest(of []*routing.SourceNAT) *space {
	best := b.space(of[0].Address.UUID)
	for _, s := range of[1:] {
		if other := b.space(s.Address.UUID); other.free > best.free {
			best = other
		}
	}
	return best
}

// next makes a port-block for a host and takes it; nil if nothing is free.
func (s *space) next(host api.Ref) *api.PortBlock {
	size := 1
	for size < api.MaxBlocks && 2*size*shareOfFree <= s.free {
		size *= 2
	}
	for ; size > 0; size /= 2 {
		run := 0
		for i := api.FirstBlockPort / api.BlockPorts; i < allBlocks; i++ {
			if run++; s.taken[i] {
				run = 0
			}
			if run < size {
				continue
			}
			first := (i + 1 - size) * api.BlockPorts
			o := &api.PortBlock{Header: api.Header{Kind: api.KindPortBlock, Meta: api.Meta{Parent: api.RefTo(s.address)}}}
			o.Spec.Host, o.Spec.Ports = host, api.PortRange{From: first, To: (i+1)*api.BlockPorts - 1}
			o.Meta.Name = fmt.Sprintf("%d-%d", first, o.Spec.Ports.To)
			s.take(o)
			return o
		}
	}
	return nil
}

// follow says what is to be done with a port-block that is there.
func (b *blocks) follow(o *api.PortBlock) (a *api.Address, op string, now *api.PortBlock) {
	a = b.space(o.Meta.Parent.UUID).address
	needed := b.needs[[2]string{o.Meta.Parent.UUID, o.Spec.Host.UUID}]
	switch {
	case a == nil:
		return nil, "", nil
	case needed == o.Spec.Releasing: // to be given back, or needed again
		now = api.Clone(o)
		now.Spec.Releasing = !needed
		return a, api.OpUpdate, now
	case needed:
		return a, "", nil
	}
	host := b.Hosts[o.Spec.Host.UUID]
	marked := placement.Version{Epoch: b.Epoch, Revision: o.Meta.Revision}
	if !host.Connected || !host.InSync || host.Report == nil || host.Settled.Before(marked) {
		return a, "", nil
	}
	return a, api.OpDelete, o
}
