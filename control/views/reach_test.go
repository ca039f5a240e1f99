// SPDX-License-Identifier: Apache-2.0

package views_test

import (
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/views"
	"github.com/weft-network/weft/control/world"
)

// twoGroups is a network where web may begin everything, and db takes web's TCP 5432.
const twoGroups = `host h1 192.0.2.1
network blue 10
subnet blue 10.0.0.0/24
port blue w
port blue d
address blue 10.0.0.5 w
address blue 10.0.0.6 d
bind w h1
bind d h1
security-group web
security-group db
allow web out egress IPv4
allow db in ingress IPv4 tcp/5432 group=web
secured w web
secured d db`

func portName(name string) string { return "port/" + world.UUID(api.KindPort, name) }

// An assertion is checked for the state as it would be, which nobody else sees.
func TestCheckOfWhatIsOnlyThoughtOf(t *testing.T) {
	w := world.New(twoGroups)
	v := views.New(&fleet{plan: placement.New(1, routing.Derive(w), nil)})
	never := []api.Assertion{{Never: &api.Encounter{From: portName("w"), To: portName("d"), Protocol: "tcp", Port: 22}}}
	allows := []api.Assertion{{Allows: &api.Encounter{From: portName("w"), To: portName("d"), Protocol: "tcp", Port: 5432}}}

	other := world.New(twoGroups + "\nallow db ssh ingress IPv4 tcp/22")
	opened := &api.Changes{Put: []api.Object{other.Get(api.KindSecurityGroupRule, world.UUID(api.KindSecurityGroupRule, "db:ssh"))}}
	closed := &api.Changes{Deleted: []api.Target{{Kind: api.KindSecurityGroupRule, UUID: world.UUID(api.KindSecurityGroupRule, "db:in")}}}
	for _, c := range []struct {
		name       string
		assertions []api.Assertion
		changes    *api.Changes
		holds      bool
	}{
		{"nothing on 22 now", never, nil, true},
		{"22 would be open", never, opened, false},
		{"5432 is open now", allows, nil, true},
		{"5432 would be closed", allows, closed, false},
		{"it still is not", never, nil, true},
	} {
		got, err := v.Check(t.Context(), w, c.assertions, c.changes)
		if err != nil {
			t.Fatal(err)
		}
		if got.Holds() != c.holds {
			t.Errorf("%s: holds %v, want %v: %+v", c.name, got.Holds(), c.holds, got.Verdicts)
		}
	}
}

// blind sees nothing of one kind.
type blind struct {
	*world.World
	kind api.Kind
}

func (b blind) Get(kind api.Kind, uuid string) api.Object {
	if kind == b.kind {
		return nil
	}
	return b.World.Get(kind, uuid)
}

func (b blind) Lookup(kind api.Kind, ref api.Ref) api.Object {
	if kind == b.kind {
		return nil
	}
	return b.World.Lookup(kind, ref)
}

func TestReachShowsOnlyWhatIsSeen(t *testing.T) {
	w := world.New(twoGroups)
	v := views.New(&fleet{plan: placement.New(1, routing.Derive(w), nil)})
	network := "network/" + world.UUID(api.KindNetwork, "blue")
	all, err := v.Reach(t.Context(), w, network, network)
	if err != nil || len(all.Rows) != 2 {
		t.Fatalf("who sees all: %+v, %v", all, err)
	}
	none, err := v.Reach(t.Context(), blind{w, api.KindPort}, network, network)
	if err != nil || len(none.Rows) != 0 {
		t.Errorf("who sees no port: %+v, %v", none, err)
	}
	if _, err := v.Reach(t.Context(), blind{w, api.KindNetwork}, network, network); err == nil || !strings.Contains(err.Error(), "there is no network") {
		t.Errorf("who does not see the network: %v", err)
	}
	never := []api.Assertion{{Never: &api.Encounter{From: portName("w"), To: portName("d")}}}
	checked, err := v.Check(t.Context(), blind{w, api.KindSecurityGroupRule}, never, nil)
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Join(checked.Verdicts[0].Counter.Verdicts, ", ")
	if checked.Holds() || strings.Contains(words, "db:in") || !strings.Contains(words, "may not see") {
		t.Errorf("who does not see the rules: %s", words)
	}
}
