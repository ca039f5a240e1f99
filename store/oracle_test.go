// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"maps"
	"reflect"

	"github.com/weft-network/weft/api"
)

// moment is all objects of one moment, for the oracle: what may be seen and
// done, told once more from doc/access.md in plain loops over everything.
type moment map[id]api.Object

// in tells whether an object is, or lies in, one of the containers.
func (all moment) in(o api.Object, containers map[id]bool) bool {
	if a, ok := o.(*api.Address); ok && !a.Spec.Port.IsZero() {
		o = all[idOf(api.KindPort, a.Spec.Port.UUID)] // an address counts to its port's project
	} else if ok && !a.Spec.Project.IsZero() {
		o = all[idOf(api.KindProject, a.Spec.Project.UUID)] // or to that for which it is reserved
	}
	for o != nil {
		h := o.Head()
		if containers[idOf(h.Kind, h.Meta.UUID)] {
			return true
		}
		o = all.parent(o)
	}
	return false
}

func (all moment) parent(o api.Object) api.Object {
	info, _ := api.KindInfo(o.Head().Kind)
	return all[idOf(info.Parent, o.Head().Meta.Parent.UUID)]
}

// scopeOf is what narrowed credentials are for, as far as it still exists.
func (all moment) scopeOf(by api.Identity) map[id]bool {
	scope := map[id]bool{}
	for _, i := range scopeTargets(by.Scope) {
		if all[i] != nil {
			scope[i] = true
		}
	}
	return scope
}

func (all moment) orchestrator(name string) *api.Orchestrator {
	for i, o := range all {
		if i.kind() == api.KindOrchestrator && o.Head().Meta.Name == name {
			return o.(*api.Orchestrator)
		}
	}
	return nil
}

// granted tells whether a share is for a credential.
func (all moment) granted(s *api.Share, by api.Identity) bool {
	self := all.orchestrator(by.Orchestrator)
	grantee := s.Spec.Grantee.UUID
	switch s.Spec.GranteeKind {
	case api.GranteeAll:
		return true
	case api.KindOrchestrator:
		return grantee == self.Meta.UUID
	case api.KindDomain:
		return grantee == self.Spec.Domain.UUID
	}
	p := all[idOf(api.KindProject, grantee)]
	if by.Scope == nil {
		return p.Head().Meta.Owner == by.Orchestrator
	}
	scope := all.scopeOf(by)
	return scope[idOf(api.KindProject, grantee)] || p.Head().Meta.Owner == by.Orchestrator && scope[idOf(api.KindDomain, p.Head().Meta.Parent.UUID)]
}

// visible is what a credential may see.
func (all moment) visible(by api.Identity) moment {
	if by.Orchestrator == api.AdministratorsName && by.Scope == nil {
		return all
	}
	found := moment{}
	see := func(o api.Object) {
		for ; o != nil; o = all.parent(o) { // and what is above
			found[idOf(o.Head().Kind, o.Head().Meta.UUID)] = o
		}
	}
	self := all.orchestrator(by.Orchestrator)
	scope := all.scopeOf(by)
	see(self)
	see(all[idOf(api.KindDomain, self.Spec.Domain.UUID)])
	subnets := func(network api.Object) {
		for _, o := range all {
			if s, ok := o.(*api.Subnet); ok && s.Meta.Parent.UUID == network.Head().Meta.UUID {
				see(o)
			}
		}
	}
	for i, o := range all {
		own := o.Head().Meta.Owner == by.Orchestrator && (by.Scope == nil || all.in(o, scope))
		if i.kind() == api.KindHost || scope[i] || own {
			see(o)
		}
		if own && i.kind() == api.KindNetwork {
			subnets(o)
		}
		s, ok := o.(*api.Share)
		if !ok || !all.granted(s, by) {
			continue
		}
		see(s)
		target := all[idOf(s.Spec.TargetKind, s.Spec.Target.UUID)]
		see(target)
		if target.Head().Kind == api.KindNetwork {
			subnets(target)
		}
	}
	return found
}

// mayEdit tells whether a share lets a credential change another's object.
func (all moment) mayEdit(by api.Identity, i id) bool {
	for _, o := range all {
		s, ok := o.(*api.Share)
		if ok && idOf(s.Spec.TargetKind, s.Spec.Target.UUID) == i && s.Allows(api.VerbEdit) && all.granted(s, by) {
			return i.kind() != api.KindShare && i.kind() != api.KindOrchestrator && i.kind() != api.KindHost
		}
	}
	return false
}

// mayWrite tells whether an object is the credential's own to write.
func (all moment) mayWrite(by api.Identity, o api.Object) bool {
	if o.Head().Meta.Owner != by.Orchestrator {
		return false
	}
	scope := all.scopeOf(by)
	return by.Scope == nil || all.in(o, scope) && !scope[idOf(o.Head().Kind, o.Head().Meta.UUID)]
}

// judge compares two moments: what came, changed and went between them must
// have been the writer's to make, change and delete.
func (a *adversaries) judge(by api.Identity, before, after moment, err error) {
	a.t.Helper()
	if err != nil {
		a.counts["refused"]++
		if !maps.EqualFunc(before, after, func(x, y api.Object) bool { return x == y }) {
			a.t.Errorf("%s: refused (%v) and yet something changed", a.where, err)
		}
		return
	}
	a.counts["committed"]++
	for i, now := range after {
		was := before[i]
		switch {
		case was == nil:
			if !after.mayWrite(by, now) {
				a.t.Errorf("%s: %s made %s %s of %s", a.where, by.Name, i, now.Head().Meta.FQName, now.Head().Meta.Owner)
			}
		case was != now && !bytes.Equal(mustJSON(was), mustJSON(now)):
			a.judgeChange(by, i, was, now, before, after)
		}
		after.judgeRefs(a, now)
	}
	for i, was := range before {
		if after[i] == nil && !before.mayWrite(by, was) {
			a.t.Errorf("%s: %s deleted %s %s of %s", a.where, by.Name, i, was.Head().Meta.FQName, was.Head().Meta.Owner)
		}
	}
}

