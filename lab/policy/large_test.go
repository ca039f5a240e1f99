// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-network/weft/api"
)

// A change of bulk changes the rulesets of all ports of the group run, of both
// directions: so many ranges that two of them are more than one delta holds, and
// few enough for the former and the new ones of a host, beside those in between.
const (
	bulks      = 2
	bulkRanges = 4000
)

// bulk are ranges of addresses that nobody has, others in each version.
func bulk(version byte) (ranges []netip.Prefix) {
	for i := range bulkRanges {
		a := netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x99, 7: version, 13: byte(i >> 8), 14: byte(i), 15: 1})
		ranges = append(ranges, netip.PrefixFrom(a, a.BitLen()))
	}
	return ranges
}

// large changes rules and members together in so much that hosts are sent it in
// several deltas, under first packets: it takes effect in one step all the same.
func (s *system) large(t *testing.T, m *Model) {
	const turns = 10
	names := []string{"bulk-0", "bulk-1"}[:bulks]
	var rules, noRules, groups []api.Operation
	for _, name := range names {
		g := &api.AddressGroup{Header: header(api.KindAddressGroup, "red:shop", name)}
		g.Spec.Ranges = bulk(0)
		groups = append(groups, create(g))
		for _, side := range []api.Side{api.Ingress, api.Egress} {
			rules = append(rules, allow("run", name+"-"+string(side), side, func(r *api.SecurityGroupRuleSpec) {
				tcp(9)(r)
				r.RemoteAddressGroup = api.Ref{Name: "red:shop:" + name}
			})...)
			noRules = append(noRules, disallow("run", name+"-"+string(side))...)
		}
	}
	toOld, toNew := s.exchange(t, m)
	s.write(t, slices.Concat(groups, rules, disallow("run", "streams"), allow("run", "old", api.Ingress, named("old", 80)))...)
	defer func() {
		s.write(t, slices.Concat(noRules, disallow("run", "old"), allow("run", "streams", api.Ingress, tcp()))...)
	}()
	now := s.model(t)
	for _, name := range names {
		for _, g := range all[*api.AddressGroup](now, api.KindAddressGroup) {
			if g.Meta.FQName == "red:shop:"+name {
				toOld = append(toOld, update(g, func(g *api.AddressGroup) { g.Spec.Ranges = bulk(0) }))
				toNew = append(toNew, update(g, func(g *api.AddressGroup) { g.Spec.Ranges = bulk(1) }))
			}
		}
	}
	before := s.deltas(t)
	s.changing(t, "rules and members change together, in several deltas", turns, s.write, toOld, toNew)
	sent := s.deltas(t) - before
	t.Logf("%d changes were sent to %d hosts in %v deltas", turns, Hosts, sent)
	if sent < 2*turns*Hosts {
		t.Errorf("%d changes were sent to %d hosts in %v deltas, want more than one for each host and change", turns, Hosts, sent)
	}
}

// deltas is how many the controller has sent.
func (s *system) deltas(t *testing.T) float64 {
	t.Helper()
	values, err := s.metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return values["weft_stream_deltas_total"]
}
