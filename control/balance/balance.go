// SPDX-License-Identifier: Apache-2.0

// Package balance derives, from all objects and what routing made of them, who
// serves the virtual addresses of native load-balancers, and what pairs of proxies
// are told: a pure function. What it
// computes from an earlier outcome and the events since is what it computes from
// nothing.
package balance

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/shards"
)

// Derived is what follows from the objects of one snapshot. It never changes;
// readers share it.
type Derived struct {
	Routing *routing.Derived

	balancers shards.Map[string, *Balancer] // by UUID, also those that serve nothing
	proxied   shards.Map[string, *Balancer] // of those the ones that proxies serve
	proxies   map[string]*Proxies           // by host
	seeking   shards.Map[string, *Balancer] // of those the ones with members that are told by address
	groups    map[uint32]*Group             // by number
	counts    shards.Map[place, int]        // members on a host that serve addresses of a network
	servers   map[string][]api.Ref          // hosts with any, by network; by name
	serves    map[string][]string           // the networks, by host; by UUID
	placed    *mark                         // the computation that last made servers others
}

// mark is one computation.
type mark struct{ _ byte }

// place is a host that serves addresses of a network, by UUID.
type place struct{ network, host string }

// Group is the load-balancers of a network that are sent in one table. It is
// another one whenever anything of it is.
type Group struct {
	Number    uint32 // of the table
	VRF       uint32
	Balancers []*Balancer // that have an address, by UUID
}

// Balancer is a load-balancer as hosts have it. It never changes.
type Balancer struct {
	Ref       api.Ref
	Network   api.Ref // of its addresses; zero: it has none that serves
	VRF       uint32  // of the network
	Listeners []Listener
	Members   []Member
	Proxy     *Proxy // of those that proxies serve; they have no Network, Listeners or Members
	// Faults say what does not work, and of which object. By kind and UUID, at most one of each.
	Faults []Fault

	looked []looked // for addresses of members
}

// looked is a network in which a member's address was looked up; nil: it had no VRF.
type looked struct {
	uuid string
	was  *routing.Network
}

// Listener is one transport port of all addresses of a load-balancer. A list of
// them is by UUID.
type Listener struct {
	Ref       api.Ref
	Addresses []netip.Addr // ascending
	Protocol  uint8
	Port      uint16
	Pool      string // UUID; empty: nobody serves it
	Locality  string
	BySource  bool // the client's address alone chooses
	Seconds   int  // how long a client that is silent keeps its member; 0: it is not remembered
}

// Member is one of a pool that a listener has, with a mapping on its host. A list of
// them is by UUID.
type Member struct {
	Ref        api.Ref
	Pool       string // UUID
	Port, Host api.Ref
	MTU        int          // of the port's network
	Addresses  []netip.Addr // at most one of each family, IPv4 first
	Target     uint16
	State      string // active, draining or down
	Backup     bool
	Weight     int
}

// The states of a member. One that is not-ready is as one that is down.
const (
	Active   = "active"
	Draining = "draining"
	Down     = "down"
)

// Fault is why an object serves less than it says.
type Fault struct {
	Kind    api.Kind
	UUID    string
	Reason  string
	Message string
	Partly  bool // it serves, but not all
}

// What one load-balancer may have of the tables of each host that reaches it. Listeners
// beyond do not serve, the last ones by UUID first.
const (
	MaxListeners = 1 << 10 // at each of its addresses
	MaxPlaces    = 1 << 14 // members of listeners, at each of its addresses
)

// The reasons of faults.
const (
	NotBuilt      = "not-built"           // Weft cannot do that yet
	NoAddress     = "no-address"          // nothing can be a virtual address
	AddressTaken  = "address-taken"       // another object has it
	NetworkUnfit  = "network-not-routed"  // there are no routes, or no tunnel
	NoPool        = "no-pool"             // nobody is to serve
	PoolUnfit     = "pool-speaks-another" // protocol
	NoMember      = "no-member"           // none can be chosen
	NoPlace       = "no-host"             // the port is nowhere
	NoFamily      = "no-address-of-family"
	NotTheirs     = "not-the-port's-address"
	TooMany       = "too-many-members"
	TooLarge      = "too-large"
	SwitchedOff   = "down" // adminState
	NobodyHasThat = "nobody-has-address"
	OldAgent      = "agent-too-old" // of the member's host
	AnotherWay    = "served-as-maglev"
	Withdrawn     = "withdrawn" // by a health-check of its port
)

