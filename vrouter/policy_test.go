// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/weft-network/weft/vrouter/rules"
)

// givesBack tells whether a table has exactly what was put into it, and
// nothing once that is deleted.
func givesBack[K comparable, V any](t *testing.T, table interface {
	Put(K, V) error
	Delete(K) error
	All() (map[K]V, error)
}, want map[K]V) {
	t.Helper()
	for k, v := range want {
		check(t, table.Put(k, v))
	}
	got, err := table.All()
	check(t, err)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("table has\n %v\nwant\n %v", got, want)
	}
	for k := range want {
		check(t, table.Delete(k))
	}
	if got, err = table.All(); err != nil || len(got) > 0 {
		t.Errorf("table still has %v, %v", got, err)
	}
}

func TestPolicyTablesGiveBackWhatWasWritten(t *testing.T) {
	d := tablesForTest(t, smallSizes)
	says := rules.Verdict{Order: 7, Rule: 70, Action: rules.Reject, Log: true}
	four, six := netip.MustParsePrefix("10.0.0.0/9"), netip.MustParsePrefix("2001:db8::/33")
	policy := PortPolicy{Identity: 1 << 60, ConnectionLimit: 9, Stateless: true}
	for direction := range policy.Rulesets {
		for layer := range policy.Rulesets[direction] {
			policy.Rulesets[direction][layer] = uint32(100*direction + layer)
		}
	}
	strict := policy
	strict.Strict, strict.FormerStateless, strict.Stateless = true, true, false
	strict.Former[rules.Ingress][rules.FirewallBaseline], strict.Former[rules.Egress][rules.NetworkPolicy] = 5, 6
	givesBack(t, d.PortPolicies, map[int]PortPolicy{1: policy, 2: strict, firstSubPort + 1: {}})
	givesBack(t, d.Rulesets, map[uint32]RulesetValue{
		1: {Identities: true, Ranges6: true, SourcePorts: true, Audit: 3, Outside: says, Identified: rules.Verdict{Order: rules.Default, Action: rules.Next}},
		2: {Ranges4: true, Services: true, NamesAnybody: true},
	})
	givesBack(t, d.RemoteClasses, map[RemoteClassKey]RemoteClass{{1, rules.Pending}: {Class: 4, Any: says}, {1, 1 << 63}: {Class: 5}, {2, rules.Pending}: {}})
	givesBack(t, d.RemoteRanges, map[RemoteRangeKey]RemoteClass{{1, four}: {Class: 4, Any: says}, {1, six}: {Class: 5}, {2, netip.MustParsePrefix("0.0.0.0/0")}: {}})
	givesBack(t, d.ServiceClasses, map[ServiceClassKey]ServiceClass{{1, 4, 6, 1}: {Class: 9}, {1, 6, 0, OtherPages}: {Class: 1}, {1, 6, 17, 3 | SourcePages}: {Page: 2}})
	givesBack(t, d.ServicePages, map[ServicePageKey]ServicePage{{1, 2}: {0: 1, 255: 9}, {2, 2}: {}})
	givesBack(t, d.Verdicts, map[VerdictKey]rules.Verdict{{1, 2, 3, 4}: says, {1, 2, 0, 4}: {}})
	givesBack(t, d.Managed, map[RouteKey]struct{}{{1, four}: {}, {1, six}: {}, {2, four}: {}})
	givesBack(t, d.Routes, map[RouteKey]Route{{1, four}: {NextHop: 1, Identity: 1 << 62}, {1, host(six.Addr())}: {NextHop: 2, Identity: rules.Pending}})
	givesBack(t, d.Ports, map[int]Port{1: {Policed: true}, 2: {}})
}

// What a port asks, and what its VRF knows, may change what becomes of its
// connections: each change has a new number.
func TestPolicyChangesRenewGenerations(t *testing.T) {
	d := tablesForTest(t, smallSizes)
	number := func(slot uint32) (n uint32) {
		check(t, d.maps["generations"].Lookup(slot, &n))
		return n
	}
	four := netip.MustParsePrefix("10.0.0.0/8")
	for what, c := range map[string]struct {
		slot   uint32
		change func() error
	}{
		"what a port asks":       {generationSlots + 5, func() error { return d.PortPolicies.Put(5, PortPolicy{}) }},
		"a port asks no more":    {generationSlots + 5, func() error { return d.PortPolicies.Delete(5) }},
		"a subnet of a VRF":      {3, func() error { return d.Managed.Put(RouteKey{3, four}, struct{}{}) }},
		"a subnet that is gone":  {3, func() error { return d.Managed.Delete(RouteKey{3, four}) }},
		"whose an address is":    {3, func() error { return d.Routes.Put(RouteKey{3, four}, Route{Identity: 9}) }},
		"a gap":                  {3, func() error { return d.Gaps.Put(RouteKey{3, netip.MustParsePrefix("10.1.0.0/16")}, struct{}{}) }},
		"a gap that is gone":     {3, func() error { return d.Gaps.Delete(RouteKey{3, netip.MustParsePrefix("10.1.0.0/16")}) }},
		"that a port is policed": {generationSlots + 5, func() error { return d.Ports.Put(5, Port{Policed: true}) }},
	} {
		before := number(c.slot)
		check(t, c.change())
		if number(c.slot) == before {
			t.Errorf("%s changed, and slot %d kept its number", what, c.slot)
		}
	}
}
