// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"iter"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/balance"
	"github.com/weft-network/weft/control/routing"
)

// ListenerKey is the key of the row of a listener.
func ListenerKey(vrf uint32, balancer, listener string) string {
	return "listener/" + strconv.FormatUint(uint64(vrf), 10) + "/" + balancer + "/" + listener
}

// MemberKey is the key of the row of a member.
func MemberKey(vrf uint32, balancer, member string) string {
	return "member/" + strconv.FormatUint(uint64(vrf), 10) + "/" + balancer + "/" + member
}

// ServingKey returns whose row a key of ListenerKey or MemberKey is, the load-balancer and
// the listener or member, by UUID; none for another key.
func ServingKey(key string) []string {
	kind, rest, _ := strings.Cut(key, "/")
	if kind != "listener" && kind != "member" {
		return nil
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 3 {
		return nil
	}
	return parts[1:]
}

// MemberMAC is what frames to a member are sent to.
func MemberMAC(member string) [6]byte {
	sum := sha256.Sum256([]byte(member))
	return [6]byte{0x0a, sum[0], sum[1], sum[2], sum[3], sum[4]}
}

// balancerRows are the rows of one load-balancer.
type balancerRows struct {
	is        *balance.Balancer
	owners    []uint64 // identities of the members
	listeners []Row
	members   []Row
}

// senders are the hosts that may send into a network, by name: also those that
// serve its virtual addresses, or those of a network that imports it.
func (p *Plan) senders(n *routing.Network) []api.Ref {
	servers := [][]api.Ref{n.Senders}
	for _, uuid := range append([]string{n.Ref.UUID}, p.Derived.Importers(n.Ref.UUID)...) {
		if more := p.Balance.Servers(uuid); len(more) > 0 {
			servers = append(servers, more)
		}
	}
	if len(servers) == 1 {
		return n.Senders
	}
	all := slices.Concat(servers...)
	slices.SortFunc(all, compareHosts)
	return slices.Compact(all)
}

// placesOf yields the hosts that need the VRF of a network; some more than once.
func (p *Plan) placesOf(n *routing.Network) iter.Seq[string] {
	return func(yield func(string) bool) {
		for uuid := range n.Places {
			if !yield(uuid) {
				return
			}
		}
		for _, h := range p.Balance.Servers(n.Ref.UUID) {
			if !yield(h.UUID) {
				return
			}
		}
	}
}

// renumbered tells that one of some networks has come, gone, or has another VRF
// than under an earlier plan.
func (p *Plan) renumbered(earlier *Plan, networks []string) bool {
	return slices.ContainsFunc(networks, func(uuid string) bool {
		now, was := p.Derived.Network(uuid), earlier.Derived.Network(uuid)
		return (now == nil) != (was == nil) || now != nil && now.VRF != was.VRF
	})
}

// addBalancers makes the tables of load-balancers and returns those that are not
// the earlier plan's.
func (p *Plan) addBalancers(earlier *Plan) (changed []*Table) {
	if p.Balance == earlier.Balance && p.Policy.SameMembers(earlier.Policy) && p.endpoints == earlier.endpoints {
		p.balancers = earlier.balancers
		return nil
	}
	p.balancers = make(map[uint32]*Table, len(earlier.balancers))
	for g := range p.Balance.Groups {
		old := earlier.balancers[g.Number]
		same := old != nil && earlier.Balance.Group(g.Number) == g && p.endpoints == earlier.endpoints
		if same && (p.Policy.SameMembers(earlier.Policy) || p.identified(old)) {
			p.balancers[g.Number] = old
			continue
		}
		p.balancers[g.Number] = p.balancerTable(g, old)
		changed = append(changed, p.balancers[g.Number])
	}
	return changed
}

// identified tells that the members have the same identities under a plan.
func (p *Plan) identified(t *Table) bool {
	return !slices.ContainsFunc(t.balanced, func(r balancerRows) bool { return !p.owns(&r) })
}

// owns tells that the members of one load-balancer have.
func (p *Plan) owns(r *balancerRows) bool {
	for i := range r.is.Members {
		if p.identity(&r.is.Members[i]) != r.owners[i] {
			return false
		}
	}
	return true
}

func (p *Plan) identity(m *balance.Member) uint64 {
	if port := p.Policy.Port(m.Port.UUID); port != nil {
		return port.Workload.Identity
	}
	return 0
}

// balancerTable encodes a group; what an earlier table has is kept.
func (p *Plan) balancerTable(g *balance.Group, old *Table) *Table {
	t := &Table{VRF: g.Number, balanced: make([]balancerRows, len(g.Balancers))}
	var had []balancerRows
	if old != nil {
		had = old.balanced
	}
	for i, b := range g.Balancers {
		for len(had) > 0 && had[0].is.Ref.UUID < b.Ref.UUID {
			had = had[1:]
		}
		if len(had) > 0 && had[0].is == b && p.owns(&had[0]) {
			t.balanced[i] = had[0]
		} else {
			t.balanced[i] = p.balancerRows(b)
		}
		t.facts = append(t.facts, t.balanced[i].listeners...)
		for j := range b.Members {
			p.endpoints.add(&t.peers, b.Members[j].Host)
		}
	}
	for i := range t.balanced { // facts are by key
		t.facts = append(t.facts, t.balanced[i].members...)
	}
	for _, row := range t.facts {
		t.sum += row.sum()
	}
	return t
}

func (p *Plan) balancerRows(b *balance.Balancer) balancerRows {
	rows := balancerRows{is: b, owners: make([]uint64, len(b.Members))}
	for i := range b.Listeners {
		l := &b.Listeners[i]
		m := &hoststream.Listener{
			Vrf: b.VRF, LoadBalancer: b.Ref.UUID, Listener: l.Ref.UUID, ListenerName: l.Ref.Name, Protocol: uint32(l.Protocol), Port: uint32(l.Port),
			Pool: l.Pool, Locality: l.Locality, BySource: l.BySource, AffinitySeconds: uint32(l.Seconds),
		}
		for _, a := range l.Addresses {
			m.Addresses = append(m.Addresses, a.AsSlice())
		}
		rows.listeners = append(rows.listeners, encode(ListenerKey(b.VRF, b.Ref.UUID, l.Ref.UUID), &hoststream.Row{Body: &hoststream.Row_Listener{Listener: m}}))
	}
	for i := range b.Members {
		of := &b.Members[i]
		rows.owners[i] = p.identity(of)
		mac := MemberMAC(of.Ref.UUID)
		m := &hoststream.Member{
			Vrf: b.VRF, LoadBalancer: b.Ref.UUID, Member: of.Ref.UUID, MemberName: of.Ref.Name, Pool: of.Pool, Port: of.Port.UUID, PortName: of.Port.Name, Host: of.Host.UUID,
			TargetPort: uint32(of.Target), Mac: mac[:], State: of.State, Backup: of.Backup, Weight: uint32(of.Weight), Mtu: uint32(of.MTU),
			Workload: rows.owners[i], Tags: p.Policy.Workload(rows.owners[i]).Words(),
		}
		for _, a := range of.Addresses {
			m.Addresses = append(m.Addresses, a.AsSlice())
		}
		rows.members = append(rows.members, encode(MemberKey(b.VRF, b.Ref.UUID, of.Ref.UUID), &hoststream.Row{Body: &hoststream.Row_Member{Member: m}}))
	}
	return rows
}

// balancersFor are the tables of load-balancers that a host needs which has the
// VRFs of networks: theirs, and those of the networks that these import. By number.
func (p *Plan) balancersFor(networks []*routing.Network) (tables []*Table) {
	if len(p.balancers) == 0 {
		return nil
	}
	seen := map[uint32]bool{}
	add := func(n *routing.Network) {
		if n == nil || seen[n.VRF] {
			return
		}
		seen[n.VRF] = true
		for g := range p.Balance.GroupsOf(n.VRF) {
			tables = append(tables, p.balancers[g.Number])
		}
	}
	for _, n := range networks {
		add(n)
		for i := range n.Imports {
			add(p.Derived.Network(n.Imports[i].Network.UUID))
		}
	}
	slices.SortFunc(tables, func(a, b *Table) int { return cmp.Compare(a.VRF, b.VRF) })
	return tables
}

// regrouped tells whether other hosts than under an earlier plan may need tables
// of load-balancers: there are others, or networks import from others.
func (p *Plan) regrouped(earlier *Plan) bool {
	if len(p.balancers) == 0 && len(earlier.balancers) == 0 {
		return false
	}
	if len(p.balancers) != len(earlier.balancers) {
		return true
	}
	for number := range p.balancers {
		if earlier.balancers[number] == nil {
			return true
		}
	}
	if p.Derived.Same(earlier.Derived) {
		return false
	}
	return slices.ContainsFunc(p.Derived.Networks, func(n *routing.Network) bool {
		was := earlier.Derived.Network(n.Ref.UUID)
		return was != n && (was == nil || was.VRF != n.VRF || !slices.Equal(was.Imports, n.Imports))
	})
}

// regroup gives all views the tables of load-balancers that they need now.
func (p *Plan) regroup(fresh map[*View]bool) {
	for uuid, v := range p.views {
		wanted := p.balancersFor(p.Networks(uuid))
		from, _ := v.find(hoststream.BalancersIn(0, 0))
		to, _ := v.find(hoststream.NamesFrom)
		if slices.Equal(v.tables[from:to], wanted) {
			continue
		}
		c := *v
		c.tables = slices.Concat(v.tables[:from], wanted, v.tables[to:])
		fresh[&c] = true
		p.views[uuid] = &c
	}
	maps.DeleteFunc(fresh, func(v *View, _ bool) bool { return p.views[v.Host.Ref.UUID] != v })
}

func describeListener(l *hoststream.Listener) string {
	words := []string{l.ListenerName, fmt.Sprintf("protocol %d port %d", l.Protocol, l.Port)}
	for _, a := range l.Addresses {
		words = append(words, "at "+ipText(a))
	}
	if l.Pool == "" {
		words = append(words, "refuses")
	} else {
		words = append(words, "pool "+l.Pool, l.Locality)
	}
	switch {
	case l.AffinitySeconds != 0:
		words = append(words, fmt.Sprintf("remembers clients for %d s", l.AffinitySeconds))
	case l.BySource:
		words = append(words, "by source")
	}
	return strings.Join(words, "\t")
}

func describeMember(m *hoststream.Member) string {
	words := []string{"host " + m.Host, "port " + m.PortName}
	for _, a := range m.Addresses {
		words = append(words, ipText(a))
	}
	words = append(words, fmt.Sprintf("port %d", m.TargetPort), net.HardwareAddr(m.Mac).String(), m.State)
	if m.Backup {
		words = append(words, "backup")
	}
	words = append(words, fmt.Sprintf("weight %d", m.Weight), "pool "+m.Pool, m.MemberName)
	if m.Workload != 0 {
		words = append(words, fmt.Sprintf("workload %016x", m.Workload))
	}
	for _, tag := range m.Tags {
		words = append(words, "tag "+tag)
	}
	return strings.Join(words, "\t")
}
