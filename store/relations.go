// SPDX-License-Identifier: Apache-2.0

package store

import (
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

// relations checks kinds that relate other objects to each other. Each rule
// that two transactions could break together has its row, with the key that
// guards it, in doc/invariants.md.
func (p *plan) relations(r, old *record, fail failure) error {
	switch o := r.object.(type) {
	case *api.TagBinding:
		tag := referent[*api.Tag](p, api.KindTag, o.Spec.Tag)
		o.Spec.TagType, o.Spec.TagProject = tag.Spec.Type, tag.Meta.Parent.UUID
	case *api.ApplicationPolicySet:
		if o.Global() && !administrator(p.by) {
			return fail.forbidden("spec.scope", "only Weft's administrators make rules for all projects")
		}
		if a := o.Spec.Application; !a.IsZero() {
			if t := referent[*api.Tag](p, api.KindTag, a).Spec.Type; t != api.TagApplication {
				return fail.invalid("spec.application", "tag %s is of type %s, want one of type %s", a, t, api.TagApplication)
			}
		}
	case *api.SecurityGroup:
		if old != nil && old.object.(*api.SecurityGroup).Spec.Stateless != o.Spec.Stateless {
			return p.unused(r.id, []api.Kind{api.KindPort}, "spec.stateless", fail)
		}
	case *api.Router:
		return p.router(o, fail)
	case *api.RouterInterface:
		return p.routerInterface(o, fail)
	case *api.FloatingIPPool:
		return p.floatingIPPool(o, fail)
	case *api.FloatingIP:
		return p.floatingIP(o, old, fail)
	case *api.FloatingIPAssociation:
		return p.floatingIPAssociation(o, fail)
	case *api.PortForwarding:
		return p.portForwarding(o, fail)
	case *api.SourceNAT:
		return p.sourceNAT(o, fail)
	case *api.LoadBalancer:
		return p.loadBalancer(o, fail)
	case *api.Listener:
		return p.sameLoadBalancer(o.Spec.Pool, o.Meta.Parent, fail)
	case *api.ListenerRule:
		listener := referent[*api.Listener](p, api.KindListener, o.Meta.Parent)
		return p.sameLoadBalancer(o.Spec.Pool, listener.Meta.Parent, fail)
	}
	return nil
}

// referent returns what a resolved reference points at.
func referent[T api.Object](p *plan, kind api.Kind, ref api.Ref) T {
	return p.record(idOf(kind, ref.UUID)).object.(T)
}

// recordOf returns the record of an object that is there.
func (p *plan) recordOf(o api.Object) *record {
	return p.record(idOf(o.Head().Kind, o.Head().Meta.UUID))
}

// referring returns the objects of a kind that refer to one, with the changes
// of the transaction.
func (p *plan) referring(kind api.Kind, to id) []api.Object {
	var objects []api.Object
	p.base.eachReferrer(to, kind, func(r *record) bool {
		if _, touched := p.deltas[r.id]; !touched {
			objects = append(objects, r.object)
		}
		return true
	})
	for _, i := range p.order {
		if r := p.deltas[i].now; r != nil && i.kind() == kind && refers(r, to) {
			objects = append(objects, r.object)
		}
	}
	return objects
}

// unused refuses a change while objects of some kinds refer to the object.
// That none does is compared at commit.
func (p *plan) unused(i id, by []api.Kind, field string, fail failure) error {
	for _, kind := range by {
		for _, user := range p.referring(kind, i) {
			name := p.user(p.recordOf(user))
			e := fail.conflict(field, "cannot change while %s uses it", name)
			e.Referrers = []string{name}
			return e
		}
		from := i.refsPrefix() + string(kind) + "/"
		p.compare[from] = clientv3.Compare(clientv3.ModRevision(from), "<", p.base.revision+1).WithPrefix()
	}
	return nil
}

// addressUsers are the kinds that rely on whose an address is.
var addressUsers = []api.Kind{
	api.KindRouter, api.KindRouterInterface, api.KindFloatingIP, api.KindFloatingIPAssociation,
	api.KindPortForwarding, api.KindLoadBalancer, api.KindSourceNAT,
}

// keepsPort refuses to give an address to another port while something relies
// on whose it is. What begins to rely on it compares the address itself.
func (p *plan) keepsPort(o *api.Address, old *record, fail failure) error {
	if old == nil || old.object.(*api.Address).Spec.Port == o.Spec.Port {
		return nil
	}
	return p.unused(old.id, addressUsers, "spec.port", fail)
}

// rely makes the commit depend on an address being as it is now.
func (p *plan) rely(ref api.Ref) *api.Address {
	r := p.record(idOf(api.KindAddress, ref.UUID))
	if r.modRevision != 0 { // else it is the transaction's own
		p.compare[r.id.objectKey()] = unchanged(r.id.objectKey(), r.modRevision)
	}
	return r.object.(*api.Address)
}

// free checks that no port answers for an address.
func (p *plan) free(field string, ref api.Ref, fail failure) (*api.Address, error) {
	a := p.rely(ref)
	if !a.Spec.Port.IsZero() {
		return nil, fail.conflict(field, "address %s is held by port %s: want one that is free of any port", a.Meta.FQName, a.Spec.Port)
	}
	return a, nil
}

func (p *plan) router(o *api.Router, fail failure) error {
	if o.Spec.Gateway == nil {
		return nil
	}
	for _, ref := range o.Spec.Gateway.Addresses {
		a, err := p.free("spec.gateway.addresses", ref, fail)
		if err != nil {
			return err
		}
		if a.Meta.Parent.UUID != o.Spec.Gateway.Network.UUID {
			return fail.invalid("spec.gateway.addresses", "address %s is not of network %s", a.Meta.FQName, o.Spec.Gateway.Network)
		}
	}
	return nil
}

// routerInterface refuses subnets that overlap with another of the router. The
// guard "router-subnets/<router>" keeps two such from committing at once.
func (p *plan) routerInterface(o *api.RouterInterface, fail failure) error {
	subnet := referent[*api.Subnet](p, api.KindSubnet, o.Spec.Subnet)
	for _, other := range p.referring(api.KindRouterInterface, idOf(api.KindRouter, o.Spec.Router.UUID)) {
		i := other.(*api.RouterInterface)
		if i.Meta.UUID == o.Meta.UUID || i.Spec.Subnet.UUID == o.Spec.Subnet.UUID {
			continue // the same subnet twice is a claim's to refuse
		}
		s := referent[*api.Subnet](p, api.KindSubnet, i.Spec.Subnet)
		if s.Spec.CIDR.Overlaps(subnet.Spec.CIDR) {
			return fail.conflict("spec.subnet", "%v overlaps with %v of %s, which is under the router by %s", subnet.Spec.CIDR, s.Spec.CIDR, p.user(p.recordOf(s)), p.user(p.recordOf(i)))
		}
	}
	if o.Spec.Address.IsZero() {
		return nil
	}
	a, err := p.free("spec.address", o.Spec.Address, fail)
	if err == nil && a.Spec.Subnet.UUID != o.Spec.Subnet.UUID {
		return fail.invalid("spec.address", "address %s is of subnet %s, not of %s", a.Meta.FQName, a.Spec.Subnet, o.Spec.Subnet)
	}
	return err
}

func (p *plan) floatingIPPool(o *api.FloatingIPPool, fail failure) error {
	for _, ref := range o.Spec.Subnets {
		if s := referent[*api.Subnet](p, api.KindSubnet, ref); s.Meta.Parent.UUID != o.Spec.Network.UUID {
			return fail.invalid("spec.subnets", "subnet %s is not of network %s", s.Meta.FQName, o.Spec.Network)
		}
	}
	return nil
}

func (p *plan) floatingIP(o *api.FloatingIP, old *record, fail failure) error {
	a, err := p.free("spec.address", o.Spec.Address, fail)
	if err != nil || old != nil { // the pool may offer less than when the address was taken
		return err
	}
	pool := referent[*api.FloatingIPPool](p, api.KindFloatingIPPool, o.Spec.Pool)
	if !pool.Offers(a) {
		return fail.invalid("spec.address", "address %s is not one that pool %s offers", a.Meta.FQName, pool.Meta.FQName)
	}
	return nil
}

// floatingIPAssociation and portForwarding exclude each other; the guard
// "floating-ip-uses/<floating-ip>" keeps one of each from committing at once.
func (p *plan) floatingIPAssociation(o *api.FloatingIPAssociation, fail failure) error {
	for _, f := range p.children(api.KindPortForwarding, o.Spec.FloatingIP.UUID) {
		return fail.conflict("spec.floatingIP", "%s has %s: it is used by transport port", o.Spec.FloatingIP, p.user(p.recordOf(f)))
	}
	return p.ofPort(o.Spec.Address, o.Spec.Port, fail)
}

func (p *plan) portForwarding(o *api.PortForwarding, fail failure) error {
	for _, a := range p.referring(api.KindFloatingIPAssociation, idOf(api.KindFloatingIP, o.Meta.Parent.UUID)) {
		return fail.conflict("meta.parent", "%s has %s: it is used as a whole", o.Meta.Parent, p.user(p.recordOf(a)))
	}
	for _, other := range p.children(api.KindPortForwarding, o.Meta.Parent.UUID) {
		f := other.(*api.PortForwarding)
		if f.Meta.UUID != o.Meta.UUID && f.Spec.Protocol.Key() == o.Spec.Protocol.Key() && f.Spec.External.Overlaps(o.Spec.External) {
			return fail.conflict("spec.external", "ports %v overlap with %v of %s", o.Spec.External, f.Spec.External, p.user(p.recordOf(f)))
		}
	}
	return p.ofPort(o.Spec.Address, o.Spec.Port, fail)
}

// ofPort checks that an address is one of a port's, where both are given.
func (p *plan) ofPort(address, port api.Ref, fail failure) error {
	if address.IsZero() || port.IsZero() {
		return nil
	}
	if a := p.rely(address); a.Spec.Port.UUID != port.UUID {
		return fail.invalid("spec.address", "%s is not an address of port %s", a.Meta.FQName, port)
	}
	return nil
}

func (p *plan) loadBalancer(o *api.LoadBalancer, fail failure) error {
	network := ""
	for _, ref := range o.Spec.Addresses {
		a, err := p.free("spec.addresses", ref, fail)
		if err != nil {
			return err
		}
		if network != "" && network != a.Meta.Parent.UUID {
			return fail.invalid("spec.addresses", "the addresses are of several networks")
		}
		network = a.Meta.Parent.UUID
	}
	return nil
}

// sourceNAT refuses addresses that are a port's, or of the network that is to go
// out with them.
func (p *plan) sourceNAT(o *api.SourceNAT, fail failure) error {
	for _, ref := range o.Spec.Addresses {
		a, err := p.free("spec.addresses", ref, fail)
		if err != nil {
			return err
		}
		if a.Meta.Parent.UUID == o.Spec.Network.UUID {
			return fail.invalid("spec.addresses", "address %s is of network %s itself: name one of the network that workloads are to go out to", a.Meta.FQName, o.Spec.Network)
		}
	}
	return nil
}

func (p *plan) sameLoadBalancer(pool, loadBalancer api.Ref, fail failure) error {
	if pool.IsZero() {
		return nil
	}
	if of := referent[*api.Pool](p, api.KindPool, pool).Meta.Parent; of.UUID != loadBalancer.UUID {
		return fail.invalid("spec.pool", "pool %s is of load-balancer %s, not of %s", pool, of, loadBalancer)
	}
	return nil
}
