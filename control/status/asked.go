// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"maps"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
)

// asked says of security-groups, firewall-policies and application-policy-sets
// on how many hosts they are in the kernel, of those with ports that ask them.
func (c *collector) asked() {
	kinds := []api.Kind{api.KindSecurityGroup, api.KindFirewallPolicy, api.KindApplicationPolicySet}
	hosts := map[string]map[string][]*policy.Ruleset{} // what hosts ask, by object and host
	for _, kind := range kinds {
		for _, o := range c.Snapshot.List(kind) {
			hosts[o.Head().Meta.UUID] = nil
		}
	}
	if len(hosts) == 0 {
		return
	}
	for _, h := range c.Plan.Derived.Hosts {
		needs := c.Plan.Policy.Host(h.Ref.UUID)
		if needs == nil {
			continue
		}
		for _, r := range needs.Rulesets {
			for _, of := range r.Of {
				if hosts[of] == nil {
					hosts[of] = map[string][]*policy.Ruleset{}
				}
				hosts[of][h.Ref.UUID] = append(hosts[of][h.Ref.UUID], r)
			}
		}
	}
	for _, kind := range kinds {
		for _, o := range c.Snapshot.List(kind) {
			was := o.StatusBody().(*api.Reported)
			fact := c.askedOn(o, find(was.Conditions), hosts[o.Head().Meta.UUID])
			c.want(o, &api.Reported{Conditions: c.set(was.Conditions, fact)})
		}
	}
}

// askedOn says whether the hosts that ask an object have acknowledged it as it
// is. Hosts that are not connected are not waited for.
func (c *collector) askedOn(o api.Object, old *api.Condition, hosts map[string][]*policy.Ruleset) api.Condition {
	need := placement.Version{Epoch: c.Plan.Version.Epoch, Revision: c.written(o)}
	connected, done := 0, 0
	for _, uuid := range slices.Sorted(maps.Keys(hosts)) {
		host, rulesets := c.Hosts[uuid], hosts[uuid]
		if !host.Connected || c.unenforced(uuid, host.Report) {
			continue
		}
		connected++
		for _, r := range rulesets {
			if text := host.RowErrors[placement.RulesetKey(r.ID)]; text != "" {
				return no(reasonRowError, fmt.Sprintf("host %s: %s", host.Host, text))
			}
		}
		if !host.Settled.Before(need) {
			done++
		}
	}
	switch {
	case connected == 0 && old != nil && old.Status && len(hosts) > 0:
		return *old
	case connected == 0:
		return no(reasonUnplaced, "")
	case done < connected:
		return no(reasonPending, fmt.Sprintf("on %d of %d hosts", done, connected))
	}
	return api.Condition{Type: Programmed, Status: true, Reason: reasonAcknowledged, Message: fmt.Sprintf("on %d hosts", done)}
}

// written is the revision of the last write to an object or to what it is made of.
func (c *collector) written(o api.Object) int64 {
	newest := o.Head().Meta.Revision
	of := func(kind api.Kind, refs []api.Ref) {
		for _, r := range refs {
			if part := c.Snapshot.Get(kind, r.UUID); part != nil {
				newest = max(newest, c.written(part))
			}
		}
	}
	switch o := o.(type) {
	case *api.SecurityGroup:
		if indexed, ok := c.Snapshot.(routing.Indexed); ok {
			for _, r := range indexed.Children(api.KindSecurityGroupRule, o.Meta.UUID) {
				newest = max(newest, r.Head().Meta.Revision)
			}
		}
	case *api.FirewallPolicy:
		of(api.KindFirewallRule, o.Spec.Rules)
	case *api.ApplicationPolicySet:
		of(api.KindFirewallPolicy, o.Spec.Policies)
	}
	return newest
}