func (a *adversaries) judgeChange(by api.Identity, i id, was, now api.Object, before, after moment) {
	a.t.Helper()
	o, n := was.Head().Meta, now.Head().Meta
	same := o.Owner == n.Owner && o.FQName == n.FQName && o.Parent == n.Parent && o.CreatedAt.Equal(n.CreatedAt)
	switch {
	case same && before.mayWrite(by, was) && after.mayWrite(by, now):
	case same && before.mayEdit(by, i) && reflect.DeepEqual(o.Foreign, n.Foreign):
		a.counts["edited through a share"]++
	default:
		a.t.Errorf("%s: %s changed %s %s of %s", a.where, by.Name, i, o.FQName, o.Owner)
	}
}

// judgeRefs checks that another owner's objects are referred to with a share.
func (all moment) judgeRefs(a *adversaries, o api.Object) {
	a.t.Helper()
	m := o.Head().Meta
	info, _ := api.KindInfo(o.Head().Kind)
	refs := append(o.Refs(), api.FieldRef{Field: fieldParent, Kind: info.Parent, Ref: &m.Parent, Verb: api.VerbAttach})
	owner := api.Identity{Orchestrator: m.Owner}
	for _, f := range refs {
		t := all[idOf(f.Kind, f.Ref.UUID)]
		if f.Ref.IsZero() || f.Verb == "" {
			continue
		}
		subnet, _ := t.(*api.Subnet)
		sharing := o.Head().Kind == api.KindShare && f.Field != fieldParent
		ok := t.Head().Meta.Owner == m.Owner || !sharing && subnet != nil && all.parent(t).Head().Meta.Owner == m.Owner || f.Field == fieldParent && t.Head().Meta.UUID == all.orchestrator(m.Owner).Spec.Domain.UUID
		for _, x := range all {
			s, share := x.(*api.Share)
			if !share || ok || !s.Allows(f.Verb) || !all.granted(s, owner) || sharing {
				continue
			}
			ok = s.Spec.Target.UUID == t.Head().Meta.UUID || subnet != nil && s.Spec.Target.UUID == subnet.Meta.Parent.UUID
		}
		if !ok {
			a.t.Errorf("%s: %s %s of %s refers in %s to %s of %s without a share", a.where, o.Head().Kind, m.FQName, m.Owner, f.Field, t.Head().Meta.FQName, t.Head().Meta.Owner)
		}
	}
}

// look compares what everybody sees, in lists and in watches, with the oracle.
func (a *adversaries) look(all moment) {
	a.t.Helper()
	snapshot := a.latest()
	for n, by := range a.readers {
		want := all.visible(by)
		got := Seen(snapshot, by)
		count := 0
		for _, info := range api.Kinds() {
			for _, o := range got.List(info.Kind) {
				count++
				m := o.Head().Meta
				if want[idOf(info.Kind, m.UUID)] == nil || got.Lookup(info.Kind, api.Ref{UUID: m.UUID}) == nil || got.Lookup(info.Kind, named(m.FQName)) == nil {
					a.t.Errorf("%s: %s sees %s %s of %s", a.where, by.Name, info.Kind, m.FQName, m.Owner)
				}
				if m.Owner != by.Orchestrator && m.Owner != api.AdministratorsName {
					a.counts["seen of another"]++
				}
			}
		}
		if count != len(want) {
			for i, o := range want {
				if got.Get(i.kind(), i.uuid()) == nil {
					a.t.Errorf("%s: %s does not see %s %s of %s", a.where, by.Name, i, o.Head().Meta.FQName, o.Head().Meta.Owner)
				}
			}
		}
		a.follow(n, by, snapshot.revision, want)
	}
}

// follow takes what a watch has to say up to a revision and compares.
func (a *adversaries) follow(n int, by api.Identity, revision int64, want moment) {
	a.t.Helper()
	watch := a.watches[n]
	for watch.revision < revision {
		b, _, _ := a.history.after(watch.revision)
		watch.revision = b.revision
		watch.add(b)
	}
	if watch.ended != nil { // 410: what the credential is for is gone; the client lists anew
		watch = a.watch(by)
		a.watches[n], a.known[n] = watch, map[id]int64{}
		a.counts["watches ended"]++
	}
	for _, e := range watch.pending {
		switch e.Type {
		case api.EventPut:
			a.known[n][idOf(e.Kind, e.Object.Head().Meta.UUID)] = e.Object.Head().Meta.Revision
		case api.EventDelete:
			i := idOf(e.Kind, e.Object.Head().Meta.UUID)
			if a.known[n][i] == 0 {
				a.t.Errorf("%s: %s is told that %s %s went, of which it did not know", a.where, by.Name, i, e.Object.Head().Meta.FQName)
			}
			delete(a.known[n], i)
			a.counts["watch deletions"]++
		}
	}
	watch.pending = nil
	for i, o := range want {
		if a.known[n][i] != o.Head().Meta.Revision {
			a.t.Errorf("%s: %s knows %s %s at revision %d by its watch, it is at %d", a.where, by.Name, i, o.Head().Meta.FQName, a.known[n][i], o.Head().Meta.Revision)
		}
	}
	if len(a.known[n]) != len(want) {
		for i := range a.known[n] {
			if want[i] == nil {
				a.t.Errorf("%s: %s was not told that it may not see %s any more", a.where, by.Name, i)
			}
		}
	}
}
