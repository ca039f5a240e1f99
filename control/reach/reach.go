// SPDX-License-Identifier: Apache-2.0

// Package reach works out, from what control derived, exactly what workloads may
// say to each other, and whether sentences about it hold.
package reach

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/vrouter/rules"
)

// Model answers questions about one outcome of control. It is for one question
// at a time: it remembers what it worked out.
type Model struct {
	routing *routing.Derived
	policy  *policy.Derived
	ends    map[string]*end
	ofPorts [policy.Directions]map[string]*end // by port
	tables  map[string]*table                  // by network
	allowed map[askedKey]*rules.Set
	both    map[[2]*rules.Set]*rules.Set // what two ends allow together
	decided map[decidedKey]rules.Decision
	beside  map[besideKey][]variant
	takes   map[string][]takeable // by port
	// takersOf are all, once anybody asked.
	takersOf []taker
	// maxPairs is how many pairs of ports one question may be about.
	maxPairs int
}

// New makes a model.
func New(of *policy.Derived) *Model {
	m := &Model{routing: of.Routing, policy: of, ends: map[string]*end{}, tables: map[string]*table{}, allowed: map[askedKey]*rules.Set{}, both: map[[2]*rules.Set]*rules.Set{}, decided: map[decidedKey]rules.Decision{}, beside: map[besideKey][]variant{}, takes: map[string][]takeable{}, maxPairs: MaxPairs}
	for d := range m.ofPorts {
		m.ofPorts[d] = map[string]*end{}
	}
	return m
}

// Way is what may be said from one address to another.
type Way struct {
	From, To rules.Peer // as the other end's rules see them
	Allowed  *rules.Set // equal ones are mostly the same
	egress   *end
	ingress  *end
}

// Between gives the ways from one port to another, one for each pair of their own
// addresses of one family; and why there are none, if policy is not even asked.
func (m *Model) Between(from, to *routing.Port) ([]Way, string, error) {
	for _, p := range []*routing.Port{from, to} {
		if down(p) {
			return nil, "port " + p.Ref.String() + " or its network is disabled", nil
		}
	}
	egress, err := m.endOf(from.Ref.UUID, policy.Egress)
	if err != nil {
		return nil, "", err
	}
	ingress, err := m.endOf(to.Ref.UUID, policy.Ingress)
	if err != nil {
		return nil, "", err
	}
	var ways []Way
	why := "no two of their addresses are of one family"
	for _, a := range addresses(from) {
		for _, b := range addresses(to) {
			if a.Is4() != b.Is4() {
				continue
			}
			route := m.table(from.Network.Ref.UUID).find(b)
			if route == nil {
				why = fmt.Sprintf("network %s has no route to %v of port %s", from.Network.Ref, b, to.Ref)
				continue
			}
			if !route.leadsTo(to) {
				why = fmt.Sprintf("network %s has %v of port %s elsewhere", from.Network.Ref, b, to.Ref)
				continue
			}
			w := Way{m.peer(to.Network.Ref.UUID, a), m.peer(from.Network.Ref.UUID, b), nil, egress, ingress}
			w.Allowed = m.together(m.ask(egress, w.To), m.ask(ingress, w.From))
			ways = append(ways, w)
		}
	}
	if len(ways) > 0 {
		why = ""
	}
	return ways, why, nil
}

func addresses(p *routing.Port) []netip.Addr {
	all := make([]netip.Addr, 0, len(p.Addresses)+len(p.Announced))
	for i := range p.Addresses {
		all = append(all, p.Addresses[i].IP)
	}
	return append(all, p.Announced...)
}

// askedKey is all that the outcome at an end follows from.
type askedKey struct {
	end      string
	identity rules.Identity
	four     bool
	ranges   string // which rules the address matches, where rules name addresses
}

// together is what both ends pass.
func (m *Model) together(egress, ingress *rules.Set) *rules.Set {
	key := [2]*rules.Set{egress, ingress}
	if m.both[key] == nil {
		set := egress.Intersect(*ingress)
		m.both[key] = &set
	}
	return m.both[key]
}

