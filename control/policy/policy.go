// SPDX-License-Identifier: Apache-2.0

// Package policy derives, from all objects and what routing made of them, who
// the workloads are to rules and what is asked at each port: a pure function of
// what doc/policy.md defines. What it computes from an earlier outcome and the
// events since is what it computes from nothing.
package policy

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/shards"
)

// Layer is one of the layers that are asked at an end.
type Layer int

// The layers, in the order in which they are asked.
const (
	NetworkPolicy Layer = iota
	SecurityGroup
	FirewallAdmin
	Firewall
	FirewallBaseline
	Layers
)

var layerWords = [Layers]string{"network-policy", "security-group", "firewall-admin", "firewall", "firewall-baseline"}

func (l Layer) String() string { return layerWords[l] }

// Direction is which end of a conversation a port is.
type Direction int

// The directions.
const (
	Egress  Direction = iota // of what begins at the port
	Ingress                  // of what begins elsewhere
	Directions
)

var directionWords = [Directions]string{"egress", "ingress"}

func (d Direction) String() string { return directionWords[d] }

// Rulesets are what is asked at a port; nil passes.
type Rulesets [Directions][Layers]*Ruleset

// Derived is what follows from the objects of one snapshot. It never changes;
// readers share it.
type Derived struct {
	Routing *routing.Derived
	// Holds are the drafts that hold a change, by name; there is at most one.
	Holds []*api.Draft

	ports     shards.Map[string, *Port]
	classes   shards.Map[uint64, *class]
	selectors shards.Map[string, held[*Selector]]
	rulesets  shards.Map[string, held[*Ruleset]]
	hosts     shards.Map[string, *Host]
	members   shards.Map[string, *Members]
	shared    shards.Map[string, []uint64] // identities of addresses that several ports share, by network

	workloads shards.Map[atom, *list[*Workload]]
	selecting shards.Map[atom, *list[string]] // ids of selectors, by what their workloads have in common
	namers    shards.Map[atom, *list[uint64]] // classes whose rulesets follow from who has a name for a port
	global    []*api.ApplicationPolicySet     // for all projects
	membersBy *turn                           // the computation that last made members others
}

// Port is a port with an active binding.
type Port struct {
	Ref      api.Ref
	Host     string // UUID
	Workload *Workload
	Rulesets Rulesets
	// Limit is how many connections it may have; 0: no limit of its own.
	Limit     int
	Stateless bool // its security-groups are asked for every packet
}

// Ruleset is the ordered rules of one layer and direction. It never changes, and
// equal ones are the same.
type Ruleset struct {
	ID        string
	Selectors []string // ids of those its rules name, ascending
	// Of are the UUIDs of the security-groups, or of the application-policy-sets
	// and firewall-policies, that it is made of.
	Of   []string
	Body []byte // an encoded hoststream.Row; never modified
	Hash uint64 // of Body
}

// Message is what the ruleset says.
func (r *Ruleset) Message() *hoststream.Ruleset {
	var row hoststream.Row
	if err := proto.Unmarshal(r.Body, &row); err != nil {
		panic(fmt.Sprintf("policy: read ruleset %s that was encoded here: %v", r.ID, err))
	}
	return row.GetRuleset()
}

// Selector is the workloads that a rule means.
type Selector struct {
	ID         string
	Identities []uint64 // ascending
	Body       []byte   // as Ruleset.Body
	Hash       uint64

	criterion *criterion
	steps     []step // that led here, the last at the end
}

// Key orders rulesets.
func (r *Ruleset) Key() string { return r.ID }

// Key orders selectors.
func (s *Selector) Key() string { return s.ID }

// Host is the ports on a host and what it needs for them. It is another one
// whenever anything of that is.
type Host struct {
	Ports     []*Port     // by fully qualified name
	Reserved  []*Port     // who gets its reserved addresses, in the order of these
	Rulesets  []*Ruleset  // by id
	Selectors []*Selector // by id
}

// Members stands for the identities of a network's ports: it is another one
// whenever one of them is.
type Members struct{ _ byte }

// class is the ports of one workload.
type class struct {
	*Workload
	turn      *turn
	ports     *list[string] // UUIDs
	shared    int           // addresses that are so; of those that several ports share
	rulesets  Rulesets
	stateless bool
	// byAddress says that rules name addresses on the port's own side: each port
	// then has its own rulesets.
	byAddress bool
	names     []atom // names of ports that its rulesets follow from
}

// Port returns a port with an active binding by its UUID, or nil.
func (d *Derived) Port(uuid string) *Port {
	p, _ := d.ports.Get(uuid)
	return p
}

// Host returns what a host needs; nil if no port is there.
func (d *Derived) Host(uuid string) *Host {
	h, _ := d.hosts.Get(uuid)
	return h
}

// Members returns what stands for the identities of a network's ports.
func (d *Derived) Members(network string) *Members {
	m, _ := d.members.Get(network)
	return m
}

// SameMembers tells that the identities of all networks' ports are what they
// are in another outcome.
func (d *Derived) SameMembers(e *Derived) bool {
	return d.membersBy != nil && d.membersBy == e.membersBy
}

// Workload returns who has an identity, or nil.
func (d *Derived) Workload(identity uint64) *Workload {
	if c, ok := d.classes.Get(identity); ok {
		return c.Workload
	}
	return nil
}

// Ruleset returns a ruleset by its id, or nil.
func (d *Derived) Ruleset(id string) *Ruleset {
	r, _ := d.rulesets.Get(id)
	return r.is
}

// Selector returns a selector by its id, or nil.
func (d *Derived) Selector(id string) *Selector {
	s, _ := d.selectors.Get(id)
	return s.is
}

// Owner is the identity of who has the prefix of a route and of those that are
// as good; 0: outside, or nobody says.
func (d *Derived) Owner(r *routing.Route, equal []routing.Route) uint64 {
	if len(equal) == 0 {
		return d.owner(r)
	}
	all := []uint64{d.owner(r)}
	for i := range equal {
		all = append(all, d.owner(&equal[i]))
	}
	return Together(all...)
}

// owner: what a network's static route leads to by way of a workload is not that
// workload's.
func (d *Derived) owner(r *routing.Route) uint64 {
	if r.Via.IsValid() {
		return 0
	}
	if virtual(r) {
		if p := d.Port(virtualKey(r.OriginNetwork.UUID, r.Origin.UUID)); p != nil {
			return p.Workload.Identity
		}
		return 0
	}
	if r.Port.IsZero() {
		if r.OriginKind != api.KindAddress || r.MAC == "" {
			return 0
		}
		if p := d.Port(reservedKey(r.OriginNetwork.UUID, r.Host.UUID, r.MAC)); p != nil {
			return p.Workload.Identity
		}
		return 0
	}
	if p := d.Port(r.Port.UUID); p != nil {
		return p.Workload.Identity
	}
	return 0
}

// Count is how much there is.
type Count struct{ Ports, Workloads, Rulesets, Selectors int }

// Count counts what was derived.
func (d *Derived) Count() Count {
	return Count{d.ports.Len(), d.classes.Len(), d.rulesets.Len(), d.selectors.Len()}
}
