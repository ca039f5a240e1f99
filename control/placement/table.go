// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
)

// Part is one of the two parts in which a network's rows are sent: other rows
// come between them.
type Part int

// The parts.
const (
	Sources Part = iota // the tunnel sources, then the VRF, which they make matter
	Routes
	Parts // how many there are
)

// Table is the rows of one network, or the names of a project, encoded once
// for all hosts. Only what concerns a host itself reads differently there: its
// own ports' routes are local, and it is no tunnel source. It never changes.
type Table struct {
	VRF     uint32 // or the number of a table of names
	network api.Ref
	is      routing.Identity // of a network
	macs    []macPlace       // of ports that no route tells of
	place   routing.Underlay
	labels  bool // its VNI is a label, too
	vrf     Row
	senders []api.Ref
	sources []Row // sources[i] says senders[i]
	paths   []routing.Route
	equal   []routing.Route // further next hops of paths, by prefix
	owners  []uint64        // owners[i] is the identity of who has the prefix of paths[i]
	routes  []Row           // routes[i] says paths[i], as hosts see it that have not the port
	facts   []Row           // subnets and MACs, or names, by key
	peers   hostSet         // the senders and the hosts of the paths

	managed  []netip.Prefix
	members  []*policy.Members // who the network and its imports are to rules
	services []api.NetworkService
	subnets  []routing.Subnet
	projects []*routing.Project
	named    []*routing.Port // facts[i] is the name of named[i]
	balanced []balancerRows  // of load-balancers

	sum uint64 // of all rows as they are here
}

// newTable encodes a network's rows; those that an earlier table has are kept.
func newTable(p *Plan, n *routing.Network, members []*policy.Members, old *Table) *Table {
	e := p.endpoints
	if old == nil || old.VRF != n.VRF {
		old = &Table{}
	}
	t := &Table{
		VRF: n.VRF, network: n.Ref, is: *n.Identity, macs: macsOf(n), place: n.Underlay, labels: n.Labelled(), senders: p.senders(n),
		paths: n.Routes, equal: n.Equal, routes: make([]Row, len(n.Routes)), services: n.Services, subnets: n.Subnets,
		owners: make([]uint64, len(n.Routes)), managed: p.managed(n), members: members,
	}
	t.vrf = vrfRow(n, t.managed)
	t.addSubnets(n)
	t.addMACs(e)
	t.sources = make([]Row, len(t.senders))
	for i, host := range t.senders {
		if j, ok := slices.BinarySearchFunc(old.senders, host, compareHosts); ok && old.senders[j] == host {
			t.sources[i] = old.sources[j]
		} else {
			t.sources[i] = sourceRow(n.VRF, host)
		}
		e.add(&t.peers, host)
		t.sum += t.sources[i].sum()
	}
	for i := range t.paths {
		r := &t.paths[i]
		t.owners[i] = p.Policy.Owner(r, t.equals(i))
		if j, ok := slices.BinarySearchFunc(old.paths, *r, comparePaths); ok && old.paths[j] == *r && old.owners[j] == t.owners[i] && slices.Equal(old.equals(j), t.equals(i)) {
			t.routes[i] = old.routes[j]
		} else {
			t.routes[i] = routeRow(n.VRF, r, t.equals(i), t.owners[i], p.Policy.Workload(t.owners[i]).Words(), "")
		}
		if !r.Gateway {
			e.add(&t.peers, r.Host)
		}
		for _, host := range r.External.Hosts() {
			e.add(&t.peers, api.Ref{UUID: host})
		}
		for _, q := range t.equals(i) {
			e.add(&t.peers, q.Host)
		}
		for b := range r.Shared.Hosts {
			e.add(&t.peers, b.Host)
		}
		t.sum += t.routes[i].sum()
	}
	t.sum += t.vrf.sum()
	return t
}

// Sum is that of the rows as a host sees them, as in hoststream.proto.
func (t *Table) Sum(host string) uint64 {
	sum := t.sum
	for i := range t.senders {
		if r, ok := t.source(i, host); !ok {
			sum -= r.sum()
		}
	}
	for i := range t.paths {
		if t.ends(i, host) {
			sum -= t.routes[i].sum()
			if local, ok := t.route(i, host); ok {
				sum += local.sum()
			}
		}
	}
	return sum
}

func compareHosts(a, b api.Ref) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.UUID, b.UUID))
}

func comparePaths(a, b routing.Route) int { return a.Prefix.Compare(b.Prefix) }

// says tells that the table is the network's.
func (t *Table) says(p *Plan, n *routing.Network) bool {
	return t.VRF == n.VRF && t.network == n.Ref && t.is == *n.Identity && slices.Equal(t.macs, macsOf(n)) && t.place == n.Underlay && t.labels == n.Labelled() && slices.Equal(t.services, n.Services) && slices.EqualFunc(t.subnets, n.Subnets, routing.Subnet.Equal) &&
		slices.Equal(t.senders, p.senders(n)) && slices.Equal(t.paths, n.Routes) && slices.Equal(t.equal, n.Equal) &&
		slices.Equal(t.managed, p.managed(n)) && t.owned(p)
}

// source returns a sender's row as a host sees it; not the host's own.
func (t *Table) source(i int, host string) (Row, bool) {
	return t.sources[i], t.senders[i].UUID != host
}

// route returns a route's row as a host sees it; not one to an address that
// the host itself may give away.
func (t *Table) route(i int, host string) (Row, bool) {
	r := &t.paths[i]
	switch {
	case r.Gateway || !t.ends(i, host):
		return t.routes[i], true
	case r.Port.IsZero() && !r.Mapped.Is():
		return t.routes[i], r.Discard
	}
	return routeRow(t.VRF, r, t.equals(i), t.owners[i], nil, host), true
}

