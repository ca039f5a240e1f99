// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"fmt"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter/rules"
)

// flows says in words what sets of the two families hold; what is the same in
// both, once. A family without a set is left out.
func flows(four, six *rules.Set) []api.ReachFlow {
	of4, of6 := flowsOf(four), flowsOf(six)
	both := four != nil && six != nil
	all := []api.ReachFlow{}
	for _, f := range of4 {
		if i := slices.IndexFunc(of6, func(o api.ReachFlow) bool { return same(f, o) }); both && i >= 0 {
			of6 = slices.Delete(of6, i, i+1)
			f.Family = 0
		}
		all = append(all, f)
	}
	all = append(all, of6...)
	for i := range all {
		if icmp := all[i].Protocol; icmp == "icmp" || icmp == "icmpv6" || !both {
			all[i].Family = 0 // the protocol says it, or there is only one
		}
	}
	return all
}

func same(a, b api.ReachFlow) bool {
	return a.Protocol == b.Protocol && a.SourcePorts == b.SourcePorts && slices.Equal(a.Except, b.Except) && slices.Equal(a.Ports, b.Ports)
}

func flowsOf(s *rules.Set) []api.ReachFlow {
	if s == nil {
		return nil
	}
	var all []api.ReachFlow
	for _, f := range s.Flows() {
		flow := api.ReachFlow{Family: int(f.Family)}
		if f.OtherProtocols {
			for _, p := range f.Except {
				flow.Except = append(flow.Except, api.ProtocolOf(int(p)))
			}
		} else {
			flow.Protocol = api.ProtocolOf(int(f.Protocol))
		}
		for _, r := range f.Ports {
			switch {
			case r == rules.Range{Last: 65535}:
			case rules.IsICMP(f.Family, f.Protocol):
				flow.Ports = append(flow.Ports, icmpWords(r)...)
			default:
				flow.Ports = append(flow.Ports, rangeWord(int(r.First), int(r.Last)))
			}
		}
		if f.SourcePorts != (rules.Range{Last: 65535}) {
			flow.SourcePorts = rangeWord(int(f.SourcePorts.First), int(f.SourcePorts.Last))
		}
		all = append(all, flow)
	}
	return all
}

func rangeWord(first, last int) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

// icmpWords says a run of types and codes: whole types, and before and after
// these the codes of one.
func icmpWords(r rules.Range) (words []string) {
	first, last := int(r.First), int(r.Last)
	codes := func(from, to int) string { return fmt.Sprintf("%d/%s", from>>8, rangeWord(from&255, to&255)) }
	if first&255 != 0 {
		to := min(last, first|255)
		words = append(words, codes(first, to))
		first = to + 1
	}
	if end := (last + 1) &^ 255; first < end {
		words = append(words, rangeWord(first>>8, end>>8-1))
		first = end
	}
	if first <= last {
		words = append(words, codes(first, last))
	}
	return words
}
