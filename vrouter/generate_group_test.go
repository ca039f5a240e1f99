// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

// group makes a group of ports of a VRF and of other hosts, and returns its id.
// Its buckets are as random as everything: the programs take what they find.
func (g *generator) group(vrf uint32, members ...GroupMember) uint32 {
	for range pick(g, 0, 1, 2, 2, 3, 3, 4, GroupMembers) {
		if len(members) < GroupMembers {
			members = append(members, g.member(vrf))
		}
	}
	v := Group{Fields: pick(g, GroupAllFields, GroupAllFields, GroupFields(g.IntN(32))), Members: members}
	var local []uint8
	for i, m := range members {
		if m.Ifindex != 0 {
			local = append(local, uint8(i))
		}
	}
	for b := range GroupBuckets {
		v.All[b], v.Local[b] = NoMember, NoMember
		if len(members) > 0 && !g.chance(2) {
			v.All[b] = uint8(g.IntN(len(members)))
		}
		if len(local) > 0 {
			v.Local[b] = local[g.IntN(len(local))]
		}
	}
	id := g.nextHop(NextHop{Kind: NextHopGroup})
	if !g.chance(2) {
		g.o.Groups[id] = v
	}
	return id
}

func (g *generator) member(vrf uint32) GroupMember {
	m := GroupMember{NextHop: g.somewhere(vrf), MAC: MAC{2, 4, 0, 0, byte(vrf), byte(g.IntN(4))}, MTU: g.mtu()}
	if next := g.o.NextHops[m.NextHop]; next.Kind == NextHopPort {
		m.Ifindex = next.Ifindex
	} else if g.chance(40) {
		m.Ifindex = 1 + g.IntN(testPorts)
		m.NextHop, m.MAC = g.nextHop(NextHop{Kind: NextHopPort, Ifindex: m.Ifindex}), portMAC(m.Ifindex)
	}
	return m
}

// groups makes some routes of a VRF lead to groups, or be proxied.
func (g *generator) groups(vrf uint32) {
	for _, key := range slices.SortedFunc(maps.Keys(g.o.Routes), func(a, b RouteKey) int { return slices.Compare([]byte(a.Prefix.String()), []byte(b.Prefix.String())) }) {
		route := g.o.Routes[key]
		if kind := g.o.NextHops[route.NextHop].Kind; key.VRF != vrf || kind != NextHopPort && kind != NextHopTunnel {
			continue
		}
		if g.chance(20) {
			route.NextHop = g.group(vrf)
		}
		route.Proxied = g.chance(15)
		g.o.Routes[key] = route
	}
}

// churnGroup gives a prefix that has a group another one, with some of the members.
func (g *generator) churnGroup(t testing.TB, d *Datapath) {
	t.Helper()
	for _, key := range inOrder(g.o.Routes) {
		route := g.o.Routes[key]
		old, is := g.o.Groups[route.NextHop]
		if !is {
			continue
		}
		var kept []GroupMember
		for _, m := range old.Members {
			if g.chance(70) {
				kept = append(kept, m)
			}
		}
		g.Shuffle(len(kept), func(i, j int) { kept[i], kept[j] = kept[j], kept[i] })
		route.NextHop = g.group(key.VRF, kept...)
		g.o.Routes[key] = route
		g.installHop(t, d, route.NextHop)
		check(t, d.Routes.Put(key, route))
		return
	}
}

// installHop puts a next hop that has come, with all that it stands for.
func (g *generator) installHop(t testing.TB, d *Datapath, id uint32) {
	t.Helper()
	group, is := g.o.Groups[id]
	for _, m := range group.Members {
		g.installHop(t, d, m.NextHop)
	}
	if is {
		check(t, d.Groups.Put(id, group))
	}
	if next, there := g.o.NextHops[id]; there {
		check(t, d.NextHops.Put(id, next))
	}
}

// TestGroups compares what becomes of the flows to a group with what was asked,
// step by step: spread, kept while their member is there, moved when it goes.
func TestGroups(t *testing.T) {
	for _, six := range []bool{false, true} {
		t.Run(fmt.Sprintf("IPv6 %t", six), func(t *testing.T) { tryGroups(t, six) })
	}
}

func tryGroups(t *testing.T, six bool) {
	o := tenants()
	o.Groups = map[uint32]Group{}
	d := tablesForTest(t, smallSizes)
	install(t, d, o)
	r := newRehearsal(t, d)
	to := poolAddress(six, 60)
	all := []GroupMember{
		{NextHop: 2, Ifindex: 2, MAC: portMAC(2)},
		{NextHop: 11, MAC: MAC{2, 1, 0, 0, 0, 1}},
		{NextHop: 11, MAC: MAC{2, 1, 0, 0, 0, 2}},
	}
	lead := func(id uint32, members ...GroupMember) {
		group := Group{Fields: GroupAllFields, Members: members}
		for b := range GroupBuckets {
			group.All[b], group.Local[b] = uint8(b%len(members)), NoMember
		}
		check(t, d.Groups.Put(id, group))
		check(t, d.NextHops.Put(id, NextHop{Kind: NextHopGroup}))
		check(t, d.Routes.Put(RouteKey{1, host(to)}, Route{NextHop: id, Proxied: true}))
	}
	flows := func(since int) map[int]MAC {
		went := map[int]MAC{}
		for port := since; port < 300; port++ {
			s := ipSpec{source: poolAddress(six, 2), destination: to, protocol: 17, hops: 9, payload: []byte{byte(port >> 8), byte(port), 0, 53, 0, 8, 0, 0}}
			got, err := r.FromPort(1, ethernetFrame(MAC{2, 9, 9, 9, 9, 9}, portMAC(1), s.ethertype(), s.build()))
			check(t, err)
			if got.Verdict != "delivered" && got.Verdict != "tunnelled" {
				t.Fatalf("flow %d: %s", port, show(got))
			}
			went[port] = parse(got.Frame).ethDestination
		}
		return went
	}
	count := func(went map[int]MAC) map[MAC]int {
		n := map[MAC]int{}
		for _, mac := range went {
			n[mac]++
		}
		return n
	}
	lead(100, all[:2]...)
	first := flows(0)
	for _, m := range all[:2] {
		if n := count(first)[m.MAC]; n < 100 {
			t.Errorf("only %d of 300 flows go to %v", n, m.MAC)
		}
	}
	lead(101, all...)
	second := flows(0)
	if !maps.Equal(first, second) {
		t.Errorf("flows were moved by a member that came: %v, before %v", count(second), count(first))
	}
	lead(102, all[1], all[2])
	for port, mac := range flows(0) {
		if first[port] != all[0].MAC && mac != first[port] {
			t.Errorf("flow %d went from %v to %v, and it was another member that went", port, first[port], mac)
		}
		if mac == all[0].MAC {
			t.Errorf("flow %d goes to a member that is gone", port)
		}
	}
}
