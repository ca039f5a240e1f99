// SPDX-License-Identifier: Apache-2.0

package desired_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter/rules"
)

func anybody() *hoststream.Rule_Anybody {
	return &hoststream.Rule_Anybody{Anybody: &hoststream.Anybody{}}
}

// rulesetOf is the row of a ruleset with these rules.
func rulesetOf(all ...*hoststream.Rule) *hoststream.Ruleset {
	return &hoststream.Ruleset{Ruleset: "r", Name: "group web", Rules: all, Outside: "deny", Identified: "next"}
}

func applied(t *testing.T, key string, r *hoststream.Row) *desired.Table {
	t.Helper()
	table := desired.New()
	if err := table.Apply(&hoststream.Delta{Version: &hoststream.Version{Epoch: 1}, Put: []*hoststream.EncodedRow{row(t, key, r)}}); err != nil {
		t.Fatal(err)
	}
	return table
}

// A ruleset says what its row says, with whose its rules are.
func TestRuleset(t *testing.T) {
	web := rulesetOf(
		&hoststream.Rule{Object: "o", Kind: "firewall-policy", Name: "acme:web", Index: 2, Owner: "kubernetes", Via: []string{"application-policy-set/acme:all"}, Action: "reject", Log: true, Audit: true,
			Remote: &hoststream.Rule_Selected{Selected: &hoststream.Selected{Selectors: []string{"s"}}},
			Services: []*hoststream.RuleService{{Protocol: proto.Uint32(6), Ports: &hoststream.NumberRange{First: 80, Last: 81}, SourcePorts: &hoststream.NumberRange{First: 9, Last: 9}},
				{Family: 6, Protocol: proto.Uint32(58), IcmpType: proto.Uint32(128), IcmpCode: proto.Uint32(0)}, {Family: 4}}},
		&hoststream.Rule{Kind: "security-group-rule", Name: "acme:r", Action: "pass", Remote: &hoststream.Rule_Ranges{Ranges: &hoststream.Ranges{
			Ranges: []*hoststream.Prefix{{Address: []byte{10, 0, 0, 0}, Length: 8}}, Except: []*hoststream.Prefix{{Address: []byte{10, 1, 0, 0}, Length: 16}}}}},
		&hoststream.Rule{Kind: "security-group-rule", Name: "acme:q", Action: "pass", Remote: anybody()},
	)
	web.Rest = &hoststream.Rule{Object: "g", Kind: "security-group", Name: "acme:web", Owner: "kubernetes", Log: true}
	table := applied(t, "ruleset/r", &hoststream.Row{Body: &hoststream.Row_Ruleset{Ruleset: web}})
	got := table.Rulesets["r"]
	zero, request := uint8(0), uint8(128)
	want := desired.Ruleset{ID: "r", Name: "group web", Outside: rules.Deny, Identified: rules.Next, Digest: got.Digest, Rest: &desired.Cause{Object: "g", Kind: "security-group", Name: "acme:web", Owner: "kubernetes"}, Rules: []desired.Rule{
		{Cause: desired.Cause{Object: "o", Kind: "firewall-policy", Name: "acme:web", Index: 2, Owner: "kubernetes", Via: []string{"application-policy-set/acme:all"}}, Selectors: []string{"s"},
			Body: rules.Rule{Name: "firewall-policy acme:web, rule 2", Action: rules.Reject, Remote: rules.Workloads, Log: true, Audit: true, Services: []rules.Service{
				{Protocol: 6, Ports: &rules.Range{First: 80, Last: 81}, SourcePorts: &rules.Range{First: 9, Last: 9}},
				{Family: 6, Protocol: 58, ICMPType: &request, ICMPCode: &zero}, {Family: 4, AnyProtocol: true}}}},
		{Cause: desired.Cause{Kind: "security-group-rule", Name: "acme:r"}, Body: rules.Rule{Name: "security-group-rule acme:r", Action: rules.Pass, Remote: rules.Addresses,
			Ranges: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Except: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}},
		{Cause: desired.Cause{Kind: "security-group-rule", Name: "acme:q"}, Body: rules.Rule{Name: "security-group-rule acme:q", Action: rules.Pass, Remote: rules.Anybody}},
	}}
	if !reflect.DeepEqual(got, want) || len(table.Bad) != 0 {
		t.Errorf("ruleset\n%+v\nwant\n%+v\nbad %v", got, want, table.Bad)
	}
	other := proto.Clone(web).(*hoststream.Ruleset)
	other.Rules[2].Name = "acme:p"
	if now := applied(t, "ruleset/r", &hoststream.Row{Body: &hoststream.Row_Ruleset{Ruleset: other}}).Rulesets["r"]; now.Digest == got.Digest {
		t.Error("another ruleset has the same digest")
	}
}

