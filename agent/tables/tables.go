// SPDX-License-Identifier: Apache-2.0

// Package tables prints the host's tables as they are in the kernel, for
// people: `weft get --host`, `weft drops`, and the tests.
package tables

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/services"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// Statistics are the counts of the packet path.
type Statistics interface {
	Drops() ([]vrouter.Drop, error)
	Counters() ([]vrouter.Counter, error)
	Connections(visit func(vrouter.ConnectionKey, vrouter.Connection)) error
	LearnedMACs(visit func(vrouter.MACKey, vrouter.LearnedMAC, time.Duration)) error
	Capacity() ([]vrouter.Usage, error)
	Places() (map[vrouter.PlaceOwner]int, error)
	RuleHits() (map[uint32]uint64, error)
	LimitUses() ([]vrouter.LimitUse, error)
}

// Reader reads tables.
type Reader struct {
	Kernel     datapath.Kernel
	Statistics Statistics
	Loop       *host.Loop
	Names      func() (map[int]string, error) // of interfaces by index
	Leases     func() []services.Lease
	// Trace answers a question about a packet; query is its words.
	Trace func(ctx context.Context, query string) (api.Table, error)
	// Records answer questions about frames and conversations, by the table's name.
	Records map[string]func(ctx context.Context, query string) (api.Table, error)
}

// words are the names for the numbers of one table.
type words struct {
	names map[int]string
	ports map[int]string // name of the port by interface; its UUID while it is bound nowhere
}

func (w words) name(ifindex int) string {
	if n, ok := w.names[ifindex]; ok {
		return n
	}
	if ifindex == vrouter.AnyInterface {
		return "any"
	}
	return "#" + strconv.Itoa(ifindex)
}

func (w words) port(ifindex int) string {
	if p, ok := w.ports[ifindex]; ok {
		return p
	}
	return "-"
}

// Table returns a table by its name, one of the words api.HostTable….
func (r Reader) Table(ctx context.Context, name string) (api.Table, error) {
	if table, query, asked := strings.Cut(name, "?"); asked && table == api.HostTableTrace && r.Trace != nil {
		return r.Trace(ctx, query)
	}
	if table, query, asked := strings.Cut(name, "?"); asked && table == api.HostTableRules {
		return r.portRules(ctx, query)
	}
	if table, query, _ := strings.Cut(name, "?"); r.Records[table] != nil {
		return r.Records[table](ctx, query)
	}
	print, known := map[string]func(context.Context, words) (api.Table, error){
		api.HostTableDrops:         r.drops,
		api.HostTableCounters:      r.counters,
		api.HostTablePorts:         r.ports,
		api.HostTableRoutes:        r.routes,
		api.HostTableNextHops:      r.nextHops,
		api.HostTableVNIs:          r.vnis,
		api.HostTablePortAddresses: r.portAddresses,
		api.HostTableConnections:   r.connections,
		api.HostTableCapacity:      r.capacity,
		api.HostTableDesired:       r.desired,
		api.HostTableLeases:        r.leases,
		api.HostTableAliases:       r.aliases,
		api.HostTableMACs:          r.macs,
		api.HostTableReceivers:     r.receivers,
		api.HostTablePolicy:        r.policy,
		api.HostTableRules:         r.rules,
		api.HostTableLimits:        r.limits,
	}[name]
	if !known {
		return api.Table{}, fmt.Errorf("print table %q: a host has no such table", name)
	}
	w := words{ports: map[int]string{}}
	var err error
	if w.names, err = r.Names(); err != nil {
		return api.Table{}, err
	}
	err = r.Loop.Do(ctx, func(c *host.Core) {
		bound := c.Rows().Ports
		for id, p := range c.Plugs() {
			if p.Failure != "" {
				continue
			}
			if p.VLAN != 0 {
				w.names[p.Ifindex] = p.Interface
			}
			w.ports[p.Ifindex] = id
			if row, ok := bound[id]; ok {
				w.ports[p.Ifindex] = row.Name
			}
		}
	})
	if err != nil {
		return api.Table{}, err
	}
	return print(ctx, w)
}

