// SPDX-License-Identifier: Apache-2.0

// Package placement selects, out of everything that was derived, the rows that
// one host needs, in the form in which they are sent to it.
package placement

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/balance"
	"github.com/weft-network/weft/control/health"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
)

// Version orders what controllers say: the epoch first, then the revision.
type Version struct {
	Epoch    uint64
	Revision int64
}

// Before tells whether v is older than w.
func (v Version) Before(w Version) bool {
	return cmp.Or(cmp.Compare(v.Epoch, w.Epoch), cmp.Compare(v.Revision, w.Revision)) < 0
}

// Plan holds the rows of all hosts at one version. A network's rows are encoded
// once for all hosts, and kept from plan to plan while they stay the same. It
// never changes after New returned it.
type Plan struct {
	Version Version
	Derived *routing.Derived
	Policy  *policy.Derived  // of the same snapshot
	Health  *health.Derived  // likewise
	Balance *balance.Derived // likewise

	endpoints *endpoints
	tables    map[string]*Table // by network
	names     map[uint32]*Table // by number
	balancers map[uint32]*Table // likewise
	views     map[string]*View  // by host
}

// New plans for all hosts, with the policy that is derived from nothing.
func New(epoch uint64, d *routing.Derived, earlier *Plan) *Plan {
	return Of(epoch, policy.Derive(d), earlier)
}

// Of plans for all hosts, with checks and load-balancers that are derived from nothing.
func Of(epoch uint64, of *policy.Derived, earlier *Plan) *Plan {
	return With(epoch, of, health.Derive(of.Routing), balance.Derive(of.Routing), earlier)
}

// With plans for all hosts. What is the same as in an earlier plan is that
// plan's; earlier may be nil and never changes the outcome.
func With(epoch uint64, of *policy.Derived, checks *health.Derived, balances *balance.Derived, earlier *Plan) *Plan {
	p := &Plan{Version: Version{epoch, of.Routing.Revision}, Derived: of.Routing, Policy: of, Health: checks, Balance: balances}
	if earlier == nil {
		earlier = &Plan{Derived: &routing.Derived{}, Policy: &policy.Derived{}, Health: &health.Derived{}, Balance: &balance.Derived{}, endpoints: &endpoints{}}
	}
	p.endpoints = earlier.endpoints.next(p.Derived.Hosts)
	if p.Derived.Same(earlier.Derived) && p.Policy.SameMembers(earlier.Policy) && p.Balance.SamePlaces(earlier.Balance) {
		p.tables, p.names = earlier.tables, earlier.names // at most what ports ask is other, or who is chosen
		p.addViews(earlier, nil, nil, p.addBalancers(earlier))
		p.addHolds()
		return p
	}
	changed := p.addTables(earlier)
	p.addViews(earlier, changed, p.addNames(earlier), p.addBalancers(earlier))
	p.addHolds()
	return p
}

// addTables makes the networks' tables and returns those that are not the
// earlier plan's.
func (p *Plan) addTables(earlier *Plan) []*routing.Network {
	var changed []*routing.Network
	p.tables = make(map[string]*Table, len(p.Derived.Networks))
	for _, n := range p.Derived.Networks {
		old := earlier.tables[n.Ref.UUID]
		members := p.membersOf(n)
		same := earlier.Derived.Network(n.Ref.UUID) == n && old != nil && slices.Equal(old.members, members) && p.Balance.SamePlaces(earlier.Balance)
		if old == nil || !same && !old.says(p, n) {
			p.tables[n.Ref.UUID] = newTable(p, n, members, old)
			changed = append(changed, n)
			continue
		}
		p.tables[n.Ref.UUID] = old
	}
	return changed
}

