// SPDX-License-Identifier: Apache-2.0

package placement_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

// A host with a reserved address has all that a workload there will need, and
// the other hosts of the network know the way to it and let it send.
func TestReservedAddresses(t *testing.T) {
	w := world.New(`host h1 192.0.2.1
host h2 192.0.2.2
network blue 10
subnet blue 10.0.0.0/24
port blue a
address blue 10.0.0.5 a
bind a h2
reserve blue 10.0.0.6 h1 s`)
	plan := placement.New(1, routing.Derive(w), nil)
	rows := func(p *placement.Plan, host string) string {
		return w.Names(placement.Print(p.For(world.UUID(api.KindHost, host))))
	}
	one, two := rows(plan, "h1"), rows(plan, "h2")
	for _, want := range []string{"vrf/10", "reservation/<blue:10.0.0.6>", "10.0.0.6/24", "route/10/10.0.0.5/32", "tunnel-source/10/<h2>", "route/10/10.0.0.1/32"} {
		if !strings.Contains(one, want) {
			t.Errorf("h1 has no %s:\n%s", want, one)
		}
	}
	if strings.Contains(one, "route/10/10.0.0.6/32") {
		t.Errorf("h1 has a route to what it has not given away:\n%s", one)
	}
	for _, want := range []string{"route/10/10.0.0.6/32", "tunnel-source/10/<h1>", "tunnel-endpoint/<h1>"} {
		if !strings.Contains(two, want) {
			t.Errorf("h2 has no %s:\n%s", want, two)
		}
	}
	w.Do("reserve blue 10.0.0.6 h1 s releasing")
	next := placement.New(1, routing.Derive(w), plan)
	if next.Same(world.UUID(api.KindHost, "h1"), plan) || !strings.Contains(rows(next, "h1"), "releasing") {
		t.Errorf("h1 does not learn that the address is released:\n%s", rows(next, "h1"))
	}
	w.Do("remove address blue:10.0.0.6")
	last := placement.New(1, routing.Derive(w), next)
	if got := rows(last, "h1"); got != "" {
		t.Errorf("h1 still has\n%s", got)
	}
}

// What a host is to ask at a workload that it gives reserved addresses to comes
// with these: what a port of the network asks that names no security-groups. Who
// that is other hosts know from the route.
func TestPolicyOfReservedAddresses(t *testing.T) {
	w := world.New(`host h1 192.0.2.1
host h2 192.0.2.2
network blue 10
subnet blue 10.0.0.0/24
port blue a
address blue 10.0.0.5 a
bind a h2
reserve blue 10.0.0.6 h1 s`)
	plan := func() (one, two map[string]*hoststream.Row) {
		p := placement.New(1, routing.Derive(w), nil)
		return decoded(t, p.For(world.UUID(api.KindHost, "h1"))), decoded(t, p.For(world.UUID(api.KindHost, "h2")))
	}
	reservation := func(rows map[string]*hoststream.Row) *hoststream.Reservation {
		for _, r := range rows {
			if is := r.GetReservation(); is != nil {
				return is
			}
		}
		return &hoststream.Reservation{}
	}
	one, two := plan()
	if r := reservation(one); r.Identity == 0 || len(r.Rulesets) != 0 {
		t.Errorf("without rules the reservation says %v", r)
	}
	w.Do("security-group g default\nallow g out egress IPv4")
	one, two = plan()
	r, neighbour := reservation(one), two["port/"+world.UUID(api.KindPort, "a")].GetPort()
	if len(r.Rulesets) != 2 || !slices.EqualFunc(r.Rulesets, neighbour.GetRulesets(), func(x, y *hoststream.PortRuleset) bool { return proto.Equal(x, y) }) || r.Identity != neighbour.Identity {
		t.Errorf("the reservation says %v, want what the port of the same network says: %v", r, neighbour)
	}
	for _, asked := range r.Rulesets {
		if one["ruleset/"+asked.Ruleset] == nil {
			t.Errorf("h1 does not have ruleset %s", asked.Ruleset)
		}
	}
	if who := two["route/10/10.0.0.6/32"].GetRoute().GetWorkload(); who != r.Identity {
		t.Errorf("to h2 the reserved address is %x, want %x", who, r.Identity)
	}
}

func decoded(t *testing.T, rows []placement.Row) map[string]*hoststream.Row {
	t.Helper()
	all := map[string]*hoststream.Row{}
	for _, r := range rows {
		var row hoststream.Row
		if err := proto.Unmarshal(r.Body, &row); err != nil {
			t.Fatal(err)
		}
		all[r.Key] = &row
	}
	return all
}
