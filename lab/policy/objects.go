// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// Model says what becomes of a packet by walking the objects, as doc/policy.md
// tells it. It knows nothing of how policy is compiled.
type Model struct {
	byUUID map[string]api.Object
	kinds  map[api.Kind][]api.Object // by fully qualified name
}

// read are the kinds that policy follows from.
var read = []api.Kind{
	api.KindProject, api.KindNetwork, api.KindSubnet, api.KindPort, api.KindBinding, api.KindAddress,
	api.KindSecurityGroup, api.KindSecurityGroupRule, api.KindAddressGroup, api.KindServiceGroup,
	api.KindNetworkPolicy, api.KindNetworkPolicyAttachment,
	api.KindTag, api.KindTagBinding, api.KindFirewallRule, api.KindFirewallPolicy, api.KindApplicationPolicySet,
}

// Load reads the objects that the API has.
func Load(ctx context.Context, c *client.Client) (*Model, error) {
	var all []api.Object
	for _, kind := range read {
		list, err := c.List(ctx, kind, client.ListOptions{})
		if err != nil {
			return nil, err
		}
		all = append(all, list.Items...)
	}
	return NewModel(all), nil
}

// NewModel is the model of some objects.
func NewModel(objects []api.Object) *Model {
	m := &Model{byUUID: map[string]api.Object{}, kinds: map[api.Kind][]api.Object{}}
	for _, o := range objects {
		h := o.Head()
		m.byUUID[h.Meta.UUID] = o
		m.kinds[h.Kind] = append(m.kinds[h.Kind], o)
	}
	for _, list := range m.kinds {
		slices.SortFunc(list, func(a, b api.Object) int { return cmp.Compare(a.Head().Meta.FQName, b.Head().Meta.FQName) })
	}
	return m
}

// all are the objects of a kind.
func all[T api.Object](m *Model, kind api.Kind) (list []T) {
	for _, o := range m.kinds[kind] {
		list = append(list, o.(T))
	}
	return list
}

// get is the object that a reference names; the API keeps it there.
func get[T api.Object](m *Model, r api.Ref) (o T, is bool) {
	o, is = m.byUUID[r.UUID].(T)
	return o, is
}

// Port finds a port by its fully qualified name.
func (m *Model) Port(name string) *api.Port {
	for _, p := range all[*api.Port](m, api.KindPort) {
		if p.Meta.FQName == name {
			return p
		}
	}
	return nil
}

// Owner is the port that has an address in a network, nil if none has.
func (m *Model) Owner(network api.Ref, a netip.Addr) *api.Port {
	for _, x := range all[*api.Address](m, api.KindAddress) {
		if x.Spec.IP == a && x.Meta.Parent.UUID == network.UUID {
			if p, is := get[*api.Port](m, x.Spec.Port); is {
				return p
			}
		}
	}
	return nil
}

// At is the port that a workload reaches at an address: in its own network, or
// in one that is joined to it.
func (m *Model) At(from *api.Port, a netip.Addr) *api.Port {
	if p := m.Owner(from.Spec.Network, a); p != nil {
		return p
	}
	for _, n := range m.kinds[api.KindNetwork] {
		if other := api.RefTo(n); m.joined(from.Spec.Network, other) {
			if p := m.Owner(other, a); p != nil {
				return p
			}
		}
	}
	return nil
}

// project is the project of a port.
func project(p *api.Port) api.Ref { return p.Meta.Parent }

// within tells whether a subnet is of a network.
func within(subnet, network api.Ref) bool { return strings.HasPrefix(subnet.Name, network.Name+":") }
