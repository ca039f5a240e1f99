// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/world"
)

// A route-table says whether its routes lead somewhere, and what does not; not
// whose network it is where that is another owner's.
func TestRouteTableSaysWhatIsUnresolved(t *testing.T) {
	s := newSystem(t, `host h1 192.0.2.1
network blue 10
network green 30
port blue a
address blue 10.0.0.5 a
table out 10.9.0.0/16 10.0.0.5 0.0.0.0/0 10.0.0.6
table idle 10.9.0.0/16 10.0.0.5
table-network blue out`)
	table := func(name string) api.Condition {
		t.Helper()
		s.round()
		o := s.Get(api.KindRouteTable, world.UUID(api.KindRouteTable, name)).(*api.RouteTable)
		if len(o.Status.Conditions) != 1 || o.Status.Conditions[0].Type != "Resolved" {
			t.Fatalf("conditions of %s: %+v", name, o.Status.Conditions)
		}
		return o.Status.Conditions[0]
	}
	before := table("out")
	want := "0.0.0.0/0 via 10.0.0.6 in d:p:blue: no port of the network that is bound to a host has 10.0.0.6; 10.9.0.0/16 via 10.0.0.5 in d:p:blue: "
	if before.Status || before.Reason != "unresolved" || !strings.HasPrefix(before.Message, want) {
		t.Errorf("before a binding: %+v", before)
	}
	if c := table("idle"); !c.Status {
		t.Errorf("a table nobody uses: %+v", c)
	}
	s.Do("bind a h1")
	half := table("out")
	if half.Status || strings.Contains(half.Message, "10.9.0.0/16") || half.Since != before.Since {
		t.Errorf("with one of two: %+v, since %v", half, before.Since)
	}
	s.Do("port blue b\naddress blue 10.0.0.6 b\nbind b h1")
	whole := table("out")
	if !whole.Status || whole.Message != "" || !whole.Since.After(before.Since) {
		t.Errorf("with both: %+v", whole)
	}
	s.Do("table-network green out")
	s.Get(api.KindNetwork, world.UUID(api.KindNetwork, "green")).Head().Meta.Owner = "other"
	if c := table("out"); c.Status || strings.Contains(c.Message, "green") || !strings.Contains(c.Message, "in a network of orchestrator other") {
		t.Errorf("of another's network: %+v", c)
	}
}
