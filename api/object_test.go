// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const someUUID = "6f1c2a34-0000-4000-8000-0102030405ff"

func TestReferencesAreReadFromTextAndObjects(t *testing.T) {
	for in, want := range map[string]Ref{
		`"` + someUUID + `"`:                         {UUID: someUUID},
		`"default-domain:red:web"`:                   {Name: "default-domain:red:web"},
		`{"uuid":"` + someUUID + `"}`:                {UUID: someUUID},
		`{"uuid":"` + someUUID + `","name":"a:b:c"}`: {UUID: someUUID, Name: "a:b:c"},
	} {
		var r Ref
		if err := json.Unmarshal([]byte(in), &r); err != nil || r != want {
			t.Errorf("read %s: %+v, %v; want %+v", in, r, err, want)
		}
	}
	var r Ref
	if err := json.Unmarshal([]byte(`7`), &r); err == nil {
		t.Error("a number was read as a reference")
	}
}

func TestEveryKindSurvivesItsEncoding(t *testing.T) {
	for _, info := range Kinds() {
		o := New(info.Kind)
		o.Head().Meta = Meta{UUID: someUUID, Name: "n", Labels: map[string]string{"a": "b"}}
		data, err := json.Marshal(o)
		if err != nil {
			t.Fatalf("encode %s: %v", info.Kind, err)
		}
		back, err := Decode(data, true)
		if err != nil {
			t.Fatalf("decode %s: %v", info.Kind, err)
		}
		again, err := json.Marshal(back)
		if err != nil || string(again) != string(data) {
			t.Errorf("%s: encoded %s, decoded and encoded %s (%v)", info.Kind, data, again, err)
		}
		if c := Clone(o); c == o || c.Head().Meta.UUID != someUUID {
			t.Errorf("%s: a clone must be equal and apart", info.Kind)
		}
	}
}

func TestUnknownFieldsAndKindsAreRefused(t *testing.T) {
	for _, in := range []string{
		`{"kind":"network","spec":{"vnii":5}}`,
		`{"kind":"nutwork"}`,
		`{"kind":"network"}{"kind":"network"}`,
		`[]`,
	} {
		if o, err := Decode([]byte(in), true); err == nil {
			t.Errorf("%s was read as %+v", in, o)
		}
	}
	if _, err := Decode([]byte(`{"kind":"network","spec":{"later":5}}`), false); err != nil {
		t.Errorf("a stored object of a newer version must be readable: %v", err)
	}
}

// problemsOf validates a spec given as JSON and returns the fields at fault.
func problemsOf(t *testing.T, text string) []string {
	t.Helper()
	o, err := Decode([]byte(text), true)
	if err != nil {
		t.Fatalf("decode %s: %v", text, err)
	}
	var fields []string
	for _, p := range o.Validate() {
		if !slices.Contains(fields, p.Field) {
			fields = append(fields, p.Field)
		}
	}
	return fields
}

