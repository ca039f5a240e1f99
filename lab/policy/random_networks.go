// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"

	"github.com/weft-network/weft/api"
)

const networkPolicies = 3 // of red:shop; those of other projects are attached to them, too

// NetworkPolicies makes the policies, still without rules, and attaches networks to them.
func (e *Editor) NetworkPolicies() (operations []api.Operation) {
	for i := range networkPolicies {
		n := &api.NetworkPolicy{Header: header(api.KindNetworkPolicy, "red:shop", policyName(i))}
		operations = append(operations, create(n))
		for _, net := range []Network{redWeb, redDB, redTest} {
			if e.Rand.IntN(3) > 0 {
				operations = append(operations, create(e.attachment(i, net)))
			}
		}
	}
	return operations
}

func policyName(i int) string { return fmt.Sprintf("n%d", i) }

func (e *Editor) attachment(i int, net Network) *api.NetworkPolicyAttachment {
	a := &api.NetworkPolicyAttachment{Header: header(api.KindNetworkPolicyAttachment, "red:shop", policyName(i)+"-"+net.Name)}
	a.Spec.Policy, a.Spec.Network = api.Ref{Name: "red:shop:" + policyName(i)}, api.Ref{Name: net.FQName()}
	return a
}

// NetworkEdits are some changes of network-policies and of what is attached to them.
func (e *Editor) NetworkEdits(m *Model, number int) (operations []api.Operation) {
	e.busy = map[string]bool{}
	for range number {
		switch e.Rand.IntN(4) {
		case 0, 1:
			if o, is := e.choose(m, api.KindNetworkPolicy); is {
				operations = append(operations, update(o.(*api.NetworkPolicy), func(n *api.NetworkPolicy) { n.Spec.Rules = e.networkRules() }))
			}
		case 2:
			if o, is := e.choose(m, api.KindNetworkPolicyAttachment); is && o.Head().Meta.Parent.Name == "red:shop" {
				operations = append(operations, api.Operation{Op: api.OpDelete, Object: o})
			}
		default:
			a := e.attachment(e.Rand.IntN(networkPolicies), pick(e.Rand, redWeb, redDB, redTest))
			if name := a.Meta.Parent.Name + ":" + a.Meta.Name; !e.busy[name] && m.named(api.KindNetworkPolicyAttachment, name) == nil {
				e.busy[name] = true
				operations = append(operations, create(a))
			}
		}
	}
	return operations
}

// named finds an object by its fully qualified name.
func (m *Model) named(kind api.Kind, name string) api.Object {
	for _, o := range m.kinds[kind] {
		if o.Head().Meta.FQName == name {
			return o
		}
	}
	return nil
}

func (e *Editor) networkRules() (rules []api.NetworkPolicyRule) {
	for range 1 + e.Rand.IntN(4) {
		r := api.NetworkPolicyRule{
			Action: pick(e.Rand, api.ActionPass, api.ActionPass, api.ActionDeny), Direction: pick(e.Rand, api.DirectionBoth, api.DirectionTo),
			Source: e.side(), Destination: e.side(), Audit: e.Rand.IntN(6) == 0,
		}
		if a, b := r.Source.Range, r.Destination.Range; a.IsValid() && b.IsValid() && a.Addr().Is4() != b.Addr().Is4() {
			continue
		}
		for range e.Rand.IntN(3) {
			r.Services = append(r.Services, e.match(pick(e.Rand, api.IPv4, api.IPv6), false))
		}
		rules = append(rules, r)
	}
	return rules
}

// side is one side of a rule.
func (e *Editor) side() (s api.NetworkSelector) {
	switch e.Rand.IntN(9) {
	case 0, 1:
		s.Network = api.Ref{Name: pick(e.Rand, redWeb, redDB, redTest).FQName()}
	case 2:
		s.Policy = api.Ref{Name: "red:shop:" + policyName(e.Rand.IntN(networkPolicies))}
	case 3:
		s.Subnet = api.Ref{Name: pick(e.Rand, redWeb, redDB, redTest).FQName() + pick(e.Rand, ":v4", ":v6")}
	case 4:
		s.Range = e.rangeOf(pick(e.Rand, api.IPv4, api.IPv6))
	case 5:
		s.Local = true
	}
	return s
}
