// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
)

const (
	// schedules is how many random schedules are tried, of stepsEach writes.
	schedules = 2000
	stepsEach = 6
	// wipeEvery schedules both owners delete what they can, to begin anew.
	wipeEvery = 12
	// restartEvery schedules the store is opened anew on the same etcd.
	restartEvery = 100
)

// Two owners, whose tenants have equal names in two domains, write what they
// like: colliding names, addresses and foreign identities, the other's UUIDs,
// lies about owners, transactions that mix both's objects, and re-lists that
// delete whatever is not wanted. Whatever they do, an oracle in plain Go finds
// that nothing of the other changed but what was shared for editing, and that
// everybody sees, in lists and in watches, exactly what the rules say.
func TestTwoOwnersWhoLie(t *testing.T) {
	w := newWorld(t)
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("WEFT_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d (WEFT_TEST_SEED)", seed)
	a := newAdversaries(w)
	for n := range schedules {
		a.random = rand.New(rand.NewPCG(seed, uint64(n)))
		switch {
		case n%restartEvery == restartEvery-1:
			a.Store.Close()
			a.Store = w.open()
			a.watchAll()
		case n%wipeEvery == wipeEvery-1:
			a.wipe()
			a.furnish()
		}
		for step := range stepsEach {
			a.where = fmt.Sprintf("seed %d, schedule %d, step %d", seed, n, step)
			a.step()
			if t.Failed() {
				t.FailNow()
			}
		}
	}
	t.Logf("done: %v", a.counts)
	for what, least := range map[string]int{"committed": schedules / 2, "refused": schedules / 2, "edited through a share": 20, "seen of another": 100, "watch deletions": 100} {
		if a.counts[what] < least {
			t.Errorf("%d times %s, want at least %d: the test does not test that", a.counts[what], what, least)
		}
	}
}

type adversaries struct {
	*world
	random  *rand.Rand
	where   string
	members []api.Identity // who write
	readers []api.Identity // who are asked what they see
	watches []*Watch
	known   []map[id]int64 // by watcher: what it was told exists, and the revision
	counts  map[string]int
}

func newAdversaries(w *world) *adversaries {
	a := &adversaries{world: w, counts: map[string]int{}}
	w.create(admin, host("h1", "192.0.2.1"))
	for _, name := range []string{"blue", "green"} {
		w.create(admin, domain(name), &api.Orchestrator{Header: head(api.KindOrchestrator, name, api.Ref{}),
			Spec: api.OrchestratorSpec{Platform: api.PlatformOpenStack, Domain: named(name)}})
	}
	a.furnish()
	return a
}

// furnish makes the projects that are missing, of equal names in both domains,
// and everybody's credentials. Those narrowed to a project that was deleted are
// of no use for another of its name.
func (a *adversaries) furnish() {
	a.members, a.readers = nil, nil
	for _, name := range []string{"blue", "green"} {
		by := api.Identity{Name: name, Orchestrator: name, Role: api.RoleMember}
		for _, t := range []string{"t1", "t2"} {
			if a.Latest().Lookup(api.KindProject, named(name+":"+t)) == nil {
				a.create(by, &api.Project{Header: head(api.KindProject, t, named(name))})
			}
		}
		narrow := by
		t1 := a.Latest().Lookup(api.KindProject, named(name+":t1"))
		narrow.Name, narrow.Scope = name+" t1", &api.Scope{Projects: []api.Ref{api.RefTo(t1)}}
		all := by
		all.Name, all.Scope = name+" domain", &api.Scope{Domain: api.RefTo(a.Latest().Lookup(api.KindDomain, named(name)))}
		a.members = append(a.members, by, by, narrow)
		a.readers = append(a.readers, by, narrow, all)
	}
	a.readers = append(a.readers, admin)
	a.watchAll()
}

// watchAll begins the watches anew, as clients do when a controller restarts.
func (a *adversaries) watchAll() {
	a.t.Helper()
	a.watches, a.known = nil, nil
	for _, by := range a.readers {
		a.watches, a.known = append(a.watches, a.watch(by)), append(a.known, map[id]int64{})
	}
}

