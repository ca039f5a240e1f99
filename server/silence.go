// SPDX-License-Identifier: Apache-2.0

package server

import (
	"reflect"

	"github.com/weft-network/weft/api"
)

// silence are the conditions of the orchestrators that are silent, by name.
type silence map[string]api.Condition

// silentOwners finds the orchestrators that are silent. The condition is kept
// once, with the orchestrator; on what it owns it is shown when that is read, so
// that a silent owner of 100,000 objects costs no write. A watch, which shows
// changes of objects, does not show it but on the orchestrator.
func (s *Server) silentOwners() silence {
	var found silence
	for _, o := range api.ListOf[*api.Orchestrator](s.store.Latest(), api.KindOrchestrator) {
		for _, c := range o.Status.Conditions {
			if c.Type != api.ConditionSilent || !c.Status {
				continue
			}
			if found == nil {
				found = silence{}
			}
			c.Reason, c.Message = "owner-not-heard-of", "the owner "+o.Meta.Name+" is silent: nothing changes this object until it is back or retired"
			found[o.Meta.Name] = c
		}
	}
	return found
}

// on is an object as it is shown: with the condition that its owner is silent,
// if that is so.
func (s silence) on(o api.Object) api.Object {
	c, silent := s[o.Head().Meta.Owner]
	if !silent || o.Head().Kind == api.KindOrchestrator {
		return o
	}
	shown := api.Clone(o) // what is stored belongs to all readers
	conditions := reflect.ValueOf(shown.StatusBody()).Elem().FieldByName("Conditions")
	if !conditions.IsValid() {
		return o
	}
	conditions.Set(reflect.Append(conditions, reflect.ValueOf(c)))
	return shown
}

// onAll is the same for many.
func (s silence) onAll(objects []api.Object) []api.Object {
	if len(s) == 0 {
		return objects
	}
	shown := make([]api.Object, len(objects))
	for i, o := range objects {
		shown[i] = s.on(o)
	}
	return shown
}