// equals are the further next hops of a path.
func (t *Table) equals(i int) []routing.Route {
	if len(t.equal) == 0 {
		return nil
	}
	prefix := t.paths[i].Prefix
	from, _ := slices.BinarySearchFunc(t.equal, prefix, func(r routing.Route, p netip.Prefix) int { return r.Prefix.Compare(p) })
	to := from
	for to < len(t.equal) && t.equal[to].Prefix == prefix {
		to++
	}
	return t.equal[from:to]
}

// ends tells that a path, or one that is as good, ends on the host.
func (t *Table) ends(i int, host string) bool {
	on := func(r routing.Route) bool { return r.Host.UUID == host }
	return on(t.paths[i]) || slices.ContainsFunc(t.equals(i), on)
}

// Rows yields the rows of a part as a host sees them. A table that is nil has none.
func (t *Table) Rows(part Part, host string) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		switch {
		case t == nil:
		case part == Routes:
			for i := range t.routes {
				if r, ok := t.route(i, host); ok && !yield(r) {
					return
				}
			}
		default:
			for i := range t.sources {
				if r, ok := t.source(i, host); ok && !yield(r) {
					return
				}
			}
			if t.vrf.Key != "" && !yield(t.vrf) {
				return
			}
			for _, r := range t.facts {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// Difference returns what leads a host from an earlier table of the VRF, or
// nil, to this one, or nil: rows to put, in order, and keys to delete.
func Difference(part Part, from, to *Table, host string) (puts []Row, deletes []string) {
	switch {
	case from == to:
	case from == nil:
		return collect(to.Rows(part, host), to.size(part)), nil
	case to == nil:
		for r := range from.Rows(part, host) {
			deletes = append(deletes, r.Key)
		}
		if part == Sources { // the VRF before the sources that it makes matter, and what it says to workloads first
			slices.Reverse(deletes)
		}
	case part == Routes:
		return routesDifference(from, to, host)
	default:
		return sourcesDifference(from, to, host)
	}
	return nil, deletes
}

func (t *Table) size(part Part) int {
	if part == Routes {
		return len(t.routes)
	}
	return len(t.sources) + 1 + len(t.facts)
}

func routesDifference(from, to *Table, host string) (puts []Row, deletes []string) {
	i, j := 0, 0
	for i < len(from.paths) || j < len(to.paths) {
		switch order := at(from.paths, to.paths, i, j, comparePaths); {
		case order < 0:
			if r, ok := from.route(i, host); ok {
				deletes = append(deletes, r.Key)
			}
			i++
		case order > 0:
			if r, ok := to.route(j, host); ok {
				puts = append(puts, r)
			}
			j++
		default:
			if from.routes[i].Hash != to.routes[j].Hash || from.paths[i].Port != to.paths[j].Port || from.paths[i].Mapped != to.paths[j].Mapped && to.ends(j, host) {
				old, had := from.route(i, host)
				if r, ok := to.route(j, host); ok {
					puts = append(puts, r)
				} else if had {
					deletes = append(deletes, old.Key)
				}
			}
			i, j = i+1, j+1
		}
	}
	return puts, deletes
}

func sourcesDifference(from, to *Table, host string) (puts []Row, deletes []string) {
	if from.vrf.Key != to.vrf.Key && from.vrf.Key != "" {
		deletes = append(deletes, from.vrf.Key)
	}
	i, j := 0, 0
	for i < len(from.senders) || j < len(to.senders) {
		switch order := at(from.senders, to.senders, i, j, compareHosts); {
		case order < 0:
			if r, ok := from.source(i, host); ok {
				deletes = append(deletes, r.Key)
			}
			i++
		case order > 0:
			if r, ok := to.source(j, host); ok {
				puts = append(puts, r)
			}
			j++
		default:
			if r, ok := to.source(j, host); ok && from.sources[i].Hash != r.Hash {
				puts = append(puts, r)
			}
			i, j = i+1, j+1
		}
	}
	if from.vrf.Hash != to.vrf.Hash && to.vrf.Key != "" {
		puts = append(puts, to.vrf)
	}
	return factsDifference(from, to, puts, deletes)
}

func factsDifference(from, to *Table, puts []Row, deletes []string) ([]Row, []string) {
	var gone []string
	i, j := 0, 0
	for i < len(from.facts) || j < len(to.facts) {
		switch order := at(from.facts, to.facts, i, j, compareKeys); {
		case order < 0:
			gone = append(gone, from.facts[i].Key)
			i++
		case order > 0:
			puts = append(puts, to.facts[j])
			j++
		default:
			if from.facts[i].Hash != to.facts[j].Hash {
				puts = append(puts, to.facts[j])
			}
			i, j = i+1, j+1
		}
	}
	return puts, append(gone, deletes...)
}

func compareKeys(a, b Row) int { return cmp.Compare(a.Key, b.Key) }

// addSubnets encodes what the hosts of a network tell its workloads.
func (t *Table) addSubnets(n *routing.Network) {
	for i := range n.Subnets {
		row := subnetRow(n.VRF, &n.Subnets[i])
		t.facts = append(t.facts, row)
		t.sum += row.sum()
	}
}

// places yields the hosts that need a table of names, by UUID; some more than once.
func (t *Table) places(yield func(string) bool) {
	for _, project := range t.projects {
		for _, p := range project.Ports {
			if !yield(p.Host.UUID) {
				return
			}
		}
	}
}

// at compares two places of two ordered lists; past the end is greater than all.
func at[T any](a, b []T, i, j int, compare func(T, T) int) int {
	switch {
	case i == len(a):
		return 1
	case j == len(b):
		return -1
	}
	return compare(a[i], b[j])
}