// addViews makes the views of those hosts for which something is different.
func (p *Plan) addViews(earlier *Plan, changed []*routing.Network, renamed, balanced []*Table) {
	p.views = maps.Clone(earlier.views)
	if p.views == nil {
		p.views = map[string]*View{}
	}
	for uuid := range earlier.views {
		if p.Derived.Host(uuid) == nil {
			delete(p.views, uuid)
		}
	}
	for _, h := range p.Derived.Hosts {
		old := earlier.views[h.Ref.UUID]
		asked, tries := p.Policy.Host(h.Ref.UUID), p.Health.Host(h.Ref.UUID)
		switch {
		case old == nil || old.endpoints != p.endpoints || !sameHost(old.Host, h) || (old.policy == nil) != (asked == nil) || !slices.Equal(old.serves, p.Balance.Serves(h.Ref.UUID)) || p.renumbered(earlier, old.serves):
			p.views[h.Ref.UUID] = p.view(h, old)
		case old.policy != asked:
			p.views[h.Ref.UUID] = old.asking(h, asked)
		}
		if v := p.views[h.Ref.UUID]; v.health != tries {
			p.views[h.Ref.UUID] = v.trying(tries)
		}
		if v, has := p.views[h.Ref.UUID], p.Balance.ProxiesOf(h.Ref.UUID); v.proxies != has {
			p.views[h.Ref.UUID] = v.having(has)
		}
	}
	fresh := map[*View]bool{} // made here, and not yet anybody's
	for _, n := range changed {
		p.exchange(p.tables[n.Ref.UUID], p.placesOf(n), fresh)
	}
	if p.regrouped(earlier) {
		p.regroup(fresh)
	}
	for _, t := range balanced {
		p.exchange(t, maps.Keys(p.views), fresh)
	}
	for _, t := range renamed {
		p.exchange(t, t.places, fresh)
	}
	for v := range fresh {
		v.peers = v.union()
	}
}

// exchange puts a table in the place of its earlier one in the views of hosts.
func (p *Plan) exchange(table *Table, hosts iter.Seq[string], fresh map[*View]bool) {
	for uuid := range hosts {
		v := p.views[uuid]
		if v == nil {
			continue // the host was deleted
		}
		i, found := v.find(table.VRF)
		if !found || v.tables[i] == table {
			continue
		}
		if !fresh[v] {
			c := *v
			c.tables = slices.Clone(v.tables)
			v = &c
			fresh[v] = true
			p.views[uuid] = v
		}
		v.tables[i] = table
	}
}

// sameHost tells that a host has the same ports.
func sameHost(a, b *routing.Host) bool {
	return a == b || a.Ref == b.Ref && slices.EqualFunc(a.Ports, b.Ports, (*routing.Port).Equal) &&
		slices.EqualFunc(a.Reserved, b.Reserved, (*routing.Reservation).Equal) && slices.EqualFunc(a.Floating, b.Floating, (*routing.Floating).Equal) &&
		slices.EqualFunc(a.Externals, b.Externals, func(a, b *routing.Identity) bool { return *a == *b }) &&
		slices.Equal(a.Physical, b.Physical) && slices.EqualFunc(a.Connects, b.Connects, func(n, m *routing.Identity) bool { return *n == *m })
}

// view selects what a host needs.
func (p *Plan) view(h *routing.Host, old *View) *View {
	v := &View{Host: h, endpoints: p.endpoints, ports: make([]Row, len(h.Ports)), policy: p.Policy.Host(h.Ref.UUID)}
	type port struct {
		routed *routing.Port
		asked  *policy.Port
	}
	known := map[port]Row{}
	if old != nil && len(old.Host.Ports) > 0 {
		for i, routed := range old.Host.Ports {
			known[port{routed, old.policy.Ports[i]}] = old.ports[i]
		}
	}
	for i, routed := range h.Ports {
		asked := v.policy.Ports[i]
		row, ok := known[port{routed, asked}]
		if !ok {
			row = portRow(routed, asked)
		}
		v.ports[i] = row
	}
	v.rules = policyRows(v.policy, old)
	v.reserved = reservationRows(h, v.policy)
	if old != nil {
		v.health, v.checks, v.proxies, v.proxied = old.health, old.checks, old.proxies, old.proxied
	}
	v.serves = p.Balance.Serves(h.Ref.UUID)
	networks := p.Networks(h.Ref.UUID)
	for _, n := range networks {
		v.tables = append(v.tables, p.tables[n.Ref.UUID])
	}
	v.tables = append(v.tables, p.balancersFor(networks)...) // their numbers are greater than any VRF,
	v.tables = append(v.tables, p.namesFor(h)...)            // and these greater still
	v.peers = v.union()
	return v
}