// What this agent would apply otherwise than it is meant is refused whole: half
// a ruleset passes what it should not.
func TestRulesetRefused(t *testing.T) {
	service := func(s *hoststream.RuleService) *hoststream.Ruleset {
		return rulesetOf(&hoststream.Rule{Action: "pass", Remote: anybody(), Services: []*hoststream.RuleService{s}})
	}
	needy := rulesetOf()
	needy.Needs = []string{"moon-phase"}
	for why, m := range map[string]*hoststream.Ruleset{
		"moon-phase":          needy,
		"remote is of a kind": rulesetOf(&hoststream.Rule{Action: "deny"}),
		`read action "maybe"`: rulesetOf(&hoststream.Rule{Action: "maybe", Remote: anybody()}),
		`read action ""`:      {Ruleset: "r", Outside: "deny"},
		"are not a prefix":    rulesetOf(&hoststream.Rule{Action: "deny", Remote: &hoststream.Rule_Ranges{Ranges: &hoststream.Ranges{Except: []*hoststream.Prefix{{Address: []byte{10, 0, 0, 1}, Length: 8}}}}}),
		"ports 2 to 1":        service(&hoststream.RuleService{Ports: &hoststream.NumberRange{First: 2, Last: 1}}),
		"ports 1 to 65536":    service(&hoststream.RuleService{SourcePorts: &hoststream.NumberRange{First: 1, Last: 65536}}),
		"family 5":            service(&hoststream.RuleService{Family: 5}),
		"protocol 256":        service(&hoststream.RuleService{Protocol: proto.Uint32(256)}),
		"without a type":      service(&hoststream.RuleService{IcmpCode: proto.Uint32(1)}),
		"at most":             rulesetOf(make([]*hoststream.Rule, 1<<16+1)...),
	} {
		table := desired.New()
		body, err := proto.Marshal(&hoststream.Row{Body: &hoststream.Row_Ruleset{Ruleset: m}})
		if err != nil && why != "at most" {
			t.Fatal(err)
		}
		if err := table.Apply(&hoststream.Delta{Put: []*hoststream.EncodedRow{{Key: "ruleset/r", Body: body}}}); err != nil {
			t.Fatal(err)
		}
		if bad := table.Bad["ruleset/r"]; len(table.Rulesets) != 0 || !strings.Contains(bad, why) {
			t.Errorf("%s: %d rulesets, bad because %q", why, len(table.Rulesets), bad)
		}
	}
}

// Selectors are sets of workloads, and nobody is none of them.
func TestSelector(t *testing.T) {
	of := func(all ...uint64) *desired.Table {
		return applied(t, "selector/s", &hoststream.Row{Body: &hoststream.Row_Selector{Selector: &hoststream.Selector{Selector: "s", Identities: all}}})
	}
	if got := of(9, 5, 9).Selectors["s"].Identities; !reflect.DeepEqual(got, []rules.Identity{5, 9}) {
		t.Errorf("identities %v", got)
	}
	for _, reserved := range []uint64{0, 1} {
		if got := of(7, reserved); len(got.Selectors) != 0 || !strings.Contains(got.Bad["selector/s"], "no workload has") {
			t.Errorf("a selector of identity %d: %+v", reserved, got.Rows)
		}
	}
}

// What a port, a route, a VRF and a reservation say of policy is read.
func TestPolicyOfRows(t *testing.T) {
	asked := []*hoststream.PortRuleset{{Layer: "security-group", Ingress: true, Ruleset: "r"}}
	table := applied(t, "port/p", &hoststream.Row{Body: &hoststream.Row_Port{Port: &hoststream.Port{Port: "p", Mac: make([]byte, 6), Identity: 77, Rulesets: asked, ConnectionLimit: 5, Stateless: true}}})
	want := []desired.PortRuleset{{Layer: "security-group", Ingress: true, Ruleset: "r"}}
	if p := table.Ports["p"]; p.Identity != 77 || !reflect.DeepEqual(p.Rulesets, want) || p.ConnectionLimit != 5 || !p.Stateless {
		t.Errorf("port %+v", p)
	}
	table = applied(t, "vrf/5", &hoststream.Row{Body: &hoststream.Row_Vrf{Vrf: &hoststream.Vrf{Vrf: 5, Managed: []*hoststream.Prefix{{Address: []byte{10, 0, 0, 0}, Length: 8}}}}})
	if got := table.VRFs[5].Managed; len(got) != 1 || got[0] != netip.MustParsePrefix("10.0.0.0/8") {
		t.Errorf("managed %v", got)
	}
	table = applied(t, "route/5/10.0.0.1/32", &hoststream.Row{Body: &hoststream.Row_Route{Route: &hoststream.Route{Vrf: 5, PrefixAddress: []byte{10, 0, 0, 1}, PrefixLength: 32, Mac: make([]byte, 6), Workload: 77,
		NextHop: &hoststream.Route_Port{Port: "p"}}}})
	if got := table.Routes[desired.RouteKey{VRF: 5, Prefix: netip.MustParsePrefix("10.0.0.1/32")}]; got.Workload != 77 {
		t.Errorf("route %+v", got)
	}
	table = applied(t, "reservation/a", &hoststream.Row{Body: &hoststream.Row_Reservation{Reservation: &hoststream.Reservation{Address: "a", Mac: make([]byte, 6), Identity: 77, Rulesets: asked,
		Ip: &hoststream.PortAddress{Ip: []byte{10, 0, 0, 9}, PrefixLength: 24}}}})
	if got := table.Reservations["a"]; got.Identity != 77 || !reflect.DeepEqual(got.Rulesets, want) {
		t.Errorf("reservation %+v", got)
	}
}
