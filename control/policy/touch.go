// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// moved notes what routing made other than before: ports, routes that are as
// good as others, and what networks are joined.
func (u *update) moved() {
	old, now := u.earlier.Routing, u.Routing
	for i, n := range now.Networks { // nearly all are what they were, where they were
		if i < len(old.Networks) && old.Networks[i] == n {
			continue
		}
		if before := old.Network(n.Ref.UUID); before != n {
			u.movedIn(before, n)
		}
	}
	for i, n := range old.Networks {
		if i < len(now.Networks) && now.Networks[i] == n {
			continue
		}
		if now.Network(n.Ref.UUID) == nil {
			u.movedIn(n, nil)
		}
	}
}

func (u *update) movedIn(old, now *routing.Network) {
	var before, after []*routing.Port
	var was, is []routing.Import
	uuid := ""
	if old != nil {
		before, was, uuid = old.Ports(), old.Imports, old.Ref.UUID
	}
	if now != nil {
		after, is, uuid = now.Ports(), now.Imports, now.Ref.UUID
	}
	if old == nil || now == nil || !slices.Equal(old.OwnEqual, now.OwnEqual) {
		u.sharing[uuid] = true
	}
	if !slices.Equal(was, is) {
		u.staleAt(atom{kind: inNetwork, a: uuid})
	}
	if !sameReserved(old, now) {
		u.noteReserved(old)
		u.noteReserved(now)
	}
	u.noteVirtual(old, now)
	same := map[*routing.Port]bool{}
	for _, p := range before {
		same[p] = true
	}
	for _, p := range after {
		if same[p] {
			delete(same, p)
		} else {
			u.ports.add(p.Ref.UUID)
		}
	}
	for p := range same { // those that are not there any more, or not so
		u.ports.add(p.Ref.UUID)
	}
}

// staleAt notes that the rulesets of the classes which are something may be others.
func (u *update) staleAt(a atom) {
	workloads, _ := u.earlier.workloads.Get(a)
	for _, w := range workloads.items() {
		u.stale.add(w.Identity)
	}
}

// portsAt notes that the ports which are something may be other workloads.
func (u *update) portsAt(a atom) {
	workloads, _ := u.earlier.workloads.Get(a)
	for _, w := range workloads.items() {
		if c, ok := u.earlier.classes.Get(w.Identity); ok {
			for _, port := range c.ports.items() {
				u.ports.add(port)
			}
		}
	}
}

// referrers are what refers to an object.
func (u *update) referrers(kind, target api.Kind, uuid string) []api.Object {
	return u.snapshot.(routing.Indexed).Referrers(kind, target, uuid)
}

// touch notes what an event changes. New ports need no event: routing tells of them.
func (u *update) touch(e api.Event) {
	for _, o := range []api.Object{e.Object, e.Was} {
		switch o := o.(type) {
		case nil:
		case *api.Port:
			u.ports.add(o.Meta.UUID)
		case *api.LoadBalancer:
			u.touchVirtual(o)
		case *api.FloatingIP:
			u.touchFloating(o)
		case *api.SourceNAT:
			u.touchSourceNAT(o)
		case *api.SecurityGroup:
			u.staleAt(atom{kind: inGroup, a: o.Meta.UUID})
			u.portsAt(atom{kind: inProject, a: o.Meta.Parent.UUID}) // it may be the default one
		case *api.SecurityGroupRule:
			u.staleAt(atom{kind: inGroup, a: o.Meta.Parent.UUID})
		case *api.Tag:
			for _, b := range u.referrers(api.KindTagBinding, api.KindTag, o.Meta.UUID) {
				u.touchBinding(b.(*api.TagBinding))
			}
		case *api.TagBinding:
			u.touchBinding(o)
		case *api.AddressGroup:
			for _, r := range u.referrers(api.KindSecurityGroupRule, api.KindAddressGroup, o.Meta.UUID) {
				u.staleAt(atom{kind: inGroup, a: r.Head().Meta.Parent.UUID})
			}
			u.touchRules(api.KindAddressGroup, o.Meta.UUID)
		case *api.ServiceGroup:
			u.touchRules(api.KindServiceGroup, o.Meta.UUID)
		case *api.FirewallRule:
			u.touchPolicies(o.Meta.UUID)
		case *api.FirewallPolicy:
			u.touchSets(o.Meta.UUID)
		case *api.ApplicationPolicySet:
			u.global = nil
			u.touchSet(o)
		case *api.NetworkPolicy:
			u.touchNetworkPolicy(o.Meta.UUID)
		case *api.NetworkPolicyAttachment:
			u.staleAt(atom{kind: inNetwork, a: o.Spec.Network.UUID})
			u.touchNetworkPolicy(o.Spec.Policy.UUID)
		case *api.Subnet:
			for _, p := range u.referrers(api.KindNetworkPolicy, api.KindSubnet, o.Meta.UUID) {
				u.touchNetworkPolicy(p.Head().Meta.UUID)
			}
		}
	}
	if e.Kind == api.KindApplicationPolicySet {
		u.global = globalSets(u.snapshot)
	}
}

