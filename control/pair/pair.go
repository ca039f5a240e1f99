// SPDX-License-Identifier: Apache-2.0

// Package pair says which ports the proxies of load-balancers need, and on which hosts:
// a pure function of the objects and of what hosts reported.
package pair

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/balance"
	"github.com/weft-network/weft/control/stream"
)

// Patience is how long a host may be away before its proxies move. Meanwhile the other one of the
// pair serves.
const Patience = time.Minute

// Input is what follows from.
type Input struct {
	Snapshot api.Snapshot
	Balance  *balance.Derived                // of it
	Hosts    map[string]stream.HostState     // by UUID
	Away     func(host string) time.Duration // for how long a host has been; 0: it is there
	// All is set when also ports are to be found whose load-balancer is gone: that looks at all ports.
	All bool
}

// Change is one transaction.
type Change struct {
	Balancer   string // UUID
	Operations []api.Operation
}

// Changes returns what brings the ports of proxies closer to what load-balancers need, at most
// limit, in a fixed order. What is there does not change because somebody looks again: a proxy
// moves only when its host is gone, or has no proxies any more, and one of a pair at a time.
func Changes(in Input, limit int) (changes []Change) {
	var pairs []*balance.Balancer
	for b := range in.Balance.Proxied {
		pairs = append(pairs, b)
	}
	slices.SortFunc(pairs, func(a, b *balance.Balancer) int { return strings.Compare(a.Ref.UUID, b.Ref.UUID) })
	wanted := map[string]bool{} // ports
	for _, b := range pairs {
		if len(b.Proxy.Addresses) == 0 {
			continue // ports that are there go below
		}
		for n := range balance.PairSize {
			wanted[balance.ProxyPort(b.Ref.UUID, n)] = true
		}
		if ops := in.pair(b); len(ops) > 0 && len(changes) < limit {
			changes = append(changes, Change{b.Ref.UUID, ops})
		}
	}
	if !in.All {
		return changes
	}
	for _, p := range api.ListOf[*api.Port](in.Snapshot, api.KindPort) {
		of := p.Meta.Labels[balance.MadeFor]
		if of == "" || p.Meta.Owner != api.AdministratorsName || wanted[p.Meta.UUID] || !ours(p.Meta.UUID, of) || len(changes) >= limit {
			continue
		}
		changes = append(changes, Change{of, in.remove(p)})
	}
	return changes
}

// ours tells a port that was made here from one on which somebody wrote our label.
func ours(port, balancer string) bool {
	for n := range balance.PairSize {
		if balance.ProxyPort(balancer, n) == port {
			return true
		}
	}
	return false
}

// pair returns what is to be done for one load-balancer.
func (in *Input) pair(b *balance.Balancer) []api.Operation {
	l, ok := in.Snapshot.Get(api.KindLoadBalancer, b.Ref.UUID).(*api.LoadBalancer)
	if !ok {
		return nil
	}
	network, subnets := in.network(l)
	if network == nil {
		return nil
	}
	var ports [balance.PairSize]*api.Port
	var on [balance.PairSize]*api.Binding
	for n := range ports {
		ports[n], _ = in.Snapshot.Get(api.KindPort, balance.ProxyPort(b.Ref.UUID, n)).(*api.Port)
		if ports[n] != nil && ports[n].Spec.Network.UUID != network.Meta.UUID {
			return in.remove(ports[n]) // the addresses are of another network now
		}
		if ports[n] != nil {
			on[n] = in.binding(ports[n])
		}
	}
	pairs := standby(b.Proxy.Addresses)
	for n, p := range ports {
		if p != nil && !slices.Equal(p.Spec.AllowedPairs, pairs) {
			changed := api.Clone(p)
			changed.Spec.AllowedPairs = pairs
			return []api.Operation{{Op: api.OpUpdate, Object: changed}}
		}
		other := ""
		if o := on[1-n]; o != nil {
			other = o.Spec.Host.UUID
		}
		if on[n] != nil && !in.gone(on[n].Spec.Host.UUID) {
			continue
		}
		to, found := in.choose(b.Ref.UUID, n, other)
		if !found {
			continue
		}
		switch {
		case p == nil:
			return create(l, n, network, subnets, pairs, to)
		case on[n] == nil:
			return []api.Operation{bind(p, to)}
		default:
			return []api.Operation{{Op: api.OpDelete, Object: on[n]}, bind(p, to)}
		}
	}
	return nil
}

// network is that of the virtual addresses, with the subnets in which proxies have theirs: of each
// family that of a virtual address, or the one with most room.
func (in *Input) network(l *api.LoadBalancer) (n *api.Network, subnets []*api.Subnet) {
	six := map[bool]*api.Subnet{}
	for _, ref := range l.Spec.Addresses {
		a, ok := in.Snapshot.Get(api.KindAddress, ref.UUID).(*api.Address)
		if !ok {
			continue
		}
		if n == nil {
			n, _ = in.Snapshot.Get(api.KindNetwork, a.Meta.Parent.UUID).(*api.Network)
		}
		if s, ok := in.Snapshot.Get(api.KindSubnet, a.Spec.Subnet.UUID).(*api.Subnet); ok && a.Spec.IP.IsValid() && six[a.Spec.IP.Unmap().Is6()] == nil {
			six[a.Spec.IP.Unmap().Is6()] = s
		}
	}
	if n == nil {
		return nil, nil
	}
	for _, s := range api.ListOf[*api.Subnet](in.Snapshot, api.KindSubnet) {
		if s.Meta.Parent.UUID != n.Meta.UUID || !s.Spec.CIDR.IsValid() {
			continue
		}
		of6 := s.Spec.CIDR.Addr().Is6()
		if had := six[of6]; had == nil || !has(l, in.Snapshot, had) && had.Status.Free < s.Status.Free {
			six[of6] = s
		}
	}
	for _, family := range []bool{false, true} {
		if six[family] != nil {
			subnets = append(subnets, six[family])
		}
	}
	return n, subnets
}