func (a *adversaries) watch(by api.Identity) *Watch {
	a.t.Helper()
	watch, err := a.Watch(a.t.Context(), by, 0, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return watch
}

// state is all objects, by identity.
func (a *adversaries) state() moment {
	a.t.Helper()
	s, err := a.linearizable(a.t.Context(), 0)
	if err != nil {
		a.t.Fatal(err)
	}
	all := moment{}
	for _, info := range api.Kinds() {
		for _, o := range s.List(info.Kind) {
			all[idOf(info.Kind, o.Head().Meta.UUID)] = o
		}
	}
	return all
}

func (a *adversaries) step() {
	before := a.state()
	by := a.members[a.random.IntN(len(a.members))]
	ops := a.invent(by, before)
	_, err := a.Commit(a.t.Context(), by, ops, CommitOptions{})
	after := a.state()
	defer func() {
		if a.t.Failed() {
			a.t.Logf("%s wrote %s: %v", by.Name, mustJSON(ops), err)
		}
	}()
	a.judge(by, before, after, err)
	a.look(after)
}

// wipe deletes what the owners can, so that schedules begin small.
func (a *adversaries) wipe() {
	for range 3 { // what others use goes when they have let go
		for _, by := range []api.Identity{a.members[0], a.members[3]} {
			for _, o := range sorted(a.state()) {
				if h := o.Head(); h.Meta.Owner == by.Orchestrator && h.Kind != api.KindProject {
					a.commit(by, api.OpDelete, bare(o))
				}
			}
		}
	}
	a.look(a.state())
}

// sorted lists objects so that who refers comes first, then by name.
func sorted(all moment) []api.Object {
	order := map[api.Kind]int{}
	for n, info := range api.Kinds() {
		order[info.Kind] = -n
	}
	var list []api.Object
	for _, o := range all {
		list = append(list, o)
	}
	slices.SortFunc(list, func(x, y api.Object) int {
		if d := order[x.Head().Kind] - order[y.Head().Kind]; d != 0 {
			return d
		}
		if x.Head().Meta.FQName < y.Head().Meta.FQName {
			return -1
		}
		return 1
	})
	return list
}

func bare(o api.Object) api.Object {
	c := api.New(o.Head().Kind)
	c.Head().Meta.UUID = o.Head().Meta.UUID
	return c
}

// invent makes up one transaction.
func (a *adversaries) invent(by api.Identity, all moment) []api.Operation {
	list := sorted(all)
	if a.random.IntN(12) == 0 { // a re-list: delete what one takes for stale, whoever's it is
		var ops []api.Operation
		for _, o := range list {
			if kind := o.Head().Kind; kind != api.KindDomain && kind != api.KindOrchestrator && a.random.IntN(8) == 0 {
				ops = append(ops, api.Operation{Op: api.OpDelete, Object: bare(o)})
			}
		}
		if len(ops) > 0 {
			return ops
		}
	}
	var ops []api.Operation
	for range 1 + a.random.IntN(8)/6 { // mostly one, sometimes mixed
		switch a.random.IntN(8) {
		case 0:
			ops = append(ops, api.Operation{Op: api.OpDelete, Object: bare(list[a.random.IntN(len(list))])})
		case 1:
			ops = append(ops, api.Operation{Op: api.OpUpdate, Object: a.altered(a.shared(list))})
		case 2:
			ops = append(ops, api.Operation{Op: api.OpUpdate, Object: a.altered(list[a.random.IntN(len(list))])})
		default:
			ops = append(ops, api.Operation{Op: api.OpCreate, Object: a.invented(by, list)})
		}
	}
	return ops
}

// shared is an object that somebody shares, if there is one.
func (a *adversaries) shared(list []api.Object) api.Object {
	for _, n := range a.random.Perm(len(list)) {
		if s, ok := list[n].(*api.Share); ok {
			return a.Latest().Get(s.Spec.TargetKind, s.Spec.Target.UUID)
		}
	}
	return list[a.random.IntN(len(list))]
}

// altered is an object as somebody would like to have it.
func (a *adversaries) altered(o api.Object) api.Object {
	c := api.Clone(o)
	m := &c.Head().Meta
	m.Revision = 0
	m.Description = fmt.Sprint("altered ", a.random.IntN(100))
	if a.random.IntN(4) == 0 {
		m.Owner = []string{"blue", "green", "weft"}[a.random.IntN(3)] // a lie without effect
	}
	if a.random.IntN(6) == 0 {
		m.Foreign = &api.Foreign{Kind: "net", ID: fmt.Sprint(a.random.IntN(3))}
	}
	switch o := c.(type) {
	case *api.Network:
		o.Spec.MTU = 1300 + a.random.IntN(200)
	case *api.Share:
		o.Spec.Verbs = a.verbs()
	case *api.Port:
		if a.random.IntN(2) == 0 {
			o.Spec.MAC = api.MAC(fmt.Sprintf("02:00:00:00:00:%02x", a.random.IntN(4)))
		}
	}
	return c
}

func (a *adversaries) verbs() []api.Verb {
	return [][]api.Verb{{api.VerbSee}, {api.VerbAttach}, {api.VerbEdit}, {api.VerbAttach, api.VerbJoin, api.VerbEdit}}[a.random.IntN(4)]
}

// pick returns a reference to some object of a kind, or to none.
func (a *adversaries) pick(list []api.Object, kind api.Kind) api.Ref {
	var of []api.Object
	for _, o := range list {
		if o.Head().Kind == kind && o.Head().Meta.Owner != api.AdministratorsName {
			of = append(of, o)
		}
	}
	if len(of) == 0 {
		return named("blue:t1:none")
	}
	o := of[a.random.IntN(len(of))]
	if a.random.IntN(2) == 0 {
		return api.Ref{UUID: o.Head().Meta.UUID}
	}
	return named(o.Head().Meta.FQName)
}

// invented is a new object: names, addresses and identities come from a few,
// and so collide; projects and targets are anybody's, mostly one's own.
func (a *adversaries) invented(by api.Identity, list []api.Object) api.Object {
	r := a.random
	whose := by.Orchestrator
	if r.IntN(6) == 0 {
		whose = []string{"blue", "green"}[r.IntN(2)]
	}
	project := named(whose + []string{":t1", ":t1", ":t2"}[r.IntN(3)])
	name := fmt.Sprint("x", r.IntN(3))
	var o api.Object
	switch r.IntN(9) {
	case 0, 1:
		o = network(name, project)
	case 2:
		o = subnet(name, fmt.Sprintf("10.0.%d.0/24", r.IntN(2)), a.pick(list, api.KindNetwork))
	case 3:
		o = port(name, project, a.pick(list, api.KindNetwork))
	case 4:
		x := address(name, a.pick(list, api.KindNetwork), fmt.Sprintf("10.0.%d.%d", r.IntN(2), 9+r.IntN(2)))
		if r.IntN(2) == 0 {
			x.Spec.Port = a.pick(list, api.KindPort)
			if p := a.Latest().Lookup(api.KindPort, x.Spec.Port); p != nil {
				x.Meta.Parent, x.Spec.IP = p.(*api.Port).Spec.Network, netip.Addr{}
			}
		}
		o = x
	case 5:
		o = binding(name, a.pick(list, api.KindPort), named("h1"), r.IntN(2) == 0)
	case 6:
		o = &api.NetworkPolicyAttachment{Header: head(api.KindNetworkPolicyAttachment, name, project),
			Spec: api.NetworkPolicyAttachmentSpec{Policy: a.pick(list, api.KindNetworkPolicy), Network: a.pick(list, api.KindNetwork)}}
		if r.IntN(2) == 0 {
			o = &api.NetworkPolicy{Header: head(api.KindNetworkPolicy, name, project)}
		}
	default:
		o = a.inventedShare(name, project, list)
	}
	m := &o.Head().Meta
	if r.IntN(10) == 0 {
		m.UUID = list[r.IntN(len(list))].Head().Meta.UUID // somebody's
	}
	if r.IntN(8) == 0 {
		m.Foreign = &api.Foreign{Kind: "net", ID: fmt.Sprint(r.IntN(3))}
		if r.IntN(3) == 0 {
			m.Foreign.Orchestrator = whose
		}
	}
	return o
}

func (a *adversaries) inventedShare(name string, project api.Ref, list []api.Object) api.Object {
	r := a.random
	kind := []api.Kind{api.KindNetwork, api.KindNetwork, api.KindNetwork, api.KindPort, api.KindProject, api.KindSubnet, api.KindShare, api.KindNetworkPolicy, api.KindDomain}[r.IntN(9)]
	target := a.pick(list, kind)
	switch other := []string{"blue", "green"}[r.IntN(2)]; r.IntN(4) {
	case 0:
		return share(name, project, kind, target, api.GranteeAll, api.Ref{}, a.verbs()...)
	case 1:
		return share(name, project, kind, target, api.KindOrchestrator, named(other), a.verbs()...)
	case 2:
		return share(name, project, kind, target, api.KindDomain, named(other), a.verbs()...)
	default:
		return share(name, project, kind, target, api.KindProject, named(other+[]string{":t1", ":t2"}[r.IntN(2)]), a.verbs()...)
	}
}
