// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

// randomEquals gives a route further next hops.
func randomEquals(r *rand.Rand, m *hoststream.Route) {
	if m.GetGateway() != nil || r.IntN(2) == 0 {
		return
	}
	m.Proxied, m.Identity = true, "0"
	for n := range r.IntN(3) {
		hop := &hoststream.EqualHop{Mac: []byte{2, 0, 0, 0, 1, byte(n)}, Identity: fmt.Sprint(n + 1)}
		if r.IntN(2) == 0 {
			hop.NextHop = &hoststream.EqualHop_Port{Port: portID(r.IntN(ports))}
		} else {
			hop.NextHop = &hoststream.EqualHop_Remote{Remote: &hoststream.Remote{Host: hostID(r.IntN(hosts)), Vni: m.Vrf}}
		}
		m.Equal = append(m.Equal, hop)
	}
}

// showGroups prints the kernel's groups without ids.
func showGroups(m *datapath.MemoryKernel) (lines []string) {
	for id, g := range m.Groups.Rows {
		words := fmt.Sprintf("group %d", g.Fields)
		for b := range g.All {
			words += fmt.Sprintf(" %+v %+v", memberOf(m, g, g.All[b]), memberOf(m, g, g.Local[b]))
		}
		sum := sha256.Sum256([]byte(words))
		lines = append(lines, fmt.Sprintf("%s, %x", words[:min(len(words), 200)], sum))
		if m.NextHops.Rows[id].Kind != vrouter.NextHopGroup {
			lines = append(lines, fmt.Sprintf("group %d is no next hop", id))
		}
	}
	return lines
}

// memberOf says which next hop a bucket of a group leads to.
func memberOf(m *datapath.MemoryKernel, g vrouter.Group, number uint8) string {
	if number == vrouter.NoMember {
		return "none"
	}
	member := g.Members[number]
	return fmt.Sprintf("%+v %d %v %d", m.NextHops.Rows[member.NextHop], member.Ifindex, member.MAC, member.MTU)
}