func TestWhatOneObjectAloneCanBreak(t *testing.T) {
	for _, c := range []struct{ object, fields string }{
		{`{"kind":"subnet","spec":{"cidr":"10.0.1.0/24"}}`, ""},
		{`{"kind":"subnet","spec":{"cidr":"fd00:1::/64","gateway":"fd00:1::1"}}`, ""},
		{`{"kind":"subnet","spec":{"cidr":"10.0.0.0/8"}}`, ""},
		{`{"kind":"subnet","spec":{"cidr":"10.0.1.1/24"}}`, "spec.cidr"},
		{`{"kind":"subnet","spec":{"cidr":"10.0.1.0/31"}}`, "spec.cidr"},
		{`{"kind":"subnet","spec":{"cidr":"224.0.0.0/8"}}`, "spec.cidr"},
		{`{"kind":"subnet","spec":{"cidr":"fe80::/64"}}`, "spec.cidr"},
		{`{"kind":"subnet","spec":{"cidr":"10.0.1.0/24","gateway":"10.0.2.1"}}`, "spec.gateway"},
		{`{"kind":"subnet","spec":{"cidr":"10.0.1.0/24","gateway":"10.0.1.255"}}`, "spec.gateway"},
		{`{"kind":"network","spec":{"vni":16777215,"mtu":1500}}`, ""},
		{`{"kind":"network","spec":{"vni":16777216,"mtu":500}}`, "spec.vni spec.mtu"},
		{`{"kind":"port","spec":{"network":"a:b:c","mac":"02:00:00:00:00:01"}}`, ""},
		{`{"kind":"port","spec":{"mac":"03:00:00:00:00:01"}}`, "spec.network spec.mac"},
		{`{"kind":"port","spec":{"network":"a:b:c","mac":"02:00:00:00:00:0A"}}`, "spec.mac"},
		{`{"kind":"host","spec":{"tunnelAddresses":["192.0.2.1","2001:db8::1"]}}`, ""},
		{`{"kind":"host","spec":{"tunnelAddresses":["192.0.2.1","192.0.2.2","192.0.2.3","192.0.2.4","2001:db8::1"],"encapsulations":["mplsudp","vxlan"]}}`, ""},
		{`{"kind":"host","spec":{"tunnelAddresses":["192.0.2.1","192.0.2.2","192.0.2.3","192.0.2.4","192.0.2.5"]}}`, "spec.tunnelAddresses"},
		{`{"kind":"host","spec":{"tunnelAddresses":["192.0.2.1"],"encapsulations":["pigeon"]}}`, "spec.encapsulations[0]"},
		{`{"kind":"route-table","spec":{"routes":[{"prefix":"10.8.0.0/16","tunnel":{"address":"192.0.2.9","label":17}}]}}`, ""},
		{`{"kind":"route-table","spec":{"routes":[{"prefix":"10.8.0.0/16","discard":true,"tunnel":{"address":"192.0.2.9","label":17}}]}}`, "spec.routes[0].tunnel"},
		{`{"kind":"route-table","spec":{"routes":[{"prefix":"10.8.0.0/16","tunnel":{"address":"fe80::1","label":3}}]}}`, "spec.routes[0].tunnel.label spec.routes[0].tunnel.address"},
		{`{"kind":"host","spec":{"tunnelAddresses":["0.0.0.0"]}}`, "spec.tunnelAddresses"},
		{`{"kind":"address","spec":{"ip":"::ffff:10.0.0.1"}}`, "spec.ip"},
		{`{"kind":"network-policy","spec":{"rules":[{"action":"pass","direction":"<>","source":{},"destination":{}}]}}`, ""},
		{`{"kind":"network-policy","spec":{"rules":[{"action":"drop","direction":"<","source":{},"destination":{}}]}}`, "spec.rules[0].action spec.rules[0].direction"},
		{`{"kind":"share","spec":{"targetKind":"network","target":"a:b:c","granteeKind":"all","verbs":["join"]}}`, ""},
		{`{"kind":"share","spec":{"targetKind":"thing","granteeKind":"domain","verbs":["own"]}}`, "spec.targetKind spec.target spec.grantee spec.verbs"},
		{`{"kind":"orchestrator","spec":{"platform":"kubernetes"}}`, ""},
		{`{"kind":"orchestrator","spec":{"platform":"cloud"}}`, "spec.platform"},
	} {
		if got := strings.Join(problemsOf(t, c.object), " "); got != c.fields {
			t.Errorf("%s: problems in %q, want %q", c.object, got, c.fields)
		}
	}
}

func TestHeaderRules(t *testing.T) {
	ok := Header{Kind: KindNetwork, Meta: Meta{Name: "web-1.a", Parent: Ref{Name: "d:p"}}}
	if p := ValidateHeader(&ok); len(p) != 0 {
		t.Errorf("valid header: %v", p)
	}
	for field, h := range map[string]Header{
		"kind":         {Kind: "x"},
		"meta.uuid":    {Kind: KindDomain, Meta: Meta{UUID: strings.ToUpper(someUUID)}},
		"meta.name":    {Kind: KindDomain, Meta: Meta{Name: "a:b"}},
		"meta.parent":  {Kind: KindProject},
		"meta.foreign": {Kind: KindDomain, Meta: Meta{Foreign: &Foreign{Kind: "a/b", ID: "1"}}},
	} {
		p := ValidateHeader(&h)
		if len(p) != 1 || p[0].Field != field {
			t.Errorf("%+v: problems %v, want one in %s", h, p, field)
		}
	}
	moved := ok
	moved.Meta.Name = "other"
	if p := ValidateHeaderUpdate(&ok, &moved); len(p) != 1 || p[0].Field != "meta.name" {
		t.Errorf("renaming: problems %v, want one in meta.name", p)
	}
}

func TestRangesOfSubnets(t *testing.T) {
	for _, c := range []struct {
		cidr, first, last string
	}{
		{"10.32.0.0/12", "10.32.0.1", "10.47.255.255"},
		{"10.0.1.0/30", "10.0.1.1", "10.0.1.3"},
		{"fd00:1::/64", "fd00:1::1", "fd00:1::ffff:ffff:ffff:ffff"},
	} {
		s := &Subnet{Spec: SubnetSpec{CIDR: netip.MustParsePrefix(c.cidr)}}
		s.Default()
		if s.Spec.Gateway.String() != c.first {
			t.Errorf("%s: gateway %v, want %s", c.cidr, s.Spec.Gateway, c.first)
		}
		if got := LastAddr(s.Spec.CIDR); got.String() != c.last {
			t.Errorf("%s: last address %v, want %s", c.cidr, got, c.last)
		}
		if Assignable(s.Spec.CIDR, s.Spec.CIDR.Addr()) {
			t.Errorf("%s: the network address is not assignable", c.cidr)
		}
		if last := LastAddr(s.Spec.CIDR); Assignable(s.Spec.CIDR, last) == last.Is4() {
			t.Errorf("%s: the last address is assignable in IPv6 only", c.cidr)
		}
	}
}

