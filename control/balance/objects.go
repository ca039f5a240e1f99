// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// objects finds what belongs to an object.
type objects interface {
	// children are the objects of a kind that have the parent, by UUID.
	children(kind api.Kind, parent string) []api.Object
	// naming are the load-balancers that name an address, by fully qualified name.
	naming(address string) []*api.LoadBalancer
}

func objectsOf(s api.Snapshot) objects {
	if i, ok := s.(routing.Indexed); ok {
		return indexes{i}
	}
	return listed(s)
}

func byUUID(objects []api.Object) []api.Object {
	slices.SortFunc(objects, func(a, b api.Object) int { return strings.Compare(a.Head().Meta.UUID, b.Head().Meta.UUID) })
	return objects
}

func byName(balancers []*api.LoadBalancer) []*api.LoadBalancer {
	slices.SortFunc(balancers, func(a, b *api.LoadBalancer) int {
		return cmp.Or(strings.Compare(a.Meta.FQName, b.Meta.FQName), strings.Compare(a.Meta.UUID, b.Meta.UUID))
	})
	return balancers
}

// indexes asks the snapshot.
type indexes struct{ s routing.Indexed }

func (i indexes) children(kind api.Kind, parent string) []api.Object {
	return byUUID(i.s.Children(kind, parent))
}

func (i indexes) naming(address string) (balancers []*api.LoadBalancer) {
	for _, o := range i.s.Referrers(api.KindLoadBalancer, api.KindAddress, address) {
		balancers = append(balancers, o.(*api.LoadBalancer))
	}
	return byName(balancers)
}

// lists is one pass over all objects: what a full computation takes.
type lists struct {
	below map[api.Kind]map[string][]api.Object
	named map[string][]*api.LoadBalancer
}

func listed(s api.Snapshot) *lists {
	l := &lists{map[api.Kind]map[string][]api.Object{}, map[string][]*api.LoadBalancer{}}
	for _, kind := range []api.Kind{api.KindListener, api.KindListenerRule, api.KindPool, api.KindMember, api.KindHealthMonitor} {
		l.below[kind] = map[string][]api.Object{}
		for _, o := range s.List(kind) {
			parent := o.Head().Meta.Parent.UUID
			l.below[kind][parent] = append(l.below[kind][parent], o)
		}
	}
	for _, o := range api.ListOf[*api.LoadBalancer](s, api.KindLoadBalancer) {
		for _, a := range o.Spec.Addresses {
			l.named[a.UUID] = append(l.named[a.UUID], o)
		}
	}
	return l
}

func (l *lists) children(kind api.Kind, parent string) []api.Object {
	return byUUID(slices.Clone(l.below[kind][parent]))
}

func (l *lists) naming(address string) []*api.LoadBalancer {
	return byName(slices.Clone(l.named[address]))
}
