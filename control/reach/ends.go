// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/vrouter/rules"
)

// end is all that a port asks in one direction. Ports that ask the same have the same.
type end struct {
	rules.End
	key       string
	byAddress bool // a rule names addresses
	bySource  bool // a rule names source ports
	rows      [rules.Layers]*hoststream.Ruleset
}

func (m *Model) endOf(port string, direction policy.Direction) (*end, error) {
	if e := m.ofPorts[direction][port]; e != nil {
		return e, nil
	}
	e, err := m.end(m.policy.Port(port), direction)
	m.ofPorts[direction][port] = e
	return e, err
}

// end puts the rulesets of a port together; a port without policy asks nothing.
func (m *Model) end(p *policy.Port, direction policy.Direction) (*end, error) {
	key := ""
	var layers [policy.Layers]*policy.Ruleset
	if p != nil {
		layers = p.Rulesets[direction]
	}
	for _, r := range layers {
		if r != nil {
			key += r.ID
		}
		key += "/"
	}
	if e, known := m.ends[key]; known {
		return e, nil
	}
	e := &end{key: key}
	for layer, r := range layers {
		if r == nil {
			continue
		}
		at, err := rules.ParseLayer(policy.Layer(layer).String())
		if err != nil {
			return nil, err
		}
		e.rows[at] = r.Message()
		ruleset, err := m.ruleset(e.rows[at])
		if err != nil {
			return nil, fmt.Errorf("read ruleset %s of %s: %w", r.ID, e.rows[at].Name, err)
		}
		for i := range ruleset.Rules {
			e.byAddress = e.byAddress || ruleset.Rules[i].Remote == rules.Addresses
			e.bySource = e.bySource || slices.ContainsFunc(ruleset.Rules[i].Services, func(s rules.Service) bool { return s.SourcePorts != nil })
		}
		e.Rulesets[at] = ruleset
	}
	m.ends[key] = e
	return e, nil
}

// ruleset reads a row. A rule's number is its place, from 1.
func (m *Model) ruleset(row *hoststream.Ruleset) (*rules.Ruleset, error) {
	r := &rules.Ruleset{}
	var err error
	if r.Outside, err = rules.ParseAction(row.Outside); err != nil {
		return nil, err
	}
	if r.Identified, err = rules.ParseAction(row.Identified); err != nil {
		return nil, err
	}
	for i, said := range row.Rules {
		rule := rules.Rule{Number: uint32(i + 1), Name: said.Name, Audit: said.Audit, Log: said.Log}
		if rule.Action, err = rules.ParseAction(said.Action); err != nil {
			return nil, fmt.Errorf("rule %s: %w", said.Name, err)
		}
		switch remote := said.Remote.(type) {
		case *hoststream.Rule_Anybody:
		case *hoststream.Rule_Selected:
			rule.Remote = rules.Workloads
			for _, id := range remote.Selected.Selectors {
				rule.Identities = append(rule.Identities, m.identities(id)...)
			}
		case *hoststream.Rule_Ranges:
			rule.Remote = rules.Addresses
			rule.Ranges, rule.Except = prefixes(remote.Ranges.Ranges), prefixes(remote.Ranges.Except)
		default:
			return nil, fmt.Errorf("rule %s: its remote is of a kind that is not known here", said.Name)
		}
		for _, s := range said.Services {
			rule.Services = append(rule.Services, service(s))
		}
		r.Rules = append(r.Rules, rule)
	}
	return r, nil
}

func (m *Model) identities(selector string) []rules.Identity {
	s := m.policy.Selector(selector)
	if s == nil {
		return nil
	}
	ids := make([]rules.Identity, len(s.Identities))
	for i, id := range s.Identities {
		ids[i] = rules.Identity(id)
	}
	return ids
}

func prefixes(of []*hoststream.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(of))
	for _, p := range of {
		if a, ok := netip.AddrFromSlice(p.Address); ok {
			out = append(out, netip.PrefixFrom(a, int(p.Length)))
		}
	}
	return out
}

func service(s *hoststream.RuleService) rules.Service {
	out := rules.Service{Family: uint8(s.Family), AnyProtocol: s.Protocol == nil, Protocol: uint8(s.GetProtocol())}
	ports := func(r *hoststream.NumberRange) *rules.Range {
		if r == nil {
			return nil
		}
		return &rules.Range{First: uint16(r.First), Last: uint16(r.Last)}
	}
	octet := func(n *uint32) *uint8 {
		if n == nil {
			return nil
		}
		o := uint8(*n)
		return &o
	}
	out.Ports, out.SourcePorts = ports(s.Ports), ports(s.SourcePorts)
	out.ICMPType, out.ICMPCode = octet(s.IcmpType), octet(s.IcmpCode)
	return out
}