func number[N int | uint32 | uint64](n N) string { return fmt.Sprint(n) }

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (r Reader) counters(_ context.Context, w words) (api.Table, error) {
	t := api.Table{Columns: []string{"INTERFACE", "PORT", "RX-PACKETS", "RX-BYTES", "TX-PACKETS", "TX-BYTES", "UNTRACKED", "UNLOGGED"}}
	all, err := r.Statistics.Counters()
	for _, c := range all {
		t.Rows = append(t.Rows, []string{w.name(c.Ifindex), w.port(c.Ifindex), number(c.RxPackets), number(c.RxBytes), number(c.TxPackets), number(c.TxBytes), number(c.Untracked), number(c.Unlogged)})
	}
	return t, err
}

// ports lists plugged and bound ports. VRF and MAC are the kernel's where the
// port is there.
func (r Reader) ports(ctx context.Context, _ words) (api.Table, error) {
	t := api.Table{Columns: []string{"PORT", "NAME", "VRF", "INTERFACE", "MAC", "MTU", "SERVES", "STATE", "MESSAGE"}}
	kernel, err := r.Kernel.Ports.All()
	if err != nil {
		return t, err
	}
	err = r.Loop.Do(ctx, func(c *host.Core) {
		plugs, rows := c.Plugs(), c.Rows()
		ids := map[string]bool{}
		for id := range plugs {
			ids[id] = true
		}
		for id := range rows.Ports {
			ids[id] = true
		}
		for _, id := range slices.Sorted(maps.Keys(ids)) {
			vrf, mac, limit, served, name, device := "-", "-", "-", "-", "-", "-"
			state, message := c.PortState(id)
			if p, there := plugs[id]; there && p.Interface != "" {
				device = p.Interface
			}
			if row, bound := rows.Ports[id]; bound {
				name = row.Name
			} else {
				state, message = api.PortUnbound, ""
			}
			if p, there := kernel[plugs[id].Ifindex]; there && plugs[id].Ifindex != 0 {
				vrf, mac, limit, served = number(p.VRF), p.MAC.String(), number(p.MTU), serves(p)
			}
			t.Rows = append(t.Rows, []string{id, name, vrf, device, mac, limit, served, string(state), message})
		}
	})
	return t, err
}

// serves says what the packet path hands to this host for a port: DHCP, DHCPv6
// and router solicitations to the agent, DNS and metadata through the host path.
func serves(p vrouter.Port) string {
	var all []string
	for _, s := range []struct {
		word string
		is   bool
	}{{"dhcp", p.DHCP4}, {"dhcpv6", p.DHCP6}, {"ra", p.Advertise}, {"host-path", p.Alias != 0}} {
		if s.is {
			all = append(all, s.word)
		}
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, ",")
}

// hop says a next hop in words.
func hop(n vrouter.NextHop, w words) string {
	switch n.Kind {
	case vrouter.NextHopNone:
		return "unresolved"
	case vrouter.NextHopPort:
		return "port " + w.name(n.Ifindex)
	case vrouter.NextHopTunnel:
		return tunnelWords(n, w)
	case vrouter.NextHopGateway:
		return "gateway"
	case vrouter.NextHopDiscard:
		return "discard"
	case vrouter.NextHopFabric:
		if n.Ifindex == 0 {
			return "host"
		}
		return "fabric " + w.name(n.Ifindex)
	case vrouter.NextHopBalancer:
		return fmt.Sprintf("balancer of VRF %d", n.VNI)
	}
	return n.Kind.String()
}

func (r Reader) routes(_ context.Context, w words) (api.Table, error) {
	t := api.Table{Columns: []string{"VRF", "PREFIX", "NEXT-HOP", "ROUTED", "MAC", "MTU"}}
	hops, err := r.Kernel.NextHops.All()
	if err != nil {
		return t, err
	}
	groups, err := r.Kernel.Groups.All()
	if err != nil {
		return t, err
	}
	all, err := r.Kernel.Routes.All()
	keys := slices.SortedFunc(maps.Keys(all), datapath.CompareRoutes)
	for _, k := range keys {
		v := all[k]
		to := fmt.Sprintf("missing next hop %d", v.NextHop)
		if n, ok := hops[v.NextHop]; ok {
			to = hop(n, w)
		}
		if g, ok := groups[v.NextHop]; ok {
			to = group(g, hops, w)
		}
		mac := "-" // of the vRouter's own addresses: it is the gateway's everywhere
		if v.MAC != (vrouter.MAC{}) {
			mac = v.MAC.String()
		}
		t.Rows = append(t.Rows, []string{number(k.VRF), k.Prefix.String(), to, yes(v.Routed), mac, mtu(v, hops[v.NextHop])})
	}
	return t, err
}

