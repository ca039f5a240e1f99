// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"net"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// said is one time that a port spoke for an address.
type said struct {
	port     string // UUID
	address  netip.Addr
	sequence uint64
}

// Orders remembers which order was given to what was said, until a snapshot
// shows it: the same words never get another one.
type Orders struct {
	given map[said]uint64
	last  uint64
}

// speakers gives what ports said since the snapshot its place in the order of
// all that was said of an address. Hosts' clocks only decide between what came
// to the leader at one time.
func (c *collector) speakers() {
	c.spoken = map[string][]api.AnnouncedAddress{}
	var fresh []said
	macs := map[said]api.MAC{}
	for _, p := range c.only.ports(c.Snapshot) {
		placed := c.Plan.Derived.Port(p.Meta.UUID)
		if placed == nil {
			continue
		}
		for _, a := range c.announcements(placed.Host.UUID, p.Meta.UUID) {
			address, ok := netip.AddrFromSlice(a.Address)
			if !ok || len(a.Mac) != 6 {
				continue
			}
			s := said{p.Meta.UUID, address, a.Sequence}
			if i := slices.IndexFunc(p.Status.Announced, func(k api.AnnouncedAddress) bool { return k.Address == address }); i >= 0 && p.Status.Announced[i].Sequence >= a.Sequence {
				continue // is known, or from before what is known
			}
			fresh = append(fresh, s)
			macs[s] = api.MAC(net.HardwareAddr(a.Mac).String())
		}
	}
	slices.SortFunc(fresh, func(a, b said) int {
		return cmp.Or(cmp.Compare(a.sequence, b.sequence), cmp.Compare(a.port, b.port), a.address.Compare(b.address))
	})
	given := map[said]uint64{}
	for _, s := range fresh {
		order, known := c.orders.given[s]
		if !known {
			c.orders.last = max(c.orders.last, c.lastOrder(s), uint64(c.Now.UnixMicro())) + 1
			order = c.orders.last
		}
		given[s] = order
		c.spoken[s.port] = append(c.spoken[s.port], api.AnnouncedAddress{Address: s.address, MAC: macs[s], Sequence: s.sequence, Order: order})
	}
	if c.only == nil {
		c.orders.given = given // the others are in the snapshot, or of ports that are gone
		return
	}
	for s, order := range given {
		c.orders.given[s] = order
	}
}

// announcements are what a host reported that a port said.
func (c *collector) announcements(host, port string) []*hoststream.Announcement {
	byPort, ok := c.said[host]
	if !ok {
		byPort = map[string][]*hoststream.Announcement{}
		for _, a := range c.Hosts[host].Report.GetAnnounced() {
			byPort[a.Port] = append(byPort[a.Port], a)
		}
		c.said[host] = byPort
	}
	return byPort[port]
}

// lastOrder is the greatest order that anybody in the port's network has for an
// address: another leader, with another clock, may have given it.
func (c *collector) lastOrder(s said) (last uint64) {
	network := c.Plan.Derived.Port(s.port).Network.Ref.UUID
	for _, p := range c.Plan.Derived.Network(network).Ports() {
		o, ok := c.Snapshot.Get(api.KindPort, p.Ref.UUID).(*api.Port)
		if !ok {
			continue
		}
		for _, a := range o.Status.Announced {
			if a.Address == s.address {
				last = max(last, a.Order)
			}
		}
	}
	return last
}

// announcedBy is what the status says that a port said: what it said before, and
// lately. The oldest make room.
func (c *collector) announcedBy(p *api.Port) []api.AnnouncedAddress {
	fresh := c.spoken[p.Meta.UUID]
	if len(fresh) == 0 {
		return p.Status.Announced
	}
	all := slices.Clone(fresh)
	for _, old := range p.Status.Announced {
		if !slices.ContainsFunc(fresh, func(a api.AnnouncedAddress) bool { return a.Address == old.Address }) {
			all = append(all, old)
		}
	}
	slices.SortFunc(all, func(a, b api.AnnouncedAddress) int { return cmp.Compare(b.Order, a.Order) })
	all = all[:min(len(all), api.MaxAnnounced)]
	slices.SortFunc(all, func(a, b api.AnnouncedAddress) int { return a.Address.Compare(b.Address) })
	return all
}
