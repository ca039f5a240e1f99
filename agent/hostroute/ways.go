// SPDX-License-Identifier: Apache-2.0

package hostroute

import (
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/datapath"
)

// maxWays bounds how many of the host's routes the packet path has, in each
// network in the underlay. A host with more, which carries the routes of the
// whole Internet, has its own routing decide about every packet.
const maxWays = 1024

// Facts are what is read of the host's own routing.
type Facts struct {
	Ways []datapath.Way
	Own  []netip.Addr
	// Uplinks are the Ethernet interfaces with a default route or an address for tunnels.
	Uplinks []int
	// Why the ways are not all that the host knows; may be empty.
	Warning string
}

// device is what matters of an interface.
type device struct {
	index, mtu int
	ours       bool // no way leads there
	ethernet   bool
}

// table is the host's routing as it is read.
type table struct {
	devices  map[int]device
	routes   []netlink.Route
	policies bool // more rules than every host has
	own      map[netip.Addr]int
}

// factsOf works out what the packet path is told. Own tunnel addresses make
// their interfaces uplinks.
func factsOf(t table, tunnel []netip.Addr) Facts {
	var f Facts
	for a, index := range t.own {
		f.Own = append(f.Own, a)
		if slices.Contains(tunnel, a) && t.devices[index].ethernet {
			f.Uplinks = append(f.Uplinks, index)
		}
	}
	slices.SortFunc(f.Own, netip.Addr.Compare)
	var ways []datapath.Way
	best := map[netip.Prefix]int{} // metric
	for _, r := range t.routes {
		w, ok := wayOf(t, r)
		if !ok {
			continue
		}
		if w.Prefix.Bits() == 0 && t.devices[w.Device].ethernet {
			f.Uplinks = append(f.Uplinks, w.Device)
		}
		metric, known := best[w.Prefix]
		switch {
		case known && metric <= r.Priority:
			continue
		case known:
			ways = slices.DeleteFunc(ways, func(o datapath.Way) bool { return o.Prefix == w.Prefix })
		}
		best[w.Prefix] = r.Priority
		ways = append(ways, w)
	}
	slices.Sort(f.Uplinks)
	f.Uplinks = slices.Compact(f.Uplinks)
	f.Ways = needed(ways)
	switch {
	case t.policies:
		f.Ways, f.Warning = byHost, "this host has routing rules of its own (ip rule): its own routing decides about each packet of workloads in the underlay, which is slower and, for IPv6, needs net.ipv6.conf.all.forwarding=1"
	case len(f.Ways) > maxWays:
		f.Ways, f.Warning = byHost, "this host has very many routes: its own routing decides about each packet of workloads in the underlay, which is slower and, for IPv6, needs net.ipv6.conf.all.forwarding=1"
	}
	return f
}

// byHost leaves all to the host's own routing.
var byHost = []datapath.Way{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}, {Prefix: netip.MustParsePrefix("::/0")}}

func wayOf(t table, r netlink.Route) (datapath.Way, bool) {
	w := datapath.Way{Prefix: prefixOf(r), MTU: r.MTU}
	if r.Protocol == Protocol || r.Table != unix.RT_TABLE_MAIN || !w.Prefix.IsValid() || local(w.Prefix) {
		return w, false
	}
	index := r.LinkIndex
	for i, hop := range r.MultiPath {
		if i > 0 && hop.LinkIndex != index {
			index = 0 // the host balances
			break
		}
		index = hop.LinkIndex
	}
	d := t.devices[index]
	if d.ours {
		return w, false
	}
	if r.Type != unix.RTN_UNICAST || !d.ethernet {
		return w, true
	}
	w.Device, w.OnLink = index, r.Gw == nil && r.Via == nil && len(r.MultiPath) == 0
	if w.MTU == 0 || w.MTU > d.mtu {
		w.MTU = d.mtu
	}
	return w, true
}

// local tells of prefixes that are never a way out.
func local(p netip.Prefix) bool {
	a := p.Addr()
	return p.Bits() > 0 && (a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsLoopback())
}

func prefixOf(r netlink.Route) netip.Prefix {
	if r.Dst == nil {
		if r.Family == netlink.FAMILY_V4 {
			return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	a, ok := netip.AddrFromSlice(r.Dst.IP)
	bits, size := r.Dst.Mask.Size()
	if !ok || size == 0 {
		return netip.Prefix{}
	}
	if size == 32 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, bits).Masked()
}

// needed leaves out what a shorter prefix says as well. Sorted.
func needed(ways []datapath.Way) []datapath.Way {
	slices.SortFunc(ways, func(a, b datapath.Way) int { return a.Prefix.Compare(b.Prefix) })
	var kept, over []datapath.Way // over: those around the one in hand
	for _, w := range ways {
		for len(over) > 0 && !over[len(over)-1].Prefix.Contains(w.Prefix.Addr()) {
			over = over[:len(over)-1]
		}
		if len(over) > 0 {
			outer := over[len(over)-1]
			if outer.Device == w.Device && outer.MTU == w.MTU && outer.OnLink == w.OnLink {
				continue
			}
		}
		over = append(over, w)
		kept = append(kept, w)
	}
	return kept
}
