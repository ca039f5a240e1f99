// SPDX-License-Identifier: Apache-2.0

package command

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
)

// Words of a rule's side beside names.
const (
	sideAny    = "any"   // every network attached to the policy
	sideLocal  = "local" // the network the policy is attached to
	sidePolicy = "policy="
	sideSubnet = "subnet="
	ruleLog    = "log"
	ruleAudit  = "audit"
)

// ruleForm is how a rule is written.
const ruleForm = "'pass|deny [SERVICE[,SERVICE]] SIDE <>|> SIDE [log] [audit]'"

// parseRule reads a rule of a network-policy.
func (s *session) parseRule(words string) (api.NetworkPolicyRule, error) {
	f := strings.Fields(words)
	var rule api.NetworkPolicyRule
	for len(f) > 4 && (f[len(f)-1] == ruleLog || f[len(f)-1] == ruleAudit) {
		rule.Log, rule.Audit = rule.Log || f[len(f)-1] == ruleLog, rule.Audit || f[len(f)-1] == ruleAudit
		f = f[:len(f)-1]
	}
	if len(f) == 5 {
		for word := range strings.SplitSeq(f[1], ",") {
			m, err := parseService(word)
			if err != nil {
				return rule, err
			}
			rule.Services = append(rule.Services, m)
		}
		f = append(f[:1:1], f[2:]...)
	}
	if len(f) != 4 || f[0] != string(api.ActionPass) && f[0] != string(api.ActionDeny) || f[2] != string(api.DirectionBoth) && f[2] != string(api.DirectionTo) {
		return rule, usagef("rule %q: want %s, e.g. 'pass tcp/443 web > db' or 'pass any <> any'", words, ruleForm)
	}
	rule.Action, rule.Direction = api.Action(f[0]), api.Direction(f[2])
	var err error
	if rule.Source, err = s.parseSide(f[1]); err != nil {
		return rule, err
	}
	rule.Destination, err = s.parseSide(f[3])
	return rule, err
}

// parseSide reads one side of a rule.
func (s *session) parseSide(word string) (side api.NetworkSelector, err error) {
	if r, err := netip.ParsePrefix(word); err == nil {
		return api.NetworkSelector{Range: r}, nil
	}
	policy, isPolicy := strings.CutPrefix(word, sidePolicy)
	subnet, isSubnet := strings.CutPrefix(word, sideSubnet)
	switch {
	case word == sideAny:
	case word == sideLocal:
		side.Local = true
	case isPolicy:
		side.Policy, err = s.ref(api.KindNetworkPolicy, policy)
	case isSubnet:
		side.Subnet, err = s.ref(api.KindSubnet, subnet)
	default:
		side.Network, err = s.ref(api.KindNetwork, word)
	}
	return side, err
}

// ruleText writes a rule the way parseRule reads it.
func ruleText(project string, r api.NetworkPolicyRule) string {
	words := []string{string(r.Action)}
	if len(r.Services) > 0 {
		services := make([]string, len(r.Services))
		for i, m := range r.Services {
			services[i] = serviceText(m)
		}
		words = append(words, strings.Join(services, ","))
	}
	words = append(words, sideText(project, r.Source), string(r.Direction), sideText(project, r.Destination))
	if r.Log {
		words = append(words, ruleLog)
	}
	if r.Audit {
		words = append(words, ruleAudit)
	}
	return strings.Join(words, " ")
}

func sideText(project string, n api.NetworkSelector) string {
	switch {
	case n.Local:
		return sideLocal
	case n.Range.IsValid():
		return n.Range.String()
	case !n.Policy.IsZero():
		return sidePolicy + refName(project, n.Policy)
	case !n.Subnet.IsZero():
		return sideSubnet + refName(project, n.Subnet)
	case !n.Network.IsZero():
		return networkText(project, n.Network)
	}
	return sideAny
}

// networkText names a network in full where its short name would be read as something else.
func networkText(project string, r api.Ref) string {
	short := refName(project, r)
	_, notPrefix := netip.ParsePrefix(short)
	if slices.Contains([]string{sideAny, sideLocal, ruleLog, ruleAudit}, short) || strings.HasPrefix(short, sidePolicy) || strings.HasPrefix(short, sideSubnet) || notPrefix == nil {
		return r.String()
	}
	return short
}
