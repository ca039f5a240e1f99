// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

func newAttach(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "attach POLICY NETWORK...",
		Short: "Put networks under a network-policy",
		Long: `Put networks under a network-policy, in one transaction. The attachments are made
in the policy's project, or in that of --project: they belong to whoever makes them.`,
		Example:           "  weft attach web-db web db",
		GroupID:           groupChange,
		Args:              arguments(2, -1),
		ValidArgsFunction: s.completePolicyNetworks,
		RunE: func(c *cobra.Command, args []string) error {
			return s.attachAll(c.Context(), args[0], args[1:])
		},
	}
}

func (s *session) attachAll(ctx context.Context, policy string, networks []string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	have, err := client.ListOf[*api.NetworkPolicyAttachment](ctx, c, client.ListOptions{})
	if err != nil {
		return err
	}
	var objects []api.Object
	for _, n := range networks {
		wanted, err := s.attach(policy, n)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(have.Items, func(h *api.NetworkPolicyAttachment) bool {
			return same(h.Spec.Policy, wanted.Spec.Policy) && same(h.Spec.Network, wanted.Spec.Network)
		})
		if i >= 0 {
			fmt.Fprintf(s.Out, "network %s is attached to network-policy %s already\n", have.Items[i].Spec.Network, have.Items[i].Spec.Policy)
			continue
		}
		objects = append(objects, wanted)
	}
	if len(objects) == 0 {
		return nil
	}
	made, err := c.Transaction(ctx, creates(objects...), false)
	if err != nil {
		return err
	}
	for _, o := range made.Objects {
		a := o.(*api.NetworkPolicyAttachment)
		fmt.Fprintf(s.Out, "network %s attached to network-policy %s\n", a.Spec.Network, a.Spec.Policy)
	}
	return nil
}

func newDetach(s *session) *cobra.Command {
	return &cobra.Command{
		Use:               "detach POLICY NETWORK...",
		Short:             "Take networks from under a network-policy",
		Example:           "  weft detach web-db db",
		GroupID:           groupChange,
		Args:              arguments(2, -1),
		ValidArgsFunction: s.completePolicyNetworks,
		RunE: func(c *cobra.Command, args []string) error {
			return s.detachAll(c.Context(), args[0], args[1:])
		},
	}
}

func (s *session) detachAll(ctx context.Context, policy string, networks []string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	p, err := s.ref(api.KindNetworkPolicy, policy)
	if err != nil {
		return err
	}
	have, err := client.ListOf[*api.NetworkPolicyAttachment](ctx, c, client.ListOptions{})
	if err != nil {
		return err
	}
	var operations []api.Operation
	for _, word := range networks {
		n, err := s.ref(api.KindNetwork, word)
		if err != nil {
			return err
		}
		found := false
		for _, a := range have.Items {
			if same(a.Spec.Policy, p) && same(a.Spec.Network, n) {
				operations = append(operations, api.Operation{Op: api.OpDelete, Object: a})
				found = true
			}
		}
		if !found {
			return failure{
				what: fmt.Sprintf("network %s is not attached to network-policy %s", n, p),
				hint: "see what is: weft get network-policies",
			}
		}
	}
	if _, err := c.Transaction(ctx, operations, false); err != nil {
		return err
	}
	for _, op := range operations {
		a := op.Object.(*api.NetworkPolicyAttachment)
		fmt.Fprintf(s.Out, "network %s detached from network-policy %s\n", a.Spec.Network, a.Spec.Policy)
	}
	return nil
}

// same tells whether two references point at the same object, as far as they
// can be compared.
func same(a, b api.Ref) bool {
	if a.UUID != "" && b.UUID != "" {
		return a.UUID == b.UUID
	}
	return a.Name != "" && a.Name == b.Name
}