// has tells whether a virtual address is of a subnet.
func has(l *api.LoadBalancer, s api.Snapshot, subnet *api.Subnet) bool {
	return slices.ContainsFunc(l.Spec.Addresses, func(ref api.Ref) bool {
		a, ok := s.Get(api.KindAddress, ref.UUID).(*api.Address)
		return ok && a.Spec.Subnet.UUID == subnet.Meta.UUID
	})
}

func standby(addresses []netip.Addr) (pairs []api.AllowedPair) {
	for _, a := range addresses {
		pairs = append(pairs, api.AllowedPair{Range: netip.PrefixFrom(a, a.BitLen()), Mode: "active-standby"})
	}
	return pairs
}

// binding is the active one of a port, or nil.
func (in *Input) binding(p *api.Port) *api.Binding {
	for _, o := range children(in.Snapshot, api.KindBinding, p.Meta.UUID) {
		if b := o.(*api.Binding); b.Spec.Active {
			return b
		}
	}
	return nil
}

func children(s api.Snapshot, kind api.Kind, parent string) (all []api.Object) {
	if i, ok := s.(interface {
		Children(kind api.Kind, parent string) []api.Object
	}); ok {
		return i.Children(kind, parent)
	}
	for _, o := range s.List(kind) {
		if o.Head().Meta.Parent.UUID == parent {
			all = append(all, o)
		}
	}
	return all
}

// gone tells that a host has no proxies any more, or has been away for too long.
func (in *Input) gone(host string) bool {
	state := in.Hosts[host]
	if !state.Connected || state.Report == nil {
		return in.Away(host) >= Patience
	}
	return !slices.Contains(state.Report.Features, balance.FeatureProxy)
}

// choose finds a host for one of a pair: the greatest by hash of those that have proxies and not
// the other one.
func (in *Input) choose(balancer string, n int, other string) (best *api.Host, found bool) {
	var most uint64
	for _, h := range api.ListOf[*api.Host](in.Snapshot, api.KindHost) {
		state := in.Hosts[h.Meta.UUID]
		if h.Meta.UUID == other || !state.Connected || !slices.Contains(state.Report.GetFeatures(), balance.FeatureProxy) {
			continue
		}
		sum := fnv.New64a()
		fmt.Fprintf(sum, "%s/%s", balancer, h.Meta.UUID) // writes to a hash do not fail
		if weight := sum.Sum64(); best == nil || cmp.Or(cmp.Compare(weight, most), strings.Compare(h.Meta.UUID, best.Meta.UUID)) > 0 {
			best, most = h, weight
		}
	}
	return best, best != nil
}

// create makes a port with its addresses and its binding.
func create(l *api.LoadBalancer, n int, network *api.Network, subnets []*api.Subnet, pairs []api.AllowedPair, to *api.Host) []api.Operation {
	p := api.New(api.KindPort).(*api.Port)
	p.Meta.UUID = balance.ProxyPort(l.Meta.UUID, n)
	p.Meta.Name, p.Meta.Parent = fmt.Sprintf("weft-proxy-%s-%d", l.Meta.UUID, n+1), l.Meta.Parent
	p.Meta.DisplayName = fmt.Sprintf("proxy %d of load-balancer %s", n+1, l.Meta.Name)
	p.Meta.Labels = map[string]string{balance.MadeFor: l.Meta.UUID}
	p.Spec.Network, p.Spec.AllowedPairs = api.RefTo(network), pairs
	ops := []api.Operation{{Op: api.OpCreate, Object: p}}
	for _, s := range subnets {
		a := api.New(api.KindAddress).(*api.Address)
		a.Meta.Parent, a.Meta.Labels = api.RefTo(network), p.Meta.Labels
		a.Spec.Subnet, a.Spec.Port = api.RefTo(s), api.Ref{UUID: p.Meta.UUID}
		ops = append(ops, api.Operation{Op: api.OpCreate, Object: a})
	}
	return append(ops, bind(p, to))
}

func bind(p *api.Port, to *api.Host) api.Operation {
	b := api.New(api.KindBinding).(*api.Binding)
	b.Meta.Parent, b.Spec.Host, b.Spec.Active = api.Ref{UUID: p.Meta.UUID}, api.RefTo(to), true
	return api.Operation{Op: api.OpCreate, Object: b}
}

// remove deletes a port with what belongs to it.
func (in *Input) remove(p *api.Port) (ops []api.Operation) {
	for _, b := range children(in.Snapshot, api.KindBinding, p.Meta.UUID) {
		ops = append(ops, api.Operation{Op: api.OpDelete, Object: b})
	}
	for _, o := range children(in.Snapshot, api.KindAddress, p.Spec.Network.UUID) {
		if a := o.(*api.Address); a.Spec.Port.UUID == p.Meta.UUID {
			ops = append(ops, api.Operation{Op: api.OpDelete, Object: a})
		}
	}
	return append(ops, api.Operation{Op: api.OpDelete, Object: p})
}
