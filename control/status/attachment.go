// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/placement"
)

func (c *collector) attachments() {
	attachments := api.ListOf[*api.NetworkPolicyAttachment](c.Snapshot, api.KindNetworkPolicyAttachment)
	if len(attachments) == 0 {
		return
	}
	holders := map[string][]string{} // hosts that need a network's VRF, by network
	for _, h := range c.Plan.Derived.Hosts {
		for _, n := range c.Plan.Networks(h.Ref.UUID) {
			holders[n.Ref.UUID] = append(holders[n.Ref.UUID], h.Ref.UUID)
		}
	}
	members := map[string][]api.Ref{} // networks attached to a policy, by policy
	for _, a := range attachments {
		if n := c.Plan.Derived.Network(a.Spec.Network.UUID); n != nil {
			members[a.Spec.Policy.UUID] = append(members[a.Spec.Policy.UUID], n.Ref)
		}
	}
	for _, a := range attachments {
		now := a.Status
		now.Conditions = c.set(now.Conditions, c.attachment(a, members, holders[a.Spec.Network.UUID]))
		c.want(a, &now)
	}
}

// attachment says whether the hosts of a network have acknowledged what its
// attachment to a policy brought. Hosts that are not connected are not waited
// for: they get it with everything else when they return.
func (c *collector) attachment(a *api.NetworkPolicyAttachment, members map[string][]api.Ref, holders []string) api.Condition {
	policy, _ := c.Snapshot.Get(api.KindNetworkPolicy, a.Spec.Policy.UUID).(*api.NetworkPolicy)
	network := c.Plan.Derived.Network(a.Spec.Network.UUID)
	if policy == nil || network == nil {
		return no(reasonMissing, "")
	}
	attached := func(policy, network string) bool {
		return slices.ContainsFunc(members[policy], func(n api.Ref) bool { return n.UUID == network })
	}
	joined := slices.ContainsFunc(members[policy.Meta.UUID], func(other api.Ref) bool {
		return other != network.Ref && policy.Joins(network.Ref, other, attached)
	})
	if !joined && onlyJoins(policy) {
		return no(reasonNotJoined, "no rule of "+policy.Meta.FQName+" joins the network with another attached one")
	}
	need := placement.Version{Epoch: c.Plan.Version.Epoch, Revision: max(a.Meta.Revision, policy.Meta.Revision)}
	connected, done := 0, 0
	for _, uuid := range holders {
		host := c.Hosts[uuid]
		if !host.Connected {
			continue
		}
		connected++
		for key, text := range host.RowErrors {
			if strings.HasPrefix(key, placement.RouteKeyPrefix(network.VRF)) {
				return no(reasonRowError, fmt.Sprintf("host %s: %s: %s", host.Host, key, text))
			}
		}
		if !host.Settled.Before(need) {
			done++
		}
	}
	switch old := find(a.Status.Conditions); {
	case connected == 0 && old != nil && old.Status:
		return *old
	case connected == 0:
		return no(reasonUnplaced, "")
	case done < connected:
		return no(reasonPending, "")
	}
	return api.Condition{Type: Programmed, Status: true, Reason: reasonAcknowledged}
}

// onlyJoins tells whether a policy does nothing for a network but join it.
func onlyJoins(p *api.NetworkPolicy) bool {
	return !slices.ContainsFunc(p.Spec.Rules, func(r api.NetworkPolicyRule) bool {
		return r.Action != api.ActionPass || r.Audit || r.Source.Local || r.Destination.Local || r.Source.Range.IsValid() || r.Destination.Range.IsValid()
	})
}
