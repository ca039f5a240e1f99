// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// objects finds what belongs to an object, each by fully qualified name.
type objects interface {
	// tagsOn are the tags bound to an object.
	tagsOn(kind api.Kind, uuid string) []*api.Tag
	// defaultGroup is a project's default security-group, "" for none.
	defaultGroup(project string) string
	groupRules(group string) []*api.SecurityGroupRule
	// policiesOf are the network-policies that a network is attached to, and
	// networksOf the networks attached to a policy.
	policiesOf(network string) []*api.NetworkPolicy
	networksOf(policy string) []api.Ref
	// setsOf are the application-policy-sets of a project for its own workloads.
	setsOf(project string) []*api.ApplicationPolicySet
}

func sorted[T api.Object](objects []T) []T {
	slices.SortFunc(objects, func(a, b T) int {
		x, y := &a.Head().Meta, &b.Head().Meta
		return cmp.Or(cmp.Compare(x.FQName, y.FQName), cmp.Compare(x.UUID, y.UUID))
	})
	return objects
}

func typed[T api.Object](objects []api.Object, keep func(T) bool) (all []T) {
	for _, o := range objects {
		if t := o.(T); keep == nil || keep(t) {
			all = append(all, t)
		}
	}
	return sorted(all)
}

// get returns an object by its UUID, or the zero value.
func get[T api.Object](s api.Snapshot, kind api.Kind, uuid string) (o T, ok bool) {
	if uuid == "" {
		return o, false
	}
	o, ok = s.Get(kind, uuid).(T)
	return o, ok
}

// firstDefault is the first of a project's default groups, of which the store admits one.
func firstDefault(groups []*api.SecurityGroup) string {
	for _, g := range groups {
		if g.Spec.Default {
			return g.Meta.UUID
		}
	}
	return ""
}

// globalSets are the application-policy-sets for the workloads of all projects.
func globalSets(s api.Snapshot) (sets []*api.ApplicationPolicySet) {
	for _, set := range api.ListOf[*api.ApplicationPolicySet](s, api.KindApplicationPolicySet) {
		if set.Global() {
			sets = append(sets, set)
		}
	}
	return sets
}

// indexes asks the snapshot.
type indexes struct{ routing.Indexed }

func (i indexes) tagsOn(kind api.Kind, uuid string) (tags []*api.Tag) {
	if uuid == "" {
		return nil
	}
	for _, o := range i.Referrers(api.KindTagBinding, kind, uuid) {
		b := o.(*api.TagBinding)
		if b.Spec.TargetKind != kind || b.Spec.Target.UUID != uuid {
			continue
		}
		if t, ok := get[*api.Tag](i, api.KindTag, b.Spec.Tag.UUID); ok {
			tags = append(tags, t)
		}
	}
	return sorted(tags)
}

func (i indexes) defaultGroup(project string) string {
	return firstDefault(typed[*api.SecurityGroup](i.Children(api.KindSecurityGroup, project), nil))
}

func (i indexes) groupRules(group string) []*api.SecurityGroupRule {
	return typed[*api.SecurityGroupRule](i.Children(api.KindSecurityGroupRule, group), nil)
}

func (i indexes) policiesOf(network string) (policies []*api.NetworkPolicy) {
	for _, o := range i.Referrers(api.KindNetworkPolicyAttachment, api.KindNetwork, network) {
		if p, ok := get[*api.NetworkPolicy](i, api.KindNetworkPolicy, o.(*api.NetworkPolicyAttachment).Spec.Policy.UUID); ok {
			policies = append(policies, p)
		}
	}
	return slices.Compact(sorted(policies))
}

func (i indexes) networksOf(policy string) (networks []api.Ref) {
	for _, o := range i.Referrers(api.KindNetworkPolicyAttachment, api.KindNetworkPolicy, policy) {
		networks = append(networks, o.(*api.NetworkPolicyAttachment).Spec.Network)
	}
	return distinct(networks)
}

