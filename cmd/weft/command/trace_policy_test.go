// SPDX-License-Identifier: Apache-2.0

package command

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
)

// What ended the packet is said with what would have to change, and by whom.
func TestRemedySaysWhatWouldHaveToChange(t *testing.T) {
	https := api.TraceQuestion{Protocol: "tcp", DestinationPort: 443}
	four, six := netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("2001:db8::9")
	rule := func(kind, name string, index int, owner string) *api.PolicyRule {
		return &api.PolicyRule{Kind: kind, Name: name, Index: index, Owner: owner, Via: []string{"firewall-policy a:b:p"}}
	}
	for name, c := range map[string]struct {
		step     api.PolicyStep
		question api.TraceQuestion
		want     []string
	}{
		"a group without a rule": {
			api.PolicyStep{Direction: api.Ingress, Layer: "security-group", Port: "a:b:web-1", Remote: four, Action: "deny", Ruleset: "security-groups a:b:web, a:b:db"}, https,
			[]string{"no rule of security-groups a:b:web, a:b:db of port a:b:web-1 allows ingress tcp/443 from 10.0.0.9", "weft create security-group-rule a:b:web:NAME --set direction=ingress --set family=IPv4 --set match.protocol=tcp --set match.ports.from=443 --set remoteRange=10.0.0.9/32"},
		},
		"a group of somebody else, in the other direction": {
			api.PolicyStep{Direction: api.Egress, Layer: "security-group", Port: "a:b:web-1", Remote: six, Action: "deny", Ruleset: "security-group a:b:theirs"}, api.TraceQuestion{},
			[]string{"egress icmpv6 to 2001:db8::9", "a:b:theirs:NAME --set direction=egress --set family=IPv6 --set match.protocol=icmpv6 --set remoteRange=2001:db8::9/128", "its owner is openstack-1"},
		},
		"a rule of a firewall": {
			api.PolicyStep{Direction: api.Ingress, Layer: "firewall", Port: "a:b:web-1", Remote: four, Action: "reject", Rule: rule("firewall-rule", "a:b:no", 0, "openstack-1")}, https,
			[]string{"firewall-rule a:b:no by firewall-policy a:b:p (owner openstack-1) denies ingress tcp/443 from 10.0.0.9 at port a:b:web-1", "weft edit firewall-rule a:b:no", "who alone may change it"},
		},
		"a rule of a network-policy": {
			api.PolicyStep{Direction: api.Egress, Layer: "network-policy", Port: "a:b:web-1", Remote: four, Action: "deny", Rule: rule("network-policy", "a:b:n", 2, "weft")}, https,
			[]string{"rule 2 of network-policy a:b:n", "weft edit network-policy a:b:n"},
		},
		"no rule of a network-policy": {
			api.PolicyStep{Direction: api.Egress, Layer: "network-policy", Port: "a:b:web-1", Remote: four, Action: "deny", Ruleset: "network-policies of network a:b:web"}, https,
			[]string{"no rule of network-policies of network a:b:web passes egress tcp/443 to 10.0.0.9 at port a:b:web-1", "weft edit network-policy NAME"},
		},
		"an isolated port": {
			api.PolicyStep{Direction: api.Ingress, Layer: "firewall", Port: "a:b:web-1", Remote: four, Action: "deny", Ruleset: "application-policy-set a:b:s"}, https,
			[]string{"application-policy-set a:b:s isolates port a:b:web-1"},
		},
		"somebody unknown": {
			api.PolicyStep{Direction: api.Ingress, Layer: "firewall", Port: "a:b:web-1", Remote: four, Identity: "pending", Action: "pending"}, https,
			[]string{"weft why address 10.0.0.9"},
		},
		"a port whose rules are still to come": {
			api.PolicyStep{Direction: api.Ingress, Layer: "firewall", Port: "a:b:web-1", Remote: four, Action: "absent"}, https,
			[]string{"weft port a:b:web-1"},
		},
		"a layer that passed": {api.PolicyStep{Action: "pass"}, https, nil},
	} {
		owner := func(group string) string { return map[string]string{"a:b:theirs": "openstack-1"}[group] }
		got := remedy(owner, traceHop{Host: "h1", Policy: []api.PolicyStep{c.step}}, c.question)
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q, want %q in it", name, got, want)
			}
		}
		if len(c.want) == 0 && got != "" {
			t.Errorf("%s: %q, want nothing", name, got)
		}
	}
}
