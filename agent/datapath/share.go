// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
)

// spare is which part of a table stays free for what replaces entries before these go: the
// choices of all listeners of the largest load-balancers.
const spare = 8

// room is what load-balancers take of each table of virtual addresses.
type room struct{ listeners, choices, members, mappings int }

// roomTable is one of the tables.
type roomTable struct {
	name string
	of   func(*room) *int
}

var roomTables = []roomTable{
	{"listeners", func(r *room) *int { return &r.listeners }},
	{"choices", func(r *room) *int { return &r.choices }},
	{"pool_members", func(r *room) *int { return &r.members }},
	{"mappings", func(r *room) *int { return &r.mappings }},
}

// needs is what the tables of one load-balancer take.
func (t *BalancerTables) needs() room {
	need := room{listeners: len(t.Listeners), members: len(t.Members), mappings: len(t.Mappings)}
	for _, c := range t.Choices {
		need.choices += (c.Size + vrouter.ChoicePage - 1) / vrouter.ChoicePage
	}
	return need
}

// sharedOf is what may be used of tables of such sizes; 0 is no bound.
func sharedOf(s vrouter.BalanceSizes) (may room) {
	for _, one := range []struct {
		size uint32
		to   *int
	}{{s.Listeners, &may.listeners}, {s.Choices, &may.choices}, {s.PoolMembers, &may.members}, {s.Mappings, &may.mappings}} {
		*one.to = int(one.size - one.size/spare)
	}
	return may
}

// exceeds names the first table of which it is more than may be.
func (r room) exceeds(may room, bounded room) string {
	for _, table := range roomTables {
		if *table.of(&bounded) > 0 && *table.of(&r) > *table.of(&may) {
			return table.name
		}
	}
	return ""
}

func (r room) and(o room) room {
	for _, table := range roomTables {
		*table.of(&r) += *table.of(&o)
	}
	return r
}

// tenant is who has a load-balancer: the project that begins the names of its listeners.
func (t *BalancerTables) tenant() string {
	for _, l := range t.from.Listeners {
		domain, rest, _ := strings.Cut(l.Name, ":")
		project, _, _ := strings.Cut(rest, ":")
		return domain + ":" + project
	}
	return ""
}

// claim is a load-balancer that asks for room.
type claim struct {
	key    desired.BalancerKey
	tables *BalancerTables
	need   room
	there  bool // the kernel has something of it
}

// admit leaves out what is beyond its tenant's share where not all load-balancers find room, with
// the reason by row. Each tenant has what it needs or as much as any other; of its load-balancers
// those that are there come first, and each is there whole or not at all.
func (s *service) admit(all Balanced) (fits Balanced, why map[string]string) {
	may := sharedOf(s.rooms)
	claims, total := make([]claim, 0, len(all.Of)), room{}
	for key, of := range all.Of {
		claims = append(claims, claim{key: key, tables: of, need: of.need})
		total = total.and(of.need)
	}
	if total.exceeds(may, may) == "" {
		return all, nil
	}
	of := map[string][]claim{}
	for _, c := range claims {
		for at := range c.tables.Listeners {
			c.there = c.there || s.listeners.MayHave(at)
		}
		of[c.tables.tenant()] = append(of[c.tables.tenant()], c)
	}
	share := shareOf(of, may)
	fits, why = all, map[string]string{}
	fits.Of = maps.Clone(all.Of)
	for tenant, claims := range of {
		slices.SortFunc(claims, func(a, b claim) int {
			if a.there != b.there {
				return map[bool]int{true: -1, false: 1}[a.there]
			}
			return cmp.Or(strings.Compare(a.key.ID, b.key.ID), cmp.Compare(a.key.VRF, b.key.VRF))
		})
		used := room{}
		for _, c := range claims {
			table := used.and(c.need).exceeds(share, may)
			if table == "" {
				used = used.and(c.need)
				continue
			}
			delete(fits.Of, c.key)
			for id := range c.tables.from.Listeners {
				why[desired.ListenerRow(c.key, id)] = fmt.Sprintf("the load-balancer finds no room: table %s has no room for all, and project %s has its share of it: %d entries of %d (weft get capacity; weft-agent run --table-size)",
					table, tenant, shareIn(share, table), shareIn(may, table))
			}
		}
	}
	return fits, why
}

func shareIn(r room, table string) int {
	i := slices.IndexFunc(roomTables, func(t roomTable) bool { return t.name == table })
	return *roomTables[i].of(&r)
}

// shareOf is what each tenant may have at most, so that all together have no more than
// there is, and nobody less than another who needs as much.
func shareOf(tenants map[string][]claim, may room) (share room) {
	for _, table := range roomTables {
		var needs []int
		for _, claims := range tenants {
			need := room{}
			for _, c := range claims {
				need = need.and(c.need)
			}
			needs = append(needs, *table.of(&need))
		}
		slices.Sort(needs)
		left := *table.of(&may)
		*table.of(&share) = left
		for i, need := range needs {
			if others := len(needs) - i; need*others > left {
				*table.of(&share) = left / others
				break
			}
			left -= need
		}
	}
	return share
}
