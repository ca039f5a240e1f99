// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"maps"
	"slices"

	"github.com/weft-network/weft/api"
)

// Update computes what Derive does of a snapshot, from what was derived of an
// earlier one and the events in between, and looks only at what they touch.
// What did not change is shared with the earlier outcome.
func Update(earlier *Derived, s api.Snapshot, events []api.Event) *Derived {
	u := newUpdate(earlier, s, objectsOf(s))
	for _, e := range events {
		if e.Type == api.EventPut && e.Was != nil && e.Was.Head().Meta.Revision == e.Object.Head().Meta.Revision && !speaks(e) {
			continue // only its status
		}
		u.touch(e)
	}
	return u.run()
}

// reads are the kinds that anything is derived from; Update goes by it.
var reads = map[api.Kind]bool{
	api.KindHost: true, api.KindNetwork: true, api.KindSubnet: true, api.KindPort: true, api.KindAddress: true,
	api.KindBinding: true, api.KindNetworkPolicy: true, api.KindNetworkPolicyAttachment: true,
	api.KindRouteTarget: true, api.KindRouteTable: true, api.KindVirtualMachine: true,
	api.KindTrunk: true, api.KindSubPort: true, api.KindQoSPolicy: true, api.KindLoadBalancer: true,
	api.KindFloatingIP: true, api.KindFloatingIPAssociation: true, api.KindSourceNAT: true, api.KindPortBlock: true,
}

// update is one computation.
type update struct {
	*Derived // as it becomes
	earlier  *Derived
	snapshot api.Snapshot
	objects  objects

	dirty    map[string]bool // networks whose own objects changed
	hostsNew bool            // hosts or their addresses changed
	netsNew  bool            // which networks have which VRF may have changed
	joinsNew bool            // what imports follow from changed

	reserves map[string]bool    // hosts whose reserved addresses changed
	floats   map[string]bool    // hosts whose floating addresses changed
	outs     map[string]bool    // hosts that go out with other addresses
	moved    map[string][]*Port // hosts whose ports changed, with those that came
	leaks    map[string]bool    // networks whose routes are to be computed
	admits   map[string]bool    // networks whose senders are to be computed
	shards   map[int]bool       // of the ports, that are this computation's own
	named    map[string][]*Port // projects whose ports changed, with those that came
}

func newUpdate(earlier *Derived, s api.Snapshot, objects objects) *update {
	d := *earlier
	d.Revision, d.Snapshot = s.Revision(), s
	return &update{
		Derived: &d, earlier: earlier, snapshot: s, objects: objects, dirty: map[string]bool{},
		reserves: map[string]bool{}, floats: map[string]bool{}, outs: map[string]bool{}, moved: map[string][]*Port{}, leaks: map[string]bool{}, admits: map[string]bool{}, shards: map[int]bool{}, named: map[string][]*Port{},
	}
}

// everything is to be computed. The earlier outcome must be nothing.
func (u *update) everything() { u.hostsNew, u.netsNew, u.joinsNew = true, true, true }

// touch notes what an event changes.
func (u *update) touch(e api.Event) {
	if !reads[e.Kind] {
		return
	}
	for _, o := range []api.Object{e.Object, e.Was} {
		switch o := o.(type) {
		case nil:
		case *api.Host:
			u.hostsNew = true
			if e.Was == nil || e.Type == api.EventDelete {
				for _, b := range u.objects.bindingsOn(o.Meta.UUID) {
					u.touchPort(b.Meta.Parent.UUID)
					u.touchCarried(b.Meta.Parent.UUID)
				}
				for _, a := range u.objects.reservedOn(o.Meta.UUID) {
					u.dirty[a.Meta.Parent.UUID] = true
				}
				for _, b := range u.objects.blocksOn(o.Meta.UUID) {
					u.touchAddress(b.Meta.Parent)
				}
			}
		case *api.Network:
			u.netsNew, u.joinsNew = true, true
			u.dirty[o.Meta.UUID] = true
		case *api.Subnet:
			u.dirty[o.Meta.Parent.UUID] = true
		case *api.Port:
			u.dirty[o.Spec.Network.UUID] = true
			u.touchOut(o.Spec.Network.UUID)
			u.touchAssociated(o.Meta.UUID)
		case *api.Address:
			u.dirty[o.Meta.Parent.UUID] = true
			u.touchAssociated(o.Spec.Port.UUID)
		case *api.Binding:
			u.touchPort(o.Meta.Parent.UUID)
			u.touchCarried(o.Meta.Parent.UUID)
		case *api.Trunk:
			for _, port := range u.objects.carriedIn(o.Meta.UUID) {
				u.touchPort(port)
			}
		case *api.SubPort:
			u.touchPort(o.Spec.Port.UUID)
		case *api.LoadBalancer:
			u.touchVirtual(o)
		case *api.FloatingIP:
			u.touchFloatingIP(o)
		case *api.FloatingIPAssociation:
			u.touchFloating(o)
			u.touchAssociated(o.Spec.Port.UUID)
		case *api.SourceNAT:
			u.touchSourceNAT(o)
		case *api.PortBlock:
			u.touchAddress(o.Meta.Parent)
		case *api.RouteTable:
			for _, network := range u.objects.usersOf(o.Meta.UUID) {
				u.dirty[network] = true
			}
		case *api.QoSPolicy:
			for _, network := range u.objects.limitedBy(o) {
				u.dirty[network] = true
			}
		case *api.VirtualMachine:
			for _, network := range u.objects.runningOn(o.Meta.UUID) {
				u.dirty[network] = true
			}
		default:
			u.joinsNew = true
		}
	}
}

