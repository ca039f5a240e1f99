// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// The virtual addresses of a load-balancer are, to network-policies, a workload of
// their network in the load-balancer's project, without security-groups: what says
// who may speak with the network says it of them. It stands among the ports under a key of its own, and on no host.
const virtualPrefix = "virtual/"

func virtualKey(network, balancer string) string {
	return virtualPrefix + network + "/" + balancer
}

// virtualOf is a load-balancer as a port of a network, or nil if it has no address there.
func (u *update) virtualOf(network, balancer string) *routing.Port {
	n := u.Routing.Network(network)
	l, ok := u.snapshot.Get(api.KindLoadBalancer, balancer).(*api.LoadBalancer)
	if n == nil || !ok {
		return nil
	}
	for _, ref := range l.Spec.Addresses {
		a, ok := u.snapshot.Get(api.KindAddress, ref.UUID).(*api.Address)
		if !ok || a.Meta.Parent.UUID != network || !a.Spec.IP.IsValid() {
			continue
		}
		ip := a.Spec.IP.Unmap()
		i, found := slices.BinarySearchFunc(n.Own, netip.PrefixFrom(ip, ip.BitLen()), func(r routing.Route, p netip.Prefix) int { return r.Prefix.Compare(p) })
		if found && n.Own[i].Balancer && n.Own[i].Origin.UUID == balancer {
			return &routing.Port{Ref: api.Ref{Name: virtualKey(network, balancer)}, Network: n.Identity, Project: l.Meta.Parent.UUID, Unchecked: true}
		}
	}
	return nil
}

// virtuals are the load-balancers with addresses in a network, by route.
func virtuals(n *routing.Network) (balancers []string) {
	if n == nil {
		return nil
	}
	for i := range n.Own {
		if r := &n.Own[i]; r.Balancer {
			balancers = append(balancers, r.Origin.UUID)
		}
	}
	return balancers
}

// noteVirtual notes the load-balancers that came to a network or left it.
func (u *update) noteVirtual(old, now *routing.Network) {
	was, is := virtuals(old), virtuals(now)
	if slices.Equal(was, is) {
		return
	}
	network := ""
	for _, n := range []*routing.Network{old, now} {
		if n != nil {
			network = n.Ref.UUID
		}
	}
	had, has := map[string]bool{}, map[string]bool{}
	for _, b := range was {
		had[b] = true
	}
	for _, b := range is {
		if has[b] = true; !had[b] {
			u.ports.add(virtualKey(network, b))
		}
	}
	for b := range had {
		if !has[b] {
			u.ports.add(virtualKey(network, b))
		}
	}
}

// touchVirtual notes that a load-balancer may be another workload; those whose
// addresses came or went routing tells of.
func (u *update) touchVirtual(l *api.LoadBalancer) {
	for _, ref := range l.Spec.Addresses {
		if a, ok := u.snapshot.Get(api.KindAddress, ref.UUID).(*api.Address); ok {
			u.ports.add(virtualKey(a.Meta.Parent.UUID, l.Meta.UUID))
		}
	}
}
