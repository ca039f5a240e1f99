// SPDX-License-Identifier: Apache-2.0

// Package placement selects, out of everything that was derived, the rows that
// one host needs, in the form in which they are sent to it.
package placement

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// Version orders what controllers say: the epoch first, then the revision.
type Version struct {
	Epoch    uint64
	Revision int64
}

// Before tells whether v is older than w.
func (v Version) Before(w Version) bool {
	return cmp.Or(cmp.Compare(v.Epoch, w.Epoch), cmp.Compare(v.Revision, w.Revision)) < 0
}

// Plan holds the rows of all hosts at one version. Rows that read the same on
// several hosts are encoded once. It never changes after New returned it.
type Plan struct {
	Version Version
	Derived *routing.Derived

	vrfs      map[string]Row      // by network
	endpoints map[string]Row      // by host
	routes    map[string]*shared  // by network
	sources   map[string]*senders // by network
	subnets   map[string][]Row    // by network
	projects  map[string]*project

	endpointsHash uint64 // of all endpoints
}

// shared is a network's VRF as seen from a host that has none of its ports'
// next hops: every port is remote. rows[i] says source[i].
type shared struct {
	source []routing.Route
	rows   []Row
}

// senders are the hosts that may send into a network: rows[i] says source[i].
type senders struct {
	source []api.Ref
	rows   []Row
}

// New plans for all hosts. Networks whose routes or senders are those of an
// earlier plan keep that plan's encoded rows; earlier may be nil and never changes the
// outcome.
func New(epoch uint64, d *routing.Derived, earlier *Plan) *Plan {
	p := &Plan{
		Version:   Version{epoch, d.Revision},
		Derived:   d,
		vrfs:      make(map[string]Row, len(d.Networks)),
		endpoints: make(map[string]Row, len(d.Hosts)),
		routes:    make(map[string]*shared, len(d.Networks)),
		sources:   make(map[string]*senders, len(d.Networks)),
		subnets:   make(map[string][]Row, len(d.Networks)),
		projects:  projectsOf(d.Ports),
	}
	all := xxhash.New()
	for _, h := range d.Hosts {
		row := endpointRow(h)
		p.endpoints[h.Ref.UUID] = row
		all.Write(row.Body)
	}
	p.endpointsHash = all.Sum64()
	for _, n := range d.Networks {
		p.vrfs[n.Ref.UUID] = vrfRow(n)
		for i := range n.Subnets {
			p.subnets[n.Ref.UUID] = append(p.subnets[n.Ref.UUID], subnetRow(&n.Subnets[i]))
		}
		p.addRoutes(n, earlier)
		p.addSources(n, earlier)
	}
	return p
}

// sameVRF tells that an earlier plan has a network under the same VNI.
func (p *Plan) sameVRF(n *routing.Network) bool {
	if p == nil {
		return false
	}
	old := p.Derived.Network(n.Ref.UUID)
	return old != nil && old.VRF == n.VRF
}

func (p *Plan) addRoutes(n *routing.Network, earlier *Plan) {
	if earlier.sameVRF(n) {
		if old := earlier.routes[n.Ref.UUID]; slices.Equal(old.source, n.Routes) {
			p.routes[n.Ref.UUID] = old
			return
		}
	}
	s := &shared{source: n.Routes, rows: make([]Row, len(n.Routes))}
	for i := range n.Routes {
		s.rows[i] = routeRow(n.VRF, &n.Routes[i], false)
	}
	p.routes[n.Ref.UUID] = s
}

func (p *Plan) addSources(n *routing.Network, earlier *Plan) {
	if earlier.sameVRF(n) {
		if old := earlier.sources[n.Ref.UUID]; slices.Equal(old.source, n.Senders) {
			p.sources[n.Ref.UUID] = old
			return
		}
	}
	s := &senders{source: n.Senders, rows: make([]Row, len(n.Senders))}
	for i, host := range n.Senders {
		s.rows[i] = sourceRow(n.VRF, host)
	}
	p.sources[n.Ref.UUID] = s
}

