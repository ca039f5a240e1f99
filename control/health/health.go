// SPDX-License-Identifier: Apache-2.0

// Package health derives, from all objects and what routing made of them, which
// host tries which members of pools, and which ports for their health-checks, and
// how: a pure function. What it computes
// from an earlier outcome and the events since is what it computes from nothing.
package health

import (
	"maps"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/routing"
)

// Derived is what follows from the objects of one snapshot. It never changes;
// readers share it.
type Derived struct {
	routing *routing.Derived
	pools   map[string]*Pool // those whose members are tried, by UUID
	ports   map[string]*Port // those with a health-check, by UUID
	hosts   map[string]*Host // by UUID
}

// Pool is the members of a pool that has a monitor, by UUID. It is another one
// whenever anything of it is.
type Pool struct {
	Members []Member

	networks []network // that addresses of members were looked up in
}

// network is one as it was then; nil: it had no VRF.
type network struct {
	uuid string
	was  *routing.Network
}

// Member is one that is to be tried.
type Member struct {
	UUID  string
	Host  api.Ref // that tries it
	Why   string  // why none does
	Check *Check  // nil: none does
}

// Check is how a host tries a workload.
type Check struct {
	ID   string // as hoststream.Check says
	By   string // type of the probe
	Body []byte // an encoded hoststream.Row; never modified
	Hash uint64 // of Body
}

// Key orders checks.
func (c *Check) Key() string { return c.ID }

// Host is what a host tries, by id. It is another one whenever anything of
// it is.
type Host struct{ Checks []*Check }

// Pool returns the members of a pool that are to be tried; nil if it has no
// monitor, or that or something else of it is down.
func (d *Derived) Pool(uuid string) *Pool { return d.pools[uuid] }

// Host returns what a host tries; nil: nothing.
func (d *Derived) Host(uuid string) *Host { return d.hosts[uuid] }

// Member returns a member of the pool by its UUID, or nil.
func (p *Pool) Member(uuid string) *Member {
	if p == nil {
		return nil
	}
	i, found := slices.BinarySearchFunc(p.Members, uuid, func(m Member, uuid string) int { return strings.Compare(m.UUID, uuid) })
	if !found {
		return nil
	}
	return &p.Members[i]
}

// Derive computes everything that follows from the objects.
func Derive(d *routing.Derived) *Derived {
	u := newUpdate(&Derived{}, d)
	for _, m := range api.ListOf[*api.HealthMonitor](d.Snapshot, api.KindHealthMonitor) {
		u.stale[m.Meta.Parent.UUID] = true
	}
	for _, p := range api.ListOf[*api.Port](d.Snapshot, api.KindPort) {
		u.touchPort(p)
	}
	return u.run()
}

// Update computes what Derive does of d, from what was derived earlier and the
// events in between, and looks only at what they touch.
func Update(earlier *Derived, d *routing.Derived, events []api.Event) *Derived {
	indexed, ok := d.Snapshot.(routing.Indexed)
	if !ok || earlier.routing == nil {
		return Derive(d)
	}
	u := newUpdate(earlier, d)
	for _, e := range events {
		if e.Type == api.EventPut && e.Was != nil && e.Was.Head().Meta.Revision == e.Object.Head().Meta.Revision {
			continue // only its status
		}
		u.touch(indexed, e)
	}
	if len(u.pools)+len(u.ports) > 0 {
		u.moved(indexed)
	}
	return u.run()
}

// update is one computation.
type update struct {
	*Derived // as it becomes
	earlier  *Derived
	snapshot api.Snapshot
	members  func(pool string) []*api.Member
	// stale are the pools to be computed, stalePorts the ports.
	stale, stalePorts map[string]bool
}

func newUpdate(earlier *Derived, d *routing.Derived) *update {
	now := *earlier
	now.routing = d
	return &update{Derived: &now, earlier: earlier, snapshot: d.Snapshot, members: membersOf(d.Snapshot), stale: map[string]bool{}, stalePorts: map[string]bool{}}
}

// membersOf finds the members of a pool, by the snapshot's own index where it
// has one.
func membersOf(s api.Snapshot) func(pool string) []*api.Member {
	if indexed, ok := s.(routing.Indexed); ok {
		return func(pool string) (all []*api.Member) {
			for _, o := range indexed.Children(api.KindMember, pool) {
				all = append(all, o.(*api.Member))
			}
			return all
		}
	}
	var of map[string][]*api.Member
	return func(pool string) []*api.Member {
		if of == nil {
			of = map[string][]*api.Member{}
			for _, m := range api.ListOf[*api.Member](s, api.KindMember) {
				of[m.Meta.Parent.UUID] = append(of[m.Meta.Parent.UUID], m)
			}
		}
		return of[pool]
	}
}