// group says the members of a group in words, each with its share of the
// buckets.
func group(g vrouter.Group, hops map[uint32]vrouter.NextHop, w words) string {
	share := make([]int, len(g.Members))
	for _, m := range g.All {
		if int(m) < len(share) {
			share[m]++
		}
	}
	var parts []string
	for i, m := range g.Members {
		parts = append(parts, fmt.Sprintf("%s %v %d/%d", hop(hops[m.NextHop], w), m.MAC, share[i], vrouter.GroupBuckets))
	}
	return strings.Join(parts, " or ")
}

// mtu is the largest packet that a route to another host takes.
func mtu(r vrouter.Route, n vrouter.NextHop) string {
	switch {
	case n.Kind != vrouter.NextHopTunnel && n.Kind != vrouter.NextHopFabric || r.MTU == 0 && n.MTU == 0:
		return "-"
	case r.MTU == 0 || n.MTU != 0 && n.MTU < r.MTU:
		return number(n.MTU)
	}
	return number(r.MTU)
}

func (r Reader) nextHops(_ context.Context, w words) (api.Table, error) {
	t := api.Table{Columns: []string{"ID", "NEXT-HOP"}}
	all, err := r.Kernel.NextHops.All()
	if err != nil {
		return t, err
	}
	groups, err := r.Kernel.Groups.All()
	for _, id := range slices.Sorted(maps.Keys(all)) {
		to := hop(all[id], w)
		if g, ok := groups[id]; ok {
			to = group(g, all, w)
		}
		t.Rows = append(t.Rows, []string{number(id), to})
	}
	return t, err
}

func (r Reader) vnis(context.Context, words) (api.Table, error) {
	t := api.Table{Columns: []string{"VNI", "VRF", "SOURCES"}}
	sources, err := r.Kernel.TunnelSources.All()
	if err != nil {
		return t, err
	}
	count := map[uint32]int{}
	for s := range sources {
		count[s.VNI]++
	}
	all, err := r.Kernel.VNIs.All()
	for _, vni := range slices.Sorted(maps.Keys(all)) {
		may := "any"
		if all[vni].CheckSources {
			may = number(count[vni])
		}
		t.Rows = append(t.Rows, []string{number(vni), number(all[vni].VRF), may})
	}
	return t, err
}

func (r Reader) portAddresses(_ context.Context, w words) (api.Table, error) {
	t := api.Table{Columns: []string{"INTERFACE", "PORT", "ADDRESS", "MAC", "ONLY"}}
	all, err := r.Kernel.PortAddresses.All()
	keys := slices.SortedFunc(maps.Keys(all), func(a, b vrouter.PortAddress) int {
		if a.Ifindex != b.Ifindex {
			return a.Ifindex - b.Ifindex
		}
		return netip.Addr.Compare(a.Address, b.Address)
	})
	for _, k := range keys {
		t.Rows = append(t.Rows, []string{w.name(k.Ifindex), w.port(k.Ifindex), k.Address.String(), "", ""})
	}
	if err != nil {
		return t, err
	}
	rows, err := r.portPrefixes(w)
	t.Rows = append(t.Rows, rows...)
	return t, err
}

// desired lists the rows that the controllers want, with what became of them.
func (r Reader) desired(ctx context.Context, _ words) (api.Table, error) {
	t := api.Table{Columns: []string{"ROW", "STATUS"}}
	err := r.Loop.Do(ctx, func(c *host.Core) {
		problems, unknown := c.Problems(), c.Rows().Unknown
		for _, key := range c.Keys() {
			status := "done"
			if why := problems[key]; why != "" {
				status = why
			}
			if _, is := unknown[key]; is {
				status = "of a kind that this agent does not know: upgrade it"
			}
			t.Rows = append(t.Rows, []string{key, status})
		}
	})
	return t, err
}
