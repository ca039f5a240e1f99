// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weft-network/weft/api"
)

func ruleOf(name string, index int) string { return fmt.Sprintf("%s, rule %d", name, index+1) }

// tiers are the firewall's, in their order.
var tiers = []string{"admin", "default", "baseline"}

// firewall: of the tiers the first that decides counts.
func (e end) firewall() Decision {
	for _, tier := range tiers {
		for _, s := range e.sets(tier) {
			d, next := e.set(s)
			if next {
				break
			}
			if d.Action != "" {
				return d
			}
		}
	}
	return passed
}

// sets are those of a tier that are for the port: global before project, by
// priority, by name.
func (e end) sets(tier string) (sets []*api.ApplicationPolicySet) {
	for _, s := range all[*api.ApplicationPolicySet](e.m, api.KindApplicationPolicySet) {
		if cmp.Or(s.Spec.Tier, "default") == tier && e.isFor(s) {
			sets = append(sets, s)
		}
	}
	scope := func(s *api.ApplicationPolicySet) int {
		if s.Global() {
			return 0
		}
		return 1
	}
	slices.SortFunc(sets, func(a, b *api.ApplicationPolicySet) int {
		return cmp.Or(cmp.Compare(scope(a), scope(b)), cmp.Compare(a.Spec.Priority, b.Spec.Priority), cmp.Compare(a.Meta.FQName, b.Meta.FQName))
	})
	return sets
}

func (e end) isFor(s *api.ApplicationPolicySet) bool {
	if !s.Global() && s.Meta.Parent.UUID != project(e.port).UUID {
		return false
	}
	return s.Spec.Application.IsZero() || slices.ContainsFunc(e.m.tags(e.port), func(t tagged) bool { return t.tag.Meta.UUID == s.Spec.Application.UUID })
}

// set asks the policies of one set; next leaves the rest to the following tier.
func (e end) set(s *api.ApplicationPolicySet) (d Decision, next bool) {
	isolated := false
	for _, r := range s.Spec.Policies {
		p, is := get[*api.FirewallPolicy](e.m, r)
		if !is || !e.m.in(p.Meta.Parent, p.Spec.Workloads, e.port) {
			continue
		}
		isolated = isolated || slices.Contains(p.Spec.Isolates, e.side) && !p.Spec.Audit
		for _, r := range p.Spec.Rules {
			rule, is := get[*api.FirewallRule](e.m, r)
			if !is || rule.Spec.Disabled || rule.Spec.Audit || p.Spec.Audit {
				continue
			}
			says, guessed := e.says(rule)
			if !says {
				continue
			}
			if guessed {
				return Decision{Action: ActionPending, Layer: LayerFirewall, Object: rule.Meta.FQName}, false
			}
			if rule.Spec.Action == api.ActionNext {
				return Decision{}, true
			}
			return Decision{Action: rule.Spec.Action, Layer: LayerFirewall, Object: rule.Meta.FQName + " of " + p.Meta.FQName + " of " + s.Meta.FQName}, false
		}
	}
	if isolated {
		return Decision{Action: api.ActionDeny, Layer: LayerFirewall}, false // whoever it is
	}
	return Decision{}, false
}

// says tells whether a rule matches the packet at this end, and whether only
// because the other end is not known yet and could be meant.
func (e end) says(r *api.FirewallRule) (says, guessed bool) {
	s := r.Spec
	services := s.Services
	if g, is := get[*api.ServiceGroup](e.m, s.ServiceGroup); is {
		if services = g.Spec.Services; len(services) == 0 {
			return false, false
		}
	}
	here, there := s.Source, s.Destination
	if e.side == api.Ingress {
		here, there = there, here
	}
	on := func(here, there api.Endpoint) (says, guessed bool) {
		spoken := there
		if e.side == api.Ingress {
			spoken = here
		}
		if !e.here(r.Meta.Parent, here) {
			return false, false
		}
		services := known(services, spoken.Range.IsValid() || !spoken.AddressGroup.IsZero())
		if !e.anyOf(services) {
			return e.couldName(services, s.Action, func(p *api.Port) bool { return e.m.in(r.Meta.Parent, there, p) && e.m.alike(s.MatchTags, e.port, p) })
		}
		if e.remote == nil && !e.m.alike(s.MatchTags, e.port, e.port) {
			return false, false // nobody can have in common with the port what it has not
		}
		if e.remote == nil && (workloads(there) || len(s.MatchTags) > 0) {
			return e.guess(s.Action), true
		}
		return e.there(r.Meta.Parent, there) && (e.remote == nil || e.m.alike(s.MatchTags, e.port, e.remote)), false
	}
	if says, guessed = on(here, there); says || s.Direction != api.DirectionBoth {
		return says, guessed
	}
	return on(there, here)
}

// couldName tells whether a rule that does not match means a stranger all the same:
// somebody whom it means gives the packet's port a name of its services, and who is
// not known yet could be that.
func (e end) couldName(services []api.Match, says api.Action, means func(*api.Port) bool) (ruled, guessed bool) {
	names := slices.DeleteFunc(slices.Clone(services), func(m api.Match) bool { return m.PortName == "" })
	if e.side != api.Egress || e.remote != nil || !e.guess(says) || len(names) == 0 {
		return false, false
	}
	may := slices.ContainsFunc(all[*api.Port](e.m, api.KindPort), func(p *api.Port) bool {
		could := e
		could.remote, could.packet.To = p, p
		return means(p) && could.anyOf(names)
	})
	return may, may
}

// workloads tells whether an endpoint names workloads.
func workloads(x api.Endpoint) bool {
	return len(x.Tags) > 0 || len(x.Expressions) > 0 || !x.Project.IsZero() || !x.Network.IsZero()
}

// known are the services that can be spoken to workloads, or to addresses, which have
// no names for ports.
func known(services []api.Match, addresses bool) []api.Match {
	if !addresses || len(services) == 0 {
		return services
	}
	nothing := api.Match{Protocol: "255", ICMPType: new(int)} // which no packet is
	return append([]api.Match{nothing}, slices.DeleteFunc(slices.Clone(services), func(m api.Match) bool { return m.PortName != "" })...)
}

// here is whether an endpoint means the port that is asked.
func (e end) here(said api.Ref, x api.Endpoint) bool {
	return e.m.in(said, x, e.port) && e.m.addressed(x, e.local)
}

// there is whether an endpoint means the other end.
func (e end) there(said api.Ref, x api.Endpoint) bool {
	return (e.remote == nil || e.m.in(said, x, e.remote)) && e.m.addressed(x, e.other)
}