// touch notes the pools and ports that an event concerns.
func (u *update) touch(s routing.Indexed, e api.Event) {
	balancer := func(uuid string) {
		for _, pool := range s.Children(api.KindPool, uuid) {
			u.stale[pool.Head().Meta.UUID] = true
		}
	}
	for _, o := range []api.Object{e.Object, e.Was} {
		switch o := o.(type) {
		case *api.Member:
			u.stale[o.Meta.Parent.UUID] = true
		case *api.HealthMonitor:
			u.stale[o.Meta.Parent.UUID] = true
		case *api.Pool:
			u.stale[o.Meta.UUID] = true
		case *api.LoadBalancer:
			balancer(o.Meta.UUID)
		case *api.Address:
			for _, l := range s.Referrers(api.KindLoadBalancer, api.KindAddress, o.Meta.UUID) {
				balancer(l.Head().Meta.UUID)
			}
		case *api.Port:
			u.touchPort(o)
		case *api.HealthCheck:
			for _, p := range s.Referrers(api.KindPort, api.KindHealthCheck, o.Meta.UUID) {
				u.touchPort(p.(*api.Port))
			}
		case *api.Subnet:
			for _, m := range s.Referrers(api.KindMember, api.KindSubnet, o.Meta.UUID) {
				u.stale[m.Head().Meta.Parent.UUID] = true
			}
		}
	}
}

// moved notes the pools of whose members the port, or what has the address, is
// not what it was, and the ports with health-checks that are not what they were.
func (u *update) moved(s routing.Indexed) {
	if u.routing.Same(u.earlier.routing) {
		return
	}
	for uuid, p := range u.pools {
		for _, n := range p.networks {
			if u.routing.Network(n.uuid) != n.was {
				u.stale[uuid] = true
			}
		}
	}
	changed := func(was, is *routing.Derived) {
		for _, n := range is.Networks {
			if was.Network(n.Ref.UUID) == n {
				continue
			}
			for _, p := range n.Ports() {
				if was.Port(p.Ref.UUID) == p {
					continue
				}
				for _, m := range s.Referrers(api.KindMember, api.KindPort, p.Ref.UUID) {
					u.stale[m.Head().Meta.Parent.UUID] = true
				}
				if _, checked := u.ports[p.Ref.UUID]; checked {
					u.stalePorts[p.Ref.UUID] = true
				}
			}
		}
	}
	changed(u.earlier.routing, u.routing)
	changed(u.routing, u.earlier.routing)
}

// run computes what was noted, and what hosts have of it.
func (u *update) run() *Derived {
	if len(u.stale)+len(u.stalePorts) == 0 {
		return u.Derived
	}
	gone, came := map[string]map[*Check]bool{}, map[string][]*Check{}
	replace := func(old, now map[string][]*Check) {
		for host, checks := range old {
			if gone[host] == nil {
				gone[host] = map[*Check]bool{}
			}
			for _, c := range checks {
				gone[host][c] = true
			}
		}
		for host, checks := range now {
			came[host] = append(came[host], checks...)
		}
	}
	if len(u.stale) > 0 {
		u.pools = writable(u.pools)
	}
	for uuid := range u.stale {
		old, now := u.earlier.pools[uuid], u.pool(uuid)
		if now == nil {
			delete(u.pools, uuid)
		} else {
			now.keep(old)
			u.pools[uuid] = now
		}
		replace(old.checks(), now.checks())
	}
	if len(u.stalePorts) > 0 {
		u.ports = writable(u.ports)
	}
	for uuid := range u.stalePorts {
		old, now := u.earlier.ports[uuid], u.port(uuid)
		if now == nil {
			delete(u.ports, uuid)
		} else {
			now.keep(old)
			u.ports[uuid] = now
		}
		replace(old.checks(), now.checks())
	}
	u.runHosts(gone, came)
	return u.Derived
}

// writable is a map like one that others read, or a new one.
func writable[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return maps.Clone(m)
}

// runHosts gives the hosts their checks: those that did not go, and those that
// came.
func (u *update) runHosts(gone map[string]map[*Check]bool, came map[string][]*Check) {
	u.hosts = writable(u.hosts)
	touched := maps.Clone(came)
	for host := range gone {
		touched[host] = came[host]
	}
	for host, added := range touched {
		var before, checks []*Check
		if old := u.earlier.hosts[host]; old != nil {
			before = old.Checks
			checks = slices.DeleteFunc(slices.Clone(before), func(c *Check) bool { return gone[host][c] })
		}
		checks = append(checks, added...)
		slices.SortFunc(checks, func(a, b *Check) int { return strings.Compare(a.ID, b.ID) })
		switch {
		case slices.Equal(before, checks):
		case len(checks) == 0:
			delete(u.hosts, host)
		default:
			u.hosts[host] = &Host{checks}
		}
	}
}

// keep makes checks that read the same the same.
func (p *Pool) keep(old *Pool) {
	for i := range p.Members {
		m := &p.Members[i]
		if was := old.Member(m.UUID); was != nil && m.Check.same(was.Check) {
			m.Check = was.Check
		}
	}
}

// checks are those of the pool by host.
func (p *Pool) checks() map[string][]*Check {
	by := map[string][]*Check{}
	if p == nil {
		return by
	}
	for _, m := range p.Members {
		if m.Check != nil {
			by[m.Host.UUID] = append(by[m.Host.UUID], m.Check)
		}
	}
	return by
}

func newCheck(c *hoststream.Check) *Check {
	body := encode(&hoststream.Row{Body: &hoststream.Row_Check{Check: c}})
	return &Check{ID: c.Id, By: c.Type, Body: body, Hash: xxhash.Sum64(body)}
}

// encode writes what is made here, which can always be written, and the same
// each time.
func encode(m proto.Message) []byte {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic("health: encode a check: " + err.Error())
	}
	return body
}
