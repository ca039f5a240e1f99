// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/shards"
)

// Derive computes everything that follows from the objects.
func Derive(d *routing.Derived) *Derived {
	u := newUpdate(&Derived{}, d, listed(d.Snapshot))
	for _, l := range api.ListOf[*api.LoadBalancer](d.Snapshot, api.KindLoadBalancer) {
		u.stale[l.Meta.UUID] = true
	}
	return u.run()
}

// Update computes what Derive does of d, from what was derived earlier and the
// events in between, and looks only at what they touch. What did not change is
// shared with the earlier outcome.
func Update(earlier *Derived, d *routing.Derived, events []api.Event) *Derived {
	indexed, ok := d.Snapshot.(routing.Indexed)
	if !ok || earlier.Routing == nil {
		return Derive(d)
	}
	u := newUpdate(earlier, d, indexes{indexed})
	for _, e := range events {
		u.touch(indexed, e)
	}
	u.moved(indexed)
	return u.run()
}

// update is one computation.
type update struct {
	*Derived // as it becomes
	earlier  *Derived
	snapshot api.Snapshot
	objects  objects
	stale    map[string]bool // load-balancers to be computed, by UUID

	write struct {
		balancers, seeking, proxied shards.Writer[string, *Balancer]
		counts                      shards.Writer[place, int]
	}
	regroup map[uint32]map[string]*Balancer // what becomes of groups' load-balancers; nil: gone
	turned  map[place]bool                  // places that may have come or gone
}

func newUpdate(earlier *Derived, d *routing.Derived, objects objects) *update {
	now := *earlier
	now.Routing = d
	u := &update{Derived: &now, earlier: earlier, snapshot: d.Snapshot, objects: objects, stale: map[string]bool{}, regroup: map[uint32]map[string]*Balancer{}, turned: map[place]bool{}}
	u.write.balancers.Map, u.write.seeking.Map, u.write.proxied.Map, u.write.counts.Map = &now.balancers, &now.seeking, &now.proxied, &now.counts
	return u
}

// touch notes the load-balancers that an event concerns.
func (u *update) touch(s routing.Indexed, e api.Event) {
	onlyStatus := e.Type == api.EventPut && e.Was != nil && e.Was.Head().Meta.Revision == e.Object.Head().Meta.Revision
	if now, is := e.Object.(*api.Host); is && e.Was != nil && !slices.Equal(now.Status.Lacks, e.Was.(*api.Host).Status.Lacks) {
		u.onHost(now.Meta.UUID)
	}
	if now, is := e.Object.(*api.Member); is && onlyStatus {
		was := e.Was.(*api.Member)
		onlyStatus = down(now) == down(was) && unheard(now) == unheard(was)
	}
	if onlyStatus {
		return
	}
	for _, o := range []api.Object{e.Object, e.Was} {
		switch o := o.(type) {
		case nil:
		case *api.LoadBalancer:
			u.stale[o.Meta.UUID] = true
			for _, a := range o.Spec.Addresses {
				u.naming(s, a.UUID)
			}
		case *api.Listener:
			u.stale[o.Meta.Parent.UUID] = true
		case *api.ListenerRule:
			if l, ok := u.snapshot.Get(api.KindListener, o.Meta.Parent.UUID).(*api.Listener); ok {
				u.stale[l.Meta.Parent.UUID] = true
			}
		case *api.Pool:
			u.stale[o.Meta.Parent.UUID] = true
			for _, l := range s.Referrers(api.KindListener, api.KindPool, o.Meta.UUID) {
				u.stale[l.Head().Meta.Parent.UUID] = true
			}
		case *api.Member:
			u.ofPool(o.Meta.Parent.UUID)
		case *api.HealthMonitor:
			u.ofPool(o.Meta.Parent.UUID)
		case *api.Address:
			u.naming(s, o.Meta.UUID)
		case *api.Subnet:
			for _, m := range s.Referrers(api.KindMember, api.KindSubnet, o.Meta.UUID) {
				u.ofPool(m.Head().Meta.Parent.UUID)
			}
		}
	}
}

