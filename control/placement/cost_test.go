// SPDX-License-Identifier: Apache-2.0

package placement_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

// sent are the kinds of rows that a host is sent, or told to delete, from one
// plan to the next: each row one word.
func sent(before, after *placement.Plan, host string) string {
	rows := func(p *placement.Plan) map[string]uint64 {
		all := map[string]uint64{}
		for _, r := range p.For(world.UUID(api.KindHost, host)) {
			all[r.Key] = r.Hash
		}
		return all
	}
	had, has := rows(before), rows(after)
	var words []string
	for key := range maps.Keys(has) {
		if hash, ok := had[key]; !ok || hash != has[key] {
			word, _, _ := strings.Cut(key, "/")
			words = append(words, word)
		}
	}
	for key := range maps.Keys(had) {
		if _, ok := has[key]; !ok {
			word, _, _ := strings.Cut(key, "/")
			words = append(words, "-"+word)
		}
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// A change of policy sends to each host what it touches there and nothing else.
func TestWhatAChangeOfPolicySends(t *testing.T) {
	w := world.New(`host h1 192.0.2.1
host h2 192.0.2.2
host h3 192.0.2.3
network n 1
network other 2
security-group web
security-group db
allow db in ingress IPv4 tcp/5432 group=web
allow web out egress IPv4
port n a
port n b
port n c
port other o
address n 10.0.0.5 a
address n 10.0.0.6 b
address n 10.0.0.7 c
address other 10.0.0.5 o
secured a web
secured b db
secured c web
bind a h1
bind b h2
bind c h1
bind o h3
tag t tier=web
firewall-rule r deny from=tag=t tcp/22
firewall-policy f r
policy-set s f`)
	before := w.Snapshot()
	plan := placement.New(1, routing.Derive(before), nil)
	for _, step := range []struct{ do, what, h1, h2, h3 string }{
		{"port n d\nsecured d web\nbind d h1", "a further member is one of those that are known", "mac port", "mac", ""},
		{"address n 10.0.0.8 d", "its address", "-mac name port route", "-mac name route", "name"},
		{"tagged t port a", "a workload becomes one that was not known", "port route ruleset selector", "route selector selector", "selector"},
		{"allow db more ingress IPv4 tcp/5433 group=web", "a rule more", "", "-ruleset port ruleset", ""},
		{"firewall-rule r deny from=tag=t tcp/23", "a rule that all ask", "-ruleset -ruleset port port port ruleset ruleset", "-ruleset port ruleset", "-ruleset port ruleset"},
		{"limit o 5", "a limit of one port", "", "", "port"},
		{"held d 30", "a change that is held", "hold", "hold", "hold"},
		{"limit o 6\nheld d 0", "and is not any more", "-hold", "-hold", "-hold port"},
		{"security-group nobody\nallow nobody in ingress IPv4", "a group that nobody has", "", "", ""},
	} {
		w.Do(step.do)
		after := w.Snapshot()
		events := world.Changes(before, after)
		next := placement.Of(1, policy.Update(plan.Policy, routing.Update(plan.Derived, after, events), events), plan)
		for host, want := range map[string]string{"h1": step.h1, "h2": step.h2, "h3": step.h3} {
			if got := sent(plan, next, host); got != want {
				t.Errorf("%s: %s is sent %q, want %q", step.what, host, got, want)
			}
			if uuid := world.UUID(api.KindHost, host); want == "" && !strings.HasPrefix(step.do, "port") && !next.Same(uuid, plan) {
				t.Errorf("%s: %s is looked at, though nothing changed there", step.what, host)
			}
		}
		before, plan = after, next
	}
}
