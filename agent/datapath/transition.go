// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

// transition leads from one policy to another where rules change, and who some
// workloads are does as well: what the former rules say of who they were is
// followed at once, at each port, by what the new rules say of who they are. So
// for as long as it takes the routes to such workloads, and their places behind virtual
// addresses, have an identity that is nobody's: to the former rules it is who they
// were, to the new ones who they are.
type transition struct {
	goal  Tables
	moved moves
	holds bool // it ends where the routes have the identities in between, see heldPolicy
	next  func()
}

type move struct{ was, is, between rules.Identity }

// moves are those of all that says who somebody is.
type moves struct {
	routes map[vrouter.RouteKey]move
	places map[vrouter.PoolMemberKey]placeMove // behind virtual addresses
}

// placeMove is a member's.
type placeMove struct {
	move
	of desired.BalancerKey
}

// all are the moves, each once.
func (m *moves) all() map[move]bool {
	all := map[move]bool{}
	for _, one := range m.routes {
		all[one] = true
	}
	for _, one := range m.places {
		all[one.move] = true
	}
	return all
}

// newMove makes an identity for workloads that become others: one that no route
// says, for what routes say has a meaning to the former rules.
func newMove(was, is rules.Identity, said map[rules.Identity]bool) move {
	m := move{was: was, is: is, between: was}
	for m.between <= rules.Pending || said[m.between] {
		words := binary.BigEndian.AppendUint64([]byte("between"), uint64(m.between))
		m.between = rules.Identity(xxhash.Sum64(binary.BigEndian.AppendUint64(words, uint64(is))))
	}
	return m
}

// transitionTo is what leads to the tables; nil if they can be written as they are.
func (p *Programmer) transitionTo(t *Tables) *transition {
	holds := p.holds(t)
	if !holds && !p.rulesChange(t) {
		return nil
	}
	moved := p.movesTo(t, holds && !p.began)
	if len(moved.routes)+len(moved.places) == 0 {
		return nil
	}
	tr := &transition{goal: *t, moved: moved, holds: holds}
	tr.next = func() { p.meetFormerRules(tr) }
	if !p.began { // what was wanted before is only in the kernel
		tr.next = func() { p.meetNewRules(tr) }
	}
	return tr
}

// movesTo are the workloads that are others in the tables than in the kernel, where
// the kernel has of them what was wanted before, or anything that is not known to be else.
func (p *Programmer) movesTo(t *Tables, anything bool) moves {
	moved, said := moves{map[vrouter.RouteKey]move{}, map[vrouter.PoolMemberKey]placeMove{}}, map[rules.Identity]bool{}
	p.routes.EachHad(func(_ vrouter.RouteKey, has Route) { said[has.Who] = true })
	p.service.members.EachHad(func(_ vrouter.PoolMemberKey, has PoolMember) { said[has.Identity] = true })
	others := func(was, is rules.Identity) bool { return was != is && was > rules.Pending && is > rules.Pending }
	p.routes.EachHad(func(key vrouter.RouteKey, has Route) {
		want, wanted := t.Routes[key]
		_, follows := p.tables.Routes[key]
		if wanted && (follows || anything) && others(has.Who, want.Who) {
			moved.routes[key] = newMove(has.Who, want.Who, said)
		}
	})
	was, is := p.tables.Balanced.places(), t.Balanced.places()
	p.service.members.EachHad(func(key vrouter.PoolMemberKey, has PoolMember) {
		of, want, wanted := is(key)
		_, _, follows := was(key)
		if wanted && (follows || anything) && others(has.Identity, want.Identity) {
			moved.places[key] = placeMove{newMove(has.Identity, want.Identity, said), of}
		}
	})
	return moved
}

// rulesChange tells whether a port that is in the kernel is to ask other rules.
func (p *Programmer) rulesChange(t *Tables) bool {
	for ifindex, now := range t.Policies {
		if !p.ports.MayHave(ifindex) {
			continue
		}
		was := p.tables.Policies[ifindex]
		for d, layers := range now.Rulesets {
			for l, name := range layers {
				if t.Rulesets[name].ID != p.tables.Rulesets[was.Rulesets[d][l]].ID {
					return true
				}
			}
		}
	}
	return false
}

// Between tells whether a transition is under way.
func (p *Programmer) Between() bool { return p.transition != nil }

// advance begins the next part of a transition, and tells whether there is one.
func (p *Programmer) advance() bool {
	if p.transition == nil {
		return false
	}
	p.transition.next()
	return true
}

// meetFormerRules has the former rules know the identities in between.
func (p *Programmer) meetFormerRules(tr *transition) {
	p.members.join(tr.moved, func(m move) rules.Identity { return m.was })
	if p.held != nil {
		p.held.learn(tr.moved)
	}
	p.applyPolicies(&p.tables)
	p.ports.Want(p.asking(p.tables.Ports))
	tr.next = func() { p.setApart(tr) }
}

// setApart gives the routes, and the places behind virtual addresses, the identities in
// between.
func (p *Programmer) setApart(tr *transition) {
	apart := p.tables
	apart.Balanced.between = tr.moved.places
	p.service.serve(apart)
	for key, m := range tr.moved.routes {
		route := p.tables.Routes[key]
		route.Who = m.between
		p.routes.Put(key, route)
	}
	tr.next = func() { p.meetNewRules(tr) }
}

// meetNewRules writes all that is wanted but for the identities in between.
func (p *Programmer) meetNewRules(tr *transition) {
	t := tr.goal
	t.Routes = maps.Clone(t.Routes)
	for key, m := range tr.moved.routes {
		route := t.Routes[key]
		route.Who = m.between
		t.Routes[key] = route
	}
	t.Balanced.between = tr.moved.places
	if tr.holds {
		p.hold(t.Hold.ID, tr.moved)
	}
	p.followMembers(&t)
	p.members.join(tr.moved, func(m move) rules.Identity { return m.is })
	p.want(t)
	tr.next = func() {
		p.transition = nil
		if tr.holds {
			return
		}
		p.followMembers(&tr.goal)
		p.want(tr.goal)
	}
}

// join has the identities in between be meant where another identity of theirs is.
func (m *members) join(moved moves, as func(move) rules.Identity) {
	moves := moved.all()
	for id, meant := range m.meant {
		var more []rules.Identity
		for one := range moves {
			_, is := slices.BinarySearch(meant, as(one))
			if _, already := slices.BinarySearch(meant, one.between); is && !already {
				more = append(more, one.between)
			}
		}
		if len(more) > 0 {
			slices.Sort(more)
			m.still[id] = slices.Concat(m.still[id], more)
			m.meant[id] = slices.Concat(meant, more)
			slices.Sort(m.meant[id])
		}
	}
}