// onHost notes those with a member on a host. One that comes there is noted for that.
func (u *update) onHost(uuid string) {
	for id, b := range u.balancers.All {
		if slices.ContainsFunc(b.Members, func(m Member) bool { return m.Host.UUID == uuid }) {
			u.stale[id] = true
		}
	}
}

// ofPool: if the pool itself came or went, that is an event of its own.
func (u *update) ofPool(uuid string) {
	if p, ok := u.snapshot.Get(api.KindPool, uuid).(*api.Pool); ok {
		u.stale[p.Meta.Parent.UUID] = true
	}
}

func (u *update) naming(s routing.Indexed, address string) {
	for _, l := range s.Referrers(api.KindLoadBalancer, api.KindAddress, address) {
		u.stale[l.Head().Meta.UUID] = true
	}
}

// moved notes the load-balancers for which routing is another.
func (u *update) moved(s routing.Indexed) {
	was, is := u.earlier.Routing, u.Routing
	if is.Same(was) {
		return
	}
	for uuid, b := range u.seeking.All {
		for _, l := range b.looked {
			if is.Network(l.uuid) != l.was {
				u.stale[uuid] = true
			}
		}
	}
	for _, turn := range [][2]*routing.Derived{{was, is}, {is, was}} {
		for _, n := range turn[1].Networks {
			other := turn[0].Network(n.Ref.UUID)
			if other == n {
				continue
			}
			if other == nil || *other.Identity != *n.Identity {
				for _, a := range s.Children(api.KindAddress, n.Ref.UUID) {
					u.naming(s, a.Head().Meta.UUID)
				}
			}
			for _, p := range n.Ports() {
				if turn[0].Port(p.Ref.UUID) == p {
					continue
				}
				for _, m := range s.Referrers(api.KindMember, api.KindPort, p.Ref.UUID) {
					u.ofPool(m.Head().Meta.Parent.UUID)
				}
				u.ofProxy(turn[1].Snapshot, p.Ref.UUID)
			}
		}
	}
}

// run computes the load-balancers that were noted, and what follows.
func (u *update) run() *Derived {
	var proxied []*Balancer
	proxies := map[string]bool{} // hosts
	for uuid := range u.stale {
		old := u.Get(uuid)
		var now *Balancer
		if l, ok := u.snapshot.Get(api.KindLoadBalancer, uuid).(*api.LoadBalancer); ok {
			now = u.balancer(l)
		}
		if old != nil && now != nil && old.equal(now) {
			continue
		}
		u.replace(uuid, old, now)
		for _, b := range []*Balancer{old, now} {
			if b != nil && b.Proxy != nil {
				for _, at := range b.Proxy.Places {
					proxies[at.Host.UUID] = true
				}
			}
		}
		if now != nil && now.Proxy != nil {
			proxied = append(proxied, now)
		}
	}
	u.runProxies(proxied, proxies)
	u.runGroups()
	u.runPlaces()
	return u.Derived
}

// equal tells that two read the same, and were made of the same.
func (b *Balancer) equal(c *Balancer) bool {
	return b.Ref == c.Ref && b.Network == c.Network && b.VRF == c.VRF && slices.Equal(b.Faults, c.Faults) && slices.Equal(b.looked, c.looked) && b.Proxy.equal(c.Proxy) &&
		slices.EqualFunc(b.Listeners, c.Listeners, func(l, m Listener) bool { return l.Equal(&m) }) &&
		slices.EqualFunc(b.Members, c.Members, func(l, m Member) bool { return l.Equal(&m) })
}

// Equal tells that two listeners read the same.
func (l *Listener) Equal(m *Listener) bool {
	return l.Ref == m.Ref && slices.Equal(l.Addresses, m.Addresses) && l.Protocol == m.Protocol && l.Port == m.Port && l.Pool == m.Pool &&
		l.Locality == m.Locality && l.BySource == m.BySource && l.Seconds == m.Seconds
}

// Equal tells that two members read the same.
func (m *Member) Equal(o *Member) bool {
	return m.Ref == o.Ref && m.Pool == o.Pool && m.Port == o.Port && m.Host == o.Host && m.MTU == o.MTU && slices.Equal(m.Addresses, o.Addresses) &&
		m.Target == o.Target && m.State == o.State && m.Backup == o.Backup && m.Weight == o.Weight
}

