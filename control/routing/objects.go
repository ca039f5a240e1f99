// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"slices"

	"github.com/weft-network/weft/api"
)

// objects finds what belongs to a network, each by fully qualified name.
type objects interface {
	subnets(network string) []*api.Subnet
	ports(network string) []*api.Port
	addresses(network string) []*api.Address
	bindings(port string) []*api.Binding
	bindingsOn(host string) []*api.Binding
	// carrier finds what carries a port, carriedBy the ports that a port
	// carries, carriedIn those of a trunk; in no order.
	carrier(port string) (c carrier, carried bool)
	carriedBy(port string) []string
	carriedIn(trunk string) []string
	reservedOn(host string) []*api.Address
	// table returns a route-table or nil, tablesOf the tables of a network, and
	// usersOf the networks that have a table, or a port with it.
	table(uuid string) *api.RouteTable
	tablesOf(network string) []api.Ref
	usersOf(table string) []string
	// services are those of the fabric that a network has; machine returns a
	// virtual-machine or nil, runningOn the networks of its ports.
	services(network string) []api.NetworkService
	machine(uuid string) *api.VirtualMachine
	runningOn(machine string) []string
	// limits are what a port may send and get; limitedBy finds the networks of the
	// ports that a qos-policy counts for.
	limits(p *api.Port) Limits
	limitedBy(q *api.QoSPolicy) []string
	// balancersOf are the load-balancers that name an address.
	balancersOf(address string) []*api.LoadBalancer
	// floatingIPs are those that name an address, associations those of a
	// floating-ip or of a port, addressesOn the addresses that a port has.
	floatingIPs(address string) []*api.FloatingIP
	associations(kind api.Kind, uuid string) []*api.FloatingIPAssociation
	addressesOn(port string) []*api.Address
	port(uuid string) *api.Port
	// sourceNATsOf are those that name an address, sourceNATsOn those of a network;
	// portBlocks are those of an address, blocksOn those of a host.
	sourceNATsOf(address string) []*api.SourceNAT
	sourceNATsOn(network string) []*api.SourceNAT
	portBlocks(address string) []*api.PortBlock
	blocksOn(host string) []*api.PortBlock
}

// Indexed is a snapshot that finds objects by what they are below or refer to;
// the store's does.
type Indexed interface {
	api.Snapshot
	// Children returns the objects of a kind that have the parent, in no order.
	Children(kind api.Kind, parent string) []api.Object
	// Referrers returns the objects of a kind that refer to an object, by
	// whatever field, in no order.
	Referrers(kind, target api.Kind, uuid string) []api.Object
}

// objectsOf finds objects by the snapshot's own indexes where it has any.
func objectsOf(s api.Snapshot) objects {
	if i, ok := s.(Indexed); ok {
		return indexes{i}
	}
	return listed(s)
}

// indexes asks the snapshot: what one network costs does not grow with others.
type indexes struct{ s Indexed }

func (i indexes) subnets(network string) []*api.Subnet {
	return sorted[*api.Subnet](i.s.Children(api.KindSubnet, network))
}

func (i indexes) ports(network string) []*api.Port {
	ports := sorted[*api.Port](i.s.Referrers(api.KindPort, api.KindNetwork, network))
	return slices.DeleteFunc(ports, func(p *api.Port) bool { return p.Spec.Network.UUID != network })
}

func (i indexes) addresses(network string) []*api.Address {
	return sorted[*api.Address](i.s.Children(api.KindAddress, network))
}

func (i indexes) bindings(port string) []*api.Binding {
	return sorted[*api.Binding](i.s.Children(api.KindBinding, port))
}

func (i indexes) bindingsOn(host string) []*api.Binding {
	return sorted[*api.Binding](i.s.Referrers(api.KindBinding, api.KindHost, host))
}

func (i indexes) reservedOn(host string) []*api.Address {
	return sorted[*api.Address](i.s.Referrers(api.KindAddress, api.KindHost, host))
}

func (i indexes) table(uuid string) *api.RouteTable { return tableOf(i.s, uuid) }

func (i indexes) tablesOf(network string) []api.Ref { return networkTables(i.s, network) }

func (i indexes) balancersOf(address string) []*api.LoadBalancer {
	return sorted[*api.LoadBalancer](i.s.Referrers(api.KindLoadBalancer, api.KindAddress, address))
}

func (i indexes) floatingIPs(address string) []*api.FloatingIP {
	return sorted[*api.FloatingIP](i.s.Referrers(api.KindFloatingIP, api.KindAddress, address))
}

func (i indexes) associations(kind api.Kind, uuid string) []*api.FloatingIPAssociation {
	return sorted[*api.FloatingIPAssociation](i.s.Referrers(api.KindFloatingIPAssociation, kind, uuid))
}

func (i indexes) addressesOn(port string) []*api.Address {
	return sorted[*api.Address](i.s.Referrers(api.KindAddress, api.KindPort, port))
}