// touchBinding notes that a tag was bound, or is no longer.
func (u *update) touchBinding(b *api.TagBinding) {
	target := b.Spec.Target.UUID
	switch b.Spec.TargetKind {
	case api.KindPort:
		u.ports.add(target)
	case api.KindVirtualMachine:
		for _, p := range u.referrers(api.KindPort, api.KindVirtualMachine, target) {
			u.ports.add(p.Head().Meta.UUID)
		}
	case api.KindNetwork:
		u.portsAt(atom{kind: inNetwork, a: target})
	case api.KindProject:
		u.portsAt(atom{kind: inProject, a: target})
	case api.KindHost:
		if h := u.Routing.Host(target); h != nil {
			for _, p := range h.Ports {
				u.ports.add(p.Ref.UUID)
			}
			for _, r := range h.Reserved {
				u.ports.add(reservedKey(r.Network.Ref.UUID, r.Host.UUID, r.MAC))
			}
		}
	}
}

// touchRules notes that the firewall-rules which name an object may say something else.
func (u *update) touchRules(kind api.Kind, uuid string) {
	for _, r := range u.referrers(api.KindFirewallRule, kind, uuid) {
		u.touchPolicies(r.Head().Meta.UUID)
	}
}

func (u *update) touchPolicies(rule string) {
	for _, p := range u.referrers(api.KindFirewallPolicy, api.KindFirewallRule, rule) {
		u.touchSets(p.Head().Meta.UUID)
	}
}

func (u *update) touchSets(policy string) {
	for _, set := range u.referrers(api.KindApplicationPolicySet, api.KindFirewallPolicy, policy) {
		u.touchSet(set.(*api.ApplicationPolicySet))
	}
}

// touchSet notes the classes that a set is for.
func (u *update) touchSet(set *api.ApplicationPolicySet) {
	switch {
	case !set.Spec.Application.IsZero():
		u.staleAt(atom{kind: withTag, a: set.Spec.Application.UUID})
	case !set.Global():
		u.staleAt(atom{kind: inProject, a: set.Meta.Parent.UUID})
	default:
		for id := range u.earlier.classes.All {
			u.stale.add(id)
		}
	}
}

// touchNetworkPolicy notes that a policy, or what is attached to it, may be
// another: it is asked in the networks attached to it, and in those of policies
// that name it.
func (u *update) touchNetworkPolicy(policy string) {
	policies := []string{policy}
	for _, p := range u.referrers(api.KindNetworkPolicy, api.KindNetworkPolicy, policy) {
		policies = append(policies, p.Head().Meta.UUID)
	}
	for _, p := range policies {
		for _, n := range u.objects.networksOf(p) {
			u.staleAt(atom{kind: inNetwork, a: n.UUID})
		}
	}
}
