// SPDX-License-Identifier: Apache-2.0

package store

import (
	"strings"

	"github.com/weft-network/weft/api"
)

// What may be seen is an intersection of two sets of words: an object has
// tags, which say to whom it shows itself, and a credential has keys. The tags
// follow from the object, the shares on it and what lies below it; the keys
// from the credential and its orchestrator's object. doc/access.md has the
// rules in words.
//
//	all                            everybody
//	owner/<name>                   the owner, all of it
//	owner/<name>/in/<path>         the owner, narrowed to a domain or project
//	at/<path>                      who is narrowed to this domain or project, or to one in it
//	orchestrator/<uuid>            a share's grantee; also the orchestrator's own object
//	domain/<uuid>                  orchestrators of the domain: a share's grantee; also the domain itself
//	project/<uuid>                 a share's grantee, for who is narrowed to the project
//	projects-of/<name>             who owns the project that a share is for
//	projects-of/<name>/in/<domain> the same, narrowed to a domain
const tagAll = "all"

// sight is what one credential may see in one state of the store.
type sight struct {
	everything bool
	keys       map[string]bool
	// What the keys rest on: when it changes, the sight is another one.
	orchestrator id
	domain       string // UUID of the orchestrator's domain
	scope        map[id]bool
	// Where a narrowed credential may write: below these.
	narrowed bool
	within   map[string]bool // fully qualified names of projects and domains
}

// sightOf returns what a credential may see. Weft's own see everything, unless
// they are narrowed; an orchestrator that does not exist sees nothing.
func (s *Snapshot) sightOf(by api.Identity) *sight {
	v := &sight{keys: map[string]bool{}, scope: map[id]bool{}, within: map[string]bool{}, narrowed: by.Scope != nil}
	if by.Orchestrator == api.AdministratorsName && by.Scope == nil {
		v.everything = true
		return v
	}
	r := s.byName(api.KindOrchestrator, by.Orchestrator)
	if r == nil {
		return v
	}
	v.orchestrator, v.domain = r.id, r.object.(*api.Orchestrator).Spec.Domain.UUID
	v.add(tagAll, "orchestrator/"+r.id.uuid())
	if v.domain != "" {
		v.add("domain/" + v.domain)
	}
	if by.Scope == nil {
		v.add("owner/"+by.Orchestrator, "projects-of/"+by.Orchestrator)
		return v
	}
	if d := s.record(idOf(api.KindDomain, by.Scope.Domain.UUID)); d != nil {
		name := v.narrow(d, by.Orchestrator)
		v.add("projects-of/" + by.Orchestrator + "/in/" + name)
	}
	for _, ref := range by.Scope.Projects {
		if p := s.record(idOf(api.KindProject, ref.UUID)); p != nil {
			v.narrow(p, by.Orchestrator)
			v.add("project/"+p.id.uuid(), "at/"+p.object.Head().Meta.Parent.Name)
		}
	}
	return v
}

func (v *sight) add(keys ...string) {
	for _, k := range keys {
		v.keys[k] = true
	}
}

// narrow adds one domain or project that the credential is for.
func (v *sight) narrow(r *record, owner string) string {
	name := r.object.Head().Meta.FQName
	v.scope[r.id], v.within[name] = true, true
	v.add("owner/"+owner+"/in/"+name, "at/"+name)
	return name
}

// caveat ends the message that something does not exist, for who does not see
// everything; it is the same whether it exists or not.
func (v *sight) caveat() string {
	if v.everything {
		return ""
	}
	return ", or it is not shared with these credentials"
}

// sees tells whether the credential may see an object in this state.
func (v *sight) sees(s *Snapshot, r *record) bool {
	if v.everything {
		return true
	}
	found := false
	s.tags(r, func(tag string) bool {
		found = v.keys[tag]
		return !found
	})
	return found
}

// meets tells whether one of the tags is a key.
func (v *sight) meets(tags []string) bool {
	for _, t := range tags {
		if v.keys[t] {
			return true
		}
	}
	return v.everything && len(tags) > 0
}