// For returns what one host needs, things before what refers to them: the
// endpoints that routes lead to or that may send here, which of them may send
// into which network, the VRFs of its own ports (after the senders, which they
// make matter), their subnets, the names of its projects, its ports, and the routes of its VRFs. A host that does not
// exist needs nothing.
func (p *Plan) For(host string) []Row {
	h := p.Derived.Host(host)
	if h == nil {
		return nil
	}
	networks := p.Networks(host)
	var rows, sources, vrfs, subnets, routes []Row
	endpoints := map[string]bool{}
	for _, n := range networks {
		vrfs = append(vrfs, p.vrfs[n.Ref.UUID])
		subnets = append(subnets, p.subnets[n.Ref.UUID]...)
		for i, sender := range p.sources[n.Ref.UUID].source {
			if sender.UUID != host {
				endpoints[sender.UUID] = true
				sources = append(sources, p.sources[n.Ref.UUID].rows[i])
			}
		}
		s := p.routes[n.Ref.UUID]
		for i := range s.source {
			switch r := &s.source[i]; {
			case r.Gateway:
				routes = append(routes, s.rows[i])
			case r.Host.UUID == host:
				routes = append(routes, routeRow(n.VRF, r, true))
			default:
				endpoints[r.Host.UUID] = true
				routes = append(routes, s.rows[i])
			}
		}
	}
	for _, other := range p.Derived.Hosts {
		if endpoints[other.Ref.UUID] {
			rows = append(rows, p.endpoints[other.Ref.UUID])
		}
	}
	rows = append(append(append(rows, sources...), vrfs...), subnets...)
	rows = append(rows, p.names(host)...)
	for _, port := range h.Ports {
		rows = append(rows, portRow(port))
	}
	return append(rows, routes...)
}

// Networks returns the networks whose VRF a host needs: those of its own
// ports, by VRF.
func (p *Plan) Networks(host string) []*routing.Network {
	h := p.Derived.Host(host)
	if h == nil {
		return nil
	}
	var networks []*routing.Network
	seen := map[*routing.Network]bool{}
	for _, port := range h.Ports {
		if !seen[port.Network] {
			seen[port.Network] = true
			networks = append(networks, port.Network)
		}
	}
	slices.SortFunc(networks, func(a, b *routing.Network) int { return cmp.Compare(a.VRF, b.VRF) })
	return networks
}

// Same tells that a host needs the same rows as under an earlier plan, without
// making them. It may say no where they are the same after all, never yes
// where they are not: most changes concern few hosts.
func (p *Plan) Same(host string, earlier *Plan) bool {
	now, then := p.Derived.Host(host), earlier.Derived.Host(host)
	if now == nil || then == nil || p.endpointsHash != earlier.endpointsHash || !slices.EqualFunc(now.Ports, then.Ports, samePort) {
		return false
	}
	return p.sameNames(host, earlier) && !slices.ContainsFunc(p.Networks(host), func(n *routing.Network) bool {
		id := n.Ref.UUID
		if !slices.EqualFunc(p.subnets[id], earlier.subnets[id], func(a, b Row) bool { return a.Hash == b.Hash }) {
			return true
		}
		return p.routes[id] != earlier.routes[id] || p.sources[id] != earlier.sources[id] || p.vrfs[id].Hash != earlier.vrfs[id].Hash
	})
}

// samePort tells that two derived ports make the same row.
func samePort(a, b *routing.Port) bool {
	return a.Ref == b.Ref && a.Network.Ref == b.Network.Ref && a.Network.VRF == b.Network.VRF && a.Network.MTU == b.Network.MTU &&
		a.Project == b.Project && a.Machine == b.Machine && a.HostName == b.HostName && a.Domain == b.Domain && slices.Equal(a.Options, b.Options) &&
		a.MAC == b.MAC && a.Binding == b.Binding && a.BindingRevision == b.BindingRevision && slices.Equal(a.Addresses, b.Addresses)
}

// Holds tells whether a host needs the VRF of a network.
func (p *Plan) Holds(host, network string) bool {
	return slices.ContainsFunc(p.Networks(host), func(n *routing.Network) bool { return n.Ref.UUID == network })
}
