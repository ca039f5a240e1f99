// SPDX-License-Identifier: Apache-2.0

package views

import (
	"maps"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
)

// thoughtOf is what would follow after changes; it costs what they touch.
func thoughtOf(now *policy.Derived, changes *api.Changes) *policy.Derived {
	base := now.Routing.Snapshot
	then := Changed(base, changes)
	if _, indexed := then.(routing.Indexed); !indexed {
		return policy.Derive(routing.Derive(then))
	}
	var events []api.Event
	gone := func(kind api.Kind, uuid string) {
		if was := base.Get(kind, uuid); was != nil {
			events = append(events, api.Event{Type: api.EventDelete, Revision: base.Revision(), Kind: kind, Object: was, Was: was})
		}
	}
	for _, d := range changes.Deleted {
		gone(d.Kind, d.UUID)
	}
	for _, o := range changes.Put {
		// Nobody has given it a revision by which one would see that it changed:
		// it goes, and another one comes.
		kind := o.Head().Kind
		gone(kind, o.Head().Meta.UUID)
		events = append(events, api.Event{Type: api.EventPut, Revision: base.Revision(), Kind: kind, Object: o})
	}
	return policy.Update(now, routing.Update(now.Routing, then, events), events)
}

// changed is a snapshot with some objects as they would be.
type changed struct {
	api.Snapshot
	put  map[api.Kind]map[string]api.Object // nil: deleted
	name map[api.Kind]map[string]string     // UUIDs by fully qualified name
}

// indexedChanged is one of a snapshot with indexes.
type indexedChanged struct {
	*changed
	indexed routing.Indexed
}

// Changed is a snapshot as it would be after changes.
func Changed(s api.Snapshot, changes *api.Changes) api.Snapshot {
	c := &changed{s, map[api.Kind]map[string]api.Object{}, map[api.Kind]map[string]string{}}
	of := func(kind api.Kind) map[string]api.Object {
		if c.put[kind] == nil {
			c.put[kind], c.name[kind] = map[string]api.Object{}, map[string]string{}
		}
		return c.put[kind]
	}
	for _, d := range changes.Deleted {
		of(d.Kind)[d.UUID] = nil
	}
	for _, o := range changes.Put {
		h := o.Head()
		of(h.Kind)[h.Meta.UUID] = o
		c.name[h.Kind][h.Meta.FQName] = h.Meta.UUID
	}
	if i, ok := s.(routing.Indexed); ok {
		return &indexedChanged{c, i}
	}
	return c
}

func (c *changed) Get(kind api.Kind, uuid string) api.Object {
	if o, is := c.put[kind][uuid]; is {
		return o
	}
	return c.Snapshot.Get(kind, uuid)
}

func (c *changed) Lookup(kind api.Kind, ref api.Ref) api.Object {
	if ref.UUID == "" {
		ref.UUID = c.name[kind][ref.Name]
	}
	if o, is := c.put[kind][ref.UUID]; is {
		return o
	}
	o := c.Snapshot.Lookup(kind, ref)
	if o == nil {
		return nil
	}
	return c.Get(kind, o.Head().Meta.UUID)
}

func (c *changed) List(kind api.Kind) []api.Object {
	if len(c.put[kind]) == 0 {
		return c.Snapshot.List(kind)
	}
	all := c.with(kind, c.Snapshot.List(kind), func(api.Object) bool { return true })
	slices.SortStableFunc(all, func(a, b api.Object) int { return strings.Compare(a.Head().Meta.FQName, b.Head().Meta.FQName) })
	return all
}

// with takes what would be otherwise out of some objects, and adds those that
// would be among them.
func (c *changed) with(kind api.Kind, some []api.Object, among func(api.Object) bool) []api.Object {
	put := c.put[kind]
	if len(put) == 0 {
		return some
	}
	all := slices.DeleteFunc(slices.Clone(some), func(o api.Object) bool {
		_, is := put[o.Head().Meta.UUID]
		return is
	})
	for _, uuid := range slices.Sorted(maps.Keys(put)) {
		if o := put[uuid]; o != nil && among(o) {
			all = append(all, o)
		}
	}
	return all
}

// Children implements routing.Indexed.
func (c *indexedChanged) Children(kind api.Kind, parent string) []api.Object {
	return c.with(kind, c.indexed.Children(kind, parent), func(o api.Object) bool { return o.Head().Meta.Parent.UUID == parent })
}

// Referrers implements routing.Indexed.
func (c *indexedChanged) Referrers(kind, target api.Kind, uuid string) []api.Object {
	return c.with(kind, c.indexed.Referrers(kind, target, uuid), func(o api.Object) bool {
		return slices.ContainsFunc(o.Refs(), func(f api.FieldRef) bool { return f.Kind == target && f.Ref.UUID == uuid })
	})
}
