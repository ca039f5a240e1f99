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
	members := map[string][]string{} // networks attached to a policy, by policy
	for _, a := range attachments {
		if c.Plan.Derived.Network(a.Spec.Network.UUID) != nil {
			members[a.Spec.Policy.UUID] = append(members[a.Spec.Policy.UUID], a.Spec.Network.UUID)
		}
	}
	for _, a := range attachments {
		now := a.Status
		now.Conditions = c.set(now.Conditions, c.attachment(a, members[a.Spec.Policy.UUID], holders[a.Spec.Network.UUID]))
		c.want(a, &now)
	}
}

// attachment says whether the hosts of a network have acknowledged what its
// attachment to a policy brought. Hosts that are not connected are not waited
// for: they get it with everything else when they return.
func (c *collector) attachment(a *api.NetworkPolicyAttachment, members, holders []string) api.Condition {
	policy, _ := c.Snapshot.Get(api.KindNetworkPolicy, a.Spec.Policy.UUID).(*api.NetworkPolicy)
	network := c.Plan.Derived.Network(a.Spec.Network.UUID)
	if policy == nil || network == nil {
		return no(reasonMissing, "")
	}
	joined := slices.ContainsFunc(members, func(other string) bool {
		return other != network.Ref.UUID && policy.Joins(network.Ref.UUID, other)
	})
	if !joined {
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
