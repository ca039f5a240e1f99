// SPDX-License-Identifier: Apache-2.0

package status

import (
	"slices"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// Enforced is the condition of a host whose ports ask policy and whose agent
// does not know it: they pass everything. The condition is absent on all others.
const Enforced = "PolicyEnforced"

const (
	reasonOldAgent = "agent-too-old"
	// featurePolicy is what agents say that know policy.
	featurePolicy = "policy"
	passesAll     = "this host's agent does not know policy, so its ports pass everything that the other end does not refuse: upgrade weft-agent"
)

// unenforced tells whether ports of a host ask policy that its agent does not know.
func (in *Input) unenforced(host string, r *hoststream.Report) bool {
	if r == nil || in.Plan.Policy == nil || slices.Contains(r.Features, featurePolicy) {
		return false
	}
	h := in.Plan.Policy.Host(host)
	return h != nil && len(h.Rulesets) > 0
}

// enforced returns the conditions of a host with whether it enforces policy.
func (c *collector) enforced(old []api.Condition, host string, r *hoststream.Report, now time.Time) []api.Condition {
	if !c.unenforced(host, r) {
		return without(old, Enforced)
	}
	return conditionOf(old, api.Condition{Type: Enforced, Reason: reasonOldAgent, Message: passesAll}, now)
}

// policyMessage says what is not as it should be with the policy of a port that
// is up; empty if all is well.
func (c *collector) policyMessage(host string, r *hoststream.PortReport) string {
	switch {
	case r.Policy != "":
		return "it still has its former policy: " + r.Policy
	case c.unenforced(host, c.Hosts[host].Report):
		return passesAll
	}
	return ""
}