func (i indexes) port(uuid string) *api.Port { return portOf(i.s, uuid) }

func (i indexes) usersOf(table string) []string {
	var users []string
	for _, o := range i.s.Referrers(api.KindNetwork, api.KindRouteTable, table) {
		users = append(users, o.Head().Meta.UUID)
	}
	for _, o := range i.s.Referrers(api.KindPort, api.KindRouteTable, table) {
		users = append(users, o.(*api.Port).Spec.Network.UUID)
	}
	return users
}

func (i indexes) services(network string) []api.NetworkService { return networkServices(i.s, network) }

func (i indexes) machine(uuid string) *api.VirtualMachine { return machineOf(i.s, uuid) }

func (i indexes) runningOn(machine string) []string {
	var networks []string
	for _, o := range i.s.Referrers(api.KindPort, api.KindVirtualMachine, machine) {
		networks = append(networks, o.(*api.Port).Spec.Network.UUID)
	}
	return networks
}

func networkServices(s api.Snapshot, network string) []api.NetworkService {
	if n, ok := s.Get(api.KindNetwork, network).(*api.Network); ok {
		return n.Spec.Services
	}
	return nil
}

func machineOf(s api.Snapshot, uuid string) *api.VirtualMachine {
	if uuid == "" {
		return nil
	}
	machine, _ := s.Get(api.KindVirtualMachine, uuid).(*api.VirtualMachine)
	return machine
}

func tableOf(s api.Snapshot, uuid string) *api.RouteTable {
	table, _ := s.Get(api.KindRouteTable, uuid).(*api.RouteTable)
	return table
}

func portOf(s api.Snapshot, uuid string) *api.Port {
	port, _ := s.Get(api.KindPort, uuid).(*api.Port)
	return port
}

func networkTables(s api.Snapshot, network string) []api.Ref {
	if n, ok := s.Get(api.KindNetwork, network).(*api.Network); ok {
		return n.Spec.RouteTables
	}
	return nil
}

func sorted[T api.Object](objects []api.Object) []T {
	typed := make([]T, len(objects))
	for i, o := range objects {
		typed[i] = o.(T)
	}
	slices.SortFunc(typed, func(a, b T) int {
		return cmp.Or(cmp.Compare(a.Head().Meta.FQName, b.Head().Meta.FQName), cmp.Compare(a.Head().Meta.UUID, b.Head().Meta.UUID))
	})
	return typed
}

// lists is one pass over all objects: what a full computation takes.
type lists struct {
	s           api.Snapshot
	subnetsOf   map[string][]*api.Subnet
	portsOf     map[string][]*api.Port
	addressesOf map[string][]*api.Address
	bindingsOf  map[string][]*api.Binding
	on          map[string][]*api.Binding               // by host
	reserved    map[string][]*api.Address               // by host
	subPortsOf  map[string][]*api.SubPort               // by the port that is carried
	qosOf       map[string][]*api.QoSPolicy             // by project
	balancers   map[string][]*api.LoadBalancer          // by address
	floating    map[string][]*api.FloatingIP            // by address
	associated  map[string][]*api.FloatingIPAssociation // by floating-ip, and by port
	addressOn   map[string][]*api.Address               // by port
	nats        map[string][]*api.SourceNAT             // by address, and by network
	blocks      map[string][]*api.PortBlock             // by address, and by host
}

func listed(s api.Snapshot) *lists {
	l := &lists{s: s,
		subnetsOf: map[string][]*api.Subnet{}, portsOf: map[string][]*api.Port{},
		addressesOf: map[string][]*api.Address{}, bindingsOf: map[string][]*api.Binding{}, on: map[string][]*api.Binding{}, reserved: map[string][]*api.Address{},
		subPortsOf: map[string][]*api.SubPort{}, qosOf: map[string][]*api.QoSPolicy{}, balancers: map[string][]*api.LoadBalancer{},
		floating: map[string][]*api.FloatingIP{}, associated: map[string][]*api.FloatingIPAssociation{}, addressOn: map[string][]*api.Address{},
		nats: map[string][]*api.SourceNAT{}, blocks: map[string][]*api.PortBlock{},
	}
	for _, o := range api.ListOf[*api.Subnet](s, api.KindSubnet) {
		l.subnetsOf[o.Meta.Parent.UUID] = append(l.subnetsOf[o.Meta.Parent.UUID], o)
	}
	for _, o := range api.ListOf[*api.Port](s, api.KindPort) {
		l.portsOf[o.Spec.Network.UUID] = append(l.portsOf[o.Spec.Network.UUID], o)
	}
	for _, o := range api.ListOf[*api.Address](s, api.KindAddress) {
		l.addressesOf[o.Meta.Parent.UUID] = append(l.addressesOf[o.Meta.Parent.UUID], o)
		if !o.Spec.Port.IsZero() {
			l.addressOn[o.Spec.Port.UUID] = append(l.addressOn[o.Spec.Port.UUID], o)
		}
		if r := o.Spec.Reservation; r != nil {
			l.reserved[r.Host.UUID] = append(l.reserved[r.Host.UUID], o)
		}
	}
	for _, o := range api.ListOf[*api.SubPort](s, api.KindSubPort) {
		l.subPortsOf[o.Spec.Port.UUID] = append(l.subPortsOf[o.Spec.Port.UUID], o)
	}
	for _, o := range api.ListOf[*api.QoSPolicy](s, api.KindQoSPolicy) {
		l.qosOf[o.Meta.Parent.UUID] = append(l.qosOf[o.Meta.Parent.UUID], o)
	}
	for _, o := range api.ListOf[*api.Binding](s, api.KindBinding) {
		l.bindingsOf[o.Meta.Parent.UUID] = append(l.bindingsOf[o.Meta.Parent.UUID], o)
		l.on[o.Spec.Host.UUID] = append(l.on[o.Spec.Host.UUID], o)
	}
	for _, o := range api.ListOf[*api.LoadBalancer](s, api.KindLoadBalancer) {
		for _, a := range o.Spec.Addresses {
			l.balancers[a.UUID] = append(l.balancers[a.UUID], o)
		}
	}
	l.addFloating()
	l.addSourceNATs()
	return l
}

