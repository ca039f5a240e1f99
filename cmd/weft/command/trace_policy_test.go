// SPDX-License-Identifier: Apache-2.0

package command

import (
	"net/netip"
	"os"
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
		"a group that logs": {api.PolicyStep{Direction: api.Ingress, Layer: "security-group", Remote: four, Action: "deny", Ruleset: "security-group a:b:web", Rule: rule("security-group", "a:b:web", 0, "")}, https, []string{"weft create security-group-rule a:b:web:NAME "}},
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
		"a protocol with ports that is neither TCP nor UDP": {
			api.PolicyStep{Direction: api.Ingress, Layer: "security-group", Port: "a:b:web-1", Remote: four, Action: "deny", Ruleset: "security-group a:b:web"}, api.TraceQuestion{Protocol: "132", DestinationPort: 5000},
			[]string{"allows ingress sctp/5000 from 10.0.0.9", "--set match.protocol=sctp --set match.ports.from=5000 "},
		},
		"a protocol without ports": {
			api.PolicyStep{Direction: api.Ingress, Layer: "security-group", Port: "a:b:web-1", Remote: four, Action: "deny", Ruleset: "security-group a:b:web"}, api.TraceQuestion{Protocol: "47", DestinationPort: 5000},
			[]string{"allows ingress gre from 10.0.0.9", "--set match.protocol=gre --set remoteRange"},
		},
		"ICMP that is no echo": {
			api.PolicyStep{Direction: api.Egress, Layer: "security-group", Port: "a:b:web-1", Remote: four, Action: "deny", Ruleset: "security-group a:b:web"}, api.TraceQuestion{ICMP: "3/4"},
			[]string{"allows egress icmp/3/4 to 10.0.0.9", "--set match.protocol=icmp --set match.icmpType=3 --set match.icmpCode=4 "},
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

// What something else than policy ended is said with what would have to change, too.
func TestChangeSaysWhatWouldHaveToChange(t *testing.T) {
	reasons, err := os.ReadFile("../../../doc/packet-path.md")
	if err != nil {
		t.Fatal(err)
	}
	port := func(name, network string) traceEnd {
		p := &api.Port{}
		p.Meta.FQName, p.Spec.Network.Name = "a:b:"+name, "a:b:"+network
		return traceEnd{port: p}
	}
	web, db := port("web-1", "web"), port("db-1", "db")
	sent := func(missing string) traceHop {
		return traceHop{Host: "h1", items: map[string]string{"port": "a:b:web-1, state up", "missing route": missing}}
	}
	say := func(reason, missing string, to traceEnd) string {
		return ending{sent(missing), traceHop{Host: "h2", Reason: reason}, api.TraceQuestion{To: netip.MustParseAddr("10.0.2.9")}, web, to}.change()
	}
	for reason := range changes {
		if !strings.Contains(string(reasons), "*"+reason+"*") {
			t.Errorf("%s is no reason of doc/packet-path.md", reason)
		}
		if text := say(reason, "", db); text == "" || strings.ContainsAny(text, "{}") {
			t.Errorf("%s: %q", reason, text)
		}
	}
	for _, c := range []struct {
		got  string
		want []string
	}{
		{say("no-route", "", db), []string{"networks a:b:web and a:b:db are not joined", "weft attach POLICY a:b:web a:b:db", "weft why port a:b:db-1"}},
		{say("no-route", "", traceEnd{}), []string{"nobody has 10.0.2.9 in network a:b:web"}},
		{say("no-route", "10.0.2.9/32 is to be in VRF 7", db), []string{"weft capacity --host h1"}},
		{say("receiver-disabled", "", db), []string{"weft edit port a:b:db-1"}},
		{say("port-disabled", "", db), []string{"weft edit port a:b:web-1"}},
		{say("no-listener", "", traceEnd{}), []string{"a listener of the protocol and port", "weft load-balancer"}},
		{say("unknown-tunnel-source", "", db), []string{"host h2 is to know", "weft why port a:b:web-1"}},
	} {
		for _, want := range c.want {
			if !strings.Contains(c.got, want) {
				t.Errorf("%q, want %q in it", c.got, want)
			}
		}
	}
	for protocol, want := range map[string]string{"6": "a TCP reset", "17": "an ICMP error"} {
		for _, reason := range []string{"policy-rejected", "no-listener", "no-member"} {
			way := traceWay{Hops: []traceHop{{Host: "h1", Verdict: "answered", Reason: reason, items: map[string]string{api.TraceProtocol: protocol}}}}
			if text := way.conclusion(); !strings.Contains(text, want) {
				t.Errorf("%s of protocol %s: %q, want %q in it", reason, protocol, text, want)
			}
		}
	}
	if text := say("rewrite-failed", "", db); text != "" {
		t.Errorf("of a refusal of the kernel: %q", text)
	}
}

// A packet that is translated on its way is said to be, whichever host does it: its answer
// cannot be traced from its end.
func TestTraceSaysWhatIsTranslated(t *testing.T) {
	for stage, want := range map[string]bool{"balance": true, "map": true, "route": false} {
		way := traceWay{Hops: []traceHop{{Host: "h1", Verdict: "tunnelled"}, {Host: "h2", Verdict: "delivered", Steps: []traceStep{{Item: api.TraceStage, Value: stage + ": passed"}}}}}
		way.end(way.Hops[1], traceEnd{})
		if way.Translated != want {
			t.Errorf("through stage %s: translated %t, want %t", stage, way.Translated, want)
		}
	}
}