// touchPort notes that a port's bindings count for something else. If the port
// itself came or went, that is an event of its own.
func (u *update) touchPort(uuid string) {
	if p, ok := u.snapshot.Get(api.KindPort, uuid).(*api.Port); ok {
		u.dirty[p.Spec.Network.UUID] = true
		u.touchOut(p.Spec.Network.UUID)
		u.touchAssociated(uuid)
	}
}

// run computes what was noted.
func (u *update) run() *Derived {
	if !u.hostsNew && !u.netsNew && !u.joinsNew && len(u.dirty) == 0 {
		return u.Derived
	}
	u.made = &computation{}
	u.Hosts, u.hosts = slices.Clone(u.Hosts), maps.Clone(u.hosts)
	u.Networks, u.networks = slices.Clone(u.Networks), maps.Clone(u.networks)
	if u.hostsNew {
		u.runHosts()
	}
	if u.netsNew {
		u.runNetworks()
	}
	u.touchConnecting()
	u.runLocal()
	u.runUnderlay()
	if u.joinsNew {
		u.runImports()
	}
	u.runSenders()
	for uuid := range u.leaks {
		if n := u.own(uuid); n != nil {
			u.leak(n)
		}
	}
	u.runPlaces()
	u.runProjects()
	u.runReserved()
	u.runFloating()
	u.runSourceNAT()
	u.runConnected()
	u.Conflicts = nil
	for i, n := range u.Networks {
		u.Networks[i] = u.networks[n.Ref.UUID]
		u.Conflicts = append(u.Conflicts, u.Networks[i].conflicts...)
	}
	for i, h := range u.Hosts {
		u.Hosts[i] = u.hosts[h.Ref.UUID]
	}
	return u.Derived
}

// own returns a network that this computation may write; nil if it has no VRF.
func (u *update) own(uuid string) *Network {
	n := u.networks[uuid]
	if n == nil || n != u.earlier.networks[uuid] {
		return n
	}
	own := *n
	u.networks[uuid] = &own
	return &own
}

func (u *update) runHosts() {
	u.Hosts, u.hosts = nil, map[string]*Host{}
	for _, h := range api.ListOf[*api.Host](u.snapshot, api.KindHost) {
		host, old := hostOf(h), u.earlier.hosts[h.Meta.UUID]
		if old != nil {
			host.Ports, host.Reserved, host.Floating, host.Externals, host.Connects = old.Ports, old.Reserved, old.Floating, old.Externals, old.Connects
			if old.Ref == host.Ref && host.sameUnderlay(old) && slices.Equal(host.Physical, old.Physical) {
				host = old
			}
		}
		u.Hosts = append(u.Hosts, host)
		u.hosts[host.Ref.UUID] = host
	}
}

// runNetworks finds the networks that have a VRF. One that gets another
// identity, also because another one left its VNI, is computed anew.
func (u *update) runNetworks() {
	u.Networks, u.networks = nil, map[string]*Network{}
	for _, id := range identities(u.snapshot) {
		n := u.earlier.networks[id.Ref.UUID]
		if n == nil || *n.Identity != id {
			u.gone(n)
			n = &Network{Identity: &id}
			u.touchBeyond(id.Ref.UUID)
			u.dirty[id.Ref.UUID], u.joinsNew = true, true
		}
		u.Networks = append(u.Networks, n)
		u.networks[id.Ref.UUID] = n
	}
	for uuid, n := range u.earlier.networks {
		if u.networks[uuid] == nil {
			u.gone(n)
			u.touchBeyond(uuid)
			u.dirty[uuid], u.joinsNew = true, true
		}
	}
}

// gone notes what a network (or nil) no longer imports.
func (u *update) gone(n *Network) {
	if n == nil {
		return
	}
	for _, imp := range n.Imports {
		u.admits[imp.Network.UUID] = true
	}
}

// runLocal computes what follows from each network's own objects.
func (u *update) runLocal() {
	type turn struct{ old, now *Network }
	var turns []turn
	for uuid := range u.dirty {
		old, now := u.earlier.networks[uuid], u.networks[uuid]
		if old == nil {
			old = &Network{}
		}
		if now == nil {
			turns = append(turns, turn{old, &Network{}})
			continue
		}
		now = local(now.Identity, source{u.objects, u.hosts, u.networks})
		keepPorts(old, now)
		turns = append(turns, turn{old, now})
		u.replaceLocal(uuid, old, now)
	}
	// All ports leave before any come: one may have changed its network.
	for _, t := range turns {
		u.leave(t.old.ports, t.now.ports)
		u.reserve(t.old, t.now)
		u.float(t.old, t.now)
		u.share(t.old, t.now)
	}
	for _, t := range turns {
		u.come(t.old.ports, t.now.ports)
	}
}

