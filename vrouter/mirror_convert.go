// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"cmp"
	"errors"
	"fmt"
)

func compareMirrorUses(a, b MirrorUse) int {
	last := func(u MirrorUse) int {
		if u.In {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(a.Ifindex, b.Ifindex), cmp.Compare(last(a), last(b)), cmp.Compare(a.Target, b.Target))
}

func mirrorToRaw(m Mirror) layoutMirrorValue {
	raw := layoutMirrorValue{Target: m.Target, OneOf: max(1, m.OneOf), Matches: m.Matches}
	for i, match := range m.Match[:m.Matches] {
		raw.Match[i] = mirrorMatchToRaw(match)
	}
	return raw
}

func mirrorMatchToRaw(m MirrorMatch) layoutMirrorMatch {
	raw := layoutMirrorMatch{
		Protocol: m.Protocol, IcmpType: m.ICMPType, IcmpCode: m.ICMPCode,
		FirstPort: m.Ports.First, LastPort: m.Ports.Last, FirstSourcePort: m.SourcePorts.First, LastSourcePort: m.SourcePorts.Last,
	}
	for flag, asked := range map[layoutMirrorMatchFlag]bool{
		layoutMirrorMatchFlagMIRROR_PROTOCOL: m.Protocol != 0, layoutMirrorMatchFlagMIRROR_PORTS: m.Ports != PortSpan{},
		layoutMirrorMatchFlagMIRROR_SOURCE_PORTS: m.SourcePorts != PortSpan{}, layoutMirrorMatchFlagMIRROR_ICMP_TYPE: m.HasICMPType,
		layoutMirrorMatchFlagMIRROR_ICMP_CODE: m.HasICMPCode,
	} {
		if asked {
			raw.Flags |= flag
		}
	}
	return raw
}

func mirrorOf(raw layoutMirrorValue) Mirror {
	m := Mirror{Target: raw.Target, OneOf: raw.OneOf, Matches: raw.Matches}
	for i, r := range raw.Match[:min(int(raw.Matches), MaxMirrorMatches)] {
		m.Match[i] = MirrorMatch{
			Protocol: r.Protocol, ICMPType: r.IcmpType, ICMPCode: r.IcmpCode,
			Ports: PortSpan{r.FirstPort, r.LastPort}, SourcePorts: PortSpan{r.FirstSourcePort, r.LastSourcePort},
			HasICMPType: r.Flags&layoutMirrorMatchFlagMIRROR_ICMP_TYPE != 0, HasICMPCode: r.Flags&layoutMirrorMatchFlagMIRROR_ICMP_CODE != 0,
		}
	}
	return m
}

func mirrorTargetToRaw(t MirrorTarget) (layoutMirrorTargetValue, error) {
	local, family, err1 := addressToRaw(t.Local)
	remote, other, err2 := addressToRaw(t.Remote)
	err := errors.Join(err1, err2)
	if err == nil && family != other {
		err = fmt.Errorf("%v and %v are of different families", t.Local, t.Remote)
	}
	return layoutMirrorTargetValue{
		Path: uint32(t.Path), Ifindex: uint32(t.Ifindex), Encapsulation: layoutMirrorEncapsulation(t.Encapsulation), Id: t.ID,
		Most: uint32(t.Most), Family: family, Port: wirePort(t.Port), Local: local, Remote: remote,
	}, err
}

func mirrorTargetOf(raw layoutMirrorTargetValue) MirrorTarget {
	return MirrorTarget{
		Path: int(raw.Path), Ifindex: int(raw.Ifindex), Encapsulation: MirrorEncapsulation(raw.Encapsulation), ID: raw.Id, Port: wirePort(raw.Port),
		Local: addressOf(raw.Local, raw.Family), Remote: addressOf(raw.Remote, raw.Family), Most: int(raw.Most),
	}
}