// Feature is what agents say that serve virtual addresses. A member on the host of one
// that does not say it counts as not-ready: nobody there takes what is sent to it.
const Feature = "balance"

// Get returns a load-balancer, or nil.
func (d *Derived) Get(uuid string) *Balancer {
	b, _ := d.balancers.Get(uuid)
	return b
}

// Groups yields the groups, in no order.
func (d *Derived) Groups(yield func(*Group) bool) {
	for _, g := range d.groups {
		if !yield(g) {
			return
		}
	}
}

// Group returns one by its number, or nil.
func (d *Derived) Group(number uint32) *Group { return d.groups[number] }

// GroupsOf yields the groups of a network by its VRF, by number.
func (d *Derived) GroupsOf(vrf uint32) func(func(*Group) bool) {
	return func(yield func(*Group) bool) {
		for part := range uint32(hoststream.BalancerParts) {
			if g := d.groups[hoststream.BalancersIn(vrf, part)]; g != nil && !yield(g) {
				return
			}
		}
	}
}

// Servers are the hosts that serve addresses of a network, by name: they need its
// VRF, and send into it and what it imports. The slice is shared.
func (d *Derived) Servers(network string) []api.Ref { return d.servers[network] }

// Serves are the networks that a host serves addresses of, by UUID. The slice is shared.
func (d *Derived) Serves(host string) []string { return d.serves[host] }

// SamePlaces tells that all hosts serve what they do in another outcome.
func (d *Derived) SamePlaces(e *Derived) bool { return d.placed == e.placed }

// Fault returns what is wrong with an object of the load-balancer, or nil.
func (b *Balancer) Fault(kind api.Kind, uuid string) *Fault {
	if b == nil {
		return nil
	}
	for i := range b.Faults {
		if f := &b.Faults[i]; f.Kind == kind && f.UUID == uuid {
			return f
		}
	}
	return nil
}

// Listens tells whether a listener is at work.
func (b *Balancer) Listens(uuid string) bool {
	return b != nil && slices.ContainsFunc(b.Listeners, func(l Listener) bool { return l.Ref.UUID == uuid })
}

// Uses tells whether a listener that is at work has the pool.
func (b *Balancer) Uses(pool string) bool {
	return b != nil && slices.ContainsFunc(b.Listeners, func(l Listener) bool { return l.Pool == pool })
}

// Member returns a member that has a mapping, or nil.
func (b *Balancer) Member(uuid string) *Member {
	if b == nil {
		return nil
	}
	i, found := slices.BinarySearchFunc(b.Members, uuid, func(m Member, uuid string) int { return strings.Compare(m.Ref.UUID, uuid) })
	if !found {
		return nil
	}
	return &b.Members[i]
}

// Of are the members of a pool, by UUID.
func (b *Balancer) Of(pool string) (members []Member) {
	for _, m := range b.Members {
		if m.Pool == pool {
			members = append(members, m)
		}
	}
	return members
}

// Choice are the members that new conversations go to: the active ones with a
// weight, else backups, else those that are drained.
func Choice(members []Member) []Member {
	for _, may := range []func(m *Member) bool{
		func(m *Member) bool { return m.State == Active && !m.Backup },
		func(m *Member) bool { return m.State == Active },
		func(m *Member) bool { return m.State == Draining },
	} {
		var chosen []Member
		for i := range members {
			if may(&members[i]) && members[i].Weight > 0 {
				chosen = append(chosen, members[i])
			}
		}
		if len(chosen) > 0 {
			return chosen
		}
	}
	return nil
}