func (i indexes) setsOf(project string) []*api.ApplicationPolicySet {
	return typed(i.Children(api.KindApplicationPolicySet, project), func(s *api.ApplicationPolicySet) bool { return !s.Global() })
}

// distinct orders references by name, each once.
func distinct(refs []api.Ref) []api.Ref {
	slices.SortFunc(refs, func(a, b api.Ref) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.UUID, b.UUID)) })
	return slices.Compact(refs)
}

// lists is one pass over all objects: what a full computation takes.
type lists struct {
	tags       map[api.Kind]map[string][]*api.Tag // by what they are bound to
	defaults   map[string]string                  // by project
	rules      map[string][]*api.SecurityGroupRule
	policies   map[string][]*api.NetworkPolicy // by network
	networks   map[string][]api.Ref            // by policy
	policySets map[string][]*api.ApplicationPolicySet
}

func listed(s api.Snapshot) *lists {
	l := &lists{
		tags: map[api.Kind]map[string][]*api.Tag{}, defaults: map[string]string{}, rules: map[string][]*api.SecurityGroupRule{},
		policies: map[string][]*api.NetworkPolicy{}, networks: map[string][]api.Ref{}, policySets: map[string][]*api.ApplicationPolicySet{},
	}
	for _, b := range api.ListOf[*api.TagBinding](s, api.KindTagBinding) {
		if t, ok := get[*api.Tag](s, api.KindTag, b.Spec.Tag.UUID); ok {
			on := l.tags[b.Spec.TargetKind]
			if on == nil {
				on = map[string][]*api.Tag{}
				l.tags[b.Spec.TargetKind] = on
			}
			on[b.Spec.Target.UUID] = append(on[b.Spec.Target.UUID], t)
		}
	}
	for _, on := range l.tags {
		for _, tags := range on {
			sorted(tags)
		}
	}
	for _, g := range api.ListOf[*api.SecurityGroup](s, api.KindSecurityGroup) {
		if project := g.Meta.Parent.UUID; g.Spec.Default && l.defaults[project] == "" {
			l.defaults[project] = g.Meta.UUID
		}
	}
	for _, r := range api.ListOf[*api.SecurityGroupRule](s, api.KindSecurityGroupRule) {
		l.rules[r.Meta.Parent.UUID] = append(l.rules[r.Meta.Parent.UUID], r)
	}
	for _, a := range api.ListOf[*api.NetworkPolicyAttachment](s, api.KindNetworkPolicyAttachment) {
		l.networks[a.Spec.Policy.UUID] = append(l.networks[a.Spec.Policy.UUID], a.Spec.Network)
		if p, ok := get[*api.NetworkPolicy](s, api.KindNetworkPolicy, a.Spec.Policy.UUID); ok {
			l.policies[a.Spec.Network.UUID] = append(l.policies[a.Spec.Network.UUID], p)
		}
	}
	for network, policies := range l.policies {
		l.policies[network] = slices.Compact(sorted(policies))
	}
	for policy, networks := range l.networks {
		l.networks[policy] = distinct(networks)
	}
	for _, set := range api.ListOf[*api.ApplicationPolicySet](s, api.KindApplicationPolicySet) {
		if project := set.Meta.Parent.UUID; !set.Global() {
			l.policySets[project] = append(l.policySets[project], set)
		}
	}
	return l
}

func (l *lists) tagsOn(kind api.Kind, uuid string) []*api.Tag      { return l.tags[kind][uuid] }
func (l *lists) defaultGroup(project string) string                { return l.defaults[project] }
func (l *lists) groupRules(group string) []*api.SecurityGroupRule  { return l.rules[group] }
func (l *lists) policiesOf(network string) []*api.NetworkPolicy    { return l.policies[network] }
func (l *lists) networksOf(policy string) []api.Ref                { return l.networks[policy] }
func (l *lists) setsOf(project string) []*api.ApplicationPolicySet { return l.policySets[project] }
