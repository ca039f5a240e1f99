// SPDX-License-Identifier: Apache-2.0

package routing

import "github.com/weft-network/weft/api"

// addVirtual makes the routes of virtual addresses: of the addresses that nobody
// else has and a native load-balancer names. Were there several, the first by
// name has it; the store admits one. Packets for the addresses of one that is
// down are dropped on purpose, also where a wider route leads elsewhere.
func (n *Network) addVirtual(objects objects, addresses []*api.Address) {
	if !n.Balances() {
		return
	}
	for _, a := range addresses {
		if !Virtual(a) {
			continue
		}
		for _, l := range objects.balancersOf(a.Meta.UUID) {
			if l.Spec.Provider == api.ProviderHAProxy {
				continue
			}
			down := l.Spec.AdminState == api.AdminDown
			n.Own = append(n.Own, Route{
				Prefix: hostPrefix(a.Spec.IP.Unmap()), Balancer: !down, Discard: down, Proxied: true, OriginKind: api.KindLoadBalancer,
				Origin: api.RefTo(l), OriginNetwork: n.Ref, OriginVRF: n.VRF,
			})
			break
		}
	}
}

// Virtual tells whether an address can be a virtual one: nobody else has it.
func Virtual(a *api.Address) bool {
	return a.Spec.Port.IsZero() && a.Spec.Reservation == nil && a.Spec.IP.IsValid()
}

// Balances tells whether the network can have virtual addresses. Frames that go
// by their MAC have none, and frames to them need a tunnel, which workloads in the
// underlay have not.
func (i *Identity) Balances() bool { return !i.Frames() && !i.Fabric }

// touchVirtual notes that a load-balancer's addresses lead elsewhere.
func (u *update) touchVirtual(l *api.LoadBalancer) {
	for _, ref := range l.Spec.Addresses {
		if a, ok := u.snapshot.Get(api.KindAddress, ref.UUID).(*api.Address); ok {
			u.dirty[a.Meta.Parent.UUID] = true
		}
	}
}