func TestAddressesAreClaimedWithinTheirNetwork(t *testing.T) {
	claim := func(network, ip string) string {
		a := &Address{Header: Header{Kind: KindAddress, Meta: Meta{Parent: Ref{UUID: network}}}, Spec: AddressSpec{IP: netip.MustParseAddr(ip)}}
		return a.Claims()[0].Key
	}
	if claim("n1", "10.0.0.5") == claim("n2", "10.0.0.5") {
		t.Error("equal addresses of two networks claim the same key")
	}
	if claim("n1", "fd00::5") != claim("n1", "fd00:0::0:5") {
		t.Error("two spellings of one address claim different keys")
	}
}

func TestPoliciesJoinWhatARuleThatPassesNames(t *testing.T) {
	ref := func(name string) Ref { return Ref{UUID: name, Name: "d:p:" + name} }
	any, a, b, local := NetworkSelector{}, NetworkSelector{Network: ref("a")}, NetworkSelector{Network: ref("b")}, NetworkSelector{Local: true}
	subnet, policy := NetworkSelector{Subnet: Ref{UUID: "s", Name: "d:p:a:s"}}, NetworkSelector{Policy: ref("front")}
	everywhere := NetworkSelector{Range: netip.MustParsePrefix("0.0.0.0/0")}
	front := func(policy, network string) bool { return policy == "front" && network == "a" }
	for _, c := range []struct {
		action              Action
		source, destination NetworkSelector
		x, y                string
		want                bool
	}{
		{ActionPass, any, any, "x", "y", true},
		{ActionPass, a, b, "a", "b", true},
		{ActionPass, a, b, "b", "a", true},
		{ActionPass, a, b, "a", "c", false},
		{ActionPass, a, any, "c", "a", true},
		{ActionPass, a, any, "b", "c", false},
		{ActionDeny, any, any, "x", "y", false},
		{ActionPass, local, b, "a", "b", true},
		{ActionPass, local, b, "a", "c", false},
		{ActionPass, local, local, "a", "b", false}, // inside one network
		{ActionPass, subnet, b, "a", "b", true},
		{ActionPass, subnet, b, "aa", "b", false},
		{ActionPass, policy, b, "a", "b", true},
		{ActionPass, policy, any, "b", "c", false},
		{ActionPass, everywhere, b, "a", "b", false},
	} {
		p := &NetworkPolicy{Spec: NetworkPolicySpec{Rules: []NetworkPolicyRule{{Action: c.action, Source: c.source, Destination: c.destination}}}}
		if got := p.Joins(ref(c.x), ref(c.y), front); got != c.want {
			t.Errorf("%s %v > %v joins %s and %s: %v, want %v", c.action, c.source, c.destination, c.x, c.y, got, c.want)
		}
	}
	if p := (&NetworkPolicy{Spec: NetworkPolicySpec{Rules: []NetworkPolicyRule{{Action: ActionPass, Audit: true}}}}); p.Joins(ref("a"), ref("b"), front) {
		t.Error("a rule of audit joins nothing")
	}
	if (&NetworkPolicy{}).Joins(ref("a"), ref("b"), front) {
		t.Error("a policy without rules joins nothing")
	}
}

func TestDefaultMACIsLocalAndFollowsTheUUID(t *testing.T) {
	m := MACFromUUID(someUUID)
	if m != "02:02:03:04:05:ff" {
		t.Errorf("MAC %s, want 02:02:03:04:05:ff", m)
	}
	if b, err := m.Bytes(); err != nil || b != [6]byte{2, 2, 3, 4, 5, 0xff} {
		t.Errorf("bytes %v, %v", b, err)
	}
}

func TestSharesIncludeSee(t *testing.T) {
	s := &Share{Spec: ShareSpec{Verbs: []Verb{VerbJoin}}}
	if !s.Allows(VerbJoin) || !s.Allows(VerbSee) || s.Allows(VerbAttach) {
		t.Error("a share to join allows join and see, and nothing else")
	}
	if (&Share{}).Allows(VerbSee) {
		t.Error("a share without verbs allows nothing")
	}
}
