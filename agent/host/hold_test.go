// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

const testHold = 30 * time.Second

// holding are rows under a hold.
func holding(rows map[string]*hoststream.Row) map[string]*hoststream.Row {
	all := maps.Clone(rows)
	all[desired.HoldRow("h")] = &hoststream.Row{Body: &hoststream.Row_Hold{Hold: &hoststream.Hold{Hold: "h", Seconds: uint32(testHold / time.Second)}}}
	return all
}

// hearsBoth is what the kernel says now of a remote at the port, by all that it asks.
func (p *policed) hearsBoth(i int) bool {
	who := p.who(i)
	asks := p.m.PortPolicies.Rows[4]
	said := func(id uint32) bool {
		verdict := p.m.Rulesets.Rows[id].Identified
		if class, named := p.m.RemoteClasses.Rows[vrouter.RemoteClassKey{Ruleset: id, Identity: who}]; named {
			verdict = class.Any
		}
		return verdict.Action == rules.Pass
	}
	all := said(asks.Rulesets[rules.Ingress][rules.SecurityGroup])
	if asks.Strict {
		all = all && said(asks.Former[rules.Ingress][rules.SecurityGroup])
	}
	return all
}

// rounds goes on until there is nothing to do at this time.
func (p *policed) rounds() {
	p.t.Helper()
	for range 1000 {
		if !p.c.Round(p.t.Context(), p.now) {
			return
		}
	}
	p.t.Fatal("does not come to rest")
}

// watched applies rows in one delta, and calls now at each change in the kernel that shows.
func (p *policed) watched(rows map[string]*hoststream.Row, now func()) {
	p.t.Helper()
	routes, policies := p.m.Routes.Check, p.m.PortPolicies.Check
	defer func() { p.m.Routes.Check, p.m.PortPolicies.Check, p.m.PoolMembers.Check = routes, policies, nil }()
	p.m.Routes.Check = func(k vrouter.RouteKey, v vrouter.Route, deleted bool) { routes(k, v, deleted); now() }
	p.m.PortPolicies.Check = func(ifindex int, v vrouter.PortPolicy, deleted bool) { policies(ifindex, v, deleted); now() }
	p.m.PoolMembers.Check = func(vrouter.PoolMemberKey, vrouter.PoolMember, bool) { now() }
	p.revision++
	if err := p.c.Apply(delta(p.has, rows, p.revision, true)); err != nil {
		p.t.Fatal(err)
	}
	p.rounds()
	now()
}

// startAnew begins the agent anew, with what it wrote down and the kernel as it is.
func (p *policed) startAnew(rows map[string]*hoststream.Row) {
	p.t.Helper()
	table := desired.New()
	p.has = map[string]string{}
	if err := table.Apply(delta(p.has, rows, p.revision, true)); err != nil {
		p.t.Fatal(err)
	}
	p.c = boot(p.t, p.m, table, map[string]host.Plug{portID(1): {Interface: "wf1", Attachment: datapath.Attachment{Ifindex: 4}}})
	p.rounds()
}

// When a change is held, the port hears nobody whom it did not hear before, until
// the hold ends, and then nobody whom it does not hear after; whom it hears by
// all of these it hears at every moment. So it is when there are other changes
// meanwhile, and when the agent starts again.
func TestAHeldChangeIsBothPolicies(t *testing.T) {
	r := seeded(t)
	p := newPoliced(t)
	set, groups := 0, make([]int, 6)
	p.apply(memberRows(set, groups))
	for n := range 300 {
		former, before := set, slices.Clone(groups)
		was := func(i int) bool { return heard(former, before[i]) }
		for range 1 + r.IntN(2) { // the change, and perhaps another one
			set1, groups1 := set, slices.Clone(groups)
			for range r.IntN(len(groups)) {
				groups[r.IntN(len(groups))] = r.IntN(groupSets)
			}
			if r.IntN(2) == 0 {
				set = r.IntN(len(memberRules))
			}
			p.watched(holding(memberRows(set, groups)), func() {
				for i := range groups {
					hears, all := p.hearsBoth(i), was(i) && heard(set1, groups1[i]) && heard(set, groups[i])
					if hears && !was(i) || all && !hears {
						t.Fatalf("change %d: remote %d goes from groups %b by %b to %b, rules from %d by %d to %d, and for a moment hearing it is %t", n, i, before[i], groups1[i], groups[i], former, set1, set, hears)
					}
				}
			})
			if r.IntN(4) == 0 {
				p.startAnew(holding(memberRows(set, groups)))
			}
			for i := range groups {
				if got, want := p.hearsBoth(i), was(i) && heard(set, groups[i]); got != want {
					t.Fatalf("change %d: while it is held, hearing remote %d of groups %b, now %b, is %t, want %t\n%s", n, i, before[i], groups[i], got, want, show(p.m))
				}
			}
			if why := p.c.Problems()[desired.HoldRow("h")]; why != "" {
				t.Fatalf("change %d: the hold's row has a problem: %s", n, why)
			}
		}
		released := func() {
			for i := range groups {
				hears, will := p.hearsBoth(i), heard(set, groups[i])
				if hears && !will || was(i) && will && !hears {
					t.Fatalf("change %d: when the hold ends, hearing remote %d of groups %b, now %b, is %t for a moment", n, i, before[i], groups[i], hears)
				}
			}
		}
		p.watched(memberRows(set, groups), released)
		p.onlyThose(set, groups)
	}
}

// A hold that nobody withdraws ends by itself, and its row says so.
func TestAHoldEndsByItself(t *testing.T) {
	p := newPoliced(t)
	groups := []int{inOld, inNew}
	p.apply(memberRows(1, groups))
	p.watched(holding(memberRows(2, groups)), func() {})
	if p.hearsBoth(0) || p.hearsBoth(1) {
		t.Error("while the change is held the port hears whom only one of the policies passes")
	}
	end, ok := p.c.NextAttempt()
	if want := p.now.Add(testHold); !ok || !end.Equal(want) {
		t.Fatalf("the hold ends at %v, %t; want %v", end, ok, want)
	}
	p.now = end
	p.rounds()
	if p.hearsBoth(0) || !p.hearsBoth(1) {
		t.Error("after the hold the port does not ask the new policy alone")
	}
	if why := p.c.Problems()[desired.HoldRow("h")]; !strings.Contains(why, "ended by itself") {
		t.Errorf("the hold's row says %q", why)
	}
	p.onlyThose(2, groups)
}

// A port that asks nothing any more asks what it asked while the change is held.
func TestAHeldPortAsksWhatItAskedAlone(t *testing.T) {
	p := newPoliced(t)
	groups := []int{inOld, inNew}
	p.apply(memberRows(1, groups))
	free := memberRows(1, groups)
	free["port/"+portID(1)].GetPort().Rulesets = nil
	delete(free, desired.RulesetRow("r1"))
	delete(free, desired.SelectorRow("old"))
	p.watched(holding(free), func() {})
	asks := p.m.PortPolicies.Rows[4]
	if former := asks.Former[rules.Ingress][rules.SecurityGroup]; !asks.Strict || former == 0 || asks.Rulesets != (vrouter.PortPolicy{}).Rulesets || !p.m.Ports.Rows[4].Policed {
		t.Fatalf("the port asks %+v, policed %t", asks, p.m.Ports.Rows[4].Policed)
	}
	p.watched(free, func() {})
	if len(p.m.PortPolicies.Rows)+len(p.m.Rulesets.Rows) > 0 || p.m.Ports.Rows[4].Policed {
		t.Errorf("something is left\n%s", show(p.m))
	}
}