// tags calls visit with every tag of an object until it returns false; a tag
// may come more than once.
func (s *Snapshot) tags(r *record, visit func(string) bool) {
	if !directTags(r, visit) {
		return
	}
	if share, ok := r.object.(*api.Share); ok && !s.grantTags(share, visit) {
		return // who is granted something sees by what
	}
	for _, i := range coveredBy(r) {
		if !s.shareTags(i, visit) {
			return
		}
		if of := s.record(i); i != r.id && of != nil && !directTags(of, visit) {
			return
		}
	}
	self := kindName(r.id.kind(), r.object.Head().Meta.FQName)
	s.eachBelow(self, func(below *record) bool {
		if share, ok := below.object.(*api.Share); ok && !s.grantTags(share, visit) {
			return false
		}
		return !guest(below) || !isBelow(below, self) || directTags(below, visit)
	})
}

// directTags are those that need no share.
func directTags(r *record, visit func(string) bool) bool {
	m := &r.object.Head().Meta
	switch r.id.kind() {
	case api.KindHost:
		return visit(tagAll) // every orchestrator places ports on hosts
	case api.KindOrchestrator, api.KindDomain:
		if !visit(string(r.id)) {
			return false
		}
	}
	if !visit("owner/" + m.Owner) {
		return false
	}
	domain, project := containers(r.object)
	switch r.id.kind() {
	case api.KindDomain:
		if !visit("at/" + domain) {
			return false
		}
	case api.KindProject:
		if !visit("at/" + project) {
			return false
		}
	}
	return (domain == "" || visit("owner/"+m.Owner+"/in/"+domain)) && (project == "" || visit("owner/"+m.Owner+"/in/"+project))
}

// containers returns the domain and project an object counts to: those it lies
// in, but an address counts to its port's.
func containers(o api.Object) (domain, project string) {
	if a, ok := o.(*api.Address); ok {
		switch {
		case a.Spec.Port.Name != "":
			return api.ContainersOf(api.KindPort, a.Spec.Port.Name)
		case a.Spec.Project.Name != "":
			return api.ContainersOf(api.KindProject, a.Spec.Project.Name)
		}
	}
	return api.ContainersOf(o.Head().Kind, o.Head().Meta.FQName)
}

// coveredBy lists the objects whose owners and shares count for one: itself, and
// for a subnet its network, which is of no use without.
func coveredBy(r *record) []id {
	if r.id.kind() == api.KindSubnet {
		return []id{r.id, idOf(api.KindNetwork, r.object.Head().Meta.Parent.UUID)}
	}
	return []id{r.id}
}

// shareTags are those of all the shares on an object.
func (s *Snapshot) shareTags(target id, visit func(string) bool) bool {
	more := true
	s.sharesOn(target, func(_ *record, share *api.Share) bool {
		more = s.grantTags(share, visit)
		return more
	})
	return more
}

// sharesOn calls visit with every share on an object until it returns false.
func (s *Snapshot) sharesOn(target id, visit func(*record, *api.Share) bool) {
	s.eachReferrer(target, api.KindShare, func(r *record) bool {
		share := r.object.(*api.Share)
		if understood(r) != nil {
			return true // what it grants, and when, is not known here: nothing
		}
		return idOf(share.Spec.TargetKind, share.Spec.Target.UUID) != target || visit(r, share)
	})
}

// grantTags are those of whom a share is for.
func (s *Snapshot) grantTags(share *api.Share, visit func(string) bool) bool {
	grantee := share.Spec.Grantee
	switch share.Spec.GranteeKind {
	case api.GranteeAll:
		return visit(tagAll)
	case api.KindOrchestrator, api.KindDomain:
		return visit(string(share.Spec.GranteeKind) + "/" + grantee.UUID)
	case api.KindProject:
		if !visit("project/" + grantee.UUID) {
			return false
		}
		p := s.record(idOf(api.KindProject, grantee.UUID))
		if p == nil {
			return true
		}
		m := &p.object.Head().Meta
		return visit("projects-of/"+m.Owner) && visit("projects-of/"+m.Owner+"/in/"+m.Parent.Name)
	}
	return true
}

