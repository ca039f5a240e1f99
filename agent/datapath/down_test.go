// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
)

// Conversations by UDP with a member that is down move on once somebody else can be
// chosen in the kernel; those by other protocols, with members that drain, and those
// that nobody else would take stay, as do those of other networks with the same address.
func TestWhoseConversationsMoveOn(t *testing.T) {
	type of = map[string]*desired.Member
	down := func(names ...string) func(of) {
		return func(m of) {
			for _, name := range names {
				m[name].State = desired.MemberDown
			}
		}
	}
	for _, c := range []struct {
		what     string
		protocol uint8
		change   func(of)
		a, b     bool
	}{
		{"all are well", 17, func(of) {}, false, false},
		{"one is down", 17, down("a"), true, false},
		{"two are", 17, down("a", "b"), true, true},
		{"all are", 17, down("a", "b", "c"), false, false},
		{"one drains", 17, func(m of) { m["a"].State = desired.MemberDraining }, false, false},
		{"one is down, by TCP", 6, down("a"), false, false},
		{"one is down, by SCTP", 132, func(m of) {
			down("a")(m)
			for _, one := range m {
				one.Target = 80
			}
		}, false, false},
	} {
		tables := balancedBy(func(l *desired.Listener, m of) { l.Protocol = c.protocol; c.change(m) })
		const importer = 8 // its address is a workload's there, or it leads where VRF 7 does
		at := vrouter.RouteKey{VRF: importer, Prefix: netip.PrefixFrom(virtual, 32)}
		tables.Routes[at] = tables.Routes[vrouter.RouteKey{VRF: 7, Prefix: at.Prefix}]
		tables.Ports = map[int]vrouter.Port{5: {VRF: 7}, 6: {VRF: importer}, 7: {VRF: 9}}
		tables.PortAddresses, tables.PortPrefixes = map[int][]netip.Addr{5: nil, 6: nil, 7: nil}, map[int][]datapath.PortPrefix{5: nil, 6: nil, 7: nil}
		k := datapath.NewMemoryKernel(nil)
		p := datapath.NewProgrammer(k.Kernel())
		if err := p.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.Want(tables)
		if d := p.Down(); len(d.Members) > 0 {
			t.Errorf("%s: %v are cut before anybody else can be chosen", c.what, d.Members)
		}
		for p.Round(t.Context(), time.Now()) || !p.Settled() {
		}
		d := p.Down()
		left := func(ifindex int, member byte, port uint16) bool {
			return d.Left(vrouter.ConnectionKey{Ifindex: ifindex, Protocol: c.protocol, Local: netip.MustParseAddrPort("10.9.0.1:4000"), Remote: netip.AddrPortFrom(virtual, port)}, vrouter.MAC{10, 0, 0, 0, 0, member})
		}
		for _, ifindex := range []int{5, 6} {
			if a, b := left(ifindex, 0, 80), left(ifindex, 1, 80); a != c.a || b != c.b {
				t.Errorf("%s: at port %d those of a move on: %t, of b: %t; want %t and %t", c.what, ifindex, a, b, c.a, c.b)
			}
		}
		if left(7, 0, 80) || left(4, 0, 80) || left(5, 0, 81) {
			t.Errorf("%s: those of another network, interface or listener move on", c.what)
		}
	}
}
