// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"crypto/sha256"
	"slices"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter/rules"
)

// Quieten has the port on an interface refuse without an answer what its rules
// reject, and tells whether that makes a difference.
func (t *Asked) Quieten(ifindex int) (differs bool) {
	policy, asks := t.Policies[ifindex]
	if !asks {
		return false
	}
	for direction := range policy.Rulesets {
		for layer, name := range policy.Rulesets[direction] {
			set := t.Rulesets[name]
			if !rejects(set) {
				continue
			}
			digest := sha256.New()
			digest.Write([]byte("quiet"))
			digest.Write(name[:])
			quiet := desired.Digest(digest.Sum(nil))
			t.Rulesets[quiet] = quieted(set)
			policy.Rulesets[direction][layer], differs = quiet, true
		}
	}
	t.Policies[ifindex] = policy
	return differs
}

func rejects(set desired.Ruleset) bool {
	return set.Outside == rules.Reject || set.Identified == rules.Reject ||
		slices.ContainsFunc(set.Rules, func(r desired.Rule) bool { return r.Body.Action == rules.Reject })
}

// quieted denies what the ruleset rejects.
func quieted(set desired.Ruleset) desired.Ruleset {
	quiet := func(a *rules.Action) {
		if *a == rules.Reject {
			*a = rules.Deny
		}
	}
	quiet(&set.Outside)
	quiet(&set.Identified)
	set.Rules = slices.Clone(set.Rules)
	for i := range set.Rules {
		quiet(&set.Rules[i].Body.Action)
	}
	return set
}
