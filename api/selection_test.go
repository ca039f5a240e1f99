// SPDX-License-Identifier: Apache-2.0

package api

import (
	"reflect"
	"testing"
)

func TestLabelRequirements(t *testing.T) {
	labels := map[string]string{"tier": "web", "empty": ""}
	for text, want := range map[string]bool{
		"tier=web": true, "tier=db": false, "tier!=db": true, "tier!=web": false, "none!=x": true,
		"tier": true, "none": false, "!none": true, "!tier": false, "empty=": true, "none=": false,
		"tier in (db,web)": true, "tier in (db)": false, "tier notin (db, x)": true, "tier notin (web)": false, "none notin (a)": true,
	} {
		r, err := ParseLabelRequirement(text)
		if err != nil || r.Matches(labels) != want {
			t.Errorf("%s: %v, %v; want %v", text, r.Matches(labels), err, want)
		}
		again, err := ParseLabelRequirement(r.String())
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("%s: printed as %q, which reads as %+v, %v", text, r, again, err)
		}
	}
	for _, text := range []string{"", "=x", "!", "!=x", "!!a", " in (a)"} {
		if r, err := ParseLabelRequirement(text); err == nil {
			t.Errorf("%q was read as %+v", text, r)
		}
	}
}

func TestSelection(t *testing.T) {
	network := Ref{UUID: "00000000-0000-4000-8000-000000000001", Name: "d:p:n"}
	p := &NetworkPolicy{
		Header: Header{Kind: KindNetworkPolicy, Meta: Meta{Name: "web", FQName: "d:p:web", Owner: "blue", Parent: Ref{UUID: "u", Name: "d:p"}}},
		Spec:   NetworkPolicySpec{Rules: []NetworkPolicyRule{{}, {Source: NetworkSelector{Network: network}}}},
	}
	for _, c := range []struct {
		s    Selection
		want bool
	}{
		{Selection{}, true},
		{Selection{Name: "web"}, true}, {Selection{Name: "w*"}, true}, {Selection{Name: "we"}, false}, {Selection{Name: "d:p:w*"}, true}, {Selection{Name: "d:p:web"}, true}, {Selection{Name: "d:q:web"}, false},
		{Selection{Owner: "blue"}, true}, {Selection{Owner: "green"}, false},
		{Selection{Parent: Ref{UUID: "u"}}, true}, {Selection{Parent: Ref{Name: "d:p"}}, true}, {Selection{Parent: Ref{Name: "d:q"}}, false},
		{Selection{References: map[string]Ref{"spec.rules.source": {UUID: network.UUID}}}, true},
		{Selection{References: map[string]Ref{"spec.rules.source": {Name: "d:p:n"}}}, true},
		{Selection{References: map[string]Ref{"spec.rules.destination": {UUID: network.UUID}}}, false},
	} {
		if c.s.Matches(p) != c.want {
			t.Errorf("%+v: want %v", c.s, c.want)
		}
	}
}

// Every kind says which of its fields refer to what, however deep in a list.
func TestReferenceFields(t *testing.T) {
	for kind, want := range map[Kind][]ReferenceField{
		KindRouterInterface: {{"spec.router", KindRouter}, {"spec.subnet", KindSubnet}, {"spec.address", KindAddress}},
		KindNetworkPolicy: {{"spec.rules.source", KindNetwork}, {"spec.rules.source.policy", KindNetworkPolicy}, {"spec.rules.source.subnet", KindSubnet},
			{"spec.rules.destination", KindNetwork}, {"spec.rules.destination.policy", KindNetworkPolicy}, {"spec.rules.destination.subnet", KindSubnet}},
		KindShare: {{"spec.target", ""}, {"spec.grantee", ""}},
	} {
		if got := ReferenceFields(kind); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", kind, got, want)
		}
	}
}