func (l *lists) addFloating() {
	for _, o := range api.ListOf[*api.FloatingIP](l.s, api.KindFloatingIP) {
		l.floating[o.Spec.Address.UUID] = append(l.floating[o.Spec.Address.UUID], o)
	}
	for _, o := range api.ListOf[*api.FloatingIPAssociation](l.s, api.KindFloatingIPAssociation) {
		l.associated[o.Spec.FloatingIP.UUID] = append(l.associated[o.Spec.FloatingIP.UUID], o)
		if !o.Spec.Port.IsZero() {
			l.associated[o.Spec.Port.UUID] = append(l.associated[o.Spec.Port.UUID], o)
		}
	}
}

func (l *lists) floatingIPs(address string) []*api.FloatingIP { return l.floating[address] }
func (l *lists) addressesOn(port string) []*api.Address       { return l.addressOn[port] }
func (l *lists) port(uuid string) *api.Port                   { return portOf(l.s, uuid) }

func (l *lists) associations(_ api.Kind, uuid string) []*api.FloatingIPAssociation {
	return l.associated[uuid]
}

func (l *lists) balancersOf(address string) []*api.LoadBalancer { return l.balancers[address] }

func (l *lists) subnets(network string) []*api.Subnet    { return l.subnetsOf[network] }
func (l *lists) ports(network string) []*api.Port        { return l.portsOf[network] }
func (l *lists) addresses(network string) []*api.Address { return l.addressesOf[network] }
func (l *lists) bindings(port string) []*api.Binding     { return l.bindingsOf[port] }
func (l *lists) bindingsOn(host string) []*api.Binding   { return l.on[host] }
func (l *lists) reservedOn(host string) []*api.Address   { return l.reserved[host] }
func (l *lists) table(uuid string) *api.RouteTable       { return tableOf(l.s, uuid) }
func (l *lists) tablesOf(network string) []api.Ref       { return networkTables(l.s, network) }

func (l *lists) services(network string) []api.NetworkService { return networkServices(l.s, network) }
func (l *lists) machine(uuid string) *api.VirtualMachine      { return machineOf(l.s, uuid) }

func (l *lists) runningOn(machine string) []string {
	var networks []string
	for network, ports := range l.portsOf {
		if slices.ContainsFunc(ports, func(p *api.Port) bool { return p.Spec.VirtualMachine.UUID == machine }) {
			networks = append(networks, network)
		}
	}
	return networks
}

func (l *lists) usersOf(table string) []string {
	has := func(refs []api.Ref) bool {
		return slices.ContainsFunc(refs, func(r api.Ref) bool { return r.UUID == table })
	}
	var users []string
	for _, n := range api.ListOf[*api.Network](l.s, api.KindNetwork) {
		if has(n.Spec.RouteTables) {
			users = append(users, n.Meta.UUID)
		}
	}
	for network, ports := range l.portsOf {
		if slices.ContainsFunc(ports, func(p *api.Port) bool { return has(p.Spec.RouteTables) }) {
			users = append(users, network)
		}
	}
	return users
}

// portShards is how many parts a portTable has: a changed port copies some
// 400 entries of 100,000.
const portShards = 256

// portTable finds ports by UUID. Tables share the parts in which they are equal.
type portTable [portShards]map[string]*Port

func shardOf(uuid string) int {
	h := uint32(2166136261) // FNV-1a
	for i := range len(uuid) {
		h = (h ^ uint32(uuid[i])) * 16777619
	}
	return int(h % portShards)
}

func (t *portTable) get(uuid string) *Port { return t[shardOf(uuid)][uuid] }
