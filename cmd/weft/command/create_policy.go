// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
)

func newCreatePolicy(s *session) *cobra.Command {
	var rules, networks []string
	c := s.creation(creation{
		kind: api.KindNetworkPolicy, args: "NAME --rule RULE [--attach NETWORK]...", short: "Make a network-policy, which joins networks and says what for",
		long: `A rule is ` + ruleForm + `, and the first that
matches decides; what no rule matches is denied between joined networks. With >
the left side begins, with <> either. A SIDE is
  NETWORK          workloads of the network
  any              workloads of every network attached to the policy
  local            workloads of the network itself, for each that is attached
  policy=POLICY    workloads of the networks attached to another network-policy
  subnet=SUBNET    addresses of a subnet, e.g. subnet=web:v4
  RANGE            addresses of a range, e.g. 10.0.0.0/8
A SERVICE is a protocol with what packets of it are meant: tcp/443,
udp/5000-5010, tcp/https (a named port of the workload), icmp/8, icmp/3/4, 47,
all, tcp/179:from=1024-65535. Without one, all packets are meant.

Two networks are joined, each taking the other's routes, when both are attached
and a rule that passes names both.`,
		example: `  weft create network-policy web-db --rule 'pass any <> any' --attach web --attach db
  weft create network-policy web-db --rule 'pass tcp/5432,icmp web > db' --rule 'deny any <> any log'`,
		build: func(_ context.Context, name string) ([]api.Operation, error) {
			p, err := fresh[*api.NetworkPolicy](s, api.KindNetworkPolicy, name)
			if err != nil {
				return nil, err
			}
			if err := needed("rule", strings.Join(rules, ""), "'pass any <> any'"); err != nil {
				return nil, err
			}
			for _, words := range rules {
				rule, err := s.parseRule(words)
				if err != nil {
					return nil, err
				}
				p.Spec.Rules = append(p.Spec.Rules, rule)
			}
			objects := []api.Object{p}
			for _, n := range networks {
				ref, err := s.ref(api.KindNetwork, n)
				if err != nil {
					return nil, err
				}
				objects = append(objects, attachment(p.Meta.Parent.Name, api.Ref{Name: fullName(p)}, ref))
			}
			return creates(objects...), nil
		},
	})
	c.Flags().StringArrayVar(&rules, "rule", nil, "`RULE`, e.g. 'pass tcp/443 web > db'; may be repeated, in their order")
	c.Flags().StringSliceVar(&networks, "attach", nil, "attach this `NETWORK`; may be repeated")
	return c
}

// attachment makes the object that puts a network under a policy.
func attachment(project string, policy, network api.Ref) *api.NetworkPolicyAttachment {
	a := api.New(api.KindNetworkPolicyAttachment).(*api.NetworkPolicyAttachment)
	a.Meta.Name = nameWithin(project, policy.String()) + "-" + nameWithin(project, network.String())
	a.Meta.Parent = api.Ref{Name: project}
	a.Spec.Policy, a.Spec.Network = policy, network
	return a
}

func newCreateAttachment(s *session) *cobra.Command {
	var policy, network string
	c := s.creation(creation{
		kind: api.KindNetworkPolicyAttachment, args: "[NAME] --policy POLICY --network NETWORK", short: "Put a network under a network-policy", optional: true,
		long:    "\"weft attach POLICY NETWORK\" does the same.",
		example: "  weft create network-policy-attachment --policy web-db --network web",
		build: func(_ context.Context, name string) ([]api.Operation, error) {
			if err := needed("policy", policy, "web-db"); err != nil {
				return nil, err
			}
			if err := needed("network", network, "web"); err != nil {
				return nil, err
			}
			a, err := s.attach(policy, network)
			if err != nil || name == "" {
				return creates(a), err
			}
			named, err := fresh[*api.NetworkPolicyAttachment](s, api.KindNetworkPolicyAttachment, name)
			named.Spec = a.Spec
			return creates(named), err
		},
	})
	c.Flags().StringVar(&policy, "policy", "", "the `POLICY`")
	c.Flags().StringVar(&network, "network", "", "the `NETWORK`")
	return c
}

// attach makes the attachment of a network to a policy, both as written. It is
// made in the project in use, which belongs to whoever makes it.
func (s *session) attach(policy, network string) (*api.NetworkPolicyAttachment, error) {
	p, err := s.ref(api.KindNetworkPolicy, policy)
	if err != nil {
		return nil, err
	}
	n, err := s.ref(api.KindNetwork, network)
	if err != nil {
		return nil, err
	}
	project := s.project
	if s.flags.project == "" && p.Name != "" {
		project = projectName(p.Name)
	}
	return attachment(project, p, n), nil
}
