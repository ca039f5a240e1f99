// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// view is the objects a table is made of: those it has a row for, and beside
// each those its columns tell of (a port's addresses).
type view struct {
	project string
	beside  map[string]map[string]api.Object // UUID of the row's object, UUID of the other
	at      map[string][]string              // where an object is beside, by its UUID
}

func newView(project string) *view {
	return &view{project: project, beside: map[string]map[string]api.Object{}, at: map[string][]string{}}
}

// anchors are the UUIDs of the objects whose rows tell of o.
func anchors(o api.Object) []string {
	switch o := o.(type) {
	case *api.Address:
		return []string{o.Spec.Port.UUID}
	case *api.Binding, *api.Subnet:
		return []string{o.Head().Meta.Parent.UUID}
	case *api.NetworkPolicyAttachment:
		return []string{o.Spec.Policy.UUID, o.Spec.Network.UUID}
	case *api.Port:
		return []string{o.Spec.Network.UUID}
	}
	return nil
}

// put adds or replaces an object beside others and returns whose rows changed.
func (v *view) put(o api.Object) []string {
	changed := v.remove(o)
	uuid := o.Head().Meta.UUID
	for _, a := range anchors(o) {
		if v.beside[a] == nil {
			v.beside[a] = map[string]api.Object{}
		}
		v.beside[a][uuid] = o
		v.at[uuid] = append(v.at[uuid], a)
		changed = append(changed, a)
	}
	return changed
}

// remove forgets an object beside others and returns whose rows changed.
func (v *view) remove(o api.Object) []string {
	uuid := o.Head().Meta.UUID
	changed := v.at[uuid]
	for _, a := range changed {
		delete(v.beside[a], uuid)
	}
	delete(v.at, uuid)
	return changed
}

// besideOf returns the objects of T's type beside an object, by name.
func besideOf[T api.Object](v *view, o api.Object) []T {
	var found []T
	for _, other := range v.beside[o.Head().Meta.UUID] {
		if t, ok := other.(T); ok {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b T) int {
		return strings.Compare(a.Head().Meta.FQName, b.Head().Meta.FQName)
	})
	return found
}

// askEach is up to how many rows are asked for one by one: more is slower than
// one list of everything that may be beside them.
const askEach = 8

// load lists the other kinds that the columns of a kind tell of, for some rows.
func (v *view) load(ctx context.Context, c *client.Client, kind api.Kind, wide bool, rows []api.Object) error {
	for _, r := range relatedKinds(kind, wide) {
		asked := []client.ListOptions{{}}
		if len(rows) <= askEach {
			asked = nil
			for _, o := range rows {
				asked = append(asked, referring(r.field, o))
			}
		}
		for _, options := range asked {
			list, err := c.List(ctx, r.kind, options)
			if err != nil {
				return err
			}
			for _, o := range list.Items {
				v.put(o)
			}
		}
	}
	return nil
}

// related is a kind whose objects are told of in another kind's rows.
type related struct {
	kind  api.Kind
	field string // by which they refer to the row's object
	wide  bool   // only in wide tables
}

// fieldParent is the reference that every kind below the root has.
const fieldParent = "meta.parent"

// referring selects what refers to an object by a field.
func referring(field string, o api.Object) client.ListOptions {
	if field == fieldParent {
		return client.ListOptions{Parent: api.RefTo(o)}
	}
	return client.ListOptions{References: map[string]api.Ref{field: api.RefTo(o)}}
}

// relatedTo lists them by the kind of the rows.
var relatedTo = map[api.Kind][]related{
	api.KindPort: {{kind: api.KindAddress, field: "spec.port"}, {kind: api.KindBinding, field: fieldParent}},
	api.KindNetwork: {
		{kind: api.KindSubnet, field: fieldParent},
		{kind: api.KindPort, field: "spec.network", wide: true},
		{kind: api.KindNetworkPolicyAttachment, field: "spec.network", wide: true},
	},
	api.KindNetworkPolicy: {{kind: api.KindNetworkPolicyAttachment, field: "spec.policy"}},
}

// relatedKinds are those a table needs.
func relatedKinds(kind api.Kind, wide bool) []related {
	var needed []related
	for _, r := range relatedTo[kind] {
		if wide || !r.wide {
			needed = append(needed, r)
		}
	}
	return needed
}
