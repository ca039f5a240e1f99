// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

// named are the ids of the selectors that the rules of a ruleset name, ascending.
func named(r *hoststream.Ruleset) (ids []string) {
	for _, rule := range r.Rules {
		ids = append(ids, rule.GetSelected().GetSelectors()...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// A rule of which nothing is left at a port, as one of IPv6 at a port that is
// meant by its IPv4 address, brings no selector with it.
func TestRulesetNeedsWhatItsRulesName(t *testing.T) {
	w := world.New(`host h1 192.0.2.1
network n 1
port n a
address n 10.0.0.5 a
bind a h1
tag db tier=db
firewall-rule r0 pass from=10.0.0.0/24 to=tag=db icmpv6
firewall-rule r1 pass from=10.0.0.0/24 to=network=n tcp/80
firewall-policy f r0 r1
policy-set s f`)
	d := policy.Derive(routing.Derive(w))
	asked := d.Port(world.UUID(api.KindPort, "a")).Rulesets[policy.Egress][policy.Firewall]
	if want := named(asked.Message()); len(want) != 1 || !slices.Equal(asked.Selectors, want) {
		t.Errorf("the ruleset needs %v, and its rules name %v", asked.Selectors, want)
	}
	if n := d.Count().Selectors; n != 1 {
		t.Errorf("%d selectors are there; want the one of network n", n)
	}
}

// What a ruleset is made of is another when a policy without a say in it leaves
// its set, though it says the same.
func TestRulesetIsOfWhatIsThere(t *testing.T) {
	w := world.New(`host h1 192.0.2.1
network n 1
port n a
bind a h1
firewall-rule r pass tcp/80
firewall-policy f r
firewall-policy empty
policy-set s f empty`)
	before := w.Snapshot()
	earlier := policy.Derive(routing.Derive(before))
	w.Do("policy-set s f")
	after := w.Snapshot()
	events := world.Changes(before, after)
	d := policy.Update(earlier, routing.Update(earlier.Routing, after, events), events)
	of := d.Port(world.UUID(api.KindPort, "a")).Rulesets[policy.Ingress][policy.Firewall].Of
	want := []string{world.UUID(api.KindApplicationPolicySet, "s"), world.UUID(api.KindFirewallPolicy, "f")}
	if !slices.Equal(of, want) {
		t.Errorf("the ruleset is of %s; want %s", w.Names(of[len(of)-1]), want)
	}
	if dump(d) != dump(policy.Derive(routing.Derive(after))) {
		t.Error("Update and Derive differ")
	}
}

// A rule of a network-policy that names a port means the number that each workload
// has under that name, whichever of them comes first.
func TestNetworkPolicyMeansEachWorkloadsOwnNumber(t *testing.T) {
	numbers := map[string]uint32{"a": 8080, "b": 9090}
	w := world.New(`host h1 192.0.2.1
network n 1
port n a
address n 10.0.0.5 a
named a http tcp 8080
bind a h1
port n b
address n 10.0.0.6 b
named b http tcp 9090
bind b h1
policy p
rule p pass any > n tcp/=http
attach p n`)
	d := policy.Derive(routing.Derive(w))
	for port, want := range numbers {
		asked := d.Port(world.UUID(api.KindPort, port)).Rulesets[policy.Ingress][policy.NetworkPolicy]
		var got []uint32
		for _, rule := range asked.Message().Rules {
			for _, s := range rule.Services {
				got = append(got, s.Ports.GetFirst(), s.Ports.GetLast())
			}
		}
		if !slices.Equal(got, []uint32{want, want}) {
			t.Errorf("port %s hears at %v, want its own %d", port, got, want)
		}
	}
}

// What no rule allows is logged in the name of the first group, or of the first
// isolating policy, that says so; others say nothing of it.
func TestWhatNoRuleAllowsIsLogged(t *testing.T) {
	w := world.New(`host h1 192.0.2.1
network n 1
port n a
address n 10.0.0.5 a
bind a h1
port n b
address n 10.0.0.6 b
bind b h1
security-group quiet
security-group tells log
security-group talks log
secured a tells quiet talks
secured b quiet
firewall-policy first isolates=ingress
firewall-policy logs isolates=ingress log
firewall-policy other isolates=egress
policy-set s first logs other`)
	d := policy.Derive(routing.Derive(w))
	asked := func(port string, direction policy.Direction, layer policy.Layer) *hoststream.Ruleset {
		return d.Port(world.UUID(api.KindPort, port)).Rulesets[direction][layer].Message()
	}
	for direction := range policy.Directions {
		if r := asked("a", direction, policy.SecurityGroup).Rest; r.GetName() != "d:p:talks" || r.GetKind() != "security-group" || !r.GetLog() {
			t.Errorf("%v at a is logged by %v, want by talks", direction, r)
		}
		if r := asked("b", direction, policy.SecurityGroup).Rest; r != nil {
			t.Errorf("%v at b is logged by %v, want by nobody", direction, r)
		}
	}
	for direction, want := range map[policy.Direction]string{policy.Ingress: "d:p:logs true", policy.Egress: "d:p:other false"} {
		rules := asked("a", direction, policy.Firewall).Rules
		last := rules[len(rules)-1]
		if got := fmt.Sprintf("%s %t", last.Name, last.Log); got != want || last.Action != "deny" {
			t.Errorf("%v is denied by %s, want %s", direction, got, want)
		}
	}
}