// guest tells whether who sees an object may not see what is above it: its
// parent is somebody else's, or it counts to another project than it lies in.
func guest(r *record) bool {
	m := &r.object.Head().Meta
	_, counts := containers(r.object)
	_, lies := api.ContainersOf(r.id.kind(), m.FQName)
	return r.shares[fieldParent] != "" || counts != lies
}

// above lists what an object lies in, as kindName, nearest first.
func above(kind api.Kind, fqName string) []string {
	var names []string
	for {
		info, ok := api.KindInfo(kind)
		cut := strings.LastIndexByte(fqName, ':')
		if !ok || info.Parent == "" || cut < 0 {
			return names
		}
		kind, fqName = info.Parent, fqName[:cut]
		names = append(names, kindName(kind, fqName))
	}
}

func isBelow(r *record, ancestor string) bool {
	for _, name := range above(r.id.kind(), r.object.Head().Meta.FQName) {
		if name == ancestor {
			return true
		}
	}
	return false
}

// showsAbove lists, as kindName, what must be seen because of a record: what
// lies above a shared object, above its share, and above guests.
func showsAbove(r *record) []string {
	var names []string
	m := &r.object.Head().Meta
	share, ok := r.object.(*api.Share)
	if ok {
		names = above(share.Spec.TargetKind, share.Spec.Target.Name)
	}
	if ok || guest(r) {
		names = append(names, above(r.id.kind(), m.FQName)...)
	}
	return names
}

// seen is a state of the store as one credential may see it.
// The snapshot is not embedded, so that nothing shows by accident.
type seen struct {
	all   *Snapshot
	sight *sight
}

// Seen returns a snapshot of this package as a credential may see it.
func Seen(s api.Snapshot, by api.Identity) api.Snapshot {
	snapshot := s.(*Snapshot)
	v := snapshot.sightOf(by)
	if v.everything {
		return snapshot
	}
	return seen{snapshot, v}
}

func (s seen) visible(r *record) api.Object {
	if r == nil || !s.sight.sees(s.all, r) {
		return nil
	}
	return r.object
}

// Revision is the store's: it says nothing of what is not seen.
func (s seen) Revision() int64 { return s.all.Revision() }

// Changed is the store's as well.
func (s seen) Changed() int64 { return s.all.Changed() }

// Get returns the object, or nil where there is none to see.
func (s seen) Get(kind api.Kind, uuid string) api.Object {
	return s.visible(s.all.record(idOf(kind, uuid)))
}

// Lookup finds by UUID or fully qualified name.
func (s seen) Lookup(kind api.Kind, ref api.Ref) api.Object {
	if ref.UUID != "" {
		return s.Get(kind, ref.UUID)
	}
	return s.visible(s.all.byName(kind, ref.Name))
}

// List returns the visible objects of a kind, ordered by fully qualified name.
func (s seen) List(kind api.Kind) []api.Object {
	var objects []api.Object
	s.all.eachOfKind(kind, func(r *record) bool {
		if o := s.visible(r); o != nil {
			objects = append(objects, o)
		}
		return true
	})
	return objects
}

// Children returns the visible objects of a kind that have the parent, in no order.
func (s seen) Children(kind api.Kind, parent string) []api.Object {
	var objects []api.Object
	s.all.eachChild(kind, parent, func(r *record) bool {
		if o := s.visible(r); o != nil {
			objects = append(objects, o)
		}
		return true
	})
	return objects
}

// Referrers returns the visible objects of a kind that refer to another, in no order.
func (s seen) Referrers(kind, target api.Kind, uuid string) []api.Object {
	var objects []api.Object
	for _, o := range s.all.Referrers(kind, target, uuid) {
		if s.Get(kind, o.Head().Meta.UUID) != nil {
			objects = append(objects, o)
		}
	}
	return objects
}
