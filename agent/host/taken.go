// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api/hoststream"
)

// Taken is a workload that got reserved addresses while no controller could be
// reached. It is a port like any other here, until one of the same UUID is made
// that has the addresses.
type Taken struct {
	Port    string   `json:"port"`    // UUID of the port that is to be
	Name    string   `json:"name"`    // what whoever plugged called it
	Network string   `json:"network"` // UUID
	IDs     []string `json:"addresses"`
}

// SetConnected says whether a controller serves this host.
func (c *Core) SetConnected(is bool) { c.connected = is }

// Connected tells whether a controller serves this host: it is connected and
// has brought everything.
func (c *Core) Connected() bool { return c.connected }

// RestoreTaken takes up what an earlier run gave away. What is not reserved
// any more has become a port's, or nobody's.
func (c *Core) RestoreTaken(all []Taken) {
	for _, t := range all {
		c.taken[t.Port] = t
	}
	c.checkTaken()
	c.changed()
}

// Taken returns what was given away, by the port's UUID.
func (c *Core) Taken() []Taken {
	return slices.SortedFunc(maps.Values(c.taken), func(a, b Taken) int { return cmp.Compare(a.Port, b.Port) })
}

// Reserved returns what a new workload on a network, by UUID or fully qualified
// name, would get: addresses of one MAC that nobody has, of as many families as
// there are. It is empty where nothing is left.
func (c *Core) Reserved(network string) (slot []desired.Reservation) {
	used := map[string]bool{}
	for _, t := range c.taken {
		for _, id := range t.IDs {
			used[id] = true
		}
	}
	slots := map[[6]byte][]desired.Reservation{}
	spent := map[[6]byte]bool{}
	for _, r := range c.want.Reservations {
		if r.Network != network && r.NetworkName != network {
			continue
		}
		slots[r.MAC] = append(slots[r.MAC], r)
		if used[r.ID] || r.Releasing {
			spent[r.MAC] = true
		}
	}
	for _, mac := range slices.SortedFunc(maps.Keys(slots), func(a, b [6]byte) int { return slices.Compare(a[:], b[:]) }) {
		if !spent[mac] && len(slots[mac]) > len(slot) {
			slot = slots[mac]
		}
	}
	slices.SortFunc(slot, func(a, b desired.Reservation) int { return a.Address.Prefix.Addr().Compare(b.Address.Prefix.Addr()) })
	return slot
}

// Take gives a slot of Reserved to a workload.
func (c *Core) Take(t Taken) {
	c.taken[t.Port] = t
	c.checkTaken()
	c.changed()
}

// GiveBack ends what a port took; it may be given away again.
func (c *Core) GiveBack(port string) {
	if _, ok := c.taken[port]; ok {
		delete(c.taken, port)
		c.changed()
	}
}

// checkTaken forgets what is not reserved for this host any more. Rows are put
// before others are deleted, so the port that has the address now is known.
func (c *Core) checkTaken() {
	if !c.known { // the file of rows was lost: what is reserved is still to come
		return
	}
	for port, t := range c.taken {
		gone := slices.ContainsFunc(t.IDs, func(id string) bool {
			_, ok := c.want.Reservations[id]
			return !ok
		})
		if gone {
			delete(c.taken, port)
			c.changed()
		}
	}
}

// rows are the desired rows and those that follow from what was taken, where no
// port was delivered, and announced.
func (c *Core) rows() desired.Rows {
	return c.withAnnounced(c.withTaken(c.want.Rows))
}

func (c *Core) withTaken(rows desired.Rows) desired.Rows {
	if len(c.taken) == 0 {
		return rows
	}
	rows.Ports, rows.Routes = maps.Clone(rows.Ports), maps.Clone(rows.Routes)
	for id, t := range c.taken {
		if _, delivered := rows.Ports[id]; delivered {
			continue
		}
		p := desired.Port{ID: id, Name: t.Name}
		for _, a := range t.IDs {
			r, here := c.want.Reservations[a]
			if !here {
				continue
			}
			p.VRF, p.MAC, p.MTU = r.VRF, r.MAC, r.MTU
			p.Identity, p.Rulesets = r.Identity, r.Rulesets
			p.Addresses = append(p.Addresses, r.Address)
			ip := r.Address.Prefix.Addr()
			rows.Routes[desired.RouteKey{VRF: r.VRF, Prefix: netip.PrefixFrom(ip, ip.BitLen())}] = desired.Route{Port: id, MAC: r.MAC, Origin: "reserved address " + a, Workload: r.Identity}
		}
		if len(p.Addresses) > 0 {
			rows.Ports[id] = p
		}
	}
	return rows
}

// reportTaken says which reserved address went where.
func (c *Core) reportTaken() (all []*hoststream.TakenAddress) {
	for _, t := range c.Taken() {
		for _, id := range t.IDs {
			mac := c.want.Reservations[id].MAC // zero while the row is still to come
			all = append(all, &hoststream.TakenAddress{Address: id, Port: t.Port, Name: t.Name, Mac: mac[:]})
		}
	}
	return all
}