// asking is the view of a host of which nothing but policy is other than in v.
// Tables of networks that are others are exchanged as in views that are kept.
func (v *View) asking(h *routing.Host, asked *policy.Host) *View {
	now := *v
	now.Host, now.policy, now.ports = h, asked, make([]Row, len(h.Ports))
	for i, routed := range h.Ports {
		if now.ports[i] = v.ports[i]; asked.Ports[i] != v.policy.Ports[i] {
			now.ports[i] = portRow(routed, asked.Ports[i])
		}
	}
	now.rules, now.reserved = policyRows(asked, v), reservationRows(h, asked)
	return &now
}

// View returns what one host needs; nil for a host that does not exist.
func (p *Plan) View(host string) *View { return p.views[host] }

// For returns the rows that one host needs, things before what refers to them.
// A host that does not exist needs nothing.
func (p *Plan) For(host string) []Row {
	v := p.views[host]
	if v == nil {
		return nil
	}
	rows := slices.Concat(v.holds, slices.Collect(v.Endpoints))
	for _, t := range v.tables {
		rows = slices.AppendSeq(rows, t.Rows(Sources, host))
	}
	// VRFs after all senders, subnets and names after all VRFs: this only reads better.
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(classOf(a.Key), classOf(b.Key)) })
	rows = slices.Concat(rows, v.rules, v.ports, v.checks, v.proxied, v.reserved)
	for _, t := range v.tables {
		rows = slices.AppendSeq(rows, t.Rows(Routes, host))
	}
	return rows
}

// Networks returns the networks whose VRF a host needs: those of its own ports
// and of addresses reserved for it, and those whose virtual addresses its ports
// serve or whose addresses they have or go out with, and those that it connects, by VRF.
func (p *Plan) Networks(host string) []*routing.Network {
	h := p.Derived.Host(host)
	if h == nil {
		return nil
	}
	var networks []*routing.Network
	seen := map[uint32]bool{}
	add := func(n *routing.Identity) {
		if !seen[n.VRF] {
			seen[n.VRF] = true
			networks = append(networks, p.Derived.Network(n.Ref.UUID))
		}
	}
	for _, port := range h.Ports {
		add(port.Network)
	}
	for _, r := range h.Reserved {
		add(r.Network)
	}
	for _, f := range h.Floating {
		add(f.Network)
	}
	for _, n := range h.Externals {
		add(n)
	}
	for _, n := range h.Connects {
		add(n)
	}
	for _, uuid := range p.Balance.Serves(host) {
		if n := p.Derived.Network(uuid); n != nil {
			add(n.Identity)
		}
	}
	slices.SortFunc(networks, func(a, b *routing.Network) int { return cmp.Compare(a.VRF, b.VRF) })
	return networks
}

// Same tells that a host needs the same rows as under an earlier plan, without
// making them. It may say no where they are the same after all, never yes
// where they are not: most changes concern few hosts.
func (p *Plan) Same(host string, earlier *Plan) bool {
	v := p.views[host]
	return v != nil && v == earlier.views[host]
}

// Holds tells whether a host needs the VRF of a network.
func (p *Plan) Holds(host, network string) bool {
	v := p.views[host]
	return v != nil && slices.ContainsFunc(v.tables, func(t *Table) bool { return t.network.UUID == network })
}

// endpointsOf a plan's hosts have numbers, so that a set of hosts is a few words.
type endpoints struct {
	number map[string]int // by host
	hosts  []*routing.Host
	rows   []Row // by number; free numbers have no key
}

// next returns the endpoints of hosts: e itself if they are the same. A host
// keeps its number as long as it exists.
func (e *endpoints) next(hosts []*routing.Host) *endpoints {
	if slices.EqualFunc(e.hosts, hosts, (*routing.Host).SameEndpoint) {
		return e
	}
	n := &endpoints{number: make(map[string]int, len(hosts)), hosts: hosts, rows: make([]Row, len(e.rows))}
	var added []*routing.Host
	for _, h := range hosts {
		if i, ok := e.number[h.Ref.UUID]; ok {
			n.number[h.Ref.UUID], n.rows[i] = i, endpointRow(h)
		} else {
			added = append(added, h)
		}
	}
	free := 0
	for _, h := range added {
		for free < len(n.rows) && n.rows[free].Key != "" {
			free++
		}
		if free == len(n.rows) {
			n.rows = append(n.rows, Row{})
		}
		n.number[h.Ref.UUID], n.rows[free] = free, endpointRow(h)
	}
	return n
}

func (e *endpoints) add(set *hostSet, host api.Ref) {
	if i, ok := e.number[host.UUID]; ok {
		set.add(i)
	}
}
