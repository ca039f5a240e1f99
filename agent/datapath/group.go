// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
)

// Group is several next hops of a prefix that are equally good.
type Group struct {
	Fields  vrouter.GroupFields
	Members []Member
	// All and Local are as in [vrouter.Group].
	All, Local [vrouter.GroupBuckets]uint8
}

// Member is one of them.
type Member struct {
	NextHop vrouter.NextHop
	MAC     vrouter.MAC
	MTU     int
}

// groupFields are the words of a network's ecmpFields.
var groupFields = map[string]vrouter.GroupFields{
	"source": vrouter.GroupSource, "destination": vrouter.GroupDestination, "protocol": vrouter.GroupProtocol,
	"source-port": vrouter.GroupSourcePort, "destination-port": vrouter.GroupDestinationPort,
}

// fieldsOf reads the words; what this agent does not know chooses nothing.
func fieldsOf(words []string) (fields vrouter.GroupFields) {
	if len(words) == 0 {
		return vrouter.GroupAllFields
	}
	for _, w := range words {
		fields |= groupFields[w]
	}
	return fields
}

// addGroup returns the next hop of a route that has several. Those that cannot
// be used here are left out, and so are those beyond what a group has room for,
// the same ones on every host.
func (t *Tables) addGroup(r desired.Route, p places) (hop vrouter.NextHop, problem string) {
	hops := r.Hops()
	slices.SortFunc(hops, func(a, b desired.Hop) int { return cmp.Compare(a.Identity, b.Identity) })
	if n := len(hops); n > vrouter.GroupMembers {
		problem = fmt.Sprintf("%d of %d next hops are used: name fewer", vrouter.GroupMembers, n)
		hops = hops[:vrouter.GroupMembers]
	}
	g := Group{Fields: fieldsOf(r.Fields)}
	var identities []string
	for _, h := range hops {
		one, why := nextHop(desired.Route{Port: h.Port, Host: h.Host, VNI: h.VNI, Encapsulations: h.Encapsulations}, p)
		problem = cmp.Or(problem, why)
		if one.Kind == vrouter.NextHopNone || one.Encapsulation == vrouter.EncapsulationUnavailable {
			continue
		}
		identities = append(identities, h.Identity)
		g.Members = append(g.Members, Member{one, h.MAC, destinationMTU(desired.Route{Host: h.Host, MTU: h.MTU}, p.rows)})
		t.NextHops[one] = struct{}{}
	}
	if len(g.Members) == 0 {
		return vrouter.NextHop{Kind: vrouter.NextHopNone}, problem
	}
	g.fill(identities)
	hop = vrouter.NextHop{Kind: vrouter.NextHopGroup, Group: g.name()}
	t.Groups[hop.Group] = g
	return hop, problem
}

// fill gives each bucket to the member for which the hash of both is highest
// (rendezvous hashing), as every host does: a member that goes leaves the
// buckets of others alone, and among the members here another host's choice wins again.
func (g *Group) fill(identities []string) {
	weights := make([]uint64, len(g.Members))
	heaviest := func(counts func(Member) bool) uint8 {
		best := -1
		for i, m := range g.Members {
			if counts(m) && (best < 0 || weights[i] > weights[best]) {
				best = i
			}
		}
		if best < 0 {
			return vrouter.NoMember
		}
		return uint8(best)
	}
	for bucket := range vrouter.GroupBuckets {
		for i, identity := range identities {
			weights[i] = xxhash.Sum64(binary.BigEndian.AppendUint32([]byte(identity), uint32(bucket)))
		}
		g.All[bucket] = heaviest(func(Member) bool { return true })
		g.Local[bucket] = heaviest(func(m Member) bool { return m.NextHop.Kind == vrouter.NextHopPort })
	}
}

// name is a digest of all that a group is.
func (g *Group) name() string {
	digest := sha256.New()
	fmt.Fprintf(digest, "%d %v %v\n", g.Fields, g.All, g.Local)
	for _, m := range g.Members {
		fmt.Fprintf(digest, "%+v %v %d\n", m.NextHop, m.MAC, m.MTU)
	}
	return string(digest.Sum(nil))
}

// nameOf is the name of a group that is in the kernel, with these next hops.
// One with a member that is not there equals none that is wanted.
func nameOf(raw vrouter.Group, hops map[uint32]vrouter.NextHop) string {
	g := Group{Fields: raw.Fields, All: raw.All, Local: raw.Local}
	for _, m := range raw.Members {
		hop, ok := hops[m.NextHop]
		if !ok {
			hop.Kind = unknownHop
		}
		g.Members = append(g.Members, Member{canonical(hop), m.MAC, m.MTU})
	}
	return g.name()
}

// encode translates a group's next hops to ids.
func (n *nextHops) encode(g Group) (vrouter.Group, error) {
	raw := vrouter.Group{Fields: g.Fields, All: g.All, Local: g.Local}
	for _, m := range g.Members {
		ids := n.ids[m.NextHop]
		if len(ids) == 0 {
			return raw, fmt.Errorf("next hop %+v of a group has no id", m.NextHop)
		}
		raw.Members = append(raw.Members, vrouter.GroupMember{NextHop: ids[0], Ifindex: m.NextHop.Ifindex, MTU: m.MTU, MAC: m.MAC})
	}
	return raw, nil
}

func (n *nextHops) setMembers(id uint32, g vrouter.Group) {
	n.members[id] = nil
	for _, m := range g.Members {
		n.members[id] = append(n.members[id], m.NextHop)
	}
}

// isMember tells whether a group that may be in the kernel has the next hop.
func (n *nextHops) isMember(hop vrouter.NextHop) bool {
	for _, id := range n.ids[hop] {
		for _, members := range n.members {
			if slices.Contains(members, id) {
				return true
			}
		}
	}
	return false
}
