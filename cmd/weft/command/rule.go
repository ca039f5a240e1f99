// SPDX-License-Identifier: Apache-2.0

package command

import (
	"strings"

	"github.com/weft-network/weft/api"
)

// anyNetwork stands for every network attached to the policy.
const anyNetwork = "any"

// parseRule reads "pass NETWORK <> NETWORK"; NETWORK may be any.
func (s *session) parseRule(words string) (api.NetworkPolicyRule, error) {
	f := strings.Fields(words)
	if len(f) != 4 || f[0] != string(api.ActionPass) || f[2] != string(api.DirectionBoth) {
		return api.NetworkPolicyRule{}, usagef("rule %q: want 'pass NETWORK <> NETWORK', where NETWORK is a name or any", words)
	}
	rule := api.NetworkPolicyRule{Action: api.ActionPass, Direction: api.DirectionBoth}
	var err error
	if rule.Source.Network, err = s.ruleSide(f[1]); err != nil {
		return rule, err
	}
	rule.Destination.Network, err = s.ruleSide(f[3])
	return rule, err
}

// ruleSide reads one side of a rule.
func (s *session) ruleSide(word string) (api.Ref, error) {
	if word == anyNetwork {
		return api.Ref{}, nil
	}
	return s.ref(api.KindNetwork, word)
}

// ruleText writes a rule the way parseRule reads it.
func ruleText(project string, r api.NetworkPolicyRule) string {
	side := func(n api.NetworkSelector) string {
		if n.Network.IsZero() {
			return anyNetwork
		}
		return refName(project, n.Network)
	}
	return strings.Join([]string{string(r.Action), side(r.Source), string(r.Direction), side(r.Destination)}, " ")
}
