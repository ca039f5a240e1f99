// SPDX-License-Identifier: Apache-2.0

package store

import (
	"slices"

	"github.com/weft-network/weft/api"
)

// sighting is one object around one revision: as it was and is, and the tags
// of who could and can see it. It is worked out once, for all watches.
type sighting struct {
	kind          api.Kind
	was, now      api.Object // nil where there was or is none
	before, after []string
}

// sightings describes who sees the events that lead from one state to another,
// one for one, and after them the objects that did not change themselves but
// are seen by others now: shared, or above what is shared.
func sightings(before, after *Snapshot, events []api.Event) []sighting {
	if len(events) == 0 {
		return nil
	}
	var all []sighting
	done := map[id]bool{}
	add := func(i id) *sighting {
		done[i] = true
		g := sighting{kind: i.kind()}
		g.was, g.before = before.shown(i)
		g.now, g.after = after.shown(i)
		all = append(all, g)
		return &all[len(all)-1]
	}
	for _, e := range events {
		add(idOf(e.Kind, e.Object.Head().Meta.UUID))
	}
	for _, e := range events {
		i := idOf(e.Kind, e.Object.Head().Meta.UUID)
		for _, other := range affected(before, after, i) {
			if done[other] {
				continue
			}
			if g := add(other); g.was == nil || g.now == nil || slices.Equal(g.before, g.after) {
				all = all[:len(all)-1]
			}
		}
	}
	return all
}

// shown returns an object and the tags of who sees it, ordered, each once.
func (s *Snapshot) shown(i id) (api.Object, []string) {
	r := s.record(i)
	if r == nil {
		return nil, nil
	}
	tags := map[string]bool{}
	s.tags(r, func(tag string) bool {
		tags[tag] = true
		return true
	})
	ordered := make([]string, 0, len(tags))
	for t := range tags {
		ordered = append(ordered, t)
	}
	slices.Sort(ordered)
	return r.object, ordered
}

// affected lists what others may see, or no longer see, because an object came,
// changed or went: what it shares with its subnets, and what lies above.
func affected(before, after *Snapshot, i id) []id {
	was, now := before.record(i), after.record(i)
	var found []id
	for _, r := range []*record{was, now} {
		if r == nil {
			continue
		}
		if share, ok := r.object.(*api.Share); ok && (was == nil || now == nil) {
			target := idOf(share.Spec.TargetKind, share.Spec.Target.UUID)
			found = append(found, target)
			if target.kind() == api.KindNetwork {
				after.eachChild(api.KindSubnet, target.uuid(), func(s *record) bool {
					found = append(found, s.id)
					return true
				})
			}
		}
		if was != nil && now != nil && sameBelow(was, now) {
			continue
		}
		for _, name := range showsAbove(r) {
			for _, s := range []*Snapshot{before, after} {
				if above := s.byKindName(name); above != nil {
					found = append(found, above.id)
				}
			}
		}
	}
	return found
}

// sameBelow tells whether two states of an object show the same above it to
// the same: the most frequent case by far.
func sameBelow(was, now *record) bool {
	d1, p1 := containers(was.object)
	d2, p2 := containers(now.object)
	return d1 == d2 && p1 == p2 && slices.Equal(showsAbove(was), showsAbove(now))
}

// event is what a watch with some sight is told of a sighting: a put of what
// it may see now, a deletion of what it may not any more, or nothing.
func (g *sighting) event(v *sight, revision int64) (api.Event, bool) {
	saw, sees := g.was != nil && v.meets(g.before), g.now != nil && v.meets(g.after)
	switch {
	case sees && saw:
		return api.Event{Type: api.EventPut, Revision: revision, Kind: g.kind, Object: g.now, Was: g.was}, true
	case sees: // what it was before is not for this watch, not even as a deletion
		return api.Event{Type: api.EventPut, Revision: revision, Kind: g.kind, Object: g.now}, true
	case saw:
		return api.Event{Type: api.EventDelete, Revision: revision, Kind: g.kind, Object: g.was, Was: g.was}, true
	}
	return api.Event{}, false
}

// ends tells whether a sighting changes what a sight rests on: its
// orchestrator's domain, or the existence of what the credential is for.
func (g *sighting) ends(v *sight) bool {
	o := g.was
	if o == nil {
		return false
	}
	i := idOf(g.kind, o.Head().Meta.UUID)
	if v.scope[i] || i == v.orchestrator {
		if g.now == nil {
			return true
		}
	}
	if i != v.orchestrator {
		return false
	}
	return g.now.(*api.Orchestrator).Spec.Domain.UUID != v.domain
}
