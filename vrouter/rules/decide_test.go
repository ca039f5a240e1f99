// SPDX-License-Identifier: Apache-2.0

package rules_test

import (
	"net/netip"
	"testing"

	"github.com/weft-network/weft/vrouter/rules"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func tcp(id rules.Identity, remote string, port uint16) rules.Packet {
	return rules.Packet{Identity: id, Remote: netip.MustParseAddr(remote), Protocol: rules.TCP, SourcePort: 40000, Port: port}
}

func ports(first, last uint16) []rules.Service {
	return []rules.Service{{Protocol: rules.TCP, Ports: &rules.Range{First: first, Last: last}}}
}

func octet(n uint8) *uint8 { return &n }

// shop is a ruleset with one rule of each kind.
func shop() rules.Ruleset {
	return rules.Ruleset{Outside: rules.Deny, Identified: rules.Next, Rules: []rules.Rule{
		{Number: 10, Name: "watch", Action: rules.Deny, Audit: true, Services: ports(80, 81)},
		{Number: 11, Name: "web", Action: rules.Pass, Remote: rules.Workloads, Identities: []rules.Identity{7, 8}, Services: ports(80, 80), Log: true},
		{Number: 12, Name: "guests", Action: rules.Reject, Remote: rules.Workloads, Identities: []rules.Identity{9}},
		{Number: 13, Name: "offices", Action: rules.Pass, Remote: rules.Addresses, Ranges: []netip.Prefix{prefix("10.0.0.0/8"), prefix("2001:db8::/32")}, Except: []netip.Prefix{prefix("10.9.0.0/16")}},
		{Number: 14, Name: "ping", Action: rules.Pass, Services: []rules.Service{{Protocol: rules.ICMP, ICMPType: octet(8), ICMPCode: octet(0)}}},
		{Number: 15, Name: "names", Action: rules.Pass, Services: []rules.Service{{AnyProtocol: true, SourcePorts: &rules.Range{First: 53, Last: 53}}}},
	}}
}

func TestDecideFollowsTheRules(t *testing.T) {
	ping := rules.Packet{Remote: netip.MustParseAddr("192.0.2.1"), Protocol: rules.ICMP, Port: rules.ICMPPort(8, 0)}
	ping6 := ping
	ping6.Remote = netip.MustParseAddr("2001:db9::1")
	unreachable := ping
	unreachable.Port = rules.ICMPPort(3, 0)
	answer := rules.Packet{Remote: netip.MustParseAddr("192.0.2.1"), Protocol: rules.UDP, SourcePort: 53, Port: 9}
	for name, c := range map[string]struct {
		packet rules.Packet
		action rules.Action
		rule   uint32
		audit  uint32
	}{
		"a workload that is named, an audit rule before": {tcp(7, "192.0.2.1", 80), rules.Pass, 11, 10},
		"its other port":                                      {tcp(7, "192.0.2.1", 443), rules.Next, 0, 0},
		"a workload that is refused":                          {tcp(9, "192.0.2.1", 80), rules.Reject, 12, 10},
		"refused first, though its address is allowed later":  {tcp(9, "10.0.0.1", 22), rules.Reject, 12, 0},
		"an address in a range":                               {tcp(rules.None, "10.0.0.1", 22), rules.Pass, 13, 0},
		"an address in a range, of the other family":          {tcp(rules.None, "2001:db8::1", 22), rules.Pass, 13, 0},
		"an address in an exception":                          {tcp(rules.None, "10.9.0.1", 22), rules.Deny, 0, 0},
		"pending: a rule that passes workloads is not for it": {tcp(rules.Pending, "192.0.2.1", 80), rules.DropPending, 12, 10},
		"ping":                           {ping, rules.Pass, 14, 0},
		"protocol 1 is not ping in IPv6": {ping6, rules.Deny, 0, 0},
		"another type":                   {unreachable, rules.Deny, 0, 0},
		"a source port":                  {answer, rules.Pass, 15, 0},
		"nobody's rule, outside":         {tcp(rules.None, "192.0.2.1", 25), rules.Deny, 0, 0},
		"nobody's rule, known":           {tcp(5, "192.0.2.1", 25), rules.Next, 0, 0},
	} {
		got, audit := shop().Decide(c.packet)
		if got.Action != c.action || got.Rule != c.rule || audit.Rule != c.audit {
			t.Errorf("%s: %v by rule %d, audit rule %d; want %v by %d, audit %d", name, got.Action, got.Rule, audit.Rule, c.action, c.rule, c.audit)
		}
	}
}

func TestPendingIsNotLetThroughWhatCouldDenyIt(t *testing.T) {
	named := func(a rules.Action) rules.Rule {
		return rules.Rule{Number: 1, Action: a, Remote: rules.Workloads}
	}
	open := rules.Rule{Number: 2, Action: rules.Pass}
	for name, c := range map[string]struct {
		ruleset rules.Ruleset
		want    rules.Action
	}{
		"denied if it is one of them":      {rules.Ruleset{Rules: []rules.Rule{named(rules.Deny), open}}, rules.DropPending},
		"left to a tier that may deny it":  {rules.Ruleset{Rules: []rules.Rule{named(rules.Next), open}}, rules.DropPending},
		"passed, whoever it is":            {rules.Ruleset{Rules: []rules.Rule{named(rules.Pass), open}}, rules.Pass},
		"passed only if it is one of them": {rules.Ruleset{Rules: []rules.Rule{named(rules.Pass)}, Identified: rules.Deny, Outside: rules.Pass}, rules.DropPending},
		"nothing said":                     {rules.Ruleset{Identified: rules.Next, Outside: rules.Deny}, rules.Next},
		"denied before, whoever it is":     {rules.Ruleset{Rules: []rules.Rule{{Action: rules.Deny}, named(rules.Deny)}}, rules.Deny},
	} {
		if got, _ := c.ruleset.Decide(tcp(rules.Pending, "10.0.0.1", 80)); got.Action != c.want {
			t.Errorf("%s: %v, want %v", name, got.Action, c.want)
		}
	}
}

func TestAnEndAsksItsLayersInOrder(t *testing.T) {
	says := func(a rules.Action) *rules.Ruleset { return &rules.Ruleset{Outside: a, Identified: a} }
	for name, c := range map[string]struct {
		end   rules.End
		want  rules.Action
		layer rules.Layer
		asked int
	}{
		"no layer":                            {rules.End{}, rules.Pass, 0, 0},
		"the first two must both pass":        {rules.End{Rulesets: [rules.Layers]*rules.Ruleset{says(rules.Pass), says(rules.Deny), says(rules.Pass)}}, rules.Deny, rules.SecurityGroup, 2},
		"of the tiers the first that decides": {rules.End{Rulesets: [rules.Layers]*rules.Ruleset{nil, says(rules.Pass), says(rules.Next), says(rules.Pass), says(rules.Deny)}}, rules.Pass, rules.Firewall, 3},
		"the last tier":                       {rules.End{Rulesets: [rules.Layers]*rules.Ruleset{nil, nil, says(rules.Next), nil, says(rules.Reject)}}, rules.Reject, rules.FirewallBaseline, 2},
		"no tier decides":                     {rules.End{Rulesets: [rules.Layers]*rules.Ruleset{nil, nil, says(rules.Next)}}, rules.Pass, rules.FirewallAdmin, 1},
	} {
		got := c.end.Decide(tcp(5, "10.0.0.1", 80))
		if got.Action != c.want || got.Layer != c.layer || len(got.Asked) != c.asked {
			t.Errorf("%s: %v at %v after %d layers, want %v at %v after %d", name, got.Action, got.Layer, len(got.Asked), c.want, c.layer, c.asked)
		}
	}
}
