// SPDX-License-Identifier: Apache-2.0

package world

import (
	"reflect"
	"slices"

	"github.com/weft-network/weft/api"
)

// Changes lists the events that lead from one snapshot to another, deletions
// last, as the store tells them.
func Changes(before, after api.Snapshot) []api.Event {
	var puts, deletes []api.Event
	for _, info := range api.Kinds() {
		for _, o := range after.List(info.Kind) {
			was := before.Get(info.Kind, o.Head().Meta.UUID)
			if was == nil || was.Head().Meta.Revision != o.Head().Meta.Revision || !reflect.DeepEqual(was.StatusBody(), o.StatusBody()) {
				puts = append(puts, api.Event{Type: api.EventPut, Revision: after.Revision(), Kind: info.Kind, Object: o, Was: was})
			}
		}
		for _, o := range before.List(info.Kind) {
			if after.Get(info.Kind, o.Head().Meta.UUID) == nil {
				deletes = append(deletes, api.Event{Type: api.EventDelete, Revision: after.Revision(), Kind: info.Kind, Object: o, Was: o})
			}
		}
	}
	return append(puts, deletes...)
}

// Children implements routing.Indexed.
func (w *World) Children(kind api.Kind, parent string) []api.Object {
	var children []api.Object
	for _, o := range w.objects[kind] {
		if o.Head().Meta.Parent.UUID == parent {
			children = append(children, o)
		}
	}
	return children
}

// Referrers implements routing.Indexed, for what control asks.
func (w *World) Referrers(kind, target api.Kind, uuid string) []api.Object {
	var referrers []api.Object
	for _, o := range w.objects[kind] {
		var refs []api.Ref
		switch o := o.(type) {
		case *api.Port:
			refs = append([]api.Ref{o.Spec.Network}, o.Spec.RouteTables...)
		case *api.Binding:
			refs = []api.Ref{o.Spec.Host}
		case *api.Network:
			refs = o.Spec.RouteTables
		}
		if slices.ContainsFunc(refs, func(r api.Ref) bool { return r.UUID == uuid }) {
			referrers = append(referrers, o)
		}
	}
	return referrers
}

// Since implements control.Changes.
func (w *World) Since(earlier api.Snapshot) ([]api.Event, bool) { return Changes(earlier, w), true }

// SetStatus replaces an object by one that differs in its status alone.
func (w *World) SetStatus(o api.Object) { w.objects[o.Head().Kind][o.Head().Meta.UUID] = o }
