// SPDX-License-Identifier: Apache-2.0

package balance_test

import (
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/balance"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

// A health-check of a port that takes routes back takes it out of the choice of its
// pools, monitored or not.
func TestMembersOfWithdrawnPorts(t *testing.T) {
	w := world.New("host h1 192.0.2.1\nnetwork n 10\nsubnet n 10.0.0.0/24\nport n a\naddress n 10.0.0.5 a\naddress n 10.0.0.9\nbind a h1\nhealth-check c tcp 80\ncheck a c\nbalancer l address=n:10.0.0.9\npool l p\nlistener l i TCP 80 pool=p\nmember p m 80 port=a")
	before := w.Snapshot()
	derived := balance.Derive(routing.Derive(before))
	for _, step := range []struct{ does, want, fault string }{
		{"withdraw a", balance.Down, balance.Withdrawn}, {"withdraw a back", balance.Active, ""},
	} {
		w.Do(step.does)
		after := w.Snapshot()
		events := world.Changes(before, after)
		before, derived = after, balance.Update(derived, routing.Update(derived.Routing, after, events), events)
		b := derived.Get(world.UUID(api.KindLoadBalancer, "l"))
		said := ""
		if f := b.Fault(api.KindMember, world.UUID(api.KindMember, "m")); f != nil {
			said = f.Reason
		}
		if m := b.Member(world.UUID(api.KindMember, "m")); m == nil || m.State != step.want || said != step.fault {
			t.Errorf("%s: the member is %+v and says %q, want %s and %q", step.does, m, said, step.want, step.fault)
		}
	}
}

// What a monitor says decides whether a member is chosen, if there is a monitor, and
// also where nothing but that changes.
func TestTriedMembers(t *testing.T) {
	w := world.New("host h1 192.0.2.1\nnetwork n 10\nsubnet n 10.0.0.0/24\nport n a\naddress n 10.0.0.5 a\naddress n 10.0.0.9\nbind a h1\nbalancer l address=n:10.0.0.9\npool l p\nlistener l i TCP 80 pool=p\nmember p m 80 port=a\nmonitor p tcp")
	before := w.Snapshot()
	derived := balance.Derive(routing.Derive(before))
	for _, step := range []struct{ does, want string }{
		{"tried m unknown", balance.Draining}, {"tried m online", balance.Active}, {"tried m failed", balance.Down}, {"tried m unknown", balance.Draining},
		{"tried m untried", balance.Active}, {"tried m unknown", balance.Draining}, {"monitor p tcp down", balance.Active},
	} {
		w.Do(step.does)
		after := w.Snapshot()
		events := world.Changes(before, after)
		before, derived = after, balance.Update(derived, routing.Update(derived.Routing, after, events), events)
		m := derived.Get(world.UUID(api.KindLoadBalancer, "l")).Member(world.UUID(api.KindMember, "m"))
		if m == nil || m.State != step.want {
			t.Errorf("%s: the member is %+v, want %s", step.does, m, step.want)
		}
	}
}
