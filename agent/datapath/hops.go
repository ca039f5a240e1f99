// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"fmt"
	"slices"

	"github.com/weft-network/weft/vrouter"
)

// nextHops gives each next hop an id. An id is not given again within a run:
// a frame that is being forwarded may have read it from a route a moment ago,
// and must not find another tenant's next hop under it.
type nextHops struct {
	table    Table[uint32, vrouter.NextHop]
	groups   Table[uint32, vrouter.Group] // by the same ids
	contents map[string]Group             // of those that are wanted
	ids      map[vrouter.NextHop][]uint32 // more than one only if another agent left doubles
	words    map[uint32]vrouter.NextHop
	members  map[uint32][]uint32 // ids of the members of groups that may be in the kernel
	last     uint32
}

// canonical keeps only the fields of the kind, so that equal means the same.
func canonical(n vrouter.NextHop) vrouter.NextHop {
	c := vrouter.NextHop{Kind: n.Kind}
	switch n.Kind {
	case vrouter.NextHopPort:
		c.Ifindex = n.Ifindex
	case vrouter.NextHopFabric:
		c.Ifindex, c.MTU = n.Ifindex, n.MTU
	case vrouter.NextHopBalancer:
		c.VNI = n.VNI
	case vrouter.NextHopMapped:
		c.Mapping = n.Mapping
	case vrouter.NextHopTunnel:
		c.VNI, c.Remote, c.MTU, c.Encapsulation, c.Local = n.VNI, n.Remote, n.MTU, n.Encapsulation, n.Local
		if n.Encapsulation == vrouter.EncapsulationMPLSUDP {
			c.Ifindex = n.Ifindex
		}
	}
	return c
}

func (n *nextHops) Owned(context.Context) (map[vrouter.NextHop]struct{}, error) {
	all, err := n.table.All()
	if err != nil {
		return nil, err
	}
	groups, err := n.groups.All()
	if err != nil {
		return nil, err
	}
	n.ids, n.words, n.members, n.last = map[vrouter.NextHop][]uint32{}, map[uint32]vrouter.NextHop{}, map[uint32][]uint32{}, 0
	orphans := map[uint32]bool{} // groups that an interrupted change left without next hop
	for id := range groups {
		if _, ok := all[id]; !ok {
			orphans[id] = true
			all[id] = vrouter.NextHop{Kind: vrouter.NextHopGroup}
		}
	}
	rows := map[vrouter.NextHop]struct{}{}
	for id, hop := range all {
		hop = canonical(hop)
		if hop.Kind == vrouter.NextHopGroup {
			hop.Group = nameOf(groups[id], all)
			n.setMembers(id, groups[id])
			if orphans[id] {
				hop.Group = fmt.Sprintf("left over %d", id) // nobody wants it
			}
		}
		n.ids[hop] = append(n.ids[hop], id)
		n.words[id] = hop
		n.last = max(n.last, id)
		rows[hop] = struct{}{}
	}
	for _, ids := range n.ids {
		slices.Sort(ids)
	}
	return rows, nil
}

func (n *nextHops) Update(_ context.Context, hop vrouter.NextHop, _ struct{}) error {
	if len(n.ids[hop]) == 0 {
		n.last = n.unused()
		n.ids[hop] = []uint32{n.last}
		n.words[n.last] = hop
	}
	id := n.ids[hop][0]
	if hop.Kind == vrouter.NextHopGroup {
		content, err := n.encode(n.contents[hop.Group])
		if err != nil {
			return err
		}
		n.setMembers(id, content)
		if err := n.groups.Put(id, content); err != nil {
			return err
		}
	}
	return n.table.Put(id, hop)
}

// unused returns the id after the last one given, skipping, after a wrap
// around, 0 and what is in use. The table holds far fewer than 2^32.
func (n *nextHops) unused() uint32 {
	for id := n.last + 1; ; id++ {
		if _, used := n.words[id]; !used && id != 0 {
			return id
		}
	}
}

func (n *nextHops) Delete(_ context.Context, hop vrouter.NextHop) error {
	for _, id := range slices.Clone(n.ids[hop]) {
		if err := n.table.Delete(id); err != nil {
			return err
		}
		if hop.Kind == vrouter.NextHopGroup {
			if err := n.groups.Delete(id); err != nil {
				return err
			}
			delete(n.members, id)
		}
		delete(n.words, id)
		n.ids[hop] = n.ids[hop][1:]
	}
	delete(n.ids, hop)
	return nil
}