// replace puts a load-balancer in the place of what it was; nil: it is not there.
func (u *update) replace(uuid string, old, now *Balancer) {
	if now == nil {
		u.write.balancers.Remove(uuid)
	} else {
		u.write.balancers.Put(uuid, now)
	}
	if now == nil || now.Proxy == nil {
		u.write.proxied.Remove(uuid)
	} else {
		u.write.proxied.Put(uuid, now)
	}
	if now == nil || len(now.looked) == 0 {
		u.write.seeking.Remove(uuid)
	} else {
		u.write.seeking.Put(uuid, now)
	}
	u.group(uuid, old, nil)
	u.group(uuid, now, now)
	u.count(old, -1)
	u.count(now, 1)
}

// group notes that a load-balancer becomes another one in its group.
func (u *update) group(uuid string, of, now *Balancer) {
	if of == nil || of.VRF == 0 {
		return
	}
	number := hoststream.BalancersOf(of.VRF, uuid)
	if u.regroup[number] == nil {
		u.regroup[number] = map[string]*Balancer{}
	}
	u.regroup[number][uuid] = now
}

func (u *update) count(b *Balancer, by int) {
	if b == nil {
		return
	}
	for i := range b.Members {
		at := place{b.Network.UUID, b.Members[i].Host.UUID}
		n, _ := u.counts.Get(at)
		if n += by; n == 0 {
			u.write.counts.Remove(at)
		} else {
			u.write.counts.Put(at, n)
		}
		u.turned[at] = true
	}
}

// runGroups makes the groups with load-balancers that are others.
func (u *update) runGroups() {
	if len(u.regroup) == 0 {
		return
	}
	u.groups = maps.Clone(u.groups)
	if u.groups == nil {
		u.groups = map[uint32]*Group{}
	}
	for number, changes := range u.regroup {
		var had []*Balancer
		if old := u.groups[number]; old != nil {
			had = old.Balancers
		}
		now := &Group{Number: number, VRF: hoststream.BalancersVRF(number)}
		for _, b := range had {
			if _, changed := changes[b.Ref.UUID]; !changed {
				now.Balancers = append(now.Balancers, b)
			}
		}
		for _, b := range changes {
			if b != nil {
				now.Balancers = append(now.Balancers, b)
			}
		}
		if len(now.Balancers) == 0 {
			delete(u.groups, number)
			continue
		}
		slices.SortFunc(now.Balancers, func(a, b *Balancer) int { return strings.Compare(a.Ref.UUID, b.Ref.UUID) })
		u.groups[number] = now
	}
}

// runPlaces finds which hosts serve which networks.
func (u *update) runPlaces() {
	cloned := false
	for at := range u.turned {
		n, _ := u.counts.Get(at)
		i, had := slices.BinarySearch(u.serves[at.host], at.network)
		if had == (n > 0) {
			continue
		}
		if !cloned {
			cloned = true
			u.placed, u.servers, u.serves = &mark{}, cloneOf(u.servers), cloneOf(u.serves)
		}
		if had {
			u.serves[at.host] = slices.Delete(slices.Clone(u.serves[at.host]), i, i+1)
			u.servers[at.network] = slices.DeleteFunc(slices.Clone(u.servers[at.network]), func(h api.Ref) bool { return h.UUID == at.host })
		} else {
			u.serves[at.host] = slices.Insert(slices.Clone(u.serves[at.host]), i, at.network)
			u.servers[at.network] = append(slices.Clone(u.servers[at.network]), api.Ref{UUID: at.host})
		}
		if len(u.serves[at.host]) == 0 {
			delete(u.serves, at.host)
		}
		u.settle(at.network)
	}
}

// settle names the hosts that serve a network, and orders them.
func (u *update) settle(network string) {
	hosts := u.servers[network]
	for i := range hosts {
		if h := u.Routing.Host(hosts[i].UUID); h != nil {
			hosts[i] = h.Ref
		}
	}
	slices.SortFunc(hosts, func(a, b api.Ref) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.UUID, b.UUID)) })
	if len(hosts) == 0 {
		delete(u.servers, network)
	}
}

func cloneOf[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return maps.Clone(m)
}
