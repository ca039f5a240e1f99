// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
)

// owned is a load-balancer of a project with one listener and ten members.
func owned(project string, i int) (desired.BalancerKey, *desired.Balancer) {
	b := balancerOf(i, 1)
	l := b.Listeners["i"]
	l.Name = fmt.Sprintf("d:%s:l%d:i", project, i)
	b.Listeners["i"] = l
	return desired.BalancerKey{VRF: 7, ID: fmt.Sprintf("lb-%03d", i)}, b
}

func own(rows desired.Rows, project string, i int) {
	key, b := owned(project, i)
	rows.Balancers[key] = b
}

// A tenant that asks for more than there is takes nothing from others that ask for no more
// than their share; what is left out is told at its listeners, whole, and comes when there is
// room. What is there is not pushed out by its tenant's own newcomers.
func TestTablesAreShared(t *testing.T) {
	for _, table := range []string{"listeners", "choices", "pool_members"} {
		k := datapath.NewMemoryKernel(nil)
		switch table { // room for 14 load-balancers, less what stays free
		case "listeners":
			k.Rooms.Listeners = 16
		case "choices":
			k.Rooms.Choices = 16 * 4 // 1021 buckets each
		case "pool_members":
			k.Rooms.PoolMembers = 160
		}
		p := datapath.NewProgrammer(k.Kernel())
		if err := p.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		rows := many(0)
		settle := func() {
			t.Helper()
			p.Want(datapath.Compute(rows, nil, datapath.Underlay{IPv4: here4, MTU: 1500}, datapath.Local{Balances: true}))
			for p.Round(t.Context(), time.Now()) || !p.Settled() {
			}
		}
		has := func(i int) bool {
			_, there := k.Listeners.Rows[vrouter.ListenerKey{VRF: 7, Address: netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), Protocol: 6, Port: 80}]
			return there
		}
		expect := func(what string, want ...int) {
			t.Helper()
			settle()
			var got []int
			for i := range 200 {
				if has(i) {
					got = append(got, i)
				}
			}
			if !slices.Equal(got, want) || len(k.PoolMembers.Rows) != 10*len(want) || len(k.Choices.Rows) != len(want) {
				t.Errorf("%s, %s: load-balancers %v are there, with %d members and %d choices, want %v", table, what, got, len(k.PoolMembers.Rows), len(k.Choices.Rows), want)
			}
			told := p.Problems(rows, nil)
			for key := range rows.Balancers {
				var i int
				fmt.Sscanf(key.ID, "lb-%d", &i)
				why := told[desired.ListenerRow(key, "i")]
				if has(i) != (why == "") || why != "" && !strings.Contains(why, "table "+table+" has no room for all, and project d:greedy has its share") {
					t.Errorf("%s, %s: load-balancer %d is there %t, and is told %q", table, what, i, has(i), why)
				}
			}
		}
		for i := 100; i < 110; i++ {
			own(rows, "greedy", i)
		}
		expect("all find room", 100, 101, 102, 103, 104, 105, 106, 107, 108, 109)
		for i := 10; i < 20; i++ { // before the others by UUID
			own(rows, "greedy", i)
		}
		expect("its own newcomers push nobody out", 10, 11, 12, 13, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109)
		for i := range 5 {
			own(rows, "modest", 150+i)
		}
		expect("another tenant comes", 10, 11, 12, 13, 100, 101, 102, 103, 104, 150, 151, 152, 153, 154)
		for i := 100; i < 110; i++ {
			key, _ := owned("greedy", i)
			delete(rows.Balancers, key)
		}
		expect("there is room again", 10, 11, 12, 13, 14, 15, 16, 17, 18, 150, 151, 152, 153, 154)
	}
}
