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
// who may speak with the network says it of them. So is the address of a floating-ip, and those of a source-nat. It stands among the ports under a key of its own, and on no host.
const virtualPrefix = "virtual/"

func virtualKey(network, of string) string {
	return virtualPrefix + network + "/" + of
}

// virtualOf is a load-balancer, floating-ip or source-nat as a port of a network, or nil if it has no address there.
func (u *update) virtualOf(network, of string) *routing.Port {
	n := u.Routing.Network(network)
	var project string
	var addresses []api.Ref
	if l, ok := u.snapshot.Get(api.KindLoadBalancer, of).(*api.LoadBalancer); ok {
		project, addresses = l.Meta.Parent.UUID, l.Spec.Addresses
	} else if f, ok := u.snapshot.Get(api.KindFloatingIP, of).(*api.FloatingIP); ok {
		project, addresses = f.Meta.Parent.UUID, []api.Ref{f.Spec.Address}
	} else if s, ok := u.snapshot.Get(api.KindSourceNAT, of).(*api.SourceNAT); ok {
		project, addresses = s.Meta.Parent.UUID, s.Spec.Addresses
	}
	if n == nil {
		return nil
	}
	for _, ref := range addresses {
		a, ok := u.snapshot.Get(api.KindAddress, ref.UUID).(*api.Address)
		if !ok || a.Meta.Parent.UUID != network || !a.Spec.IP.IsValid() {
			continue
		}
		ip := a.Spec.IP.Unmap()
		i, found := slices.BinarySearchFunc(n.Own, netip.PrefixFrom(ip, ip.BitLen()), func(r routing.Route, p netip.Prefix) int { return r.Prefix.Compare(p) })
		if found && virtual(&n.Own[i]) && n.Own[i].Origin.UUID == of {
			return &routing.Port{Ref: api.Ref{Name: virtualKey(network, of)}, Network: n.Identity, Project: project, Unchecked: true}
		}
	}
	return nil
}

// virtual tells whether a route leads to a virtual, floating or shared address.
func virtual(r *routing.Route) bool { return r.Balancer || r.Mapped.Is() || r.Shared.Is() }

// virtuals are the load-balancers, floating-ips and source-nats with addresses in a network, by route.
func virtuals(n *routing.Network) (of []string) {
	if n == nil {
		return nil
	}
	for i := range n.Own {
		if r := &n.Own[i]; virtual(r) {
			of = append(of, r.Origin.UUID)
		}
	}
	return of
}

// noteVirtual notes the load-balancers, floating-ips and source-nats that came to a network or left it.
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

// touchSourceNAT notes that a source-nat may be another workload.
func (u *update) touchSourceNAT(s *api.SourceNAT) {
	for _, ref := range s.Spec.Addresses {
		if a, ok := u.snapshot.Get(api.KindAddress, ref.UUID).(*api.Address); ok {
			u.ports.add(virtualKey(a.Meta.Parent.UUID, s.Meta.UUID))
		}
	}
}

// touchFloating notes that a floating-ip may be another workload.
func (u *update) touchFloating(f *api.FloatingIP) {
	if a, ok := u.snapshot.Get(api.KindAddress, f.Spec.Address.UUID).(*api.Address); ok {
		u.ports.add(virtualKey(a.Meta.Parent.UUID, f.Meta.UUID))
	}
}
