// SPDX-License-Identifier: Apache-2.0

package agents

import (
	"cmp"
	"context"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
)

// objects is a snapshot of what the API tells.
type objects map[api.Kind][]api.Object

func (o objects) Revision() int64 { return 1 }

func (o objects) List(k api.Kind) []api.Object { return o[k] }

func (o objects) Get(k api.Kind, uuid string) api.Object {
	return o.Lookup(k, api.Ref{UUID: uuid})
}

func (o objects) Lookup(k api.Kind, ref api.Ref) api.Object {
	for _, x := range o[k] {
		if m := x.Head().Meta; m.UUID == ref.UUID || ref.UUID == "" && m.FQName == ref.Name {
			return x
		}
	}
	return nil
}

// recompute computes from all objects, as the API has them, what each host must have.
func recompute(ctx context.Context, c *client.Client) (*placement.Plan, error) {
	s := objects{}
	for _, kind := range []api.Kind{api.KindHost, api.KindNetwork, api.KindSubnet, api.KindPort, api.KindAddress, api.KindBinding, api.KindNetworkPolicy, api.KindNetworkPolicyAttachment} {
		for o, err := range c.Pages(ctx, kind, client.ListOptions{}) {
			if err != nil {
				return nil, err
			}
			s[kind] = append(s[kind], o)
		}
		slices.SortFunc(s[kind], func(a, b api.Object) int { return cmp.Compare(a.Head().Meta.FQName, b.Head().Meta.FQName) })
	}
	return placement.New(1, routing.Derive(s), nil), nil
}
