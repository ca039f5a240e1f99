// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// maxAnnounced bounds the addresses that one port has announced; the oldest
// makes room. The controllers have the same bound.
const maxAnnounced = api.MaxAnnounced

// speech names who speaks for which address.
type speech struct {
	port    string // UUID
	address netip.Addr
}

// announcement is that a workload of this host spoke for an address. It holds
// here at once, and until the controllers say something else of the address.
type announcement struct {
	mac      [6]byte
	sequence uint64
	asked    bool   // for itself, first come; else it moves to the newest speaker
	before   string // what the row said of the address
	over     bool   // the row says something else now
}

// Announce takes note that the workload behind an interface speaks for an
// address with a MAC. It tells whether it may, and whether that is new.
func (c *Core) Announce(ifindex int, address netip.Addr, mac [6]byte, now time.Time) (port string, accepted bool) {
	rows := c.want.Rows
	for id, plug := range c.everywhere() {
		if plug.Ifindex != ifindex || plug.Failure != "" {
			continue
		}
		p, bound := rows.Ports[id]
		asked, may := mayAnnounce(p, rows, address, mac)
		if !bound || !may {
			return id, false
		}
		key := desired.RouteKey{VRF: p.VRF, Prefix: netip.PrefixFrom(address, address.BitLen())}
		if r, has := rows.Routes[key]; asked && has && r.Port != id {
			return id, false // somebody came before
		}
		c.announce(speech{id, address}, announcement{mac: mac, asked: asked, before: sayings(rows.Routes, key)}, now)
		return id, true
	}
	return "", false
}

// mayAnnounce tells whether a port may speak for an address, and whether it asks
// for it for itself alone.
func mayAnnounce(p desired.Port, rows desired.Rows, address netip.Addr, mac [6]byte) (asked, may bool) {
	for _, pair := range p.Pairs {
		if pair.Standby && pair.MAC == mac && pair.Range.Contains(address) {
			return false, true
		}
	}
	for _, a := range p.Addresses {
		s := rows.Subnets[desired.SubnetKey{VRF: p.VRF, ID: a.Subnet}]
		if address.Is6() && mac == p.MAC && s.Mode == api.ModeSLAAC && a.Prefix.Masked().Contains(address) {
			return true, true
		}
	}
	return false, false
}

func (c *Core) announce(s speech, a announcement, now time.Time) {
	if old, said := c.announced[s]; said && old.mac == a.mac && !old.over && !c.spokenLater(s, old) {
		return // it repeats itself
	}
	c.spoken = max(c.spoken+1, uint64(now.UnixMicro()), c.want.Rows.Spoken(s.port)+1)
	a.sequence = c.spoken
	c.announced[s] = a
	var own []speech
	for other := range c.announced {
		if other.port == s.port {
			own = append(own, other)
		}
	}
	if len(own) > maxAnnounced {
		delete(c.announced, slices.MinFunc(own, func(x, y speech) int { return cmp.Compare(c.announced[x].sequence, c.announced[y].sequence) }))
	}
	c.changed()
}

// sayings is what a row says of who has an address; empty if there is none.
func sayings(routes map[desired.RouteKey]desired.Route, key desired.RouteKey) string {
	r, ok := routes[key]
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s %s %s %d", r.Port, r.Host, r.Origin, r.Announced)
}

// checkAnnounced lets go of what the rows have come to say, and of what ports
// that are gone said.
func (c *Core) checkAnnounced() {
	for s, a := range c.announced {
		p, bound := c.want.Rows.Ports[s.port]
		key := desired.RouteKey{VRF: p.VRF, Prefix: netip.PrefixFrom(s.address, s.address.BitLen())}
		_, may := mayAnnounce(p, c.want.Rows, s.address, a.mac)
		switch {
		case !bound || !may:
			delete(c.announced, s)
		case !a.over && sayings(c.want.Rows.Routes, key) != a.before:
			a.over = true
			c.announced[s] = a
		}
	}
}

// withAnnounced adds what this host's workloads said and the rows do not say yet.
func (c *Core) withAnnounced(rows desired.Rows) desired.Rows {
	cloned := false
	for s, a := range c.announced {
		p, bound := rows.Ports[s.port]
		key := desired.RouteKey{VRF: p.VRF, Prefix: netip.PrefixFrom(s.address, s.address.BitLen())}
		if a.over || !bound || c.spokenLater(s, a) || !free(rows.Routes, key) {
			continue
		}
		if !cloned {
			rows.Ports, rows.Routes, cloned = maps.Clone(rows.Ports), maps.Clone(rows.Routes), true
		}
		rows.Routes[key] = desired.Route{Port: s.port, MAC: a.mac, Proxied: !a.asked, Origin: p.Name, Workload: p.Identity}
		if a.asked {
			p.Announced = append(slices.Clone(p.Announced), s.address)
			rows.Ports[s.port] = p
		}
	}
	return rows
}

// free tells whether an address may become whoever's speaks for it: who has one of
// its own keeps it, and so does the gateway.
func free(routes map[desired.RouteKey]desired.Route, key desired.RouteKey) bool {
	r, there := routes[key]
	return !there || r.Announced != 0 || r.Proxied
}

// spokenLater tells that another port of this host spoke for the address after.
func (c *Core) spokenLater(s speech, a announcement) bool {
	for other, b := range c.announced {
		if other.address == s.address && other.port != s.port && b.sequence > a.sequence && !b.over &&
			c.want.Rows.Ports[other.port].VRF == c.want.Rows.Ports[s.port].VRF {
			return true
		}
	}
	return false
}

// reportAnnounced says what the workloads said, by port and address.
func (c *Core) reportAnnounced() (all []*hoststream.Announcement) {
	keys := slices.SortedFunc(maps.Keys(c.announced), func(x, y speech) int {
		return cmp.Or(cmp.Compare(x.port, y.port), x.address.Compare(y.address))
	})
	for _, s := range keys {
		a := c.announced[s]
		all = append(all, &hoststream.Announcement{Port: s.port, Address: s.address.AsSlice(), Mac: a.mac[:], Sequence: a.sequence})
	}
	return all
}