// keepPorts makes ports that read the same the same.
func keepPorts(old, now *Network) {
	for i, p := range now.ports {
		if j, ok := slices.BinarySearchFunc(old.ports, p, comparePorts); ok && old.ports[j].Equal(p) {
			now.ports[i] = old.ports[j]
		}
	}
}

// Equal tells that two ports read the same.
func (p *Port) Equal(q *Port) bool {
	return p.Ref == q.Ref && *p.Network == *q.Network && p.MAC == q.MAC && p.Host == q.Host && p.Binding == q.Binding &&
		p.BindingRevision == q.BindingRevision && slices.Equal(p.Addresses, q.Addresses) && slices.Equal(p.Sources, q.Sources) && slices.Equal(p.Pairs, q.Pairs) &&
		p.HostName == q.HostName && p.Domain == q.Domain && slices.Equal(p.Options, q.Options) && p.Project == q.Project && p.Machine == q.Machine && p.Disabled == q.Disabled && p.Withdrawn == q.Withdrawn &&
		p.Trunk == q.Trunk && p.VLAN == q.VLAN && p.MACLimit == q.MACLimit && p.Unchecked == q.Unchecked && p.Limits == q.Limits &&
		slices.Equal(p.Announced, q.Announced) && slices.Equal(p.spoken, q.spoken)
}

// replaceLocal puts in a network what was derived of its own objects, and
// notes what else follows from that.
func (u *update) replaceLocal(uuid string, old, now *Network) {
	routes := !slices.Equal(old.Own, now.Own) || !slices.EqualFunc(old.Subnets, now.Subnets, sameRange) ||
		!slices.Equal(old.OwnEqual, now.OwnEqual) || !slices.Equal(old.lost, now.lost)
	senders := !slices.Equal(old.members, now.members)
	if old.Identity == nil || u.networks[uuid] != old {
		routes, senders = true, true // it is a new one
	}
	n := u.own(uuid)
	n.Services = now.Services
	n.Subnets, n.Own, n.ports, n.members, n.reserved, n.floating, n.nats, n.connected = now.Subnets, now.Own, now.ports, now.members, now.reserved, now.floating, now.nats, now.connected
	n.OwnEqual, n.Unresolved, n.UnresolvedCount, n.lost = now.OwnEqual, now.Unresolved, now.UnresolvedCount, now.lost
	if routes {
		u.leaks[uuid] = true
		for _, importer := range u.importers[uuid] {
			u.leaks[importer] = true
		}
	}
	if senders {
		u.admits[uuid] = true
		for _, imp := range n.Imports {
			u.admits[imp.Network.UUID] = true
		}
	}
}

// leave takes ports that are not as they were out of the table of all.
func (u *update) leave(old, now []*Port) {
	for _, p := range old {
		if i, ok := slices.BinarySearchFunc(now, p, comparePorts); ok && now[i] == p {
			continue
		}
		delete(u.shard(p), p.Ref.UUID)
		if _, ok := u.moved[p.Host.UUID]; !ok {
			u.moved[p.Host.UUID] = nil
		}
		if _, ok := u.named[p.Project]; !ok {
			u.named[p.Project] = nil
		}
	}
}

// come puts ports that are not as they were into the table of all.
func (u *update) come(old, now []*Port) {
	for _, p := range now {
		if i, ok := slices.BinarySearchFunc(old, p, comparePorts); ok && old[i] == p {
			continue
		}
		u.shard(p)[p.Ref.UUID] = p
		u.moved[p.Host.UUID] = append(u.moved[p.Host.UUID], p)
		u.named[p.Project] = append(u.named[p.Project], p)
	}
}

// shard returns the part of the ports where a port is, to be written.
func (u *update) shard(p *Port) map[string]*Port {
	i := shardOf(p.Ref.UUID)
	if !u.shards[i] {
		u.shards[i] = true
		if u.ports[i] = maps.Clone(u.ports[i]); u.ports[i] == nil {
			u.ports[i] = map[string]*Port{}
		}
	}
	return u.ports[i]
}

// runPlaces gives the hosts their ports: those that are still in the table of
// all, as they are there.
func (u *update) runPlaces() {
	for uuid, came := range u.moved {
		h := u.hosts[uuid]
		if h == nil {
			continue
		}
		ports := came
		for _, p := range h.Ports {
			if u.ports.get(p.Ref.UUID) == p {
				ports = append(ports, p)
			}
		}
		slices.SortFunc(ports, comparePorts)
		own := *h
		own.Ports = ports
		u.hosts[uuid] = &own
	}
}