func (m *Model) ask(e *end, remote rules.Peer) *rules.Set {
	key := askedKey{end: e.key, identity: remote.Identity, four: remote.Address.Is4()}
	if e.byAddress {
		key.ranges = e.matching(remote.Address)
	}
	if m.allowed[key] == nil {
		set := e.Allowed(remote)
		m.allowed[key] = &set
	}
	return m.allowed[key]
}

// matching tells apart addresses that rules tell apart.
func (e *end) matching(a netip.Addr) string {
	var b strings.Builder
	for _, r := range e.Rulesets {
		if r == nil {
			continue
		}
		for i := range r.Rules {
			if r.Rules[i].Remote == rules.Addresses {
				if r.Rules[i].Means(a) {
					b.WriteByte('1')
				} else {
					b.WriteByte('0')
				}
			}
		}
	}
	return b.String()
}

// table is the routes of a VRF by prefix.
type table struct {
	routes  map[netip.Prefix]*route
	lengths [2][129]bool // of IPv4 and IPv6: whether there is a prefix so long
	managed []netip.Prefix
	led     map[string][]netip.Prefix // by port, what leads there beside its own addresses; sorted
}

type route struct {
	*routing.Route
	equal []routing.Route
	owner uint64
}

// leadsTo tells whether packets go to a port, or may.
func (r *route) leadsTo(p *routing.Port) bool {
	if r.Port.UUID == p.Ref.UUID {
		return true
	}
	for i := range r.equal {
		if r.equal[i].Port.UUID == p.Ref.UUID {
			return true
		}
	}
	return false
}

func (m *Model) table(network string) *table {
	if t := m.tables[network]; t != nil {
		return t
	}
	t := &table{routes: map[netip.Prefix]*route{}, led: map[string][]netip.Prefix{}}
	m.tables[network] = t
	n := m.routing.Network(network)
	if n == nil {
		return t
	}
	for i := range n.Routes {
		t.lead(&n.Routes[i])
		p := n.Routes[i].Prefix
		t.routes[p] = &route{Route: &n.Routes[i]}
		t.lengths[familyIndex(p.Addr())][p.Bits()] = true
	}
	for i := range n.Equal {
		t.lead(&n.Equal[i])
		if r := t.routes[n.Equal[i].Prefix]; r != nil {
			r.equal = append(r.equal, n.Equal[i])
		}
	}
	for _, r := range t.routes {
		r.owner = m.policy.Owner(r.Route, r.equal)
	}
	t.manage(n)
	for i := range n.Imports {
		if other := m.routing.Network(n.Imports[i].Network.UUID); other != nil {
			t.manage(other)
		}
	}
	return t
}

func (t *table) lead(r *routing.Route) {
	if !r.Port.IsZero() && r.OriginKind != api.KindAddress {
		t.led[r.Port.UUID] = append(t.led[r.Port.UUID], r.Prefix)
	}
}

func (t *table) manage(n *routing.Network) {
	for i := range n.Subnets {
		t.managed = append(t.managed, n.Subnets[i].CIDR)
	}
}

func familyIndex(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// find gives the longest route of an address, or nil.
func (t *table) find(a netip.Addr) *route {
	for bits := a.BitLen(); bits >= 0; bits-- {
		if !t.lengths[familyIndex(a)][bits] {
			continue
		}
		if p, err := a.Prefix(bits); err == nil {
			if r := t.routes[p]; r != nil {
				return r
			}
		}
	}
	return nil
}

// seen is who has an address to the rules of a network's ports.
func (m *Model) seen(network string, a netip.Addr) rules.Identity {
	t := m.table(network)
	if r := t.find(a); r != nil && r.owner != 0 {
		return rules.Identity(r.owner)
	}
	return t.nobodys(a)
}

// nobodys is who has an address to which no workload's route leads.
func (t *table) nobodys(a netip.Addr) rules.Identity {
	for _, p := range t.managed {
		if p.Contains(a) {
			return rules.Pending
		}
	}
	return rules.None
}
